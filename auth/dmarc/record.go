package dmarc

import (
	"net/url"
	"strings"
)

// Policy is what an owner wants done with mail that fails (RFC 9989 §4.7).
type Policy string

// The policies, from the mildest.
const (
	None       Policy = "none"
	Quarantine Policy = "quarantine"
	Reject     Policy = "reject"
)

// lower is the policy in test mode (RFC 9989 §4.7, tag t).
func (p Policy) lower() Policy {
	if p == Reject {
		return Quarantine
	}
	return None
}

// PSD is the value of the psd tag: whether a domain is a Public Suffix Domain.
type PSD string

const (
	// PSDUnknown is the default: the tree walk decides.
	PSDUnknown PSD = "u"
	// PSDYes: the domain is a public suffix.
	PSDYes PSD = "y"
	// PSDNo: the domain is an Organizational Domain.
	PSDNo PSD = "n"
)

// Record is a DMARC policy record (RFC 9989 §4.7).
type Record struct {
	// Policy is p, for the domain itself and, without the next two, all below.
	Policy Policy
	// Subdomains is sp, for existing subdomains; empty where it is not given.
	Subdomains Policy
	// NonExistent is np, for subdomains that do not exist; empty where it is
	// not given.
	NonExistent Policy
	// StrictDKIM and StrictSPF are adkim=s and aspf=s.
	StrictDKIM, StrictSPF bool
	// PSD is psd.
	PSD PSD
	// Testing is t=y: the owner expects each policy to be applied one level
	// milder.
	Testing bool
	// AggregateURIs and FailureURIs are the valid URIs of rua and ruf, without
	// the size limits of RFC 7489.
	AggregateURIs, FailureURIs []string
	// FailureOptions is fo as a set of the characters 0, 1, d, s; "0" by
	// default, and without a valid ruf.
	FailureOptions string
	// Unusable: p is missing or not valid, or sp or np is not valid, and there
	// is no valid rua: DMARC is not applied (RFC 9989 §4.10.1). With a valid
	// rua the record is read as if it held p=none alone.
	Unusable bool
}

const maxRecord = 8 << 10

// ParseRecord parses the text of a policy record. The only error is
// ErrNotDMARC: anything wrong behind the version is ignored or replaced by its
// default (RFC 9989 §4.8), or makes the record Unusable. Of repeated tags the
// first counts. Text over 8 KiB is not read.
func ParseRecord(txt string) (*Record, error) {
	if len(txt) > maxRecord {
		return nil, ErrNotDMARC
	}
	first, rest, _ := strings.Cut(txt, ";")
	// RFC 9989 §4.7: v comes first and its value is case-sensitive.
	if name, value, _ := strings.Cut(first, "="); trimWSP(name) != "v" || name[0] != 'v' || trimWSP(value) != "DMARC1" {
		return nil, ErrNotDMARC
	}
	r := &Record{PSD: PSDUnknown, FailureOptions: "0"}
	valid := false // a valid p, no invalid sp or np
	bad := false
	seen := make(map[string]bool, 12)
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, ok := strings.Cut(tag, "=")
		name, value = trimWSP(name), trimWSP(value)
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "p":
			r.Policy, valid = parsePolicy(value)
		case "sp":
			if r.Subdomains, ok = parsePolicy(value); !ok {
				bad = true
			}
		case "np":
			if r.NonExistent, ok = parsePolicy(value); !ok {
				bad = true
			}
		default:
			r.set(name, value)
		}
	}
	if len(r.FailureURIs) == 0 { // RFC 9989 §4.7: fo must be ignored then
		r.FailureOptions = "0"
	}
	if !valid || bad {
		r.Policy, r.Subdomains, r.NonExistent = None, "", ""
		r.Unusable = len(r.AggregateURIs) == 0
	}
	return r, nil
}

// set takes over a tag whose errors are harmless; unknown ones are ignored.
func (r *Record) set(name, value string) {
	switch name {
	case "adkim":
		r.StrictDKIM = strings.EqualFold(value, "s")
	case "aspf":
		r.StrictSPF = strings.EqualFold(value, "s")
	case "t":
		r.Testing = strings.EqualFold(value, "y")
	case "psd":
		switch p := PSD(strings.ToLower(value)); p {
		case PSDYes, PSDNo:
			r.PSD = p
		}
	case "rua":
		r.AggregateURIs = parseURIs(value)
	case "ruf":
		r.FailureURIs = parseURIs(value)
	case "fo":
		r.FailureOptions = parseOptions(value)
	}
}

func parsePolicy(s string) (Policy, bool) {
	switch p := Policy(strings.ToLower(s)); p {
	case None, Quarantine, Reject:
		return p, true
	}
	return "", false
}

// parseURIs returns the valid URIs of a list. "!" and "," have to be encoded
// within a URI, so that what follows "!" is the obsolete size limit, which is
// ignored (RFC 9989 §4.8).
func parseURIs(list string) (out []string) {
	for item := range strings.SplitSeq(list, ",") {
		item, _, _ = strings.Cut(trimWSP(item), "!")
		if validURI(item) {
			out = append(out, item)
		}
	}
	return out
}

func validURI(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" {
		return false
	}
	if u.Scheme == "mailto" { // RFC 6068 §2
		at := strings.LastIndexByte(u.Opaque, '@')
		return at > 0 && at < len(u.Opaque)-1
	}
	return u.Opaque != "" || u.Host != "" || u.Path != ""
}

// parseOptions reads fo; 0 and 1 exclude each other (RFC 9989 §4.7).
func parseOptions(s string) string {
	out := ""
	for o := range strings.SplitSeq(s, ":") {
		o = strings.ToLower(trimWSP(o))
		if len(o) != 1 || !strings.Contains("01ds", o) || strings.Contains(out, o) {
			return "0"
		}
		out += o
	}
	if strings.Contains(out, "0") && strings.Contains(out, "1") {
		return "0"
	}
	return out
}

func trimWSP(s string) string { return strings.Trim(s, " \t") }

// String writes the record as it is published, without tags that have their
// default values.
func (r *Record) String() string {
	var b strings.Builder
	b.WriteString("v=DMARC1")
	add := func(name, value string) {
		if value != "" {
			b.WriteString("; " + name + "=" + value)
		}
	}
	flag := func(name, value string, set bool) {
		if set {
			add(name, value)
		}
	}
	add("p", string(r.Policy))
	add("sp", string(r.Subdomains))
	add("np", string(r.NonExistent))
	flag("adkim", "s", r.StrictDKIM)
	flag("aspf", "s", r.StrictSPF)
	flag("psd", string(r.PSD), r.PSD != PSDUnknown)
	flag("t", "y", r.Testing)
	add("rua", strings.Join(r.AggregateURIs, ","))
	add("ruf", strings.Join(r.FailureURIs, ","))
	flag("fo", strings.Join(strings.Split(r.FailureOptions, ""), ":"), r.FailureOptions != "0")
	return b.String()
}
