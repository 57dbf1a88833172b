package smtp

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

func TestReceived(t *testing.T) {
	date := time.Date(2026, 11, 22, 15, 4, 5, 0, time.FixedZone("", 3600))
	for _, tc := range []struct {
		r    Received
		want string
	}{
		{Received{Peer: auth.Peer{HELO: "client.example.com", Remote: netip.MustParseAddrPort("192.0.2.1:25"), TLS: &tls.ConnectionState{}},
			By: "mx.example.org", With: "ESMTPS", ID: "42", For: "b@example.org", Date: date},
			"Received: from client.example.com ([192.0.2.1])\r\n\tby mx.example.org with ESMTPS id 42\r\n\tfor <b@example.org>;\r\n\tSun, 22 Nov 2026 15:04:05 +0100\r\n"},
		{Received{Peer: auth.Peer{HELO: "[IPv6:2001:db8::1]", Remote: netip.MustParseAddrPort("[2001:db8::1]:25")}, By: "mx", With: "LMTP", UTF8: true, Date: date},
			"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby mx with UTF8LMTP;\r\n\tSun, 22 Nov 2026 15:04:05 +0100\r\n"},
		{Received{By: "mx", With: "ESMTPSA", UTF8: true, Date: date},
			"Received: from unknown\r\n\tby mx with UTF8SMTPSA;\r\n\tSun, 22 Nov 2026 15:04:05 +0100\r\n"},
		{Received{Peer: auth.Peer{HELO: "x\r\nFrom: <evil>;(\"\\,\x00\x7f"}, By: "m x", With: "SMTP", For: "a@b>\r\nX: y", Date: date},
			"Received: from xFrom:evil\r\n\tby mx with SMTP\r\n\tfor <a@bX:y>;\r\n\tSun, 22 Nov 2026 15:04:05 +0100\r\n"},
	} {
		require.Equal(t, tc.want, string(tc.r.AppendTo(nil)))
	}
	long := Received{Peer: auth.Peer{HELO: strings.Repeat("x", 10000)}, By: strings.Repeat("y", 10000)}.AppendTo(nil)
	for l := range strings.Lines(string(long)) {
		require.LessOrEqual(t, len(l), 998)
	}
}
