package store

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of mailbox names, kept by CanonicalName.
const (
	MaxNameOctets  = 1000 // of a whole name
	MaxLevelOctets = 255  // of one level: what file systems allow
	MaxNameLevels  = 32
)

// CanonicalName returns the one form of a mailbox name that engines keep and
// compare octet by octet: NFC (RFC 9051 §5.1, RFC 5198 §3), with every
// spelling of INBOX in upper case when it is the whole name or the first
// level. The result is its own canonical form.
//
// ErrInvalidName is returned, wrapped with the reason, for a name that is
// empty, is not UTF-8, has an empty level or one named "." or "..", holds a
// control character, U+2028, U+2029 or a LIST wildcard, or exceeds
// MaxNameOctets, MaxLevelOctets or MaxNameLevels.
func CanonicalName(name string) (string, error) {
	if len(name) > 4*MaxNameOctets { // NFC shortens, but never that much
		return "", badName("too long")
	}
	if !utf8.ValidString(name) {
		return "", badName("not UTF-8")
	}
	name = norm.NFC.String(name)
	if len(name) > MaxNameOctets {
		return "", badName("too long")
	}
	for _, r := range name {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return "", badName("control character")
		case r == '*', r == '%':
			return "", badName("wildcard")
		}
	}
	first, rest, below := strings.Cut(name, string(Separator))
	if strings.EqualFold(first, Inbox) {
		first = Inbox
	}
	if err := checkLevel(first); err != nil {
		return "", err
	}
	if !below {
		return first, nil
	}
	levels := 1
	for level := range strings.SplitSeq(rest, string(Separator)) {
		if err := checkLevel(level); err != nil {
			return "", err
		}
		if levels++; levels > MaxNameLevels {
			return "", badName("too many levels")
		}
	}
	return first + string(Separator) + rest, nil
}

func checkLevel(level string) error {
	switch {
	case level == "":
		return badName("empty level")
	case level == ".", level == "..":
		return badName("reserved level")
	case len(level) > MaxLevelOctets:
		return badName("level too long")
	}
	return nil
}

func badName(reason string) error { return fmt.Errorf("%w: %s", ErrInvalidName, reason) }

// Parent is the name one level up, empty at the top.
func Parent(name string) string {
	i := strings.LastIndexByte(name, Separator)
	return name[:max(i, 0)]
}

// Below reports whether name lies below parent, at any depth. Both are
// canonical.
func Below(name, parent string) bool {
	return len(name) > len(parent) && name[len(parent)] == Separator && name[:len(parent)] == parent
}

// CheckAccountName returns ErrInvalidName, wrapped, unless name may name an
// account: 1 to 255 octets of UTF-8 without control characters. Accounts are
// compared octet by octet; whoever makes them canonicalises.
func CheckAccountName(name string) error {
	if name == "" || len(name) > 255 || !utf8.ValidString(name) {
		return badName("account")
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return badName("control character")
	}
	return nil
}
