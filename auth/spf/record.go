package spf

import (
	"net/netip"
	"strconv"
	"strings"
)

// maxRecord bounds the text of a record in octets. DNS allows little more.
const maxRecord = 64 << 10

// Kind is the kind of a mechanism (RFC 7208 §5).
type Kind uint8

// The mechanisms.
const (
	All     Kind = iota + 1 // §5.1
	Include                 // §5.2
	A                       // §5.3
	MX                      // §5.4
	PTR                     // §5.5, not to be published
	IP4                     // §5.6
	IP6                     // §5.6
	Exists                  // §5.7
)

var kindNames = [...]string{All: "all", Include: "include", A: "a", MX: "mx", PTR: "ptr", IP4: "ip4", IP6: "ip6", Exists: "exists"}

// kindOf is 0 for what is no mechanism.
func kindOf(name string) Kind {
	for k, n := range kindNames {
		if len(n) == len(name) && n != "" && strings.EqualFold(n, name) {
			return Kind(k)
		}
	}
	return 0
}

// Record is a parsed policy (RFC 7208 §4.6.1).
type Record struct {
	// Directives are the mechanisms in order.
	Directives []Directive
	// Redirect is where to go on when no mechanism matches (§6.1); ignored when
	// there is an "all". Zero when absent.
	Redirect Macro
	// Exp names the explanation (§6.2). Zero when absent.
	Exp Macro
	// Unknown are the modifiers that RFC 7208 does not define, as published.
	Unknown []string
}

// Directive is a qualified mechanism.
type Directive struct {
	// Status is the result when the mechanism matches: Pass, Fail, SoftFail or
	// Neutral for the qualifiers + - ~ ?.
	Status Status
	// Kind is the mechanism.
	Kind Kind
	// Domain is the domain-spec; zero where it is left out or not allowed.
	Domain Macro
	// Network is the network of ip4 and ip6, masked.
	Network netip.Prefix
	// Bits4 and Bits6 are the prefix lengths of a and mx: 32 and 128 when left out.
	Bits4, Bits6 int
	// Text is the directive as published.
	Text string
}

// SyntaxError says why a record is not valid (RFC 7208 §4.6: permerror).
type SyntaxError struct {
	// Term is the offending term as published, shortened to 100 octets; it may
	// hold any octets.
	Term string
	// Reason is plain English.
	Reason string
}

// Error describes the defect; the term is quoted.
func (e *SyntaxError) Error() string {
	return "spf: syntax error in " + strconv.QuoteToASCII(e.Term) + ": " + e.Reason
}

func syntaxError(term, reason string) *SyntaxError {
	return &SyntaxError{Term: term[:min(len(term), 100)], Reason: reason}
}

// IsRecord reports whether a TXT record is a policy, valid or not: it begins
// with the version "v=spf1", in any case, then ends or goes on with a space
// (RFC 7208 §4.5).
func IsRecord(txt string) bool {
	const version = "v=spf1"
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// Parse reads a whole record. Any error anywhere in it is a *SyntaxError
// (RFC 7208 §4.6).
func Parse(record string) (*Record, error) {
	if !IsRecord(record) {
		return nil, syntaxError(record, "does not begin with v=spf1")
	}
	if len(record) > maxRecord {
		return nil, syntaxError(record, "longer than 64 KiB")
	}
	r := &Record{Directives: make([]Directive, 0, min(strings.Count(record, " "), 64))}
	for term := range strings.SplitSeq(record[len("v=spf1"):], " ") {
		if term == "" {
			continue
		}
		if err := r.parseTerm(term); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Record) parseTerm(term string) error {
	for i := 0; i < len(term); i++ {
		if term[i] <= ' ' || term[i] > '~' {
			return syntaxError(term, "octets other than visible ASCII")
		}
	}
	if name, value, ok := strings.Cut(term, "="); ok && isModifierName(name) {
		return r.parseModifier(term, name, value)
	}
	r.Directives = append(r.Directives, Directive{Status: Pass, Bits4: 32, Bits6: 128, Text: term})
	if reason := r.Directives[len(r.Directives)-1].parse(); reason != "" {
		return syntaxError(term, reason)
	}
	return nil
}

// isModifierName: name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ), §4.6.1.
func isModifierName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !isAlpha(c) && (i == 0 || !isDigit(c) && c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != ""
}

func (r *Record) parseModifier(term, name, value string) error {
	var dst *Macro
	switch {
	case strings.EqualFold(name, "redirect"):
		dst = &r.Redirect
	case strings.EqualFold(name, "exp"):
		dst = &r.Exp
	default: // must be well-formed, then is ignored (§6)
		if _, reason := parseMacro(value, anyMacro); reason != "" {
			return syntaxError(term, reason)
		}
		r.Unknown = append(r.Unknown, term)
		return nil
	}
	if !dst.IsZero() { // §6: MUST NOT appear more than once each
		return syntaxError(term, "modifier appears twice")
	}
	m, reason := parseDomainSpec(value)
	if reason != "" {
		return syntaxError(term, reason)
	}
	*dst = m
	return nil
}

// parse reads the directive's text; the reason is empty if that is well.
func (d *Directive) parse() (reason string) {
	rest := d.Text
	switch rest[0] {
	case '+':
		rest = rest[1:]
	case '-':
		d.Status, rest = Fail, rest[1:]
	case '~':
		d.Status, rest = SoftFail, rest[1:]
	case '?':
		d.Status, rest = Neutral, rest[1:]
	}
	end := strings.IndexAny(rest, ":/")
	if end < 0 {
		end = len(rest)
	}
	name, arg := rest[:end], rest[end:]
	d.Kind = kindOf(name)
	switch d.Kind {
	case All:
		if arg != "" {
			return "all takes no argument"
		}
	case IP4, IP6:
		d.Network, reason = parseNetwork(d.Kind, arg)
	case A, MX:
		if arg, reason = d.cutPrefixLengths(arg); reason == "" {
			reason = d.parseDomain(arg, false)
		}
	case Include, Exists:
		reason = d.parseDomain(arg, true)
	case PTR:
		reason = d.parseDomain(arg, false)
	default:
		reason = "unknown mechanism"
	}
	return reason
}

func (d *Directive) parseDomain(arg string, required bool) (reason string) {
	if arg == "" {
		if required {
			return "domain missing"
		}
		return ""
	}
	if arg[0] != ':' {
		return "prefix length not allowed here, or malformed"
	}
	d.Domain, reason = parseDomainSpec(arg[1:])
	if _, err := netip.ParseAddr(arg[1:]); err == nil {
		reason = "an IP address where a domain name belongs: use ip4 or ip6"
	}
	return reason
}

// cutPrefixLengths takes [ "/" ip4 ] [ "//" ip6 ] off the end (§5.6). A
// domain-spec can contain slashes but never ends in one with digits.
func (d *Directive) cutPrefixLengths(arg string) (rest, reason string) {
	cut := func(s string) (before, digits string) {
		i := strings.LastIndexByte(s, '/')
		if i < 0 || i+1 == len(s) {
			return s, ""
		}
		for _, c := range []byte(s[i+1:]) {
			if !isDigit(c) {
				return s, ""
			}
		}
		return s[:i], s[i+1:]
	}
	rest = arg
	ok := true
	if before, digits := cut(rest); digits != "" && strings.HasSuffix(before, "/") {
		if d.Bits6, ok = prefixLength(digits, 128); !ok {
			return "", "bad IPv6 prefix length"
		}
		rest = before[:len(before)-1]
	}
	if before, digits := cut(rest); digits != "" {
		if d.Bits4, ok = prefixLength(digits, 32); !ok {
			return "", "bad IPv4 prefix length"
		}
		rest = before
	}
	return rest, ""
}

// prefixLength reads a number without leading zeros up to a maximum.
func prefixLength(s string, most int) (int, bool) {
	if len(s) == 0 || len(s) > 3 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= most
}

// parseNetwork reads the argument of ip4 and ip6 (§5.6).
func parseNetwork(k Kind, arg string) (p netip.Prefix, reason string) {
	if len(arg) < 2 || arg[0] != ':' {
		return p, "network missing"
	}
	text, length, sliced := strings.Cut(arg[1:], "/")
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" || ip.Is4() != (k == IP4) {
		return p, "bad IP address"
	}
	bits := ip.BitLen()
	if sliced {
		var ok bool
		if bits, ok = prefixLength(length, ip.BitLen()); !ok {
			return p, "bad prefix length"
		}
	}
	p, err = ip.Prefix(bits)
	if err != nil {
		return p, "bad prefix length"
	}
	return p, ""
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
