package message_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

// plainMail is a message of about size octets with the header of a real one.
func plainMail(size int) []byte {
	head := "Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n" +
		"\tby mx.example.com (Posta) with ESMTPS id 4XyZ1234567890\r\n" +
		"\tfor <bob@example.com>; Mon, 02 Nov 2026 10:11:12 +0100\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=2026;\r\n" +
		"\th=From:To:Subject:Date:Message-ID; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n" +
		"\tb=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR\r\n" +
		"From: =?utf-8?q?Andr=C3=A9?= Example <andre@example.org>\r\n" +
		"To: Bob <bob@example.com>, \"Carol, Jr.\" <carol@example.net>\r\n" +
		"Cc: list@example.org\r\n" +
		"Subject: A plain message about nothing in particular\r\n" +
		"Date: Mon, 02 Nov 2026 10:11:10 +0100\r\n" +
		"Message-ID: <20261102.abcdef@example.org>\r\n" +
		"In-Reply-To: <20261101.xyz@example.com>\r\n" +
		"References: <20261101.abc@example.com> <20261101.xyz@example.com>\r\n" +
		"MIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: 7bit\r\n\r\n"
	line := "The quick brown fox jumps over the lazy dog, and then it does so once more.\r\n"
	return []byte((head + strings.Repeat(line, max(size-len(head), 0)/len(line)+1))[:max(size, len(head))])
}

// attachmentMail has a text and a base64 attachment of about size octets.
func attachmentMail(size int) []byte {
	var b bytes.Buffer
	b.WriteString("From: a@example.org\r\nTo: b@example.org\r\nSubject: file\r\nDate: Mon, 02 Nov 2026 10:11:10 +0100\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_b1\"\r\n\r\n--=_b1\r\n" +
		"Content-Type: text/plain\r\n\r\nsee file\r\n--=_b1\r\nContent-Type: application/pdf; name=x.pdf\r\n" +
		"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=x.pdf\r\n\r\n")
	raw := make([]byte, 57)
	for i := 0; b.Len() < size; i++ {
		for j := range raw {
			raw[j] = byte(i*7 + j*13)
		}
		b.WriteString(base64.StdEncoding.EncodeToString(raw) + "\r\n")
	}
	b.WriteString("--=_b1--\r\n")
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name string
		msg  []byte
	}{{"plain4K", plainMail(4096)}, {"plain1M", plainMail(1 << 20)}, {"attachment1M", attachmentMail(1 << 20)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.msg)))
			r := bytes.NewReader(c.msg)
			for b.Loop() {
				if _, err := message.Parse(r, int64(len(c.msg)), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/bytes", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.msg)))
			for b.Loop() {
				message.ParseBytes(c.msg, nil)
			}
		})
	}
}

func BenchmarkParseHeader(b *testing.B) {
	msg := plainMail(4096)
	b.ReportAllocs()
	for b.Loop() {
		h := message.ParseHeader(msg)
		if h.Get("Subject") == "" {
			b.Fatal("no subject")
		}
	}
}

func BenchmarkReadHeader(b *testing.B) {
	msg := plainMail(4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := message.ReadHeader(bytes.NewReader(msg), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAddressList(b *testing.B) {
	list := `"Doe, Jane" <jane@example.org>, =?utf-8?q?J=C3=BCrgen?= <j@example.com>, bob@example.net (Bob)`
	b.ReportAllocs()
	for b.Loop() {
		if l, _ := message.ParseAddressList(list); len(l) != 3 {
			b.Fatal(l)
		}
	}
}

func BenchmarkParseDate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := message.ParseDate("Mon, 02 Nov 2026 10:11:10 +0100"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOutline(b *testing.B) {
	o := message.ParseBytes(plainMail(4096), nil)
	stored, err := o.AppendBinary(nil)
	require.NoError(b, err)
	b.Run(fmt.Sprintf("append/%dB", len(stored)), func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf, _ = o.AppendBinary(buf[:0])
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var got message.Outline
			if err := got.UnmarshalBinary(stored); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unmarshal10000envelopes", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for range 10000 {
				if _, err := message.UnmarshalEnvelope(stored); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkDecodeBody(b *testing.B) {
	msg := attachmentMail(1 << 20)
	body := msg[bytes.Index(msg, []byte("x.pdf\r\n\r\n"))+9:]
	buf := make([]byte, 32<<10)
	for _, enc := range []string{"base64", "quoted-printable"} {
		b.Run(enc, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				r := message.DecodeBody(enc, bytes.NewReader(body))
				for {
					if _, err := r.Read(buf); err != nil {
						break
					}
				}
			}
		})
	}
}
