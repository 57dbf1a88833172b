package imap

import (
	"errors"
	"io"

	"github.com/posta-mail/posta/imap/internal/wire"
	lines "github.com/posta-mail/posta/internal/wire"
)

// errTooMuch: a command that is refused goes on for longer than it pays to read.
var errTooMuch = errors.New("imap: refused literal is too large to skip")

// maxCommand is how long a command may be now.
func (s *session) maxCommand() int {
	if s.state == stateGuest {
		return min(s.srv.lim.command, guestCommand)
	}
	return s.srv.lim.command
}

// assemble reads the literals of a command whose first line has been read, and
// returns a parser behind its name. A reply other than the zero one refuses the
// command; the client has been kept in step.
func (s *session) assemble(line []byte) (*wire.Parser, reply, error) {
	lit, n := wire.TrailingLiteral(line)
	if n == 0 {
		return s.parser(line), reply{}, nil
	}
	left := s.srv.lim.literals
	for {
		if err := s.grow(len(line) + 2); err != nil {
			return nil, reply{}, err
		}
		s.cmd = append(append(s.cmd, line...), "\r\n"...)
		if n == 0 {
			s.cmd = s.cmd[:len(s.cmd)-2]
			return s.parser(s.cmd), reply{}, nil
		}
		room := s.maxCommand() - len(s.cmd)
		if s.state == stateGuest {
			room = min(room, guestLiteral)
		}
		left--
		if left < 0 || lit.Size > uint64(max(room, 0)) {
			if err := s.skip(lit, maxDrain); err != nil {
				return nil, reply{}, err
			}
			if left < 0 {
				return nil, bad("Too many literals"), nil
			}
			return nil, bad("Literal too large"), nil
		}
		if r := s.admit(lit); r != (reply{}) {
			return nil, r, s.skip(lit, maxDrain)
		}
		s.request(lit, "+ Ready for literal\r\n")
		if err := s.grow(int(lit.Size)); err != nil {
			return nil, reply{}, err
		}
		at := len(s.cmd)
		s.cmd = s.cmd[:at+int(lit.Size)]
		if _, err := io.ReadFull(s.octets(lit.Size), s.cmd[at:]); err != nil {
			return nil, reply{}, err
		}
		s.pace()
		var err error
		if line, err = s.in.ReadLine(max(s.maxCommand()-len(s.cmd), 2)); err != nil {
			return nil, reply{}, err
		}
		lit, n = wire.TrailingLiteral(line)
	}
}

// maxLiteralMinus is the largest literal without asking under LITERAL- (RFC
// 7888 §5).
const maxLiteralMinus = 4096

// admit refuses a literal that the client may not send without asking.
func (s *session) admit(lit wire.Literal) reply {
	switch {
	case lit.Sync || s.can("LITERAL+"):
	case !s.can("LITERAL-"):
		return bad("Literal without asking is not possible")
	case lit.Size > maxLiteralMinus:
		return bad("Literal too large to be sent without asking")
	}
	return reply{}
}

// request asks for a literal, if the client waits for that.
func (s *session) request(lit wire.Literal, text string) {
	if lit.Sync {
		s.settle()
		s.out.put(text)
	}
}

// parser returns a parser that stands behind the command's name.
func (s *session) parser(b []byte) *wire.Parser {
	lim := s.srv.lim.parse
	lim.UTF8 = s.utf8()
	p := wire.NewParser(b, lim)
	p.Tag()
	p.Space()
	p.Command()
	return p
}

// grow makes room for n more octets of the command, taken from the budget.
func (s *session) grow(n int) error {
	if len(s.cmd)+n <= cap(s.cmd) {
		return nil
	}
	size := len(s.cmd) + n + 256 // for what follows a literal, as a rule
	if !s.srv.budget.Acquire(size - s.lent) {
		return lines.ErrBudget
	}
	b := make([]byte, len(s.cmd), size)
	copy(b, s.cmd)
	s.cmd, s.lent = b, size
	return nil
}

// releaseCommand gives the memory of an assembled command back.
func (s *session) releaseCommand() {
	s.srv.budget.Release(s.lent)
	s.cmd, s.lent = nil, 0
}

// discard reads what belongs to a command that is refused, given the line that
// has been read last: body octets are never parsed as commands.
func (s *session) discard(line []byte) error {
	lit, n := wire.TrailingLiteral(line)
	if n == 0 {
		return nil
	}
	return s.skip(lit, maxDrain)
}

// skip reads a literal that is refused and what follows it, up to max octets of
// literals. After a synchronising literal nothing follows: the refusal is
// answered instead of the continuation request (RFC 9051 §4.3).
func (s *session) skip(lit wire.Literal, max uint64) error {
	for n := 1; n > 0; {
		if lit.Sync {
			return nil
		}
		if lit.Size > max {
			return errTooMuch
		}
		max -= lit.Size
		if _, err := io.Copy(io.Discard, s.octets(lit.Size)); err != nil {
			return err
		}
		s.pace()
		line, err := s.in.ReadLine(s.maxCommand())
		if err != nil {
			return err
		}
		lit, n = wire.TrailingLiteral(line)
	}
	return nil
}

// pace sets how long the next octets of a command may take. Before login all of
// it has to come in time.
func (s *session) pace() {
	wait := s.srv.lim.read
	if s.state == stateGuest && !s.login.IsZero() {
		wait = s.patience()
	}
	_ = s.conn.Busy(wait)
}

// literal reads the octets of a literal from the client, waiting for each piece
// no longer than pace allows.
type literal struct {
	s *session
	r *lines.Counted
}

// octets returns a reader of the next n octets.
func (s *session) octets(n uint64) literal {
	if s.zip != nil {
		s.zip.literals += int64(n)
	}
	return literal{s, s.in.Exactly(int64(n))}
}

// clientError marks errors of the connection among those of the store.
type clientError struct{ err error }

func (e *clientError) Error() string { return "imap: reading from client: " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// Read implements io.Reader.
func (l literal) Read(p []byte) (int, error) {
	if l.r.Left() > 0 && l.s.in.Buffered() == 0 {
		l.s.pace()
	}
	n, err := l.r.Read(p)
	if err != nil && l.r.Left() > 0 {
		err = &clientError{err}
	}
	return n, err
}
