package smtp

// RequireTLS says that a Session passes messages with REQUIRETLS on over
// verified TLS only, to servers that have the extension too, or returns them
// (RFC 8689 §4). It is offered on encrypted connections alone (§2).
func RequireTLS() Extension {
	return Extension{
		Keyword: "REQUIRETLS",
		known: map[string]typedParam{"REQUIRETLS": {mail: func(_ *session, opts *MailOptions, p param) *Error {
			if p.hasValue {
				return badParam("REQUIRETLS has no value")
			}
			opts.RequireTLS = true
			return nil
		}}},
		usable: func(c *session) bool { return c.conn.Peer().Secure() },
	}
}
