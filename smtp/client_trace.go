package smtp

import (
	"crypto/tls"
	"strings"
)

// ClientTrace has callbacks for what happens on a Client's connection, for
// metrics and debugging. Each may be nil. They are called by whoever uses the
// Client, in order, and should return soon. Neither credentials nor messages
// are ever passed.
type ClientTrace struct {
	// TLS: a handshake ended. state is nil if it failed, which err says;
	// otherwise unverified is as Client.Verified.
	TLS func(state *tls.ConnectionState, unverified, err error)
	// Command: a command is to be sent; with PIPELINING before the replies to
	// those before it. Of AUTH only the mechanism is passed.
	Command func(verb, args string)
	// Reply: a reply came. verb is what it is the reply to; "greeting" and
	// "message" are no commands. Of a challenge (334) only the code is passed.
	Reply func(verb string, r Reply)
}

func (c *Client) traceCommand(verb, args string) {
	if c.cfg.Trace == nil || c.cfg.Trace.Command == nil {
		return
	}
	if verb == "AUTH" {
		args, _, _ = strings.Cut(args, " ")
	}
	c.cfg.Trace.Command(verb, args)
}

func (c *Client) traceReply(verb string, r Reply) {
	if c.cfg.Trace != nil && c.cfg.Trace.Reply != nil {
		if r.Code == 334 {
			r = Reply{Code: r.Code}
		}
		c.cfg.Trace.Reply(verb, r)
	}
}

func (c *Client) traceTLS(err error) {
	if c.cfg.Trace != nil && c.cfg.Trace.TLS != nil {
		c.cfg.Trace.TLS(c.tls, c.verified, err)
	}
}
