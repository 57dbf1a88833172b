package password

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"

	"github.com/posta-mail/posta/auth/sasl"
)

// Limits of names and passwords, in octets.
const (
	MaxName     = 320  // 64 + "@" + 255 (RFC 5321 §4.5.3.1)
	MaxPassword = 1024 // before any hashing
)

// Errors of the methods that change the list; they are wrapped.
var (
	ErrName     = errors.New("password: not a user name")
	ErrPassword = errors.New("password: not usable as a password")
	ErrExists   = errors.New("password: user exists")
	ErrUnknown  = errors.New("password: no such user")
	ErrHash     = errors.New("password: not a stored hash")
)

// canonical prepares a name: the local part by RFC 8265 §3.3, the domain as
// A-labels.
func canonical(name string) (string, error) {
	bad := fmt.Errorf("%w: %.64q", ErrName, name)
	if name == "" || len(name) > MaxName {
		return "", bad
	}
	local, domain, qualified := name, "", false
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		local, domain, qualified = name[:at], name[at+1:], true
	}
	local, err := precis.UsernameCaseMapped.String(local)
	if err != nil || local == "" || strings.HasPrefix(local, "#") {
		return "", bad
	}
	if !qualified {
		return local, nil
	}
	if domain, err = canonicalDomain(domain); err != nil {
		return "", bad
	}
	return local + "@" + domain, nil
}

// canonicalDomain gives A-labels in lower case. What IDNA refuses but DNS
// allows, such as an underscore, passes when it is ASCII.
func canonicalDomain(domain string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		for i := range len(domain) {
			if domain[i] <= ' ' || domain[i] >= 0x7f || domain[i] == '@' {
				return "", ErrName
			}
		}
		ascii = strings.ToLower(domain)
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if slices.Contains(strings.Split(ascii, "."), "") {
		return "", ErrName // an empty label, or nothing at all
	}
	return ascii, nil
}

// defaultDomain is DefaultDomain in canonical form, "" if there is none.
func (u *Users) defaultDomain() string {
	if u.DefaultDomain == "" {
		return ""
	}
	d, err := canonicalDomain(u.DefaultDomain)
	if err != nil {
		return ""
	}
	return d
}

// qualified adds the default domain to a canonical name that has none.
func (u *Users) qualified(name string) string {
	if d := u.defaultDomain(); d != "" && !strings.Contains(name, "@") {
		return name + "@" + d
	}
	return name
}

// spellings lists the names under which a canonical name may be kept.
func (u *Users) spellings(name string) []string {
	d := u.defaultDomain()
	if d == "" {
		return []string{name}
	}
	if local, ok := strings.CutSuffix(name, "@"+d); ok {
		return []string{name, local}
	}
	if !strings.Contains(name, "@") {
		return []string{name + "@" + d, name}
	}
	return []string{name}
}

// prepare makes a password comparable (RFC 4616 §2, RFC 5802 §2.2).
func prepare(password string) (string, error) {
	if password == "" || len(password) > MaxPassword {
		return "", fmt.Errorf("%w: %d octets", ErrPassword, len(password))
	}
	p, err := sasl.Prep(password)
	if err != nil || p == "" {
		return "", fmt.Errorf("%w: prohibited characters", ErrPassword)
	}
	return p, nil
}

// unusable: what a text that people read must not hold.
func unusable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar
}
