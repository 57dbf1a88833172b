package smtp

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrPath is what errors of ParsePath and ParseAddress wrap.
var ErrPath = errors.New("smtp: malformed address")

// Longest parts of a path, in octets. RFC 5321 §4.5.3.1 asks for local parts
// of 64, domains of 255 and paths of 256 to be accepted; longer local parts
// (of mailing lists and forwarders) are in use.
const (
	maxLocal  = 256
	maxDomain = 255
)

// ParsePath parses a reverse-path or forward-path with its angle brackets
// (RFC 5321 §4.1.2, with the UTF-8 of RFC 6531 §3.3). A source route is
// dropped (§4.1.1.3), the domain brought into its one form. <Postmaster> is
// the only address without a domain. Errors wrap ErrPath.
func ParsePath(s string) (Path, error) {
	p, rest, err := parsePath(s)
	if err == nil && rest != "" {
		err = pathError("text after the address")
	}
	return p, err
}

// ParseAddress parses local@domain, without angle brackets. Errors wrap
// ErrPath.
func ParseAddress(s string) (Path, error) {
	local, rest, err := parseLocal(s)
	if err != nil {
		return Path{}, err
	}
	if !strings.HasPrefix(rest, "@") {
		return Path{}, pathError("no domain")
	}
	domain, rest, err := parseDomain(rest[1:])
	if err == nil && rest != "" {
		err = pathError("text after the address")
	}
	if err != nil {
		return Path{}, err
	}
	return makePath(local, domain), nil
}

// Address is the path as local@domain, quoted where the grammar needs it;
// empty for the null path.
func (p Path) Address() string {
	if p.IsNull() {
		return ""
	}
	local := quoteLocal(p.Local)
	if p.Domain == "" {
		return local
	}
	return local + "@" + p.Domain
}

// String is the path as it stands in a command: <local@domain>.
func (p Path) String() string { return "<" + p.Address() + ">" }

// IsPostmaster reports whether p is the mailbox that every domain must have,
// with or without a domain (RFC 5321 §4.5.1).
func (p Path) IsPostmaster() bool { return strings.EqualFold(p.Local, "postmaster") }

// NeedsSMTPUTF8 reports whether the path can only be sent with SMTPUTF8: its
// local part is not ASCII. A domain always has its ASCII form.
func (p Path) NeedsSMTPUTF8() bool { return !isASCII(p.Local) }

// check reports whether p may be put on the wire: values that a program has
// put together itself have passed no parser.
func (p Path) check() error {
	switch {
	case p.IsNull():
		return nil
	case p.Local == "" || len(p.Local) > maxLocal || !utf8.ValidString(p.Local):
		return pathError("bad local part")
	case strings.IndexFunc(p.Local, isControl) >= 0:
		return pathError("control character in local part")
	case p.Domain == "" && p.IsPostmaster():
		return nil
	}
	if d, err := canonicalDomain(p.Domain); err != nil {
		return err
	} else if d != p.Domain {
		return pathError("domain not in canonical form")
	}
	return nil
}

func pathError(why string) error { return fmt.Errorf("%w: %s", ErrPath, why) }

// makePath copies the parts into one allocation, so that a path that is kept
// does not keep its whole command line.
func makePath(local, domain string) Path {
	b := make([]byte, 0, len(local)+len(domain))
	s := string(append(append(b, local...), domain...))
	return Path{Local: s[:len(local)], Domain: s[len(local):]}
}

// parsePath parses a path at the front of s and returns what follows it.
func parsePath(s string) (p Path, rest string, err error) {
	if rest, ok := strings.CutPrefix(s, "<>"); ok {
		return Path{}, rest, nil
	}
	if !strings.HasPrefix(s, "<") {
		return Path{}, s, pathError("no angle brackets")
	}
	s = s[1:]
	if strings.HasPrefix(s, "@") {
		if s, err = skipRoute(s); err != nil {
			return Path{}, s, err
		}
	}
	local, s, err := parseLocal(s)
	if err != nil {
		return Path{}, s, err
	}
	domain := ""
	if strings.HasPrefix(s, "@") {
		if domain, s, err = parseDomain(s[1:]); err != nil {
			return Path{}, s, err
		}
	} else if !strings.EqualFold(local, "postmaster") {
		return Path{}, s, pathError("no domain")
	}
	if !strings.HasPrefix(s, ">") {
		return Path{}, s, pathError("no closing bracket")
	}
	return makePath(local, domain), s[1:], nil
}

// skipRoute drops "@a,@b:" (RFC 5321 appendix C, §4.1.1.3: accept, ignore).
func skipRoute(s string) (string, error) {
	for {
		if !strings.HasPrefix(s, "@") {
			return s, pathError("bad source route")
		}
		var err error
		if _, s, err = parseDomain(s[1:]); err != nil {
			return s, err
		}
		switch {
		case strings.HasPrefix(s, ":"):
			return s[1:], nil
		case strings.HasPrefix(s, ","):
			s = s[1:]
		default:
			return s, pathError("bad source route")
		}
	}
}

// parseLocal parses a Dot-string or Quoted-string and undoes the quoting.
func parseLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return parseQuoted(s[1:])
	}
	n := 0
	for n < len(s) && (isAtext(s[n]) || s[n] == '.') {
		n++
	}
	local = s[:n]
	switch {
	case n == 0 || n > maxLocal:
		return "", s, pathError("local part empty or too long")
	case !isDotString(local):
		return "", s, pathError("misplaced dot in local part")
	case !utf8.ValidString(local):
		return "", s, pathError("not UTF-8")
	}
	return local, s[n:], nil
}

// isDotString: atoms separated by single dots; the octets have been checked.
func isDotString(s string) bool {
	return s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

// parseQuoted parses a Quoted-string after its first quote.
func parseQuoted(s string) (local, rest string, err error) {
	b := make([]byte, 0, 64)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			if len(b) == 0 || !utf8.Valid(b) {
				return "", s, pathError("quoted local part empty or not UTF-8")
			}
			return string(b), s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", s, pathError("bad quoted pair")
			}
			c = s[i]
		case c < ' ' || c == 0x7f:
			return "", s, pathError("control character in local part")
		}
		if b = append(b, c); len(b) > maxLocal {
			return "", s, pathError("local part too long")
		}
	}
	return "", s, pathError("no closing quote")
}

// quoteLocal writes a local part as Dot-string if it is one.
func quoteLocal(s string) string {
	plain := s != "" && isDotString(s)
	for i := 0; i < len(s) && plain; i++ {
		plain = isAtext(s[i]) || s[i] == '.'
	}
	if plain {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isAtext: RFC 5322 §3.2.3, and everything beyond ASCII (RFC 6531 §3.3).
func isAtext(c byte) bool {
	return isAlnum(c) || c >= utf8.RuneSelf || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
