package smtp_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/mail"
	"strings"

	"github.com/posta-mail/posta/smtp"
)

// A server that hands every message for one domain to a function, and a
// client that sends it one.
func Example() {
	srv := &smtp.Server{
		Hostname: "mx.example.org",
		Handler: smtp.Receive(smtp.ForDomains("example.org"), func(_ context.Context, env *smtp.Envelope, r io.Reader) error {
			msg, err := mail.ReadMessage(r)
			if err != nil {
				return smtp.Errorf(554, smtp.EnhancedCode{5, 6, 0}, "Not a message")
			}
			fmt.Printf("from %s to %v: %s\n", env.From, env.To, msg.Header.Get("Subject"))
			return nil
		}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()

	ctx := context.Background()
	c, err := smtp.Dial(ctx, l.Addr().String(), &smtp.ClientConfig{Hostname: "client.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	from, _ := smtp.ParseAddress("alice@example.com")
	bob, _ := smtp.ParseAddress("Bob@EXAMPLE.org")
	eve, _ := smtp.ParseAddress("eve@example.net")
	res, err := c.Send(ctx, &smtp.Envelope{From: from, To: smtp.To(bob, eve)}, strings.NewReader("Subject: lunch\n\nAt noon?\n"))
	fmt.Println(err, "/", res.Recipients[1], "/", res.Reply)
	_ = c.Quit(ctx)
	_ = srv.Shutdown(ctx)
	// Output:
	// from <alice@example.com> to [<Bob@example.org>]: lunch
	// <nil> / smtp: RCPT: 550 5.7.1 Not accepted here / 250 2.0.0 OK
}

func ExampleParsePath() {
	for _, s := range []string{"<>", "<Postmaster>", `<"john doe"@BÜCHER.example>`, "<user@localhost> SIZE=1"} {
		p, err := smtp.ParsePath(s)
		fmt.Printf("%s %v\n", p, err)
	}
	// Output:
	// <> <nil>
	// <Postmaster> <nil>
	// <"john doe"@xn--bcher-kva.example> <nil>
	// <user@localhost> smtp: malformed address: text after the address
}

// The usual case: send one message through the provider's server.
func ExampleMailer() {
	provider := smtp.Mailer{Server: "mail.example.org", User: "alice@example.org", Password: "secret"}
	msg := "From: Alice <alice@example.org>\nTo: Bob <bob@example.net>\nSubject: lunch\n\nAt noon?\n"
	err := provider.Send(context.Background(), "alice@example.org", []string{"bob@example.net"}, []byte(msg))
	fmt.Println(err)
}

// A program that sends often keeps its connections.
func ExampleTransport() {
	srv := &smtp.Server{Handler: smtp.Receive(smtp.ForDomains("example.org"), func(context.Context, *smtp.Envelope, io.Reader) error { return nil })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()

	ctx := context.Background()
	transport := &smtp.Transport{Client: smtp.ClientConfig{Hostname: "client.example.com"}}
	to := &smtp.Target{Addr: l.Addr().String()} // TLS: smtp.VerifiedTLS() to demand proof of the name
	from, _ := smtp.ParseAddress("alice@example.com")
	bob, _ := smtp.ParseAddress("bob@example.org")
	for range 3 {
		res, err := transport.Send(ctx, to, &smtp.Envelope{From: from, To: smtp.To(bob)}, strings.NewReader("Subject: lunch\n\nAt noon?\n"))
		fmt.Println(err, "after", res.Conn.Messages)
	}
	_ = transport.Shutdown(ctx)
	_ = srv.Shutdown(ctx)
	// Output:
	// <nil> after 0
	// <nil> after 1
	// <nil> after 2
}

// A policy that knows the server's key, as DANE-EE(3) SPKI(1) SHA2-256(1) does
// (RFC 7672 §3.1.1): neither authorities nor names count.
func ExampleTLSPolicy() {
	policy := func(digest [sha256.Size]byte) smtp.TLSPolicy {
		return smtp.TLSPolicy{
			Mode: smtp.TLSVerified,
			Verify: func(_ string, state tls.ConnectionState) error {
				if sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo) != digest {
					return errors.New("not the key that DNS names")
				}
				return nil
			},
			VerifyKey: fmt.Sprintf("3 1 1 %x", digest), // connections are shared while the record stays
		}
	}
	transport := &smtp.Transport{}
	to := &smtp.Target{Addr: "192.0.2.1:25", ServerName: "mx.example.org", TLS: policy([sha256.Size]byte{})}
	_, err := transport.Send(context.Background(), to, &smtp.Envelope{}, nil)
	fmt.Println(err)
}
