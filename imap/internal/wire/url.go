package wire

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrURL is an IMAP URL that is not well formed, or names no message.
var ErrURL = errors.New("wire: not the IMAP URL of a message")

// maxURL is the longest URL that is looked at, in octets.
const maxURL = 8 << 10

// URL is an IMAP URL of a message or a part of one (RFC 5092 §11, RFC 4467).
type URL struct {
	// Absolute: it begins with "imap://". User, decoded, and Host, in lower
	// case and without port, are only there then, and may be empty.
	Absolute   bool
	User, Host string
	// HasMailbox is false for a relative URL that begins with ";UID=".
	HasMailbox  bool
	Mailbox     string // in UTF-8
	UIDValidity uint32 // 0: not given
	UID         uint32
	Section     Section // the zero value: the whole message
	// Partial: only octets from Offset on, Length of them; 0: all.
	Partial        bool
	Offset, Length uint64
	// Expire is when the authorization ends, if Expires (RFC 4467 §3).
	Expires bool
	Expire  time.Time
	// Access is an access identifier, such as "user+fred", undecoded; empty if
	// there is no ";URLAUTH=". Mechanism, in upper case, and Token are empty in
	// a URL that is still to be authorized.
	Access, Mechanism, Token string
	// Rump is what is authorized: all but mechanism and token.
	Rump string
}

// ParseURL reads the URL of a message. Anything else is ErrURL.
func ParseURL(s string) (URL, error) {
	u := URL{Rump: s}
	if len(s) > maxURL || !printable(s) {
		return URL{}, ErrURL
	}
	path := s
	if rest, ok := cutPrefixFold(s, "imap://"); ok {
		slash := strings.IndexByte(rest, '/')
		if slash < 0 || !u.authority(rest[:slash]) {
			return URL{}, ErrURL
		}
		u.Absolute, path = true, rest[slash+1:]
	} else {
		path = strings.TrimPrefix(path, "/") // RFC 5092 §7.1: an absolute path
	}
	if !u.path(path) {
		return URL{}, ErrURL
	}
	return u, nil
}

// authority reads [user [;AUTH=mechanism] "@"] host [":" port].
func (u *URL) authority(s string) bool {
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		user, _, _ := strings.Cut(s[:at], ";")
		var ok bool
		if u.User, ok = unescape(user); !ok {
			return false
		}
		s = s[at+1:]
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		s = s[:i]
	}
	u.Host = strings.ToLower(s)
	return u.Host != ""
}

// Parameters of the path in the order in which they come.
const (
	urlValidity = iota + 1
	urlUID
	urlSection
	urlPartial
	urlExpire
	urlAuth
)

var urlParameters = map[string]struct {
	order int
	slash bool // "/" comes before it
	read  func(*URL, string) bool
}{
	"UIDVALIDITY": {urlValidity, false, func(u *URL, v string) bool { return nzNumber(v, &u.UIDValidity) && u.HasMailbox }},
	"UID":         {urlUID, true, func(u *URL, v string) bool { return nzNumber(v, &u.UID) }},
	"SECTION":     {urlSection, true, (*URL).section},
	"PARTIAL":     {urlPartial, true, (*URL).partial},
	"EXPIRE":      {urlExpire, false, (*URL).expire},
	"URLAUTH":     {urlAuth, false, (*URL).auth},
}

// path reads mailbox, UID and what follows; ";" separates nothing else.
func (u *URL) path(s string) bool {
	mailbox, rest, more := strings.Cut(s, ";")
	slash := false
	if strings.HasSuffix(mailbox, "/") {
		mailbox, slash = mailbox[:len(mailbox)-1], true
	}
	u.HasMailbox = mailbox != ""
	var ok bool
	if u.Mailbox, ok = unescape(mailbox); !ok || !utf8.ValidString(u.Mailbox) {
		return false
	}
	slash = slash || mailbox == "" && !u.Absolute // ";UID=" by itself (RFC 5092 §7)
	last := 0
	for more {
		var word string
		word, rest, more = strings.Cut(rest, ";")
		key, value, found := strings.Cut(word, "=")
		p, known := urlParameters[strings.ToUpper(key)]
		if !found || !known || p.order <= last || p.slash != slash {
			return false
		}
		if slash = more && strings.HasSuffix(value, "/"); slash {
			value = value[:len(value)-1]
		}
		if !p.read(u, value) {
			return false
		}
		last = p.order
	}
	return u.UID != 0 && (u.HasMailbox || !u.Absolute) && (!u.Expires || u.Access != "")
}

func nzNumber(s string, n *uint32) bool {
	v, err := strconv.ParseUint(s, 10, 32)
	*n = uint32(v)
	return err == nil && v > 0 && s[0] != '0' && s[0] != '+'
}

// section reads a section as FETCH has it (RFC 5092 §11, enc-section).
func (u *URL) section(v string) bool {
	text, ok := unescape(v)
	if !ok || strings.ContainsAny(text, "\"{") { // fields must be atoms: no literal is read here
		return false
	}
	p := NewParser([]byte("["+text+"]"), Limits{FetchItems: 200, UTF8: true})
	var item FetchItem
	item.Attr = FetchSection
	p.section(&item, "BODY")
	u.Section = item.Section
	return p.End() == nil
}

// partial reads offset ["." length].
func (u *URL) partial(v string) bool {
	off, length, given := strings.Cut(v, ".")
	var err error
	if u.Offset, err = strconv.ParseUint(off, 10, 63); err != nil {
		return false
	}
	u.Partial = true
	if !given {
		return true
	}
	u.Length, err = strconv.ParseUint(length, 10, 63)
	return err == nil && u.Length > 0
}

// expire reads a date-time of RFC 3339.
func (u *URL) expire(v string) bool {
	var err error
	u.Expires = true
	u.Expire, err = time.Parse(time.RFC3339, strings.ToUpper(v))
	return err == nil
}

// auth reads access [":" mechanism ":" token], the end of the URL.
func (u *URL) auth(v string) bool {
	access, verifier, verified := strings.Cut(v, ":")
	if access == "" {
		return false
	}
	u.Access = access
	if !verified {
		return true
	}
	mechanism, token, ok := strings.Cut(verifier, ":")
	u.Mechanism, u.Token = strings.ToUpper(mechanism), token
	u.Rump = u.Rump[:len(u.Rump)-len(verifier)-1]
	return ok && mechanism != "" && token != ""
}

// Identifier splits an access identifier: "user+fred" into "user+" and the name.
func (u *URL) Identifier() (kind, name string) {
	kind, name, ok := strings.Cut(u.Access, "+")
	if !ok {
		return strings.ToLower(kind), ""
	}
	name, ok = unescape(name)
	if !ok || name == "" {
		return "", ""
	}
	return strings.ToLower(kind) + "+", name
}

// unescape undoes percent-encoding (RFC 3986 §2.1).
func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || n == 0 {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), true
}

// printable reports whether s is of visible US-ASCII only, as URLs are.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}
