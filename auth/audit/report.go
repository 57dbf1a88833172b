package audit

import (
	"fmt"
	"io"
	"strings"
)

// Severity is how bad a finding is.
type Severity int

// The severities.
const (
	// Note: worth knowing, nothing is wrong.
	Note Severity = iota + 1
	// Warning: it works, but less well or less safely than it could.
	Warning
	// Fault: mail is lost, refused or unprotected because of it.
	Fault
)

// String names the severity in lower case.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Fault:
		return "fault"
	}
	return "unknown"
}

// Subject is what a record is for.
type Subject string

// The subjects.
const (
	SubjectDNS    Subject = "DNS"
	SubjectMX     Subject = "MX"
	SubjectSPF    Subject = "SPF"
	SubjectDKIM   Subject = "DKIM"
	SubjectDMARC  Subject = "DMARC"
	SubjectSTS    Subject = "MTA-STS"
	SubjectTLSRPT Subject = "TLSRPT"
	SubjectDANE   Subject = "DANE"
	SubjectBIMI   Subject = "BIMI"
)

// Finding is one thing that is wrong, or worth knowing.
type Finding struct {
	Severity Severity
	Code     Code
	Subject  Subject
	// Name is the DNS name (or URL) it is about, Record what was found there;
	// it may hold any octets.
	Name, Record string
	// Text says what is wrong, in English.
	Text string
	// Reference is the RFC and section that says so; empty where none does.
	Reference string
	// Should is what the record should read; empty where that depends.
	Should string
}

// Published is a record that was found.
type Published struct {
	Subject Subject
	Name    string
	// Text is the record; of DNS types that are no text, as in a zone file.
	Text string
}

// Report is the outcome of an audit.
type Report struct {
	// Domain is the domain as A-label, in lower case.
	Domain string
	// Records are what was found, in the order in which they were looked up.
	Records []Published
	// Findings are in the order of the subjects, not of severity.
	Findings []Finding
	// Lookups is how many lookups were made.
	Lookups int
}

// Has reports whether there is a finding with the code.
func (r *Report) Has(code Code) bool {
	for _, f := range r.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

// Worst is the severity of the worst finding, 0 if there is none.
func (r *Report) Worst() Severity {
	worst := Severity(0)
	for _, f := range r.Findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

// WriteTo writes the report for people, in English: per subject the records,
// then what is wrong with them. Octets that do not print are escaped.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", clean(r.Domain), r.summary())
	for _, s := range []Subject{SubjectDNS, SubjectMX, SubjectSPF, SubjectDKIM, SubjectDMARC, SubjectSTS, SubjectTLSRPT, SubjectDANE, SubjectBIMI} {
		r.section(&b, s)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func (r *Report) summary() string {
	count := make(map[Severity]int)
	for _, f := range r.Findings {
		count[f.Severity]++
	}
	if len(r.Findings) == 0 {
		return "nothing to mend"
	}
	var parts []string
	for _, s := range []Severity{Fault, Warning, Note} {
		switch n := count[s]; {
		case n == 1:
			parts = append(parts, "1 "+s.String())
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

func (r *Report) section(b *strings.Builder, s Subject) {
	head := false
	begin := func() {
		if !head {
			fmt.Fprintf(b, "\n%s\n", s)
			head = true
		}
	}
	for _, p := range r.Records {
		if p.Subject == s {
			begin()
			fmt.Fprintf(b, "  %s  %s\n", clean(p.Name), clean(p.Text))
		}
	}
	for _, f := range r.Findings {
		if f.Subject != s {
			continue
		}
		begin()
		fmt.Fprintf(b, "  %s: %s: %s", f.Severity, clean(f.Name), clean(f.Text))
		if f.Reference != "" {
			fmt.Fprintf(b, " (%s)", f.Reference)
		}
		fmt.Fprintf(b, " [%s]\n", f.Code)
		if f.Should != "" {
			fmt.Fprintf(b, "    should read: %s\n", clean(f.Should))
		}
	}
}

// clean escapes what would move a terminal's cursor, and cuts what is long.
func clean(s string) string {
	const most = 1000
	cut := ""
	if len(s) > most {
		s, cut = s[:most], "…"
	}
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7F:
			fmt.Fprintf(&b, "\\x%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + cut
}
