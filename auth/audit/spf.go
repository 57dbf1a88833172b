package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/dns"
)

// Limits of an evaluation (RFC 7208 §4.6.4), and how long an answer may be so
// that it is not cut short on its way (§3.4).
const (
	spfLookups = 10
	spfVoid    = 2
	spfMXHosts = 10
	spfOctets  = 450
	spfDepth   = 20
)

// spfWalk counts what an evaluation costs at worst, when no mechanism matches.
type spfWalk struct {
	in      *inspection
	lookups int
	void    int
	open    bool            // a name holds a macro: what is behind it is not known
	seen    map[string]bool // domains whose record is being walked
}

// spf judges the domain's policy.
func (in *inspection) spf() {
	texts, ok := in.txt(SubjectSPF, in.domain)
	if !ok {
		return
	}
	all, total := policies(texts), 0
	for _, t := range texts {
		total += len(t)
	}
	for _, t := range all {
		in.found(SubjectSPF, in.domain, t)
	}
	switch len(all) {
	case 0:
		in.find(Finding{Code: SPFMissing, Subject: SubjectSPF, Name: in.domain, Text: "anybody may send with this domain as the sender", Should: in.spfShould()})
		return
	case 1:
	default:
		in.find(Finding{Code: SPFMultiple, Subject: SubjectSPF, Name: in.domain, Text: fmt.Sprintf("there are %d records, which makes the result permerror: they must be one", len(all)), Should: joined(all)})
		return
	}
	record, err := spf.Parse(all[0])
	if err != nil {
		in.find(Finding{Code: SPFSyntax, Subject: SubjectSPF, Name: in.domain, Record: all[0], Text: "the result is always permerror: " + err.Error()})
		return
	}
	if total > spfOctets {
		in.find(Finding{Code: SPFLong, Subject: SubjectSPF, Name: in.domain, Text: fmt.Sprintf("the TXT records of the name have %d octets, and over %d may not fit into a small answer", total, spfOctets)})
	}
	in.spfEnd(record, all[0])
	w := &spfWalk{in: in, seen: map[string]bool{in.domain: true}}
	w.record(in.domain, record, 0)
	w.judge()
}

// spfShould is the policy of a domain that has none.
func (in *inspection) spfShould() string {
	if in.opt.NoMail || len(in.hosts) == 0 {
		return "v=spf1 -all"
	}
	return "v=spf1 mx -all"
}

// joined makes one record of several, by their terms in order: each once, and
// redirect as an include, since all is at the end. Empty if one of them is not
// sound.
func joined(records []string) string {
	terms, last := []string{"v=spf1"}, "-all"
	explained := false
	for _, r := range records {
		for term := range strings.FieldsSeq(r[len("v=spf1"):]) {
			name, value, modifier := strings.Cut(term, "=")
			switch {
			case strings.EqualFold(strings.TrimLeft(name, "+-~?"), "all"):
				last = term
				continue
			case modifier && strings.EqualFold(name, "redirect"):
				term = "include:" + value
			case modifier && strings.EqualFold(name, "exp"):
				if explained {
					continue
				}
				explained = true
			}
			if !slices.Contains(terms, term) {
				terms = append(terms, term)
			}
		}
	}
	text := strings.Join(append(terms, last), " ")
	if _, err := spf.Parse(text); err != nil {
		return ""
	}
	return text
}

func policies(texts []string) (all []string) {
	for _, t := range texts {
		if spf.IsRecord(t) {
			all = append(all, t)
		}
	}
	return all
}

// spfEnd judges what a record says about everybody else.
func (in *inspection) spfEnd(r *spf.Record, text string) {
	for i, d := range r.Directives {
		if d.Kind != spf.All {
			continue
		}
		change := func(to string) string {
			terms := strings.Fields(text)
			terms[slices.Index(terms, d.Text)] = to
			return strings.Join(terms, " ")
		}
		switch d.Status {
		case spf.Pass:
			in.find(Finding{Code: SPFPassAll, Subject: SubjectSPF, Name: in.domain, Record: text, Text: "+all lets the whole world send in this domain's name", Should: change("-all")})
		case spf.Neutral:
			in.find(Finding{Code: SPFNeutral, Subject: SubjectSPF, Name: in.domain, Record: text, Text: "?all says nothing about other senders", Should: change("~all")})
		default:
			if in.opt.NoMail && (i > 0 || d.Status != spf.Fail) {
				in.find(Finding{Code: SPFNoMail, Subject: SubjectSPF, Name: in.domain, Record: text, Text: "the domain sends nothing, but some may send in its name", Should: "v=spf1 -all"})
			}
		}
		if i < len(r.Directives)-1 || !r.Redirect.IsZero() {
			in.find(Finding{Code: SPFAfterAll, Subject: SubjectSPF, Name: in.domain, Record: text, Text: "what stands behind all is never looked at, nor is redirect"})
		}
		return
	}
	if r.Redirect.IsZero() {
		in.find(Finding{Code: SPFNoEnd, Subject: SubjectSPF, Name: in.domain, Record: text, Text: "without all or redirect, other senders are neutral", Should: text + " ~all"})
	}
}

// record walks a policy.
func (w *spfWalk) record(domain string, r *spf.Record, depth int) {
	all := false
	for _, d := range r.Directives {
		switch d.Kind {
		case spf.All:
			all = true
		case spf.Include:
			w.policy(domain, d.Text, d.Domain, depth)
		case spf.A, spf.MX, spf.Exists:
			w.hosts(domain, d)
		case spf.PTR:
			w.lookups++
			w.in.find(Finding{Code: SPFPTR, Subject: SubjectSPF, Name: domain, Record: d.Text, Text: "ptr is slow and unreliable, and is not to be published"})
		}
		if all {
			return
		}
	}
	if !r.Redirect.IsZero() {
		w.policy(domain, "redirect="+r.Redirect.String(), r.Redirect, depth)
	}
}

// policy follows an include or a redirect.
func (w *spfWalk) policy(domain, term string, target spf.Macro, depth int) {
	w.lookups++
	name, literal := target.Literal()
	if !literal {
		w.open = true
		return
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	switch {
	case w.seen[name]:
		w.in.find(Finding{Code: SPFLoop, Subject: SubjectSPF, Name: domain, Record: term, Text: "the policy leads back to itself, which is a permerror"})
		return
	case depth >= spfDepth, w.lookups > 4*spfLookups:
		return // far beyond the limit already
	}
	texts, ok := w.in.txt(SubjectSPF, name)
	if !ok {
		return
	}
	all := policies(texts)
	if len(texts) == 0 {
		w.void++
	}
	if len(all) != 1 {
		w.in.find(Finding{Code: SPFDead, Subject: SubjectSPF, Name: domain, Record: term, Text: fmt.Sprintf("%s has %d policies, which makes the result permerror", name, len(all))})
		return
	}
	r, err := spf.Parse(all[0])
	if err != nil {
		w.in.find(Finding{Code: SPFSyntax, Subject: SubjectSPF, Name: name, Record: all[0], Text: "included by " + domain + ", this makes the result permerror: " + err.Error()})
		return
	}
	w.seen[name] = true
	w.record(name, r, depth+1)
	delete(w.seen, name)
}

// hosts looks up what a, mx and exists name.
func (w *spfWalk) hosts(domain string, d spf.Directive) {
	w.lookups++
	name := domain
	if !d.Domain.IsZero() {
		literal := false
		if name, literal = d.Domain.Literal(); !literal {
			w.open = true
			return
		}
	}
	if w.lookups > 4*spfLookups {
		return
	}
	n, err := 0, error(nil)
	if d.Kind == spf.MX {
		var answer dns.Answer[dns.MX]
		answer, err = lookup(w.in, name, w.in.a.Resolver.MX)
		n = len(answer.Records)
		if n > spfMXHosts {
			w.in.find(Finding{Code: SPFMXHosts, Subject: SubjectSPF, Name: domain, Record: d.Text, Text: fmt.Sprintf("%s has %d mail servers, and more than %d make the result permerror", name, n, spfMXHosts)})
		}
	} else {
		answer, e := lookup(w.in, name, w.in.a.Resolver.IP)
		n, err = len(answer.Records), e
	}
	switch {
	case err != nil && !dns.IsNotFound(err):
		w.in.failed(SubjectSPF, name, err)
	case n == 0:
		w.void++
		what := "no address"
		if d.Kind == spf.MX {
			what = "no mail server"
		}
		w.in.find(Finding{Code: SPFDead, Subject: SubjectSPF, Name: domain, Record: d.Text, Text: fmt.Sprintf("%s has %s: the term never matches, and costs one of the %d lookups that may find nothing", name, what, spfVoid)})
	}
}

// judge compares the counts with the limits.
func (w *spfWalk) judge() {
	more := ""
	if w.open {
		more = ", not counting what is behind macros"
	}
	f := Finding{Subject: SubjectSPF, Name: w.in.domain}
	switch {
	case w.lookups > spfLookups:
		f.Code, f.Text = SPFLookups, fmt.Sprintf("an evaluation may need %d lookups%s; more than %d make the result permerror", w.lookups, more, spfLookups)
	case w.lookups >= spfLookups-1:
		f.Code, f.Text = SPFNear, fmt.Sprintf("an evaluation may need %d lookups%s, of %d", w.lookups, more, spfLookups)
	}
	if f.Code != "" {
		w.in.find(f)
	}
	if w.void > spfVoid {
		w.in.find(Finding{Code: SPFVoid, Subject: SubjectSPF, Name: w.in.domain, Text: fmt.Sprintf("%d lookups find nothing; more than %d make the result permerror", w.void, spfVoid)})
	}
}
