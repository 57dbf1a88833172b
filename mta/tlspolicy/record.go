package tlspolicy

import (
	"errors"
	"fmt"
	"strings"
)

// Reasons why a record or a policy is not used. Match them with errors.Is.
var (
	// ErrNone: the domain has no such record.
	ErrNone = errors.New("tlspolicy: no record")
	// ErrMultiple: there is more than one record, which counts as none (RFC
	// 8461 §3.1, RFC 8460 §3).
	ErrMultiple = errors.New("tlspolicy: more than one record")
	// ErrSyntax: the record or policy is malformed.
	ErrSyntax = errors.New("tlspolicy: malformed")
	// ErrTooLarge: the policy file is larger than MaxPolicyBytes.
	ErrTooLarge = errors.New("tlspolicy: policy file too large")
	// ErrUnusable: a TLSA record that a mail client cannot use (RFC 7672 §3.1).
	ErrUnusable = errors.New("tlspolicy: TLSA record not usable")
)

// STSRecord is the TXT record that announces a policy (RFC 8461 §3.1).
type STSRecord struct {
	// ID names the policy as it is now, 1 to 32 letters and digits: when it
	// changes the policy is to be fetched again.
	ID string
}

// ParseSTSRecord finds the record among the TXT records of _mta-sts.DOMAIN, of
// which each is the joined text of its strings. ErrNone if there is none,
// ErrMultiple and ErrSyntax otherwise; in all three cases the domain has no
// policy that can be fetched, but one that is cached stays.
func ParseSTSRecord(texts []string) (STSRecord, error) {
	text, err := only(texts, "v=STSv1")
	if err != nil {
		return STSRecord{}, err
	}
	fields, err := fields(text)
	if err != nil {
		return STSRecord{}, err
	}
	for _, f := range fields {
		if f.name != "id" {
			continue // extensions are ignored
		}
		if len(f.value) == 0 || len(f.value) > 32 || strings.IndexFunc(f.value, func(r rune) bool { return !alphanumeric(r) }) >= 0 {
			return STSRecord{}, fmt.Errorf("%w: id", ErrSyntax)
		}
		return STSRecord{ID: f.value}, nil
	}
	return STSRecord{}, fmt.Errorf("%w: no id", ErrSyntax)
}

// String is the record as it is published.
func (r STSRecord) String() string { return "v=STSv1; id=" + r.ID + ";" }

// ReportRecord is the TXT record that asks for reports about TLS (RFC 8460 §3).
type ReportRecord struct {
	// URIs are where reports go: "mailto:" or "https:", at least one. Others
	// are left out.
	URIs []string
}

// ParseReportRecord finds the record among the TXT records of _smtp._tls.DOMAIN.
// ErrNone if there is none, ErrMultiple and ErrSyntax otherwise; nobody wants
// reports then.
func ParseReportRecord(texts []string) (ReportRecord, error) {
	text, err := only(texts, "v=TLSRPTv1")
	if err != nil {
		return ReportRecord{}, err
	}
	fields, err := fields(text)
	if err != nil {
		return ReportRecord{}, err
	}
	for _, f := range fields {
		if f.name != "rua" {
			continue
		}
		var r ReportRecord
		// RFC 8460 §3: a comma or "!" within a URI is percent-encoded.
		for uri := range strings.SplitSeq(f.value, ",") {
			uri = strings.Trim(uri, " \t")
			scheme, rest, _ := strings.Cut(uri, ":")
			if (strings.EqualFold(scheme, "mailto") || strings.EqualFold(scheme, "https")) && rest != "" && printable(uri) {
				r.URIs = append(r.URIs, uri)
			}
		}
		if len(r.URIs) == 0 {
			return ReportRecord{}, fmt.Errorf("%w: no usable address in rua", ErrSyntax)
		}
		return r, nil
	}
	return ReportRecord{}, fmt.Errorf("%w: no rua", ErrSyntax)
}

// String is the record as it is published.
func (r ReportRecord) String() string { return "v=TLSRPTv1; rua=" + strings.Join(r.URIs, ",") }

// only returns the one text of a version. What does not begin with it and a
// semicolon is discarded (RFC 8461 §3.1, RFC 8460 §3); a bare version counts
// where there is nothing else, so that its owner hears what is wrong.
func only(texts []string, version string) (string, error) {
	found, n, bare := "", 0, false
	for _, t := range texts {
		rest, ok := strings.CutPrefix(t, version)
		if !ok {
			continue
		}
		// The grammar lets blanks stand before the semicolon, the text does not.
		rest = strings.TrimLeft(rest, " \t")
		bare = bare || rest == ""
		if after, ok := strings.CutPrefix(rest, ";"); ok {
			found, n = after, n+1
		}
	}
	switch {
	case n == 1 || n == 0 && bare:
		return found, nil
	case n == 0:
		return "", ErrNone
	}
	return "", ErrMultiple
}

type field struct{ name, value string }

// fields splits "name=value" pairs (RFC 8461 §3.1). Names count as they are
// written.
func fields(text string) ([]field, error) {
	var all []field
	for part := range strings.SplitSeq(text, ";") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok || !fieldName(name) || !printable(value) {
			return nil, fmt.Errorf("%w: field %.40q", ErrSyntax, part)
		}
		all = append(all, field{name, value})
	}
	return all, nil
}

// fieldName reports whether s names a field: up to 32 letters, digits, "_",
// "-" and ".", the first a letter or digit.
func fieldName(s string) bool {
	for i, r := range s {
		if !alphanumeric(r) && (i == 0 || r != '_' && r != '-' && r != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func alphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7F {
			return false
		}
	}
	return true
}
