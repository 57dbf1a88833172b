package smtp

import (
	"strconv"
	"strings"
)

// ehlo answers EHLO and LHLO (RFC 5321 §4.1.1.1, RFC 2033 §4.1).
func (c *session) ehlo(args string) {
	name, ok := heloName(args)
	if !ok {
		// RFC 5321 §4.1.4: a failed EHLO leaves everything as it was.
		c.refuse(501, EnhancedCode{5, 5, 4}, "Give your host name")
		return
	}
	c.hello(name, true)
	p := c.conn.Peer()
	lines := make([]string, 0, 16)
	lines = append(lines, c.hostname, "PIPELINING", "SIZE "+strconv.FormatInt(c.sizeLimit(), 10),
		"8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES")
	if limits := c.limitsLine(); limits != "" {
		lines = append(lines, limits)
	}
	if c.tls != nil && !p.Secure() {
		lines = append(lines, "STARTTLS")
	}
	if mechs := c.login.Mechanisms(c.loginPeer()); len(mechs) > 0 && c.identity() == nil {
		lines = append(lines, "AUTH "+strings.Join(mechs, " "))
	}
	if c.mayXClient {
		lines = append(lines, xclientKeyword)
	}
	lines = c.extend(lines)
	if c.trace.Reply != nil {
		c.trace.Reply(p, c.verb, Reply{Code: 250, Text: strings.Join(lines, "\n")})
	}
	for i, l := range lines {
		if i < len(lines)-1 {
			c.out.line("250-" + l)
		} else {
			c.out.line("250 " + l)
		}
	}
}

// helo answers HELO; no extension is in use after it.
func (c *session) helo(args string) {
	name, ok := heloName(args)
	if !ok {
		c.refuse(501, EnhancedCode{5, 5, 4}, "Give your host name")
		return
	}
	c.hello(name, false)
	c.reply(250, EnhancedCode{}, c.hostname)
}

// hello begins anew (RFC 5321 §4.1.4).
func (c *session) hello(name string, extended bool) {
	c.reset()
	c.ext = nil
	c.enter(stateReady)
	c.nc.SetHELO(name)
	c.conn.setExtended(extended)
}

// sizeLimit is what SIZE advertises: 0 is no limit (RFC 1870 §4).
func (c *session) sizeLimit() int64 {
	if c.srv.MaxMessageBytes < 0 {
		return 0
	}
	return c.maxMessage
}

// heloName checks the argument of EHLO. Names that are no host names are in
// wide use and harmless; only what could be mistaken for structure is refused
// (RFC 5321 §4.1.4: a name that does not fit is no reason to refuse).
func heloName(args string) (string, bool) {
	name := strings.Trim(args, " ")
	if name == "" || len(name) > maxDomain {
		return "", false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f {
			return "", false
		}
	}
	return strings.Clone(name), true
}
