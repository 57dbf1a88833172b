package smtp

import (
	"errors"
	"fmt"
	"strconv"
)

// maxGroup bounds what goes out before replies are read, in octets: so little
// that the network takes it in although nobody reads, whatever the replies
// are like (RFC 2920 §3.1). It is also one write.
const maxGroup = clientBuffer

// step is a command whose reply is outstanding.
type step struct {
	verb, args string
	rcpt       int
}

// octets that the command has on the wire.
func (s step) octets() int { return len(s.verb) + len(" ") + len(s.args) + len("\r\n") }

// steps are the commands, without recipients that can't be sent; nil if there
// are none that can.
func (t *transaction) steps(mail string) []step {
	todo := make([]step, 0, len(t.env.To)+3)
	if t.c.open { // RFC 2920 §3.1: RSET may be anywhere in a group
		todo = append(todo, step{verb: "RSET"})
	}
	todo = append(todo, step{verb: "MAIL", args: mail})
	before := len(todo)
	room := newRoom(t.c.Limits())
	for i := range t.env.To {
		to := &t.env.To[i]
		args, err := t.rcptArgs(to)
		if err == nil {
			err = room.take(to.Domain)
		}
		if err != nil {
			t.res.Recipients[i] = &CommandError{"RCPT", err}
			continue
		}
		todo = append(todo, step{"RCPT", args, i})
	}
	if len(todo) == before {
		return nil
	}
	return todo
}

// envelope sends the commands, with DATA or a small message at their end, and
// sorts the replies.
func (t *transaction) envelope(todo []step) error {
	_, pipelining := t.c.ext["PIPELINING"]
	switch {
	case t.chunk != nil:
		todo = append(todo, step{verb: "BDAT", args: strconv.Itoa(len(t.chunk)) + " LAST"})
	case !t.chunked:
		todo = append(todo, step{verb: "DATA"}) // ends a group (RFC 2920 §3.1)
	}
	for len(todo) > 0 {
		n, octets := 1, todo[0].octets()
		for pipelining && n < len(todo) && octets+todo[n].octets() <= maxGroup {
			octets += todo[n].octets()
			n++
		}
		group := todo[:n]
		todo = todo[n:]
		last := group[n-1]
		if n == 1 && (last.verb == "DATA" || last.verb == "BDAT") && len(t.accepted) == 0 {
			return nil // everybody has been refused before
		}
		if err := t.sendGroup(group); err != nil {
			return err
		}
		for _, s := range group {
			if err := t.readStep(s); err != nil {
				if e := (*Error)(nil); last.verb == "BDAT" && t.mailErr == nil && !errors.As(err, &e) {
					err = unknownOutcome(err) // the message was sent with the commands
				}
				return err
			}
		}
		if t.mailErr != nil {
			return nil
		}
	}
	return nil
}

func (t *transaction) sendGroup(group []step) error {
	for _, s := range group {
		switch s.verb {
		case "MAIL":
			t.c.open = true
			t.c.mails++
		case "DATA":
			t.asked = true
		}
		if err := t.c.write(s.verb, s.args); err != nil {
			return err
		}
	}
	if group[len(group)-1].verb == "BDAT" {
		t.c.conn.within(t.c.cfg.Timeouts.Block)
		if _, err := t.c.w.Write(t.chunk); err != nil {
			return t.c.lastWords("message", err)
		}
	}
	return t.c.send(group[0].verb)
}

// readStep reads one reply. The error ends the transaction; a refusal is noted
// where it belongs.
func (t *transaction) readStep(s step) error {
	verb, d := s.verb, t.c.cfg.Timeouts.Command
	switch verb {
	case "DATA":
		d = t.c.cfg.Timeouts.Data
	case "BDAT":
		verb, d = "message", t.c.cfg.Timeouts.Final
	}
	r, err := t.c.readReply(verb, d)
	if err != nil {
		return err
	}
	good := r.Code/100 == 2
	if verb == "DATA" {
		good = r.Code == 354
	}
	if !good {
		if err = t.c.unexpected(verb, r); !t.c.Alive() {
			return err
		}
	}
	switch s.verb {
	case "RSET":
		if err != nil { // what is the server in the middle of?
			return t.c.fail("RSET", fmt.Errorf("%w: %w", ErrProtocol, errors.Unwrap(err)))
		}
		t.c.open = false
	case "MAIL":
		t.c.open = true
		t.mailErr = err
	case "DATA":
		t.dataErr = err
	case "BDAT":
		if t.dataErr = err; err == nil {
			t.c.open = false
			t.res.Reply = r
		}
	case "RCPT":
		switch {
		case err == nil:
			t.accepted = append(t.accepted, s.rcpt)
		case t.mailErr == nil: // otherwise what RCPT says to that (503) is not why
			t.res.Recipients[s.rcpt] = err
		}
	}
	return nil
}

// sendNothing ends a DATA that was accepted although nobody is to get it
// (RFC 2920 §3.1).
func (t *transaction) sendNothing() error {
	if t.c.cfg.LMTP { // how many replies would there be?
		return t.c.fail("DATA", fmt.Errorf("%w: DATA accepted without recipients", ErrProtocol))
	}
	_, err := t.c.command(".", "")
	t.c.open = false
	if err != nil {
		return err
	}
	return t.mailErr
}
