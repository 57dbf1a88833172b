package delivery_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/posta-mail/posta/mta/delivery"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// One attempt to hand a message to the mail exchanger of its recipients.
func ExampleRemote() {
	rec := smtptest.Recorder{Rcpt: func(to smtp.Path) error {
		if to.Local == "nobody" {
			return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "No such user")
		}
		return nil
	}}
	defer rec.Close()
	addr, err := rec.StartTCP()
	if err != nil {
		log.Fatal(err)
	}
	remote := &delivery.Remote{
		Router: &route.Router{Static: map[string]string{"example.net": addr}},
	}
	remote.Transport.Client.Hostname = "mx.example.org"
	defer remote.Transport.Close()
	from, _ := smtp.ParseAddress("alice@example.org")
	bob, _ := smtp.ParseAddress("bob@example.net")
	nobody, _ := smtp.ParseAddress("nobody@example.net")
	m := &queue.Message{ID: "1", From: from, Recipients: []queue.Recipient{{To: bob}, {To: nobody}}}
	for i, res := range remote.Deliver(context.Background(), m, body{strings.NewReader("Subject: hello\r\n\r\nHello.\r\n")}) {
		if res.Err == nil {
			fmt.Println(m.Recipients[i].To, "delivered")
		} else {
			fmt.Println(m.Recipients[i].To, smtp.Reply(*smtp.AsError(res.Err)))
		}
	}
	fmt.Printf("%q\n", rec.Messages()[0].Data)
	// Output:
	// <bob@example.net> delivered
	// <nobody@example.net> 550 5.1.1 No such user
	// "Subject: hello\r\n\r\nHello.\r\n"
}
