package smtp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// A function that takes mail, behind what a public server wants: a log, a list
// of unwanted clients, a list of users, and a limit for strangers.
func ExampleChain() {
	users := map[string]bool{"bob@example.org": true, "carol@example.org": true}
	receive := smtp.Receive(smtp.ForDomains("example.org"), func(_ context.Context, _ *smtp.Envelope, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	handler := smtp.Chain(receive,
		smtp.LogMessages(exampleLogger()),
		smtp.CheckPeers(func(_ context.Context, p auth.Peer) error {
			if p.Addr().String() == "192.0.2.66" {
				return smtp.Errorf(554, smtp.EnhancedCode{5, 7, 1}, "You are not welcome")
			}
			return nil
		}),
		smtp.CheckRecipients(func(_ context.Context, to smtp.Path) (bool, error) {
			return strings.EqualFold(to.Local, "postmaster") || users[to.Address()], nil
		}),
		smtp.LimitSize(func(id *auth.Identity) int64 {
			if id == nil {
				return 1 << 20
			}
			return 0 // for who has logged in the Server's limit is enough
		}),
	)

	srv := &smtp.Server{Hostname: "mx.example.org", Handler: handler}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()

	from, _ := smtp.ParseAddress("alice@example.com")
	bob, _ := smtp.ParseAddress("bob@example.org")
	eve, _ := smtp.ParseAddress("eve@example.org")
	for _, body := range []string{"Subject: hello\n\nHello.\n", strings.Repeat("too much\n", 1<<20)} {
		_, err := smtp.SendMail(context.Background(), l.Addr().String(), nil,
			&smtp.Envelope{From: from, To: smtp.To(bob, eve)}, io.MultiReader(strings.NewReader(body)))
		fmt.Println(err)
	}
	// Output:
	// msg="recipient refused" peer.tls=false helo=localhost from=<alice@example.com> to=<eve@example.org> err="smtp: 550 5.1.1 No such user here"
	// msg="message accepted" peer.tls=false helo=localhost from=<alice@example.com> to=[<bob@example.org>] recipients=1 size=26 reply="250 2.0.0 OK"
	// <nil>
	// msg="recipient refused" peer.tls=false helo=localhost from=<alice@example.com> to=<eve@example.org> err="smtp: 550 5.1.1 No such user here"
	// msg="message refused" peer.tls=false helo=localhost from=<alice@example.com> to=[<bob@example.org>] recipients=1 size=1048576 err="smtp: 552 5.3.4 Message too big for you"
	// smtp: message: 552 5.3.4 Message too big for you
}

// exampleLogger writes what is the same every time.
func exampleLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, slog.LevelKey, "id", "remote", "duration":
			return slog.Attr{}
		}
		return a
	}}))
}

// To write a Middleware embed Wrapper and override what is to be different.
// This one answers for users who have moved.
func ExampleWrapper() {
	moved := func(next smtp.Handler) smtp.Handler {
		return smtp.HandlerFunc(func(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
			s, err := next.NewSession(ctx, c)
			if err != nil {
				return nil, err
			}
			return &movedUsers{smtp.Wrapper{Session: s}}, nil
		})
	}
	rec := smtptest.Recorder{Middleware: []smtp.Middleware{moved}}
	rec.Start()
	defer rec.Close()
	carol, _ := smtp.ParseAddress("carol@example.org")
	_, err := smtp.SendMail(context.Background(), "mx.example.org:25", &smtp.ClientConfig{DialContext: rec.Dial},
		&smtp.Envelope{To: smtp.To(carol)}, nil)
	fmt.Println(err)
	// Output:
	// smtp: RCPT: 551 5.1.6 Moved to <carol@example.net>
}

type movedUsers struct{ smtp.Wrapper }

func (s *movedUsers) Rcpt(ctx context.Context, to smtp.Path, opts smtp.RcptOptions) (smtp.Reply, error) {
	if to.Local == "carol" {
		return smtp.Reply{}, smtp.Errorf(551, smtp.EnhancedCode{5, 1, 6}, "Moved to <carol@example.net>")
	}
	return s.Wrapper.Rcpt(ctx, to, opts)
}
