// Package auth says who is at the other end of a connection and whether they
// may come in.
//
// Two questions live below this folder, and they share nothing but its name:
//
//   - "Who is this user?" is answered by this package and by [auth/sasl] (the
//     mechanisms) and [auth/password] (users kept in a file). A server hands a
//     [Request] to an [Authenticator] and gets an [Identity].
//   - "Is this message genuine?" is answered by [auth/spf], [auth/dkim],
//     [auth/dmarc] and [auth/authres], one RFC each. They know nothing of users.
//
// [Peer] is the one value that describes a connection in every protocol of
// Posta. [Login] is what servers run: it offers mechanisms, drives the SASL
// exchange and keeps a [Governor] in front of the Authenticator, so that a
// guesser is slowed and then locked out whatever the Authenticator is.
//
// [auth/sasl]: https://pkg.go.dev/github.com/posta-mail/posta/auth/sasl
// [auth/password]: https://pkg.go.dev/github.com/posta-mail/posta/auth/password
// [auth/spf]: https://pkg.go.dev/github.com/posta-mail/posta/auth/spf
// [auth/dkim]: https://pkg.go.dev/github.com/posta-mail/posta/auth/dkim
// [auth/dmarc]: https://pkg.go.dev/github.com/posta-mail/posta/auth/dmarc
// [auth/authres]: https://pkg.go.dev/github.com/posta-mail/posta/auth/authres
package auth
