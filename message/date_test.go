package message_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

func TestParseDate(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		// RFC 5322 appendix A.
		{"Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
		{"Tue, 1 Jul 2003 10:52:37 +0200", "2003-07-01T10:52:37+02:00"},
		{"Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)", "1969-02-13T23:32:00-03:30"},
		{"21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z"},
		{"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "1997-11-21T09:55:06-06:00"},
		// Years (§4.3).
		{"1 Jan 49 00:00 +0000", "2049-01-01T00:00:00Z"},
		{"1 Jan 50 00:00 +0000", "1950-01-01T00:00:00Z"},
		{"1 Jan 123 00:00 +0000", "2023-01-01T00:00:00Z"},
		{"1 Jan 1900 00:00 +0000", "1900-01-01T00:00:00Z"},
		{"31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59Z"},
		// Zones (§4.3).
		{"1 Jul 2026 12:00:00 EST", "2026-07-01T12:00:00-05:00"},
		{"1 Jul 2026 12:00:00 pdt", "2026-07-01T12:00:00-07:00"},
		{"1 Jul 2026 12:00:00 UT", "2026-07-01T12:00:00Z"},
		{"1 Jul 2026 12:00:00 Z", "2026-07-01T12:00:00Z"},
		{"1 Jul 2026 12:00:00 A", "2026-07-01T12:00:00Z"},
		{"1 Jul 2026 12:00:00 CEST", "2026-07-01T12:00:00Z"},
		{"1 Jul 2026 12:00:00 -0000", "2026-07-01T12:00:00Z"},
		{"1 Jul 2026 12:00:00 +2359", "2026-07-01T12:00:00+23:59"},
		{"1 Jul 2026 12:00:00", "2026-07-01T12:00:00Z"},
		// Others.
		{"29 Feb 2024 00:00:00 +0000", "2024-02-29T00:00:00Z"},
		{"Sat, 31 Dec 2016 23:59:60 +0000", "2017-01-01T00:00:00Z"},
		{"Mon 02 Nov 2026 10:11:10 +0100", "2026-11-02T10:11:10+01:00"},
		{"(c) mon(d),2(e)NOVEMBER(f)2026(g)1:2(h)+0100(unclosed", "2026-11-02T01:02:00+01:00"},
		{"02-Nov-2026 10:11:10 +0100", "2026-11-02T10:11:10+01:00"},
	} {
		got, err := message.ParseDate(c.in)
		require.NoError(t, err, c.in)
		assert.Equal(t, c.want, got.Format(time.RFC3339), c.in)
	}
}

func TestParseDateErrors(t *testing.T) {
	for _, in := range []string{
		"", " ", "yesterday", "Fri", "Fri, ", "Fri, 21", "Fri, 21 Nov", "Fri, 21 Nov 1997", "21 Nov 1997 09",
		"21 Nov 1997 0955 +0000", "21 Nov 1997 24:00:00 +0000", "21 Nov 1997 09:60:00 +0000", "21 Nov 1997 09:59:61 +0000",
		"0 Nov 1997 09:00:00 +0000", "31 Nov 1997 09:00:00 +0000", "29 Feb 2025 09:00:00 +0000", "32 Jan 1997 09:00 +0000",
		"1 Foo 1997 09:00:00 +0000", "1 Nov 99999 09:00:00 +0000", "1 Nov 1899 09:00:00 +0000", "1 Nov 1 09:00:00 +0000",
		"1 Nov 10000 09:00:00 +0000", "1 Nov 2026 09:00:00 +9999", "1 Nov 2026 09:00:00 +2400", "1 Nov 2026 09:00:00 +0060",
		"1 Nov 2026 09:00:00 +1", "1 Nov 2026 09:00:00 +01000", "1 Nov 2026 09:00:00 +01:00", "1 Nov 2026 09:00:00 +0100 x",
		"1 Nov 2026 09:00:00 [UTC]", "2026-11-01T09:00:00Z", "1 Nov -026 09:00:00 +0000", "\x00", strings.Repeat("(", 1<<20),
	} {
		got, err := message.ParseDate(in)
		require.ErrorIs(t, err, message.ErrDate, in)
		assert.True(t, got.IsZero(), in)
	}
}

func TestFormatDate(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", -12600))
	assert.Equal(t, "Fri, 02 Jan 2026 03:04:05 -0330", message.FormatDate(at))
	back, err := message.ParseDate(message.FormatDate(at))
	require.NoError(t, err)
	assert.True(t, back.Equal(at.Truncate(time.Second)))
}
