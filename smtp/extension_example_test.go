package smtp_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"strings"

	"github.com/posta-mail/posta/smtp"
)

// taggedSession has an extension of its own: messages may carry a tag, which
// a parameter of MAIL sets and a command explains.
type taggedSession struct{ smtp.Wrapper }

func (s taggedSession) Extensions() []smtp.Extension {
	return append(smtp.Extensions(s.Session), smtp.Extension{
		Keyword:    "XTAG 32",
		MailParams: []string{"XTAG"},
		Verbs: map[string]func(context.Context, string) smtp.Reply{
			"XTAG": func(context.Context, string) smtp.Reply {
				return smtp.Reply{Code: 214, Text: "MAIL FROM:<you> XTAG=text"}
			},
		},
	})
}

func (s taggedSession) Mail(ctx context.Context, from smtp.Path, opts smtp.MailOptions) (smtp.Reply, error) {
	tag, ok := opts.Params["XTAG"]
	if len(tag) > 32 {
		return smtp.Reply{}, smtp.Errorf(501, smtp.EnhancedCode{5, 5, 4}, "XTAG is too long")
	}
	if ok {
		fmt.Printf("message from %v is tagged %q\n", from, tag)
	}
	return s.Wrapper.Mail(ctx, from, opts)
}

// An EHLO keyword, a parameter and a verb of one's own, around any Handler.
func ExampleExtension() {
	tagged := func(next smtp.Handler) smtp.Handler {
		return smtp.HandlerFunc(func(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
			s, err := next.NewSession(ctx, c)
			if err != nil || s == nil {
				return nil, err
			}
			return taggedSession{smtp.Wrapper{Session: s}}, nil
		})
	}
	srv := &smtp.Server{Handler: smtp.Chain(smtp.Receive(smtp.ForDomains("example.org"), nil), tagged)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()

	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	s := bufio.NewScanner(nc)
	s.Scan() // the greeting
	fmt.Fprintf(nc, "EHLO client.example.com\r\nXTAG\r\nMAIL FROM:<a@example.com> XTAG=blue\r\nQUIT\r\n")
	for s.Scan() {
		if strings.Contains(s.Text(), "XTAG") {
			fmt.Println(s.Text())
		}
	}
	// Output:
	// message from <a@example.com> is tagged "blue"
	// 250 XTAG 32
	// 214 2.0.0 MAIL FROM:<you> XTAG=text
}
