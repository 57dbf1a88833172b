package dovecot_test

import (
	"log"

	"github.com/posta-mail/posta/auth/dovecot"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
)

// A submission server for the users of a Dovecot beside it.
func Example() {
	agent := &mta.Agent{Hostname: "mail.example.org", Domains: []string{"example.org"}}
	srv := &smtp.Server{
		Addr: ":587", Handler: agent.Submission(), RequireAuth: true,
		Auth: &dovecot.Client{Address: "/run/dovecot/auth-client"},
	}
	log.Print(srv.ListenAndServe())
}
