package message_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

// TestParseReceived has the forms of software in use.
func TestParseReceived(t *testing.T) {
	at := time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC)
	const date = "Mon, 23 Nov 2026 05:05:06 +0100"
	ip := netip.MustParseAddr
	for name, c := range map[string]struct {
		value string
		want  message.Received
	}{
		"RFC 5321": {"from foo.example (foo.example [192.0.2.1])\r\n\tby bar.example with ESMTP id AB123\r\n\tfor <x@bar.example>; " + date,
			message.Received{From: "foo.example", FromComment: "foo.example [192.0.2.1]", FromAddr: ip("192.0.2.1"), By: "bar.example", With: "ESMTP", ID: "AB123", For: "x@bar.example", Date: at}},
		"Postfix": {"from mail.a.example (unknown [IPv6:2001:db8::1])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519 server-signature RSA-PSS (2048 bits))\r\n\t(No client certificate requested)\r\n\tby mx.b.example (Postfix) with ESMTPS id 4Xy1Z2; " + date + " (CET)",
			message.Received{From: "mail.a.example", FromComment: "unknown [IPv6:2001:db8::1] using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature RSA-PSS (2048 bits) No client certificate requested",
				FromAddr: ip("2001:db8::1"), By: "mx.b.example", ByComment: "Postfix", With: "ESMTPS", ID: "4Xy1Z2", Date: at}},
		"Exim": {"from [192.0.2.7] (port=4321 helo=pc)\r\n\tby mx.example with esmtpsa  (TLS1.3) tls TLS_AES_128_GCM_SHA256\r\n\t(Exim 4.96)\r\n\t(envelope-from <a@b.example>)\r\n\tid 1tAbCd-000000-1x\r\n\tfor bob@mx.example;\r\n\t" + date,
			message.Received{From: "[192.0.2.7]", FromComment: "port=4321 helo=pc", FromAddr: ip("192.0.2.7"), By: "mx.example", With: "esmtpsa", ID: "1tAbCd-000000-1x", For: "bob@mx.example", Date: at}},
		"Gmail": {"by 2002:a05:6a10:1234:b0:5c:1 with SMTP id q1csp; Sun, 22 Nov 2026 20:05:06 -0800 (PST)",
			message.Received{By: "2002:a05:6a10:1234:b0:5c:1", With: "SMTP", ID: "q1csp", Date: at}},
		"Gmail in": {"from mail-sor-f41.google.com (mail-sor-f41.google.com. [209.85.220.41])\r\n        by mx.google.com with SMTPS id a1sor2.1.2026.11.22\r\n        for <bob@gmail.com>\r\n        (Google Transport Security);\r\n        " + date,
			message.Received{From: "mail-sor-f41.google.com", FromComment: "mail-sor-f41.google.com. [209.85.220.41]", FromAddr: ip("209.85.220.41"), By: "mx.google.com", With: "SMTPS", ID: "a1sor2.1.2026.11.22", For: "bob@gmail.com", Date: at}},
		"Exchange": {"from AM0PR01.eurprd01.prod.exchangelabs.com (2603:10a6:208:1::11)\r\n by DB8PR01.eurprd01.prod.exchangelabs.com with HTTPS; " + date,
			message.Received{From: "AM0PR01.eurprd01.prod.exchangelabs.com", FromComment: "2603:10a6:208:1::11", FromAddr: ip("2603:10a6:208:1::11"), By: "DB8PR01.eurprd01.prod.exchangelabs.com", With: "HTTPS", Date: at}},
		"Exchange on premises": {"from A.corp (10.0.0.1) by B.corp (10.0.0.2) with Microsoft SMTP Server (version=TLS1_2,\r\n cipher=TLS_ECDHE) id 15.2.1118.7; " + date,
			message.Received{From: "A.corp", FromComment: "10.0.0.1", FromAddr: ip("10.0.0.1"), By: "B.corp", ByComment: "10.0.0.2", With: "Microsoft SMTP Server", ID: "15.2.1118.7", Date: at}},
		"qmail": {"from unknown (HELO pc.example) (192.0.2.9)\r\n  by mx.example with SMTP; 23 Nov 2026 04:05:06 -0000",
			message.Received{From: "unknown", FromComment: "HELO pc.example 192.0.2.9", FromAddr: ip("192.0.2.9"), By: "mx.example", With: "SMTP", Date: at}},
		"literal and address": {"from [203.0.113.9] (unknown [192.0.2.1]) by c", message.Received{From: "[203.0.113.9]", FromComment: "unknown [192.0.2.1]", FromAddr: ip("192.0.2.1"), By: "c"}},
		"HELO address":        {"from unknown (HELO 203.0.113.9) (192.0.2.1) by c", message.Received{From: "unknown", FromComment: "HELO 203.0.113.9 192.0.2.1", FromAddr: ip("192.0.2.1"), By: "c"}},
		"HELO literal":        {"from unknown (EHLO a [203.0.113.9]) (x@192.0.2.1) by c", message.Received{From: "unknown", FromComment: "EHLO a [203.0.113.9] x@192.0.2.1", FromAddr: ip("192.0.2.1"), By: "c"}},
		"Exim HELO literal":   {"from [192.0.2.1] (port=25 helo=[203.0.113.9]) by c", message.Received{From: "[192.0.2.1]", FromComment: "port=25 helo=[203.0.113.9]", FromAddr: ip("192.0.2.1"), By: "c"}},
		"Exim ident":          {"from a ([192.0.2.1] ident=[203.0.113.9] helo=[203.0.113.8]) by c", message.Received{From: "a", FromComment: "[192.0.2.1] ident=[203.0.113.9] helo=[203.0.113.8]", FromAddr: ip("192.0.2.1"), By: "c"}},
		"Exim helo first":     {"from [192.0.2.1] (helo=[203.0.113.9]) by c", message.Received{From: "[192.0.2.1]", FromComment: "helo=[203.0.113.9]", FromAddr: ip("192.0.2.1"), By: "c"}},
		"sendmail ident":      {"from a (IDENT:[203.0.113.9]@b [192.0.2.1] (may be forged)) by c", message.Received{From: "a", FromComment: "IDENT:[203.0.113.9]@b [192.0.2.1] (may be forged)", FromAddr: ip("192.0.2.1"), By: "c"}},
		"ident word":          {"from a (203.0.113.9@192.0.2.1) by c", message.Received{From: "a", FromComment: "203.0.113.9@192.0.2.1", FromAddr: ip("192.0.2.1"), By: "c"}},
		"named by":            {"from by (b [192.0.2.1])\r\n\tby c with ESMTP", message.Received{From: "by", FromComment: "b [192.0.2.1]", FromAddr: ip("192.0.2.1"), By: "c", With: "ESMTP"}},
		"no name":             {"from by c with ESMTP", message.Received{By: "c", With: "ESMTP"}},
		"helo in a name":      {"from a (helo.b [192.0.2.1]) by c", message.Received{From: "a", FromComment: "helo.b [192.0.2.1]", FromAddr: ip("192.0.2.1"), By: "c"}},
		"qmail local":         {"(qmail 123 invoked by uid 500); 23 Nov 2026 04:05:06 -0000", message.Received{Date: at}},
		"local":               {"by host.example (Postfix, from userid 1000)\r\n\tid 4Xy; " + date, message.Received{By: "host.example", ByComment: "Postfix, from userid 1000", ID: "4Xy", Date: at}},
		"fetchmail":           {"from mail.example [192.0.2.3]\r\n\tby localhost with IMAP (fetchmail-6.4.37)\r\n\tfor <bob@localhost> (single-drop); " + date, message.Received{From: "mail.example", By: "localhost", With: "IMAP", For: "bob@localhost", Date: at}},
		"two dates":           {"by a; x; " + date, message.Received{By: "a", Date: at}},
		"keyword names":       {"from from by by with with; " + date, message.Received{From: "from", By: "by", With: "with", Date: at}},
		"quoted":              {`from a for <"x; y"@b>; ` + date, message.Received{From: "a", For: `"x; y"@b`, Date: at}},
		"no date":             {"from a by b", message.Received{From: "a", By: "b"}},
		"bad date":            {"from a by b; yesterday", message.Received{From: "a", By: "b"}},
		"open comment":        {"from a (b [192.0.2.1] by c; " + date, message.Received{From: "a", FromComment: "b [192.0.2.1] by c; " + date, FromAddr: ip("192.0.2.1")}},
		"bad address":         {"from a (b [192.0.2.999] [x) by c", message.Received{From: "a", FromComment: "b [192.0.2.999] [x", By: "c"}},
		"empty":               {"", message.Received{}},
		"controls":            {"from \"a\r\" (c\x1b[1m) for <d\r", message.Received{From: `"a"`, FromComment: "c[1m", For: "d"}},
		"not UTF-8":           {"from \xe9 (\xe9)", message.Received{From: "\ufffd", FromComment: "\ufffd"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := message.ParseReceived(c.value)
			assert.True(t, c.want.Date.Equal(got.Date), "%v", got.Date)
			got.Date, c.want.Date = time.Time{}, time.Time{}
			assert.Equal(t, c.want, got)
		})
	}
}

// What is joined from many pieces is bounded, so that time is linear.
func TestReceivedPieces(t *testing.T) {
	r := message.ParseReceived("from a " + strings.Repeat("(bb)", 1000) + " by c with " + strings.Repeat("d ", 2000))
	assert.Len(t, r.FromComment, 1022)
	assert.Len(t, r.With, 1023)
	allocated := testing.AllocsPerRun(5, func() { message.ParseReceived("with " + strings.Repeat("d ", 4000)) })
	assert.Less(t, allocated, 1000.0)
}

func TestReceivedWith(t *testing.T) {
	for with, want := range map[string][2]bool{
		"": {}, "SMTP": {}, "ESMTP": {}, "esmtps": {true, false}, "ESMTPA": {false, true}, "ESMTPSA": {true, true},
		"LMTP": {}, "LMTPS": {true, false}, "LMTPA": {false, true}, "LMTPSA": {true, true}, "UTF8SMTP": {}, "UTF8SMTPS": {true, false},
		"UTF8SMTPA": {false, true}, "UTF8SMTPSA": {true, true}, "UTF8LMTPSA": {true, true}, "SMTPS": {true, false}, "HTTPS": {true, false}, "HTTP": {},
	} {
		r := message.Received{With: with}
		assert.Equal(t, want, [2]bool{r.Encrypted(), r.Authenticated()}, "%q", with)
	}
}

func FuzzParseReceived(f *testing.F) {
	f.Add("from a (b [192.0.2.1]) by c (d) via e with f id g for <h@i>; Mon, 23 Nov 2026 05:05:06 +0100 (x)")
	f.Add(`from "a\"b" (c (d \) e)) by [IPv6:::1];;`)
	f.Fuzz(func(t *testing.T, s string) {
		r := message.ParseReceived(s)
		for _, v := range []string{r.From, r.By, r.Via, r.With, r.ID, r.For, r.FromComment, r.ByComment} {
			require.LessOrEqual(t, len(v), 3*len(s)) // an octet that is not UTF-8 becomes a replacement character
			require.False(t, strings.ContainsFunc(v, unicode.IsControl), "%q", v)
		}
	})
}
