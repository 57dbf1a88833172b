// Package auth says who is at the other end of a connection and whether they
// may come in.
//
// Two questions live below this folder, and they share nothing but its name:
//
//   - "Who is this user?" is answered by this package and by [auth/sasl] (the
//     mechanisms), [auth/password] (users kept in a file), [auth/oidc] (tokens),
//     [auth/ldap] and [auth/dovecot] (users kept elsewhere). A server hands a
//     [Request] to an [Authenticator] and gets an [Identity].
//   - "Is this message genuine?" is answered by [auth/verify], over [auth/spf],
//     [auth/dkim], [auth/arc], [auth/dmarc], [auth/authres], [auth/iprev] and
//     [auth/dnsbl], one RFC each; [auth/srs] and [auth/bimi] stand beside them, and
//     [auth/audit] judges what a domain publishes. They know nothing of users.
//
// [Peer] is the one value that describes a connection in every protocol of
// Posta. [Login] is what servers run: it offers mechanisms, drives the SASL
// exchange and keeps a [Governor] in front of the Authenticator, so that a
// guesser is slowed and then locked out whatever the Authenticator is.
//
// [auth/sasl]: https://pkg.go.dev/github.com/posta-mail/posta/auth/sasl
// [auth/password]: https://pkg.go.dev/github.com/posta-mail/posta/auth/password
// [auth/oidc]: https://pkg.go.dev/github.com/posta-mail/posta/auth/oidc
// [auth/ldap]: https://pkg.go.dev/github.com/posta-mail/posta/auth/ldap
// [auth/dovecot]: https://pkg.go.dev/github.com/posta-mail/posta/auth/dovecot
// [auth/verify]: https://pkg.go.dev/github.com/posta-mail/posta/auth/verify
// [auth/spf]: https://pkg.go.dev/github.com/posta-mail/posta/auth/spf
// [auth/dkim]: https://pkg.go.dev/github.com/posta-mail/posta/auth/dkim
// [auth/arc]: https://pkg.go.dev/github.com/posta-mail/posta/auth/arc
// [auth/dmarc]: https://pkg.go.dev/github.com/posta-mail/posta/auth/dmarc
// [auth/authres]: https://pkg.go.dev/github.com/posta-mail/posta/auth/authres
// [auth/iprev]: https://pkg.go.dev/github.com/posta-mail/posta/auth/iprev
// [auth/dnsbl]: https://pkg.go.dev/github.com/posta-mail/posta/auth/dnsbl
// [auth/srs]: https://pkg.go.dev/github.com/posta-mail/posta/auth/srs
// [auth/bimi]: https://pkg.go.dev/github.com/posta-mail/posta/auth/bimi
// [auth/audit]: https://pkg.go.dev/github.com/posta-mail/posta/auth/audit
package auth
