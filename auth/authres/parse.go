package authres

import (
	"fmt"
	"strconv"
	"strings"
)

// Parse reads the body of an Authentication-Results field, folded or not. It
// accepts a little more than RFC 8601 §2.2: values that should be quoted,
// properties without a type, a reason behind properties, a final semicolon.
//
// Errors are ErrSyntax, ErrLimit and ErrVersion; with ErrVersion the Header is
// not nil and tells ServID and Version.
func Parse(body string) (*Header, error) {
	if len(body) > MaxFieldBytes {
		return nil, ErrLimit
	}
	s := &scanner{s: body}
	return s.header()
}

// ParseARC reads the body of an ARC-Authentication-Results field, folded or not
// (RFC 8617 §4.1.1): the instance of its ARC set, then what Parse reads. Errors
// are those of Parse; where only the part behind the instance is wrong, the
// instance is returned with the error, else 0.
func ParseARC(body string) (instance int, h *Header, err error) {
	if len(body) > MaxFieldBytes {
		return 0, nil, ErrLimit
	}
	s := &scanner{s: body}
	if instance, err = s.instance(); err != nil {
		return 0, nil, err
	}
	h, err = s.header()
	return instance, h, err
}

// instance reads "i=", a number of one or two digits and ";".
func (s *scanner) instance() (int, error) {
	if _, err := s.cfws(); err != nil {
		return 0, err
	}
	if !s.accept('i') {
		return 0, s.fail("i= expected")
	}
	if err := s.equals(); err != nil {
		return 0, err
	}
	start := s.i
	n, err := s.number()
	if err != nil {
		return 0, err
	}
	if s.i-start > 2 {
		return 0, s.fail("instance of more than two digits")
	}
	if _, err := s.cfws(); err != nil {
		return 0, err
	}
	if !s.accept(';') {
		return 0, s.fail("; expected")
	}
	return n, nil
}

// header reads from the authserv-id to the end.
func (s *scanner) header() (*Header, error) {
	h := &Header{Version: 1}
	if _, err := s.cfws(); err != nil {
		return nil, err
	}
	var err error
	if h.ServID, err = s.value(); err != nil {
		return nil, err
	}
	if h.ServID == "" {
		return nil, s.fail("empty authserv-id")
	}
	if _, err := s.cfws(); err != nil {
		return nil, err
	}
	if !s.done() && s.s[s.i] != ';' {
		if h.Version, err = s.number(); err != nil {
			return nil, err
		}
		if _, err := s.cfws(); err != nil {
			return nil, err
		}
		if h.Version != 1 {
			return h, ErrVersion
		}
	}
	if err := s.results(h); err != nil {
		return nil, err
	}
	return h, nil
}

func (s *scanner) results(h *Header) error {
	none := false
	for n := 0; !s.done(); n++ {
		if s.s[s.i] != ';' {
			return s.fail("; expected")
		}
		s.i++
		if _, err := s.cfws(); err != nil {
			return err
		}
		if s.done() && n > 0 {
			break // a final semicolon
		}
		if none {
			return s.fail("result after none")
		}
		if len(h.Results) == MaxResults {
			return ErrLimit
		}
		r := Result{MethodVersion: 1}
		var err error
		if r.Method, err = s.keyword(); err != nil {
			return err
		}
		if _, err := s.cfws(); err != nil {
			return err
		}
		if equalFold(r.Method, "none") && n == 0 && (s.done() || s.s[s.i] == ';') {
			none = true
			continue
		}
		if err := s.result(&r); err != nil {
			return err
		}
		h.Results = append(h.Results, r)
	}
	if len(h.Results) == 0 && !none {
		return s.fail("no result")
	}
	return nil
}

// result reads what follows a method.
func (s *scanner) result(r *Result) error {
	var err error
	if s.accept('/') {
		if _, err := s.cfws(); err != nil {
			return err
		}
		if r.MethodVersion, err = s.number(); err != nil {
			return err
		}
	}
	if err = s.equals(); err != nil {
		return err
	}
	if r.Value, err = s.keyword(); err != nil {
		return err
	}
	for {
		comment, err := s.cfws()
		if err != nil {
			return err
		}
		if r.Comment == "" {
			r.Comment = comment
		}
		if s.done() || s.s[s.i] == ';' {
			return nil
		}
		if err := s.prop(r); err != nil {
			return err
		}
	}
}

func (s *scanner) prop(r *Result) error {
	var p Prop
	var err error
	if p.Property, err = s.keyword(); err != nil {
		return err
	}
	if _, err := s.cfws(); err != nil {
		return err
	}
	if s.accept('.') {
		p.Type = p.Property
		if _, err := s.cfws(); err != nil {
			return err
		}
		if p.Property, err = s.keyword(); err != nil {
			return err
		}
	}
	if err := s.equals(); err != nil {
		return err
	}
	if p.Value, err = s.value(); err != nil {
		return err
	}
	if p.Type == "" && isReason(p.Property) {
		if r.Reason == "" {
			r.Reason = p.Value
		}
		return nil
	}
	if len(r.Props) == MaxProps {
		return ErrLimit
	}
	r.Props = append(r.Props, p)
	return nil
}

// isReason: without a type this name is no property.
func isReason(name string) bool { return equalFold(name, "reason") }

// scanner walks through a field body.
type scanner struct {
	s string
	i int
}

func (s *scanner) done() bool { return s.i >= len(s.s) }

func (s *scanner) fail(what string) error {
	return fmt.Errorf("%w: %s at octet %d", ErrSyntax, what, s.i)
}

func (s *scanner) accept(c byte) bool {
	if s.done() || s.s[s.i] != c {
		return false
	}
	s.i++
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// cfws skips comments and white space and returns the text of the first comment.
func (s *scanner) cfws() (comment string, err error) {
	for !s.done() {
		c := s.s[s.i]
		switch {
		case isSpace(c):
			s.i++
		case c == '(':
			text, err := s.comment()
			if err != nil {
				return "", err
			}
			if comment == "" {
				comment = text
			}
		default:
			return comment, nil
		}
	}
	return comment, nil
}

func (s *scanner) comment() (string, error) {
	var b strings.Builder
	depth := 0
	for ; !s.done(); s.i++ {
		c := s.s[s.i]
		switch c {
		case '(':
			if depth++; depth > MaxCommentDepth {
				return "", ErrLimit
			}
			if depth == 1 {
				continue
			}
		case ')':
			if depth--; depth == 0 {
				s.i++
				return b.String(), nil
			}
		case '\\':
			if s.i++; s.done() {
				return "", s.fail("open comment")
			}
			c = s.s[s.i]
		case '\r', '\n':
			continue
		}
		b.WriteByte(c)
	}
	return "", s.fail("open comment")
}

func (s *scanner) quoted() (string, error) {
	var b strings.Builder
	for s.i++; !s.done(); s.i++ {
		c := s.s[s.i]
		switch c {
		case '"':
			s.i++
			return b.String(), nil
		case '\\':
			if s.i++; s.done() {
				return "", s.fail("open string")
			}
			c = s.s[s.i]
		case '\r', '\n':
			continue
		}
		b.WriteByte(c)
	}
	return "", s.fail("open string")
}

// value reads a quoted-string, or anything up to white space, a comment or the
// end of the result. A quoted local part before "@" keeps its quotes.
func (s *scanner) value() (string, error) {
	start := s.i
	if !s.done() && s.s[s.i] == '"' {
		text, err := s.quoted()
		if err != nil {
			return "", err
		}
		if s.done() || s.s[s.i] != '@' {
			return text, nil
		}
	}
	for !s.done() {
		c := s.s[s.i]
		if isSpace(c) || c == ';' || c == '(' {
			break
		}
		if c < ' ' || c == 0x7f || c == '"' || c == ')' {
			return "", s.fail("bad character")
		}
		s.i++
	}
	if s.i == start {
		return "", s.fail("value expected")
	}
	return s.s[start:s.i], nil
}

func (s *scanner) keyword() (string, error) {
	start := s.i
	for !s.done() && isKeywordChar(s.s[s.i]) {
		s.i++
	}
	if k := s.s[start:s.i]; isKeyword(k) {
		return k, nil
	}
	return "", s.fail("keyword expected")
}

func (s *scanner) number() (int, error) {
	start := s.i
	for !s.done() && '0' <= s.s[s.i] && s.s[s.i] <= '9' {
		s.i++
	}
	n, err := strconv.ParseUint(s.s[start:s.i], 10, 31)
	if err != nil || n == 0 {
		return 0, s.fail("version expected")
	}
	return int(n), nil
}

// equals reads "=" with comments and white space around it.
func (s *scanner) equals() error {
	if _, err := s.cfws(); err != nil {
		return err
	}
	if !s.accept('=') {
		return s.fail("= expected")
	}
	_, err := s.cfws()
	return err
}
