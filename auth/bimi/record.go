package bimi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Reasons why there is no indicator. Match them with errors.Is.
var (
	// ErrNone: no record, neither of the domain nor of the organizational one,
	// or more than one, which counts as none.
	ErrNone = errors.New("bimi: no record")
	// ErrSyntax: the record or the selector field is malformed.
	ErrSyntax = errors.New("bimi: malformed")
	// ErrDNS: DNS gave no answer; a temporary condition.
	ErrDNS = errors.New("bimi: DNS gave no answer")
)

// MaxRecordBytes is how long a record may be.
const MaxRecordBytes = 4096

// Record is an assertion record, the TXT record of SELECTOR._bimi.DOMAIN.
type Record struct {
	// Location is the https URI of the indicator, an SVG image; empty when the
	// domain declines to have one.
	Location string
	// Authority is the https URI of the mark certificate (l's evidence); empty
	// for none.
	Authority string
	// Preference says whose picture the domain would like to be shown:
	// "brand" (also when it says nothing) or "personal".
	Preference string
}

// Declined reports whether the domain says that it wants no indicator.
func (r *Record) Declined() bool { return r.Location == "" && r.Authority == "" }

// IsRecord reports whether a TXT record is one of BIMI.
func IsRecord(txt string) bool {
	v, _, _ := strings.Cut(txt, ";")
	name, value, ok := strings.Cut(v, "=")
	return ok && strings.Trim(name, " \t") == "v" && strings.Trim(value, " \t") == "BIMI1"
}

// ParseRecord parses an assertion record: "v=BIMI1" first, then tags in any
// order. Unknown tags are ignored; a tag that comes twice makes the record
// malformed (RFC 6376 §3.2). The error is ErrSyntax.
func ParseRecord(txt string) (*Record, error) {
	if len(txt) > MaxRecordBytes {
		return nil, fmt.Errorf("%w: longer than %d octets", ErrSyntax, MaxRecordBytes)
	}
	if !IsRecord(txt) {
		return nil, fmt.Errorf("%w: no v=BIMI1", ErrSyntax)
	}
	tags, err := tags(txt)
	if err != nil {
		return nil, err
	}
	location, ok := tags["l"]
	if !ok {
		return nil, fmt.Errorf("%w: no l tag", ErrSyntax)
	}
	r := &Record{Location: location, Authority: tags["a"], Preference: "brand"}
	if tags["avp"] == "personal" {
		r.Preference = "personal"
	}
	for _, uri := range []string{r.Location, r.Authority} {
		if uri == "" {
			continue
		}
		u, err := url.Parse(uri)
		// One URI: a comma in it is percent-encoded.
		if err != nil || strings.ContainsAny(uri, ", \t") || !strings.EqualFold(u.Scheme, "https") || u.Hostname() == "" || u.User != nil {
			return nil, fmt.Errorf("%w: %.80q is no https URI", ErrSyntax, uri)
		}
	}
	if r.Location == "" && r.Authority != "" {
		return nil, fmt.Errorf("%w: a certificate without an indicator", ErrSyntax)
	}
	return r, nil
}

// String is the record as it is published.
func (r *Record) String() string {
	s := "v=BIMI1; l=" + r.Location + "; a=" + r.Authority
	if r.Preference == "personal" {
		s += "; avp=personal"
	}
	return s
}

// ParseSelector returns the selector of a BIMI-Selector field's value ("v=BIMI1;
// s=brand"). The error is ErrSyntax, with which the default is used. The field
// counts only when a DKIM signature that passed covers it.
func ParseSelector(value string) (string, error) {
	if len(value) > MaxRecordBytes || !IsRecord(strings.Trim(value, " \t\r\n")) {
		return "", fmt.Errorf("%w: BIMI-Selector", ErrSyntax)
	}
	tags, err := tags(strings.NewReplacer("\r", "", "\n", "").Replace(value))
	if err != nil {
		return "", err
	}
	if s := tags["s"]; validSelector(s) {
		return strings.ToLower(s), nil
	}
	return "", fmt.Errorf("%w: BIMI-Selector", ErrSyntax)
}

// tags splits a list of tags.
func tags(text string) (map[string]string, error) {
	all := make(map[string]string)
	for part := range strings.SplitSeq(text, ";") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name, value = strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")
		if !ok || name == "" || strings.IndexFunc(part, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			return nil, fmt.Errorf("%w: tag %.40q", ErrSyntax, part)
		}
		if _, ok := all[name]; ok { // RFC 6376 §3.2
			return nil, fmt.Errorf("%w: tag %.40q twice", ErrSyntax, name)
		}
		all[name] = value
	}
	return all, nil
}

// validSelector reports whether s is made of labels (RFC 6376 §3.1 has the same
// form).
func validSelector(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '-' || r == '_') {
				return false
			}
		}
	}
	return true
}
