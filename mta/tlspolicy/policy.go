package tlspolicy

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Mode is what a sender does when TLS to a domain fails (RFC 8461 §5).
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // does not deliver to that host
	Testing Mode = "testing" // delivers and reports
	None    Mode = "none"    // as if there were no policy
)

// Limits of a policy.
const (
	// MaxPolicyBytes is how large a policy file may be (RFC 8461 §3.3 suggests
	// 64 KiB).
	MaxPolicyBytes = 64 << 10
	// MaxPolicyHosts is how many mx fields are kept.
	MaxPolicyHosts = 1000
	// MaxAge is the longest time a policy is cached (RFC 8461 §3.2); what
	// says more is cut to it.
	MaxAge = 31557600 * time.Second
)

// Policy is an MTA-STS policy (RFC 8461 §3.2). The zero value is no policy and
// matches nothing.
type Policy struct {
	Mode Mode
	// MX are the hosts that may receive mail, in lower case: a name, or "*."
	// and a name, which stands for exactly one label in front of it. At least
	// one unless the mode is None.
	MX []string
	// MaxAge is for how long the policy holds, from when it was fetched.
	MaxAge time.Duration
}

// ParsePolicy parses a policy file. Lines end with LF or CRLF, and fields come in
// any order (RFC 8461 §3.2); of a field that occurs more than once, the first
// counts, but for mx; unknown fields are ignored. Errors are ErrTooLarge and ErrSyntax, both of which mean that the
// domain has no (new) policy.
func ParsePolicy(body []byte) (*Policy, error) {
	if len(body) > MaxPolicyBytes {
		return nil, ErrTooLarge
	}
	var p Policy
	seen := make(map[string]bool)
	for line := range bytes.Lines(body) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		text := strings.Trim(string(line), " \t")
		if text == "" {
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		name, value = strings.TrimRight(name, " \t"), strings.TrimLeft(value, " \t")
		if !ok || !fieldName(name) || strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r == 0x7F }) >= 0 {
			return nil, fmt.Errorf("%w: line %.60q", ErrSyntax, text)
		}
		if seen[name] && name != "mx" {
			continue
		}
		seen[name] = true
		if err := p.set(name, value); err != nil {
			return nil, err
		}
	}
	for _, needed := range []string{"version", "mode", "max_age"} {
		if !seen[needed] {
			return nil, fmt.Errorf("%w: no %s", ErrSyntax, needed)
		}
	}
	if len(p.MX) == 0 && p.Mode != None {
		return nil, fmt.Errorf("%w: no mx", ErrSyntax)
	}
	return &p, nil
}

func (p *Policy) set(name, value string) error {
	switch name {
	case "version":
		if value != "STSv1" {
			return fmt.Errorf("%w: version %.20q", ErrSyntax, value)
		}
	case "mode":
		switch m := Mode(value); m {
		case Enforce, Testing, None:
			p.Mode = m
		default:
			return fmt.Errorf("%w: mode %.20q", ErrSyntax, value)
		}
	case "max_age":
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || len(value) > 10 {
			return fmt.Errorf("%w: max_age %.20q", ErrSyntax, value)
		}
		p.MaxAge = time.Duration(min(n, uint64(MaxAge/time.Second))) * time.Second
	case "mx":
		if !hostPattern(value) {
			return fmt.Errorf("%w: mx %.60q", ErrSyntax, value)
		}
		if len(p.MX) == MaxPolicyHosts {
			return fmt.Errorf("%w: more than %d mx fields", ErrSyntax, MaxPolicyHosts)
		}
		p.MX = append(p.MX, strings.ToLower(value))
	}
	return nil
}

// Matches reports whether a mail server, a name of MX records as A-label with
// or without the final dot, is among those of the policy (RFC 8461 §4.1). With
// mode None all are.
func (p *Policy) Matches(mx string) bool {
	if p.Mode == None {
		return true
	}
	mx = strings.ToLower(strings.TrimSuffix(mx, "."))
	if mx == "" {
		return false
	}
	for _, m := range p.MX {
		if m == mx {
			return true
		}
		// A wildcard is one whole label, the leftmost.
		if base, ok := strings.CutPrefix(m, "*."); ok {
			if label, parent, ok := strings.Cut(mx, "."); ok && label != "" && parent == base {
				return true
			}
		}
	}
	return false
}

// String is the policy as a file, with CRLF.
func (p *Policy) String() string {
	var b strings.Builder
	b.WriteString("version: STSv1\r\nmode: " + string(p.Mode) + "\r\n")
	for _, m := range p.MX {
		b.WriteString("mx: " + m + "\r\n")
	}
	b.WriteString("max_age: " + strconv.FormatInt(int64(p.MaxAge/time.Second), 10) + "\r\n")
	return b.String()
}

// hostPattern reports whether s is a host name in A-labels, or a wildcard.
func hostPattern(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !alphanumeric(r) && r != '-' && r != '_' {
				return false
			}
		}
	}
	return true
}
