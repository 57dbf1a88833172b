package transfer

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// The parts of a response (RFC 9051 §9). Each method takes one from the
// beginning of what is left; spaces are taken by the caller.

// take takes an octet if it is next.
func (r *imapResponse) take(c byte) bool {
	if len(r.b) > 0 && r.b[0] == c {
		r.b = r.b[1:]
		return true
	}
	return false
}

func (r *imapResponse) expect(c byte) error {
	if !r.take(c) {
		return protocolError("%q expected before %.40q", c, r.b)
	}
	return nil
}

// atom takes octets up to a space, a parenthesis or the end, brackets with all
// that they hold; the name of a FETCH item is one.
func (r *imapResponse) atom() (string, error) {
	i, depth := 0, 0
	for ; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '[':
			depth++
		case c == ']' && depth > 0:
			depth--
		case depth == 0 && (c == ' ' || c == '(' || c == ')' || c == '"' || c == '{'):
			if i == 0 {
				return "", protocolError("atom expected before %.40q", r.b)
			}
			a := string(r.b[:i])
			r.b = r.b[i:]
			return a, nil
		}
	}
	if i == 0 {
		return "", protocolError("atom expected at the end")
	}
	a := string(r.b)
	r.b = nil
	return a, nil
}

func (r *imapResponse) number(bits int) (uint64, error) {
	a, err := r.atom()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(a, 10, bits)
	if err != nil {
		return 0, protocolError("number %.40q", a)
	}
	return n, nil
}

// quoted takes a quoted string.
func (r *imapResponse) quoted() (string, error) {
	if err := r.expect('"'); err != nil {
		return "", err
	}
	var out []byte
	for i := 0; i < len(r.b); i++ {
		switch c := r.b[i]; c {
		case '"':
			r.b = r.b[i+1:]
			return string(out), nil
		case '\\':
			if i++; i == len(r.b) {
				return "", protocolError("quoted string")
			}
			out = append(out, r.b[i])
		default:
			out = append(out, c)
		}
	}
	return "", protocolError("quoted string without an end")
}

// literal begins a literal if one is next: it is at the end of the line. Its
// octets are to be read before more is taken.
func (r *imapResponse) literal() (*wire.Counted, error) {
	b := bytes.TrimPrefix(r.b, []byte("~"))
	if len(b) == 0 || b[0] != '{' {
		return nil, nil
	}
	if b[len(b)-1] != '}' {
		return nil, protocolError("literal %.40q", r.b)
	}
	n, err := strconv.ParseUint(string(b[1:len(b)-1]), 10, 63)
	if err != nil {
		return nil, protocolError("literal %.40q", r.b)
	}
	if n > store.MaxMessageSize {
		return nil, fmt.Errorf("%w: literal of %d octets", ErrLimit, n)
	}
	r.body = r.s.r.Exactly(int64(n))
	return r.body, nil
}

// ended goes on behind a literal, with the rest of it drained.
func (r *imapResponse) ended() error {
	if r.body == nil {
		return nil
	}
	if err := r.body.Drain(); err != nil {
		return err
	}
	r.body = nil
	line, err := r.s.line()
	if err != nil {
		return err
	}
	r.buf = append(r.buf[:0], line...)
	r.b = r.buf
	return nil
}

// text takes a string of any form, or an atom: at most maxIMAPString octets.
// NIL is isNil.
func (r *imapResponse) text() (s string, isNil bool, err error) {
	lit, err := r.literal()
	switch {
	case err != nil:
		return "", false, err
	case lit != nil:
		if lit.Left() > maxIMAPString {
			return "", false, fmt.Errorf("%w: string of %d octets", ErrLimit, lit.Left())
		}
		b, err := io.ReadAll(lit)
		if err != nil {
			return "", false, err
		}
		return string(b), false, r.ended()
	case len(r.b) > 0 && r.b[0] == '"':
		s, err = r.quoted()
		return s, false, err
	}
	// An astring's atom may have brackets, and so on: up to the space.
	end := bytes.IndexAny(r.b, " ()")
	if end < 0 {
		end = len(r.b)
	}
	if end == 0 {
		return "", false, protocolError("string expected before %.40q", r.b)
	}
	s = string(r.b[:end])
	r.b = r.b[end:]
	return s, strings.EqualFold(s, "NIL"), nil
}

// words takes a list of atoms in parentheses: flags, or attributes.
func (r *imapResponse) words() ([]string, error) {
	if err := r.expect('('); err != nil {
		return nil, err
	}
	var words []string
	for !r.take(')') {
		if len(words) > 0 {
			if err := r.expect(' '); err != nil {
				return nil, err
			}
		}
		end := bytes.IndexAny(r.b, " )")
		if end <= 0 {
			return nil, protocolError("list %.40q", r.b)
		}
		words = append(words, string(r.b[:end]))
		r.b = r.b[end:]
	}
	return words, nil
}

// maxDepth is how deep lists may be that are skipped.
const maxDepth = 32

// value skips a value of any form.
func (r *imapResponse) value(depth int) error {
	lit, err := r.literal()
	switch {
	case err != nil:
		return err
	case lit != nil:
		return r.ended()
	case len(r.b) > 0 && r.b[0] == '"':
		_, err := r.quoted()
		return err
	case !r.take('('):
		_, err := r.atom()
		return err
	}
	if depth >= maxDepth {
		return fmt.Errorf("%w: lists deeper than %d", ErrLimit, maxDepth)
	}
	for !r.take(')') {
		r.take(' ')
		if len(r.b) == 0 {
			return protocolError("list without an end")
		}
		if r.b[0] == ')' {
			continue
		}
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

// skip reads the rest of a response whatever it is: literals stand only at the
// end of lines.
func (r *imapResponse) skip() error {
	if r.kind == "OK" || r.kind == "NO" || r.kind == "BAD" || r.kind == "BYE" || r.tag == "+" {
		return nil // text, which may look like anything
	}
	for {
		if err := r.ended(); err != nil {
			return err
		}
		i := bytes.LastIndexByte(r.b, '{')
		if i < 0 || !bytes.HasSuffix(r.b, []byte("}")) || bytes.IndexByte(r.b[i:], '"') >= 0 {
			return nil
		}
		r.b = r.b[i:]
		if lit, err := r.literal(); err != nil || lit == nil {
			return err
		}
	}
}

// imapFetch is what a FETCH response says.
type imapFetch struct {
	uid   store.UID
	flags []store.Flag
	date  string
	size  int64
	body  bool // there was one, which fn saw
}

// fetch takes the items of a FETCH response. Fn reads the message while it
// comes; what it has left is drained. It may be nil.
func (r *imapResponse) fetch(fn func(f *imapFetch, body io.Reader) error) (*imapFetch, error) {
	f := &imapFetch{size: -1}
	if err := r.expect('('); err != nil {
		return nil, err
	}
	for first := true; !r.take(')'); first = false {
		if !first {
			if err := r.expect(' '); err != nil {
				return nil, err
			}
		}
		name, err := r.atom()
		if err != nil {
			return nil, err
		}
		if err := r.expect(' '); err != nil {
			return nil, err
		}
		if err := r.item(strings.ToUpper(name), f, fn); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// item takes the value of one item.
func (r *imapResponse) item(name string, f *imapFetch, fn func(*imapFetch, io.Reader) error) error {
	switch name {
	case "UID":
		n, err := r.number(32)
		f.uid = store.UID(n)
		return err
	case "RFC822.SIZE":
		n, err := r.number(63)
		f.size = int64(n)
		return err
	case "FLAGS":
		words, err := r.words()
		for _, w := range words[:min(len(words), 1000)] {
			f.flags = append(f.flags, store.Flag(w))
		}
		return err
	case "INTERNALDATE":
		s, _, err := r.text()
		f.date = s
		return err
	case "BODY[]":
		if fn == nil || f.body {
			return r.value(0)
		}
		lit, err := r.literal()
		if err != nil {
			return err
		}
		if lit != nil {
			f.body = true
			if err := fn(f, lit); err != nil {
				return err
			}
			return r.ended()
		}
		s, isNil, err := r.text()
		if err != nil || isNil {
			return err
		}
		f.body = true
		return fn(f, strings.NewReader(s))
	}
	return r.value(0)
}
