package ldap_test

import (
	"log"

	"github.com/posta-mail/posta/auth/ldap"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store/memory"
)

// Users are found by their addresses, and what they may send from is theirs.
func Example() {
	users := &ldap.Authenticator{
		URL:              "ldaps://ldap.example.org",
		Base:             "ou=people,dc=example,dc=org",
		Filter:           "(&(objectClass=inetOrgPerson)(mail=%s))",
		AccountAttribute: "uid",
		SendersAttribute: "mail",
	}
	srv := &imap.Server{Addr: ":993", Store: memory.New(), Auth: users, ImplicitTLS: true}
	log.Print(srv.ListenAndServe())
}
