// Command inbound receives mail into a Go function.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

func receive(ctx context.Context, env *smtp.Envelope, r io.Reader) error {
	h, body, err := message.ReadHeader(r, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, body)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(os.Stdout, "from %v to %v: %q, %d octets\n", env.From, env.To, h.Get("Subject"), n)
	return err
}

func main() {
	ours := func(to smtp.Path) bool { return to.Domain == "app.example" }
	srv := &smtp.Server{Addr: "127.0.0.1:2525", Hostname: "mx.app.example", Handler: smtp.Receive(ours, receive)}
	if err := posta.Run(context.Background(), srv); err != nil {
		log.Fatal(err)
	}
}
