package imap

import (
	"errors"
	"io"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// appendMessage is APPEND (RFC 9051 §6.3.12). The command ends with the
// announcement of the message, which is streamed into the store.
func (s *session) appendMessage(p *wire.Parser) reply {
	lit, n := wire.TrailingLiteral(s.cmd[:max(len(s.cmd)-2, 0)])
	c := p.AppendHead()
	if n == 0 {
		if p.End() == nil {
			return bad("Literal expected")
		}
		return syntax(p)
	}
	if p.End() != nil {
		return s.refuseAppend(lit, syntax(p))
	}
	if lit.Size > uint64(s.srv.lim.message) {
		// RFC 7889 §4: TOOBIG instead of a continuation request.
		if lit.Sync {
			return no("TOOBIG", "Message too large")
		}
		return s.refuseAppend(lit, no("TOOBIG", "Message too large"))
	}
	dest, err := s.locate(c.Mailbox)
	if err != nil {
		return s.refuseAppend(lit, s.failed(err))
	}
	if _, err := dest.acc.Mailbox(s.ctx, dest.local); err != nil {
		return s.refuseAppend(lit, s.failedTo(err))
	}
	if lit.Sync {
		s.out.put("+ Ready for message\r\n")
	}
	body := s.octets(lit.Size)
	staged, err := s.srv.Store.Stage(s.ctx, body)
	var lost *clientError
	if errors.As(err, &lost) {
		s.readFailed(lost)
		return gone
	}
	if err == nil {
		defer func() { _ = staged.Discard() }()
	}
	if _, drainErr := io.Copy(io.Discard, body); drainErr != nil {
		s.readFailed(drainErr)
		return gone
	}
	s.pace()
	rest, readErr := s.in.ReadLine(s.maxCommand())
	if readErr != nil {
		s.readFailed(readErr)
		return gone
	}
	if len(rest) > 0 {
		if err := s.discard(rest); err != nil {
			s.readFailed(err)
			return gone
		}
		return bad("Unexpected text after the message")
	}
	if err != nil {
		return s.failed(err)
	}
	return s.file(dest, c.AppendMessage, staged)
}

// file files what has been staged.
func (s *session) file(dest place, c wire.AppendMessage, staged store.Staged) reply {
	if !c.Binary && staged.Outline().Traits&message.HasNUL != 0 {
		return bad("NUL in a literal") // RFC 9051 §9, literal; literal8 may
	}
	placed := s.guard.Place(s.ctx, []store.Target{{
		Account: dest.acc.Name(),
		Mailbox: dest.local,
		Body:    staged,
		Flags:   flagNames(c.Flags),
		Date:    c.Date,
	}})[0]
	if placed.Err != nil {
		return s.failedTo(placed.Err)
	}
	code := "APPENDUID " + strconv.FormatUint(uint64(placed.UIDValidity), 10) + " " + strconv.FormatUint(uint64(placed.UID), 10)
	return okCode(code, "APPEND completed")
}

// flagNames converts flags as parsed. \Recent is not the client's to set and
// left out (RFC 3501 §2.3.2).
func flagNames(sent []string) []store.Flag {
	flags := make([]store.Flag, 0, len(sent))
	for _, f := range sent {
		if !equalFold(f, `\Recent`) {
			flags = append(flags, store.Flag(f))
		}
	}
	return flags
}

// refuseAppend answers r and keeps the client in step: a message that would
// have been small enough is read and thrown away.
func (s *session) refuseAppend(lit wire.Literal, r reply) reply {
	if err := s.skip(lit, uint64(max(s.srv.lim.message, maxDrain))); err != nil {
		s.readFailed(err)
		return gone
	}
	return r
}
