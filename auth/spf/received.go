package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Limits of ParseReceived.
const (
	// MaxReceivedBytes is the longest body of a Received-SPF field, in octets.
	MaxReceivedBytes = 16 << 10
	// MaxReceivedPairs is how many pairs it may have.
	MaxReceivedPairs = 50
	// MaxReceivedDepth is how deep its comments may be nested.
	MaxReceivedDepth = 16
)

// Errors of ParseReceived, for errors.Is.
var (
	// ErrField: the text is no body of a Received-SPF field.
	ErrField = errors.New("spf: malformed Received-SPF field")
	// ErrFieldLimit: it is larger than MaxReceivedBytes, or has more pairs or
	// nested comments than allowed.
	ErrFieldLimit = errors.New("spf: Received-SPF field too large")
)

// Received is what a Received-SPF field says (RFC 7208 §9.1). Whoever handled
// the message may have written it: it is worth as much as the place in the
// header where it stands.
type Received struct {
	// Status is the result.
	Status Status
	// Comment is the text for people in front of the pairs, without parentheses.
	Comment string
	// ClientIP is the client's address; the zero Addr if it is missing or none.
	ClientIP netip.Addr
	// Sender, HELO, Receiver, Mechanism and Problem are the values of
	// envelope-from, helo, receiver, mechanism and problem; empty if missing.
	Sender, HELO, Receiver, Mechanism, Problem string
	// Identity is "mailfrom" or "helo", in lower case; other words occur.
	Identity string
	// Other are the pairs with other keys as "key=value", in their order.
	Other []string
}

// ParseReceived reads the body of a Received-SPF field, folded or not. Of keys
// that come twice the first counts. It takes values without the quotes that they
// should have, which are common: up to a semicolon or white space.
func ParseReceived(body string) (*Received, error) {
	if len(body) > MaxReceivedBytes {
		return nil, fmt.Errorf("%w: over %d octets", ErrFieldLimit, MaxReceivedBytes)
	}
	p := &fieldParser{s: body}
	r := new(Received)
	if _, err := p.cfws(); err != nil {
		return nil, err
	}
	word := p.token("-")
	i := slices.IndexFunc(statusText[:], func(s string) bool { return strings.EqualFold(s, word) })
	if i < 0 {
		return nil, fmt.Errorf("%w: unknown result %.20q", ErrField, word)
	}
	r.Status = Status(i)
	var err error
	if r.Comment, err = p.cfws(); err != nil {
		return nil, err
	}
	if err := p.pairs(r); err != nil {
		return nil, err
	}
	return r, nil
}

// fieldParser reads a structured field (RFC 5322 §3.2).
type fieldParser struct {
	s string
	i int
}

func (p *fieldParser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *fieldParser) accept(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// pairs reads key-value-list.
func (p *fieldParser) pairs(r *Received) error {
	seen := map[string]bool{}
	for n := 0; p.i < len(p.s); n++ {
		if n == MaxReceivedPairs {
			return fmt.Errorf("%w: over %d pairs", ErrFieldLimit, MaxReceivedPairs)
		}
		key := p.token("-_.")
		if _, err := p.cfws(); err != nil {
			return err
		}
		if key == "" || !p.accept('=') {
			return fmt.Errorf("%w: no key=value", ErrField)
		}
		if _, err := p.cfws(); err != nil {
			return err
		}
		value, err := p.value()
		if err != nil {
			return err
		}
		if k := strings.ToLower(key); !seen[k] {
			seen[k] = true
			r.set(k, value)
		}
		for more := true; more; more = p.accept(';') {
			if _, err := p.cfws(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Received) set(key, value string) {
	switch key {
	case "client-ip":
		if ip, err := netip.ParseAddr(value); err == nil {
			r.ClientIP = ip.WithZone("")
		}
	case "envelope-from":
		r.Sender = value
	case "helo":
		r.HELO = value
	case "receiver":
		r.Receiver = value
	case "mechanism":
		r.Mechanism = value
	case "problem":
		r.Problem = value
	case "identity":
		r.Identity = strings.ToLower(value)
	default:
		r.Other = append(r.Other, key+"="+value)
	}
}

// token reads letters, digits and the given signs.
func (p *fieldParser) token(signs string) string {
	start := p.i
	for p.i < len(p.s) && (isAlpha(p.s[p.i]) || isDigit(p.s[p.i]) || strings.IndexByte(signs, p.s[p.i]) >= 0) {
		p.i++
	}
	return p.s[start:p.i]
}

// value reads a quoted-string, or what comes before a semicolon or white space.
func (p *fieldParser) value() (string, error) {
	if p.peek() != '"' {
		start := p.i
		for p.i < len(p.s) && p.s[p.i] != ';' && !isSpace(p.s[p.i]) {
			p.i++
		}
		return p.s[start:p.i], nil
	}
	var b strings.Builder
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; c {
		case '"':
			p.i++
			return b.String(), nil
		case '\r', '\n': // of a fold, which is not of the value (RFC 5322 §3.2.4)
		case '\\':
			if p.i++; p.i < len(p.s) {
				b.WriteByte(p.s[p.i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("%w: quoted string without end", ErrField)
}

// cfws skips white space and comments; it returns the first comment's text.
func (p *fieldParser) cfws() (comment string, err error) {
	first := true
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case isSpace(c):
			p.i++
		case c == '(':
			text, err := p.comment()
			if err != nil {
				return "", err
			}
			if first {
				comment, first = text, false
			}
		default:
			return comment, nil
		}
	}
	return comment, nil
}

// comment reads a comment; folds become spaces.
func (p *fieldParser) comment() (string, error) {
	var b strings.Builder
	depth := 0
	for ; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch c {
		case '(':
			if depth++; depth > MaxReceivedDepth {
				return "", fmt.Errorf("%w: comments deeper than %d", ErrFieldLimit, MaxReceivedDepth)
			}
			if depth == 1 {
				continue
			}
		case ')':
			if depth--; depth == 0 {
				p.i++
				return b.String(), nil
			}
		case '\\':
			if p.i++; p.i < len(p.s) {
				b.WriteByte(p.s[p.i])
			}
			continue
		case '\r', '\n':
			continue
		case '\t':
			c = ' '
		}
		b.WriteByte(c)
	}
	return "", fmt.Errorf("%w: comment without end", ErrField)
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
