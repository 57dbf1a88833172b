package spf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Step is one term as it was evaluated. A term that leads to another record
// comes after the steps of that record.
type Step struct {
	// Depth is 0 for the checked domain's record, 1 for what it includes or
	// redirects to, and so on.
	Depth int
	// Domain owns the record.
	Domain string
	// Term is the term as published; "TXT" stands for fetching the record.
	Term string
	// Outcome is "match", "no match", a Status, or what went wrong.
	Outcome string
	// Lookups are what was asked for the term, in order.
	Lookups []Lookup
}

// Lookup is one question to the DNS and what came back. It must not be changed.
type Lookup struct {
	// Type is the record type: "TXT", "MX", "A", "AAAA" or "PTR".
	Type string
	// Name is what was asked for, without final dot; an address for PTR.
	Name string
	// Err is why there is no answer, or no whole one; nil if there is.
	Err error

	texts       []string
	ips         []netip.Addr
	visit, term int
}

const (
	maxTrace       = 200
	maxAnswers     = 16  // of one lookup that are shown
	maxShownAnswer = 450 // octets of each
)

// Answers are the records as text, the first 16, each cut to 450 octets. They may
// hold any octets.
func (l *Lookup) Answers() []string {
	var out []string
	for _, s := range l.texts[:min(len(l.texts), maxAnswers)] {
		out = append(out, s[:min(len(s), maxShownAnswer)])
	}
	for _, ip := range l.ips[:min(len(l.ips), maxAnswers)] {
		out = append(out, ip.String())
	}
	return out
}

// Void says that the DNS has no such record: the name does not exist (NXDOMAIN)
// or has no records of the type (NODATA). They count alike (RFC 7208 §4.6.4).
func (l *Lookup) Void() bool {
	return len(l.texts)+len(l.ips) == 0 && (l.Err == nil || notFound(l.Err))
}

// String is the lookup in one line of printable ASCII: "A mx.example.org:
// 192.0.2.1, 192.0.2.2". With package dns as Resolver it tells NXDOMAIN from
// NODATA.
func (l *Lookup) String() string {
	s := l.Type + " " + plain(l.Name) + ": "
	var nx interface{ NXDOMAIN() bool }
	switch n := len(l.texts) + len(l.ips); {
	case n > 0:
		for i, a := range l.Answers() {
			if i > 0 {
				s += ", "
			}
			if l.Type == "TXT" {
				s += strconv.QuoteToASCII(a)
			} else {
				s += plain(a)
			}
		}
		if n > maxAnswers {
			s += fmt.Sprintf(" and %d more", n-maxAnswers)
		}
		return s
	case !l.Void():
		return s + plain(l.Err.Error())
	case !errors.As(l.Err, &nx):
		return s + "nothing"
	case nx.NXDOMAIN():
		return s + "no such name (NXDOMAIN)"
	}
	return s + "no such record (NODATA)"
}

// plain is text of strangers in ASCII, quoted if it has to be, and cut.
func plain(s string) string {
	s = s[:min(len(s), maxShownAnswer)]
	if s != "" && printable(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// visit is the evaluation of one record, as far as it went. Terms are counted
// from 0: those before last did not match.
type visit struct {
	depth     int
	domain    string
	rec       *Record // nil if there is none
	found     string  // outcome of fetching it
	parent    int     // visit and term that led here
	via       int
	last      int // evaluated last; -1 for none
	outcome   string
	redirect  string // outcome of that, if it was followed
	exp, told string // the explanation and how it came out
}

// The terms of a visit that are no directives.
const (
	termTXT      = -1
	termRedirect = 1 << 30
	termExp      = termRedirect + 1
)

// asked keeps a lookup for the trace.
func (e *evaluation) asked(typ, name string, texts []string, ips []netip.Addr, err error) {
	if len(e.log) < maxTrace {
		e.log = append(e.log, Lookup{Type: typ, Name: name, Err: err, texts: texts, ips: ips, visit: e.visit, term: e.term})
	}
}

// describe is an outcome of match: None means no match and Pass match.
func describe(o outcome) string {
	switch {
	case o.err != nil:
		return o.status.String() + ": " + o.err.Error()
	case o.status == Pass:
		return "match"
	}
	return "no match"
}

// record is what Result.Trace is made of.
type record struct {
	visits []visit
	log    []Lookup
}

// Trace tells how the result came about, step by step: at most 200.
func (r *Result) Trace() []Step {
	t := tracer{record: r.trace}
	if len(t.visits) > 0 {
		t.visit(0)
	}
	return t.steps
}

type tracer struct {
	record
	steps []Step
	next  int // visit
}

func (t *tracer) step(v int, term int, text, outcome string) {
	if len(t.steps) >= maxTrace {
		return
	}
	s := Step{Depth: t.visits[v].depth, Domain: t.visits[v].domain, Term: text, Outcome: outcome}
	for i := range t.log {
		if t.log[i].visit == v && t.log[i].term == term {
			s.Lookups = append(s.Lookups, t.log[i])
		}
	}
	t.steps = append(t.steps, s)
}

// visit adds the steps of a visit. Those of the records that a term leads to
// come before the term's.
func (t *tracer) visit(i int) {
	t.next = i + 1
	v := &t.visits[i]
	t.step(i, termTXT, "TXT", v.found)
	if v.rec == nil {
		return
	}
	for n := range v.rec.Directives[:v.last+1] {
		t.below(i, n)
		outcome := "no match"
		if n == v.last {
			outcome = v.outcome
		}
		t.step(i, n, v.rec.Directives[n].Text, outcome)
	}
	if v.redirect != "" {
		t.below(i, termRedirect)
		t.step(i, termRedirect, "redirect="+v.rec.Redirect.String(), v.redirect)
	}
	if v.told != "" {
		t.step(i, termExp, "exp="+v.exp, v.told)
	}
}

func (t *tracer) below(i, term int) {
	if n := t.next; n < len(t.visits) && t.visits[n].parent == i && t.visits[n].via == term {
		t.visit(n)
	}
}

// The lookups, each kept for the trace.

func (e *evaluation) lookupTXT(name string) ([]string, error) {
	txts, err := e.resolver.LookupTXT(e.ctx, name+".")
	e.asked("TXT", name, txts, nil, err)
	return txts, err
}

func (e *evaluation) lookupMX(name string) ([]*net.MX, error) {
	mxs, err := e.resolver.LookupMX(e.ctx, name+".")
	hosts := make([]string, len(mxs))
	for i, mx := range mxs {
		hosts[i] = mx.Host
	}
	e.asked("MX", name, hosts, nil, err)
	return mxs, err
}

func (e *evaluation) lookupPTR() ([]string, error) {
	ip := e.ip.String()
	names, err := e.resolver.LookupAddr(e.ctx, ip)
	e.asked("PTR", ip, names, nil, err)
	return names, err
}

// addresses looks up the host's addresses of a family.
func (e *evaluation) addresses(host, network string) (ips []netip.Addr, void bool, bad *outcome) {
	ips, err := e.resolver.LookupNetIP(e.ctx, network, host+".")
	typ := "A"
	if network == "ip6" {
		typ = "AAAA"
	}
	e.asked(typ, host, nil, ips, err)
	switch {
	case err == nil || len(ips) > 0:
		return ips, len(ips) == 0, nil
	case notFound(err):
		return nil, true, nil
	}
	o := problem(TempError, e.cause(err))
	return nil, false, &o
}

// Explain tells people how the result came about: a few words on the check, then
// line by line what was evaluated and looked up, nested as the records are. It
// is printable ASCII but for line feeds: what strangers wrote is quoted.
func (r Result) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s from %s\n", r.Status, r.Identity, plain(r.Sender), r.IP)
	trace := r.Trace()
	if r.Err != nil && len(trace) == 0 {
		b.WriteString("  " + plain(r.Err.Error()) + "\n")
	}
	for _, n := range tree(trace) {
		n.write(&b, 1)
	}
	if len(trace) >= maxTrace {
		b.WriteString("  and more\n")
	}
	if r.Mechanism != "" {
		b.WriteString("decided by " + plain(r.Mechanism) + ", ")
	}
	fmt.Fprintf(&b, "terms with lookups: %d, of these without result: %d\n", r.Lookups, r.VoidLookups)
	if r.Explanation != "" {
		b.WriteString("the domain says: " + strconv.QuoteToASCII(r.Explanation) + "\n")
	}
	return b.String()
}

// node is a step with those of the record it leads to.
type node struct {
	step *Step
	sub  []node
}

// tree nests steps, which come after what they lead to.
func tree(trace []Step) []node {
	var nodes []node
	for i := range trace {
		s := &trace[i]
		first := len(nodes)
		for first > 0 && nodes[first-1].step.Depth > s.Depth {
			first--
		}
		sub := append([]node(nil), nodes[first:]...)
		nodes = append(nodes[:first], node{s, sub})
	}
	return nodes
}

func (n node) write(b *strings.Builder, indent int) {
	s := n.step
	pad := strings.Repeat("  ", min(indent, maxTrace))
	if s.Term == "TXT" {
		b.WriteString(pad + "record of " + plain(s.Domain) + ": " + plain(s.Outcome) + "\n")
	} else {
		b.WriteString(pad + plain(s.Term) + ": " + plain(s.Outcome) + "\n")
	}
	for i := range s.Lookups {
		b.WriteString(pad + "  ? " + s.Lookups[i].String() + "\n")
	}
	for _, c := range n.sub {
		c.write(b, indent+1)
	}
}
