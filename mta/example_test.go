package mta_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"strings"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// answer is what a server said to a message.
func answer(err error) string {
	var e *smtp.Error
	if errors.As(err, &e) {
		return smtp.Reply(*e).String()
	}
	return "accepted"
}

// A server that takes mail for one domain and files it.
func ExampleAgent_Inbound() {
	ctx := context.Background()
	st := memory.New()
	defer st.Close()
	if err := st.CreateAccount(ctx, "bob@example.org"); err != nil {
		log.Fatal(err)
	}
	agent := &mta.Agent{
		Hostname: "mx.example.org",
		Domains:  []string{"example.org"},
		Local:    &mda.Agent{Store: st},
		NoVerify: true, // an example has no DNS
		Checks: []mta.Check{mta.CheckFunc(func(_ context.Context, t *mta.Transaction) mta.Verdict {
			if t.Phase == mta.AtMail && t.From.Domain == "spam.example" {
				return mta.Verdict{Action: mta.Reject, Reason: "known for it"}
			}
			return mta.Verdict{}
		})},
	}
	srv := &smtp.Server{Hostname: agent.Hostname, Handler: agent.Inbound()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	go func() { _ = srv.Serve(l) }()

	send := func(from, to string) {
		env := new(smtp.Envelope)
		env.From, _ = smtp.ParseAddress(from)
		rcpt, _ := smtp.ParseAddress(to)
		env.To = smtp.To(rcpt)
		_, err := smtp.SendMail(ctx, l.Addr().String(), nil, env, strings.NewReader("Subject: hello\n\nHello.\n"))
		fmt.Println(answer(err))
	}
	send("alice@example.net", "bob@example.org")
	send("alice@example.net", "nobody@example.org")
	send("alice@example.net", "victim@example.com")
	send("x@spam.example", "bob@example.org")

	account, _ := st.Account(ctx, "bob@example.org", "bob@example.org")
	inbox, _ := account.Mailbox(ctx, store.Inbox)
	info, _ := inbox.Info(ctx)
	fmt.Println("messages:", info.Messages)
	// Output:
	// accepted
	// 550 5.1.1 No such user here
	// 550 5.7.1 Relaying denied
	// 554 5.7.1 Refused by policy
	// messages: 1
}

// A server where users hand in their mail: what is for elsewhere waits in the
// queue for Agent.Run.
func ExampleAgent_Submission() {
	ctx := context.Background()
	st := memory.New()
	defer st.Close()
	users := password.Memory()
	if err := users.Add("bob@example.org", "correct horse battery"); err != nil {
		log.Fatal(err)
	}
	agent := &mta.Agent{
		Hostname: "mx.example.org",
		Domains:  []string{"example.org"},
		Local:    &mda.Agent{Store: st},
		Spool:    st.Spool(),
	}
	srv := &smtp.Server{
		Hostname: agent.Hostname, Handler: agent.Submission(), Auth: users, RequireAuth: true,
		InsecureAuth: true, Governor: &auth.Governor{Off: true}, // for an example without TLS
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	go func() { _ = srv.Serve(l) }()

	send := func(from string) {
		env := new(smtp.Envelope)
		env.From, _ = smtp.ParseAddress("bob@example.org")
		rcpt, _ := smtp.ParseAddress("alice@example.net")
		env.To = smtp.To(rcpt)
		cfg := &smtp.ClientConfig{Auth: sasl.NewPlainClient("", "bob@example.org", "correct horse battery"), InsecureAuth: true}
		_, err := smtp.SendMail(ctx, l.Addr().String(), cfg, env, strings.NewReader("From: "+from+"\nSubject: hello\n\nHello.\n"))
		fmt.Println(answer(err))
	}
	send("Bob <bob@example.org>")
	send("Boss <boss@example.org>")

	queued, err := agent.Queue.List(ctx, 0, 10)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range queued {
		fmt.Println("queued for", e.Site, "to", e.Message.Paths())
	}
	// Output:
	// accepted
	// 550 5.7.1 From address does not belong to you
	// queued for example.net to [<alice@example.net>]
}
