package pop3

import "strings"

// capa lists what the server can do (RFC 2449 §5). The list is the same
// before and after login, as each of these capabilities demands; it depends on
// encryption alone.
func (c *session) capa(string) {
	c.ok("Capabilities follow")
	p := c.peer()
	c.out.line("TOP")
	c.out.line("UIDL")
	if c.login.PlaintextAllowed(p) {
		c.out.line("USER")
	}
	if mechs := c.login.Mechanisms(p); len(mechs) > 0 {
		c.out.line("SASL ", strings.Join(mechs, " "))
	}
	if c.tls != nil && !p.Secure() {
		c.out.line("STLS")
	}
	c.out.line("RESP-CODES")
	c.out.line("AUTH-RESP-CODE")
	c.out.line("PIPELINING")
	c.out.line("EXPIRE NEVER")
	c.out.line("IMPLEMENTATION Posta")
	c.out.line(".")
}
