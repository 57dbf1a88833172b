package message_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/posta-mail/posta/message"
)

const raw = "From: Alice <alice@example.org>\r\nTo: bob@example.com\r\nDate: Mon, 02 Nov 2026 10:11:12 +0100\r\n" +
	"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nsch=F6n\r\n" +
	"--b\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=a.png\r\n\r\n...\r\n--b--\r\n"

// The outline tells where everything is; the message itself stays where it was.
func ExampleParse() {
	msg := strings.NewReader(raw)
	o, err := message.Parse(msg, msg.Size(), nil)
	if err != nil {
		panic(err) // only an error of the reader
	}
	fmt.Println(o.Envelope.From[0].Addr(), o.Envelope.SubjectText())
	for p := range o.Root.Walk() {
		fmt.Printf("%s %d %q\n", p.MediaType(), p.BodySize, p.FileName())
	}
	p := o.Root.Section(1)
	text, _ := io.ReadAll(message.Text(p, p.BodyReader(msg)))
	fmt.Println(string(text))
	// Output:
	// alice@example.org Grüße
	// multipart/mixed 200 ""
	// text/plain 7 ""
	// image/png 3 "a.png"
	// schön
}

// A header is read off a stream; what follows is still to be read.
func ExampleReadHeader() {
	h, rest, err := message.ReadHeader(strings.NewReader(raw), nil)
	if err != nil {
		panic(err)
	}
	body, _ := io.ReadAll(rest)
	fmt.Println(h.Get("To"), len(h.Raw())+len(body) == len(raw))
	kept := h.Without(func(f message.Field) bool { return !f.Is("To") })
	fmt.Printf("%q\n", kept)
	// Output:
	// bob@example.com true
	// "To: bob@example.com\r\n\r\n"
}

func ExampleBuilder() {
	var b message.Builder
	b.AddDate(time.Date(2026, 11, 2, 10, 11, 12, 0, time.UTC)).
		AddAddresses("From", message.Address{Name: "Posta", Mailbox: "mail", Host: "example.org"}).
		AddText("Subject", "Gruß aus Bonn an alle").
		SetText("Hello\n")
	msg, err := b.Bytes()
	if err != nil {
		panic(err)
	}
	fmt.Print(string(bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n"))))
	// Output:
	// Date: Mon, 02 Nov 2026 10:11:12 +0000
	// From: Posta <mail@example.org>
	// Subject: =?utf-8?q?Gru=C3=9F_aus_Bonn_an_alle?=
	// MIME-Version: 1.0
	// Content-Type: text/plain; charset=us-ascii
	// Content-Transfer-Encoding: 7bit
	//
	// Hello
}
