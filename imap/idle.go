package imap

import (
	"context"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
)

// idle is IDLE (RFC 9051 §6.3.13): changes are told when they happen, until the
// client says DONE.
func (s *session) idle(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	changed := s.acc.Watch(ctx) // before looking, so that nothing is missed
	s.out.put("+ idling\r\n")
	_ = s.conn.Idle(s.srv.lim.idle)

	type input struct {
		line string
		err  error
	}
	done := make(chan input, 1)
	s.idling = true
	go func() {
		line, err := s.in.ReadLine(s.srv.lim.command)
		done <- input{string(line), err}
	}()
	var in input
	for ended := false; !ended; {
		if !s.sync(true) || s.out.flush() != nil {
			// The reader must have stopped before the session goes on.
			_ = s.out.flush()
			_ = s.conn.Close()
			<-done
			s.idling = false
			s.enter(stateLogout, nil)
			return gone
		}
		select {
		case _, more := <-changed:
			if !more {
				changed = nil
			}
		case in = <-done:
			ended = true
		}
	}
	s.idling = false
	s.pace()
	if in.err != nil {
		s.readFailed(in.err)
		return gone
	}
	if !strings.EqualFold(in.line, "DONE") {
		if err := s.discard([]byte(in.line)); err != nil {
			s.readFailed(err)
			return gone
		}
		return bad("DONE expected")
	}
	return ok("IDLE completed")
}
