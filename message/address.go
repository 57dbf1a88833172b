package message

import (
	"strings"
	"unicode/utf8"
)

// NoHost is the Host of an address that was written without one ("To: root").
// It can be no domain, so such an address never equals a real one.
const NoHost = ".MISSING-HOST-NAME."

// Address is one mailbox of an address list, or a marker of a group (RFC 5322
// §3.4), told apart the way IMAP does it (RFC 9051 §7.5.2): Host empty and
// Mailbox not is the start of the group named Mailbox; both empty is the end of
// the innermost group. Markers always come in pairs and groups do not nest. A
// mailbox always has a Host, maybe [NoHost].
//
// No string holds CR, LF or NUL.
type Address struct {
	// Name is the display name, or the comment that stands for it, decoded to
	// valid UTF-8. For the start of a group it is the group's name decoded.
	Name string
	// Mailbox is the local part without quoting, case kept.
	Mailbox string
	// Host is the domain or domain literal, as written but for comments and
	// white space; case is kept and nothing is converted.
	Host string
	// RawName is the display name without quoting, encoded words not decoded,
	// as IMAP sends it.
	RawName string
	// Route is the source route of RFC 5322 §4.4, without the colon; IMAP's
	// at-domain-list. It has no meaning any more.
	Route string
}

// IsGroupStart reports whether a is the start of a group.
func (a Address) IsGroupStart() bool { return a.Host == "" && a.Mailbox != "" }

// IsGroupEnd reports whether a is the end of a group.
func (a Address) IsGroupEnd() bool { return a.Host == "" && a.Mailbox == "" }

// IsMailbox reports whether a is a mailbox and no group marker.
func (a Address) IsMailbox() bool { return a.Host != "" }

// Addr is local-part@domain, the local part quoted where it must be (RFC 5322
// §3.4.1); without a host only the local part. It is "" for group markers.
func (a Address) Addr() string {
	switch a.Host {
	case "":
		return ""
	case NoHost:
		return quoteLocal(a.Mailbox)
	}
	return quoteLocal(a.Mailbox) + "@" + a.Host
}

// String is the address as it would be written into a header, the name as
// encoded words where it is not ASCII (RFC 2047 §5). For group markers it is
// "name:" and ";".
func (a Address) String() string {
	switch {
	case a.IsGroupEnd():
		return ";"
	case a.IsGroupStart():
		return formatPhrase(a.groupName()) + ":"
	}
	addr := a.Addr()
	if a.Name == "" && a.Host != NoHost && !strings.ContainsAny(addr, "\r\n\x00") {
		return addr
	}
	s := "<" + addr + ">"
	if a.Name != "" {
		s = formatPhrase(a.Name) + " " + s
	}
	return dropLineEnds(s)
}

func (a Address) groupName() string {
	if a.Name != "" {
		return a.Name
	}
	return a.Mailbox
}

// dropLineEnds makes sure that no value built by hand can inject a field.
func dropLineEnds(s string) string {
	if !strings.ContainsAny(s, "\r\n\x00") {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return -1
		}
		return r
	}, s)
}

// quoteLocal writes a local part (RFC 5322 §3.4.1), quoted unless it is a
// dot-atom.
func quoteLocal(s string) string {
	if isDotAtom(s) {
		return s
	}
	return quoteString(s)
}

// quoteString is a quoted-string (RFC 5322 §3.2.4).
func quoteString(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2)
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isDotAtom reports whether s is atoms joined by dots (RFC 5322 §3.2.3, RFC
// 6532 §3.2).
func isDotAtom(s string) bool {
	dot := true // the last octet was a dot, or there is none yet
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '.':
			if dot {
				return false
			}
			dot = true
		case isAtext(s[i]):
			dot = false
		default:
			return false
		}
	}
	return !dot && utf8.ValidString(s)
}

// isAtext: RFC 5322 §3.2.3 with RFC 6532 §3.2.
func isAtext(c byte) bool {
	return c >= 0x80 || atomTable[c]
}

var atomTable = func() (t [128]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~") {
		t[c] = true
	}
	return t
}()

// formatPhrase writes a display name (RFC 5322 §3.2.5): as it is when it
// consists of atoms, quoted when it is other ASCII, else as encoded words.
func formatPhrase(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 || c < ' ' || c == 0x7f {
			return encodeWords(s, 0)
		}
		if !isAtext(c) && (c != ' ' || i == 0 || i == len(s)-1 || s[i-1] == ' ') {
			plain = false
		}
	}
	if strings.Contains(s, "=?") {
		return encodeWords(s, 0) // would be read as an encoded word
	}
	if plain && s != "" {
		return s
	}
	return quoteString(s)
}
