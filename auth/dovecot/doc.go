// Package dovecot lets in the users of a Dovecot server, whatever its own users
// are kept in: it speaks Dovecot's authentication protocol, versions 1.x, over
// the socket that Dovecot offers to other servers ("auth-client").
//
//	users := &dovecot.Client{Address: "/run/dovecot/auth-client"}
//	srv := &smtp.Server{Handler: agent.Submission(), Auth: users, TLSConfig: tc, RequireAuth: true}
//
// Dovecot answers to a refused login after some two seconds, whatever was wrong, so
// that the time does not tell who exists. Leave its auth_failure_delay on.
//
// Where Dovecot takes many names for one user (auth_username_format = %n drops any
// domain), who guesses has as many counts of failures. A type that embeds *Client
// and has the method of auth.Namer makes them one:
//
//	type users struct{ *dovecot.Client }
//
//	func (users) CanonicalName(user string) string { name, _, _ := strings.Cut(user, "@"); return name }
//
// Only passwords are passed on, by SASL PLAIN: who has them here is asked for
// them there. Dovecot's configuration must let this process read the socket:
//
//	service auth {
//	  unix_listener auth-client { mode = 0660 }
//	}
package dovecot
