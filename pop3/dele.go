package pop3

import "strconv"

// dele marks a message as deleted (RFC 1939 §5).
func (c *session) dele(args string) {
	i, _, ok := c.message(args)
	if !ok {
		return
	}
	if !c.drop.mark(i, c.budget) {
		c.fail(refusal{codeTemp, "Out of memory, try again later"})
		return
	}
	c.ok("Message ", strconv.Itoa(i+1), " marked deleted")
}

// rset takes all marks away (RFC 1939 §5).
func (c *session) rset(string) {
	c.drop.unmark()
	c.ok(c.drop.summary()...)
}

func (c *session) noop(string) { c.ok("Nothing done") }
