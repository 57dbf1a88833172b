// Package oidc lets users in by the tokens of an OpenID Connect or OAuth 2.0
// server: OAUTHBEARER (RFC 7628) and XOAUTH2.
//
//	users := &oidc.Verifier{Issuer: "https://login.example.org", Audience: []string{"mail"}}
//	srv := &imap.Server{Store: st, Auth: users, TLSConfig: tc}
//
// A token that is a JWT (RFC 7519, RFC 9068) is verified here, by the server's
// published keys; one that is opaque is asked about (RFC 7662). Nothing that a
// token says is believed before its signature: who signed it is decided by
// Issuer and Algorithms, never by the token (RFC 8725 §3).
package oidc
