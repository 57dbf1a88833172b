package dmarc

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFailure(t *testing.T) {
	f := &Failure{
		Reporter: "Posta/1", Arrived: time.Date(2026, 11, 23, 4, 5, 6, 0, time.FixedZone("", 0)), Source: netip.MustParseAddr("2001:db8::1"),
		MailFrom: "<a@evil.example>", RcptTo: "<b@b.example>", AuthResults: "b.example; dmarc=fail header.from=a.example",
		Domain: "a.example", ID: "1234", Alignment: "dkim, spf", Delivered: "policy",
	}
	part := f.Part()
	assert.True(t, strings.HasPrefix(string(part), "Feedback-Type: auth-failure\r\n"))
	again, err := ParseFailure(part)
	require.NoError(t, err)
	assert.True(t, f.Arrived.Equal(again.Arrived))
	again.Arrived = f.Arrived
	assert.Equal(t, f, again)

	evil := &Failure{MailFrom: "x\r\nReported-Domain: other.example\r\n\r\nbody", Domain: "a.example\x00\n"}
	again, err = ParseFailure(evil.Part())
	require.NoError(t, err)
	assert.Equal(t, "a.example", again.Domain)

	for _, bad := range []string{"", "Feedback-Type: abuse\r\n", "no field", "Feedback-Type auth-failure"} {
		_, err := ParseFailure([]byte(bad))
		assert.ErrorIs(t, err, ErrReport, "%q", bad)
	}
	_, err = ParseFailure(make([]byte, maxFailure+1))
	assert.ErrorIs(t, err, ErrReportLimit)
}

func TestRedact(t *testing.T) {
	got := string(Redact([]byte("Received: from x (x [192.0.2.1])\r\n\tby y (for bob@b.example) with ESMTP id 1\r\n\tfor <bob@b.example>; Mon, 23 Nov 2026 05:05:06 +0100\r\nFrom: \"Al Ice\" <alice@a.example>, eve@b.example\r\nTo: bob@b.example\r\nSubject: secret\r\n plan\r\nDate: today\r\nno field\r\nSender: nobody\r\n\r\nbody")))
	assert.Equal(t, "Received: from x ([192.0.2.1]) by y with ESMTP; Mon, 23 Nov 2026 05:05:06 +0100\r\nFrom: redacted@a.example, redacted@b.example\r\nTo: REDACTED\r\nSubject: REDACTED\r\nDate: today\r\nSender: REDACTED\r\n", got)
}

func FuzzFailure(f *testing.F) {
	f.Add("Feedback-Type: auth-failure\r\nReported-Domain: a.example\r\nSource-IP: 192.0.2.1\r\n", "From: a@b\r\nTo: c\r\n\r\n")
	f.Fuzz(func(t *testing.T, part, header string) {
		r, err := ParseFailure([]byte(part))
		if err == nil {
			again, err := ParseFailure(r.Part())
			require.NoError(t, err)
			require.Equal(t, oneLine(r.Domain), again.Domain)
		}
		out := string(Redact([]byte(header)))
		require.False(t, strings.Contains(out, "\r\n\r\n"))
	})
}
