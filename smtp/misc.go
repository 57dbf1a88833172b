package smtp

import "strings"

// rset ends the transaction (RFC 5321 §4.1.1.5).
func (c *session) rset(string) {
	c.reset()
	c.reply(250, EnhancedCode{2, 0, 0}, "OK")
}

func (c *session) noop(string) { c.reply(250, EnhancedCode{2, 0, 0}, "OK") }

// vrfy reveals nothing (RFC 5321 §3.5.3, §7.3).
func (c *session) vrfy(args string) {
	if strings.Trim(args, " ") == "" {
		c.refuse(501, EnhancedCode{5, 5, 4}, "Give an address")
		return
	}
	c.reply(252, EnhancedCode{2, 0, 0}, "Cannot verify, but will take a message and try")
}

func (c *session) expn(string) {
	c.refuse(502, EnhancedCode{5, 5, 1}, "Command not implemented")
}

func (c *session) help(string) {
	c.reply(214, EnhancedCode{2, 0, 0}, "See RFC 5321")
}

func (c *session) quit(string) {
	c.bye(Reply{221, EnhancedCode{2, 0, 0}, c.hostname + " closing connection"}, nil)
}
