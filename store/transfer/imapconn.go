package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/internal/wire"
)

// Bounds of what a server may say.
const (
	maxIMAPLine     = 64 << 10   // octets of a line, literals apart
	maxIMAPString   = 16 << 10   // octets of a literal that is held
	maxIMAPNames    = 16 << 20   // octets of all names of mailboxes
	maxIMAPMessages = 10_000_000 // of one mailbox
	maxIMAPLines    = 50_000_000 // responses to one command
	minIMAPRate     = 1 << 10    // octets a second, after the timeout
)

// IMAPSession is a connection to an IMAP server whose user has logged in:
// Source and Sink, but not both at the same time. After an error it is of no
// more use. Not safe for concurrent use. Close it.
//
// As a Source it reads mailboxes without changing them, not even \Seen. A
// message that the server cannot give ends nothing.
//
// As a Sink it creates mailboxes and appends. Messages that are there already,
// of the same date and content, are not appended again: those that came after
// the Checkpoint, or all if there is none. Servers that do not tell UIDs
// (RFC 4315) have all looked at that came since the first call. Names that a
// server does not take are made simpler, or distinct where two would be the
// same there. NUL becomes a space for servers without BINARY (RFC 3516).
type IMAPSession struct {
	config     IMAP
	identity   string
	base       net.Conn // without TLS
	conn       net.Conn
	in         timedReader
	r          *wire.Reader
	w          *bufio.Writer
	caps       map[string]bool
	tag        int
	utf8Accept bool // enabled
	broken     error
	bye        string // what the server said last

	// Of a sink: the separator of the server's names, once it has been asked
	// for, and which name each of the server's stands for.
	delim  string
	opened map[string]string
}

// timedReader lets each read take a limited time, and all those of an answer
// as long as that or what minIMAPRate allows: a server that sends an octet now
// and then does not hold a copy for ever.
type timedReader struct {
	conn    net.Conn
	timeout time.Duration
	waited  time.Duration // since begin
	octets  int64
}

// begin is for the next answer.
func (t *timedReader) begin() { t.waited, t.octets = 0, 0 }

func (t *timedReader) Read(p []byte) (int, error) {
	start := time.Now()
	left := t.timeout + time.Duration(t.octets)*time.Second/minIMAPRate - t.waited
	if err := t.conn.SetReadDeadline(start.Add(min(left, t.timeout))); err != nil {
		return 0, err
	}
	n, err := t.conn.Read(p)
	t.waited += time.Since(start)
	t.octets += int64(n)
	return n, err
}

// timedWriter lets each write take a limited time.
type timedWriter struct {
	conn    net.Conn
	timeout time.Duration
}

func (t *timedWriter) Write(p []byte) (int, error) {
	if err := t.conn.SetWriteDeadline(time.Now().Add(t.timeout)); err != nil {
		return 0, err
	}
	return t.conn.Write(p)
}

func (s *IMAPSession) use(conn net.Conn) {
	s.conn = conn
	s.in = timedReader{conn: conn, timeout: s.config.Timeout}
	s.w = bufio.NewWriterSize(&timedWriter{conn, s.config.Timeout}, 32<<10)
}

// during closes the connection when ctx ends: in the middle of a response it
// could not be used any more.
func (s *IMAPSession) during(ctx context.Context) (done func()) {
	stop := context.AfterFunc(ctx, func() { s.base.Close() })
	return func() { stop() }
}

// fail makes the session unusable.
func (s *IMAPSession) fail(err error) error {
	if s.bye != "" && !errors.Is(err, ErrProtocol) && !errors.Is(err, net.ErrClosed) {
		err = fmt.Errorf("%w: BYE %s: %w", ErrRefused, s.bye, err)
	}
	if s.broken == nil {
		s.broken = err
	}
	return err
}

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// line reads one line, without CRLF.
func (s *IMAPSession) line() ([]byte, error) {
	b, err := s.r.ReadLine(maxIMAPLine)
	switch {
	case errors.Is(err, wire.ErrLineTooLong), errors.Is(err, wire.ErrBareCR), errors.Is(err, wire.ErrBareLF):
		return nil, s.fail(fmt.Errorf("%w: %w", ErrProtocol, err))
	case err == io.EOF:
		return nil, s.fail(io.ErrUnexpectedEOF)
	case err != nil:
		return nil, s.fail(err)
	}
	return b, nil
}

// imapResponse is a response under way. Its methods in imapparse.go take its
// parts one after another.
type imapResponse struct {
	s    *IMAPSession
	tag  string // "*", "+", or that of a command
	num  uint32 // of a response such as "* 7 FETCH"
	kind string // in upper case: OK, FETCH …
	b    []byte // what comes next of the line
	buf  []byte
	body *wire.Counted // a literal that has not been read to its end
}

// response reads the beginning of a response.
func (s *IMAPSession) response() (*imapResponse, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	line, err := s.line()
	if err != nil {
		return nil, err
	}
	r := &imapResponse{s: s}
	r.buf = append(r.buf, line...)
	r.b = r.buf
	r.tag = r.word()
	if r.tag == "+" {
		return r, nil
	}
	word := r.word()
	if n, err := strconv.ParseUint(word, 10, 32); err == nil && r.tag == "*" {
		r.num = uint32(n)
		word = r.word()
	}
	r.kind = strings.ToUpper(word)
	if r.tag == "" || r.kind == "" {
		return nil, s.fail(protocolError("line %.40q", r.buf))
	}
	if r.tag == "*" && r.kind == "BYE" {
		s.bye = clip(r.b)
	}
	return r, nil
}

// clip is a text of the server's for an error.
func clip(b []byte) string {
	return strings.ToValidUTF8(string(bytes.TrimSpace(b[:min(len(b), 200)])), "?")
}

// word takes the octets up to the next space.
func (r *imapResponse) word() string {
	word, rest, _ := bytes.Cut(r.b, []byte{' '})
	r.b = rest
	return string(word)
}

// send writes a command and returns its tag.
func (s *IMAPSession) send(command string) (tag string, err error) {
	if s.broken != nil {
		return "", s.broken
	}
	s.tag++
	tag = "A" + strconv.Itoa(s.tag)
	s.w.WriteString(tag + " " + command)
	_, err = s.w.WriteString("\r\n")
	if err != nil {
		return "", s.fail(err)
	}
	return tag, nil
}

func (s *IMAPSession) flush() error {
	if err := s.w.Flush(); err != nil {
		return s.fail(err)
	}
	return nil
}

// exec runs a command, sending more lines when the server asks for them.
func (s *IMAPSession) exec(command string, more []string) error {
	return s.each(command, more, func(*imapResponse) error { return nil })
}

// each runs a command and hands what is untagged to fn.
func (s *IMAPSession) each(command string, more []string, fn func(*imapResponse) error) error {
	tag, err := s.send(command)
	if err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	_, err = s.until(tag, func(r *imapResponse) error {
		if r.tag != "+" {
			return fn(r)
		}
		if len(more) == 0 {
			return protocolError("unexpected continuation")
		}
		_, err := s.w.WriteString(more[0] + "\r\n")
		more = more[1:]
		if err == nil {
			err = s.w.Flush()
		}
		return err
	})
	return err
}

// until reads responses up to the tagged one, which it returns if it is OK;
// ErrRefused if it is not.
func (s *IMAPSession) until(tag string, fn func(*imapResponse) error) (*imapResponse, error) {
	s.in.begin()
	for range maxIMAPLines {
		r, err := s.response()
		if err != nil {
			return nil, err
		}
		switch r.tag {
		case "*", "+":
			if err := fn(r); err != nil {
				return nil, s.fail(err)
			}
			if err := r.skip(); err != nil {
				return nil, s.fail(err)
			}
		case tag:
			switch r.kind {
			case "OK":
				return r, nil
			case "NO", "BAD":
				return r, &imapRefusal{kind: r.kind, text: clip(r.b)}
			}
			return nil, s.fail(protocolError("answer %.40q", r.buf))
		default:
			return nil, s.fail(protocolError("tag %.40q", r.tag))
		}
	}
	return nil, s.fail(fmt.Errorf("%w: more than %d responses", ErrLimit, maxIMAPLines))
}

// imapRefusal is a tagged NO or BAD.
type imapRefusal struct{ kind, text string }

func (e *imapRefusal) Error() string { return ErrRefused.Error() + ": " + e.kind + " " + e.text }
func (e *imapRefusal) Unwrap() error { return ErrRefused }

// code is the response code (RFC 9051 §7.1), in upper case.
func (e *imapRefusal) code() string {
	text, ok := strings.CutPrefix(e.text, "[")
	if !ok {
		return ""
	}
	if i := strings.IndexAny(text, " ]"); i >= 0 {
		text = text[:i]
	}
	return strings.ToUpper(text)
}

// greeting reads what the server says first.
func (s *IMAPSession) greeting() (preauth bool, err error) {
	r, err := s.response()
	if err != nil {
		return false, err
	}
	switch {
	case r.tag == "*" && r.kind == "OK":
		return false, nil
	case r.tag == "*" && r.kind == "PREAUTH":
		return true, nil
	case s.bye != "":
		return false, s.fail(fmt.Errorf("%w: BYE %s", ErrRefused, s.bye))
	}
	return false, s.fail(protocolError("greeting %.40q", r.buf))
}
