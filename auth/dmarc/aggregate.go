package dmarc

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Namespace is that of aggregate reports (RFC 9990 §3). Reports of RFC 7489
// have none, or another.
const Namespace = "urn:ietf:params:xml:ns:dmarc-2.0"

// Aggregate is an aggregate report: what one receiver saw of one domain's mail
// in a span of time (RFC 9990 §3).
type Aggregate struct {
	// Org and Email say who reports, Contact how else to reach them.
	Org, Email, Contact string
	// ID is unique among the reports of Org.
	ID string
	// Begin and End enclose the span of time, in whole seconds.
	Begin, End time.Time
	// Errors are what the receiver has to say about the record.
	Errors []string
	// Generator is the software.
	Generator string
	// Published is the policy that applied.
	Published Published
	// Records are the rows. A reader hands them over one by one instead.
	Records []Row
}

// Published is a policy as a report tells it.
type Published struct {
	// Domain is where the record was found.
	Domain string
	// Method is how it was found: "treewalk" or "psl"; empty in old reports.
	Method string
	// Policy, Subdomains and NonExistent are p, sp and np. A report is written
	// with Policy for empty Subdomains.
	Policy, Subdomains, NonExistent Policy
	// StrictDKIM and StrictSPF are adkim=s and aspf=s.
	StrictDKIM, StrictSPF bool
	// Testing is t=y.
	Testing bool
	// FailureOptions is fo, as published.
	FailureOptions string
}

// Row is a number of messages with all the same outcome.
type Row struct {
	// Source is the address they came from, Count how many they are.
	Source netip.Addr
	Count  int64
	// Disposition is what was done with them: "pass", or the policy that was
	// applied: "none", "quarantine", "reject".
	Disposition string
	// DKIM and SPF say whether an aligned domain was confirmed.
	DKIM, SPF bool
	// Overrides are why the policy was not applied.
	Overrides []Override
	// HeaderFrom is the author domain, EnvelopeFrom the domain of MAIL FROM and
	// EnvelopeTo that of the recipient, empty where not told.
	HeaderFrom, EnvelopeFrom, EnvelopeTo string
	// Signatures are the outcomes of DKIM, Senders those of SPF.
	Signatures []SignatureResult
	Senders    []SenderResult
}

// Override is why a policy was not applied (RFC 9990 §3.1.6).
type Override struct {
	// Type is "local_policy", "mailing_list", "other", "policy_test_mode" or
	// "trusted_forwarder"; old reports have more.
	Type string
	// Comment is for people.
	Comment string
}

// SignatureResult is the outcome of one DKIM signature.
type SignatureResult struct {
	Domain, Selector string
	// Result is in the words of RFC 8601, Human for people.
	Result, Human string
}

// SenderResult is the outcome of SPF for one identity.
type SenderResult struct {
	Domain string
	// Scope is "mfrom" or "helo".
	Scope string
	// Result is in the words of RFC 8601, Human for people.
	Result, Human string
}

// ErrReport is the kind of all errors about reports that cannot be written or
// read.
var ErrReport = errors.New("dmarc: report")

// Filename is the name of the report's attachment (RFC 9990 §3.5.2).
func (a *Aggregate) Filename(receiver string) string {
	return fmt.Sprintf("%s!%s!%d!%d!%s.xml.gz", safeName(receiver), safeName(a.Published.Domain), a.Begin.Unix(), a.End.Unix(), safeName(a.ID))
}

// Subject is the subject of the mail that carries the report (RFC 9990 §3.5.2).
func (a *Aggregate) Subject(receiver string) string {
	return fmt.Sprintf("Report Domain: %s Submitter: %s Report-ID: %s", safeName(a.Published.Domain), safeName(receiver), safeName(a.ID))
}

// safeName leaves of a name what needs no escaping anywhere.
func safeName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r == '_' || r == '@' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return -1
	}, s)
}

// WriteGzip writes the report as the attachment has it: XML in gzip. The same
// report gives the same octets. Errors are w's, and ErrReport for one without
// domain, identifier, time or policy.
func (a *Aggregate) WriteGzip(w io.Writer) error {
	z := gzip.NewWriter(w)
	if err := a.WriteXML(z); err != nil {
		return err
	}
	return z.Close()
}

// WriteXML writes the report as XML; see WriteGzip. What stands in it of
// others' is escaped, and octets that cannot be in XML are replaced.
func (a *Aggregate) WriteXML(w io.Writer) error {
	p := a.Published
	switch {
	case p.Domain == "" || a.ID == "" || a.Org == "" || a.Email == "":
		return fmt.Errorf("%w: domain, identifier, organization or address is missing", ErrReport)
	case !a.Begin.Before(a.End):
		return fmt.Errorf("%w: no span of time", ErrReport)
	case p.Policy == "":
		return fmt.Errorf("%w: no policy", ErrReport)
	}
	x := &xmlWriter{w: bufio.NewWriter(w)}
	x.raw(xml.Header)
	x.raw(`<feedback xmlns="` + Namespace + `">`)
	x.element("version", "1.0")
	x.open("report_metadata")
	x.element("org_name", a.Org)
	x.element("email", a.Email)
	x.optional("extra_contact_info", a.Contact)
	x.element("report_id", a.ID)
	x.open("date_range")
	x.element("begin", strconv.FormatInt(a.Begin.Unix(), 10))
	x.element("end", strconv.FormatInt(a.End.Unix(), 10))
	x.close("date_range")
	for _, e := range a.Errors {
		x.element("error", e)
	}
	x.optional("generator", a.Generator)
	x.close("report_metadata")
	x.published(&p)
	for i := range a.Records {
		x.row(&a.Records[i])
	}
	x.raw("</feedback>\n")
	if x.err == nil {
		x.err = x.w.Flush()
	}
	return x.err
}

// xmlWriter writes elements; the first error stays.
type xmlWriter struct {
	w   *bufio.Writer
	err error
}

func (x *xmlWriter) raw(s string) {
	if x.err == nil {
		_, x.err = x.w.WriteString(s)
	}
}

func (x *xmlWriter) open(name string)  { x.tag("<", name) }
func (x *xmlWriter) close(name string) { x.tag("</", name) }

func (x *xmlWriter) tag(begin, name string) {
	x.raw(begin)
	x.raw(name)
	x.raw(">")
}

func (x *xmlWriter) element(name, value string) {
	x.open(name)
	switch {
	case plain(value):
		x.raw(value)
	case x.err == nil:
		x.err = xml.EscapeText(x.w, []byte(value))
	}
	x.close(name)
}

// plain reports whether a value needs no escaping, as nearly all do.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || strings.IndexByte(`<>&"'`, c) >= 0 {
			return false
		}
	}
	return true
}

func (x *xmlWriter) optional(name, value string) {
	if value != "" {
		x.element(name, value)
	}
}

// choice writes one of two words.
func (x *xmlWriter) choice(name string, is bool, yes, no string) {
	if is {
		no = yes
	}
	x.element(name, no)
}

func (x *xmlWriter) published(p *Published) {
	x.open("policy_published")
	x.element("domain", p.Domain)
	x.optional("discovery_method", p.Method)
	x.element("p", string(p.Policy))
	// Mandatory, and what holds where the record has none (RFC 9990 §3.1).
	x.element("sp", string(cmp.Or(p.Subdomains, p.Policy)))
	x.optional("np", string(p.NonExistent))
	x.optional("fo", p.FailureOptions)
	x.choice("adkim", p.StrictDKIM, "s", "r")
	x.choice("aspf", p.StrictSPF, "s", "r")
	x.choice("testing", p.Testing, "y", "n")
	x.close("policy_published")
}

func (x *xmlWriter) row(r *Row) {
	x.open("record")
	x.open("row")
	x.element("source_ip", r.Source.String())
	x.element("count", strconv.FormatInt(r.Count, 10))
	x.open("policy_evaluated")
	x.element("disposition", r.Disposition)
	x.choice("dkim", r.DKIM, "pass", "fail")
	x.choice("spf", r.SPF, "pass", "fail")
	for _, o := range r.Overrides {
		x.open("reason")
		x.element("type", o.Type)
		x.optional("comment", o.Comment)
		x.close("reason")
	}
	x.close("policy_evaluated")
	x.close("row")
	x.open("identifiers")
	x.element("header_from", r.HeaderFrom)
	x.optional("envelope_from", r.EnvelopeFrom)
	x.optional("envelope_to", r.EnvelopeTo)
	x.close("identifiers")
	x.open("auth_results")
	for _, s := range r.Signatures {
		x.open("dkim")
		x.element("domain", s.Domain)
		x.element("selector", s.Selector) // RFC 9990 §3.1.5: no longer optional
		x.element("result", s.Result)
		x.optional("human_result", s.Human)
		x.close("dkim")
	}
	for _, s := range r.Senders {
		x.open("spf")
		x.element("domain", s.Domain)
		x.optional("scope", s.Scope)
		x.element("result", s.Result)
		x.optional("human_result", s.Human)
		x.close("spf")
	}
	x.close("auth_results")
	x.close("record")
}
