package pop3

import "github.com/posta-mail/posta/auth"

// userCmd takes a name for PASS. Whether there is such a user is not told
// (RFC 1939 §7).
func (c *session) userCmd(name string) {
	if !c.login.PlaintextAllowed(c.peer()) {
		c.refuse(refusalOf(auth.ErrEncryptionRequired))
		return
	}
	c.user = name
	c.ok("Send PASS")
}

// pass logs in. Its argument is the rest of the line, spaces included (RFC
// 1939 §7).
func (c *session) pass(password string) {
	user := c.user
	c.user = ""
	switch {
	case !c.login.PlaintextAllowed(c.peer()):
		c.refuse(refusalOf(auth.ErrEncryptionRequired))
		return
	case user == "":
		c.refuse(refusal{codeNone, "Say USER first"})
		return
	}
	id, err := c.login.Password(c.ctx, auth.Request{Peer: c.peer(), Service: auth.POP3}, user, password)
	c.enter("", id, err)
}
