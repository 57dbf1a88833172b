package spf

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// evaluation is the state of one check over all its records.
type evaluation struct {
	ctx      context.Context
	resolver Resolver
	ip       netip.Addr
	network  string // "ip4" or "ip6": the family of ip
	helo     string
	local    string // of the sender
	domain   string // of the sender
	receiver string

	lookups, lookupsLeft int
	voids, voidsLeft     int
	mxHosts, ptrNames    int

	ptrDone bool     // names and ptrVoid are set
	names   []string // of ip, validated
	ptrVoid bool     // ip has no names at all

	record
	visit, term int // under evaluation
}

// outcome is the result of check_host for one domain.
type outcome struct {
	status    Status
	mechanism string
	err       error
	exp       Macro  // of the record that decided
	domain    string // that owns it
	visit     int    // of that
}

func problem(s Status, err error) outcome { return outcome{status: s, err: err} }

// checkHost is check_host of RFC 7208 §4 for a domain in canonical form, to which
// a term of the visit parent leads.
func (e *evaluation) checkHost(domain string, parent int) outcome {
	me, via := len(e.visits), e.term
	e.visits = append(e.visits, visit{domain: domain, parent: parent, via: via, last: -1, found: "found"})
	if parent >= 0 {
		e.visits[me].depth = e.visits[parent].depth + 1
	}
	e.visit, e.term = me, termTXT
	o := e.evaluate(domain, me)
	e.visit, e.term = parent, via
	return o
}

func (e *evaluation) evaluate(domain string, me int) outcome {
	rec, o := e.fetch(domain)
	if rec == nil {
		e.visits[me].found = "none"
		if o.err != nil {
			e.visits[me].found = describe(o)
		}
		return o
	}
	e.visits[me].rec = rec
	o = outcome{status: Neutral, domain: domain, exp: rec.Exp, visit: me} // §4.7: neutral by default
	hasAll := false
	for i := range rec.Directives {
		d := &rec.Directives[i]
		hasAll = hasAll || d.Kind == All
		e.term, e.visits[me].last = i, i
		match, bad := e.match(d, domain, me)
		switch {
		case bad != nil:
			e.visits[me].outcome = describe(*bad)
			bad.mechanism = d.Text
			return *bad
		case match:
			e.visits[me].outcome = "match"
			o.status, o.mechanism = d.Status, d.Text
			return o
		}
	}
	if len(rec.Directives) > 0 {
		e.visits[me].outcome = "no match"
	}
	if rec.Redirect.IsZero() || hasAll || e.neverMatches(rec.Redirect) { // §6.1
		return o
	}
	e.term = termRedirect
	o = e.redirect(rec.Redirect, domain, me)
	e.visits[me].redirect = o.status.String()
	if o.err != nil {
		e.visits[me].redirect = describe(o)
	}
	if o.mechanism == "" {
		o.mechanism = "redirect=" + rec.Redirect.String()
	}
	return o
}

// redirect is §6.1.
func (e *evaluation) redirect(to Macro, domain string, me int) outcome {
	if !e.count() {
		return problem(PermError, ErrLookupLimit)
	}
	target, ok := e.target(to, domain)
	if !ok {
		return problem(PermError, ErrNoPolicy)
	}
	o := e.checkHost(target, me)
	if o.status == None {
		o = problem(PermError, ErrNoPolicy)
	}
	return o
}

// fetch gets and parses the policy of a domain (§4.4–4.6).
func (e *evaluation) fetch(domain string) (*Record, outcome) {
	txts, err := e.lookupTXT(domain)
	if err != nil && len(txts) == 0 {
		if notFound(err) {
			return nil, outcome{}
		}
		return nil, problem(TempError, e.cause(err))
	}
	policy, found := "", false
	for _, txt := range txts {
		if IsRecord(txt) {
			if found {
				return nil, problem(PermError, ErrMultipleRecords) // §4.5
			}
			policy, found = txt, true
		}
	}
	if !found {
		return nil, outcome{}
	}
	rec, err := Parse(policy)
	if err != nil {
		return nil, problem(PermError, err)
	}
	return rec, outcome{status: Neutral}
}

// cause prefers our own time-out to how a resolver reports it.
func (e *evaluation) cause(err error) error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	return err
}

func notFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}

// count takes one term that needs the DNS from the allowance (§4.6.4).
func (e *evaluation) count() bool {
	if e.lookupsLeft == 0 {
		return false
	}
	e.lookupsLeft--
	e.lookups++
	return true
}

// void takes one term without result from the allowance (§4.6.4).
func (e *evaluation) void() *outcome {
	e.voids++
	if e.voidsLeft == 0 {
		o := problem(PermError, ErrVoidLookupLimit)
		return &o
	}
	e.voidsLeft--
	return nil
}

// match evaluates one mechanism. An outcome ends the whole check.
func (e *evaluation) match(d *Directive, domain string, me int) (bool, *outcome) {
	switch d.Kind {
	case All:
		return true, nil
	case IP4, IP6:
		return d.Network.Contains(e.ip), nil
	}
	if e.ctx.Err() != nil {
		o := problem(TempError, context.Cause(e.ctx))
		return false, &o
	}
	if !e.count() {
		o := problem(PermError, ErrLookupLimit)
		return false, &o
	}
	if e.neverMatches(d.Domain) {
		return false, nil
	}
	target, ok := domain, true
	if !d.Domain.IsZero() {
		target, ok = e.target(d.Domain, domain)
	}
	if d.Kind == Include {
		if !ok {
			o := problem(PermError, ErrNoPolicy)
			return false, &o
		}
		return e.include(target, me)
	}
	if !ok { // no question can be made of it: it does not exist (§4.8)
		return false, nil
	}
	switch d.Kind {
	case A:
		return e.address(d, target)
	case MX:
		return e.mx(d, target)
	case Exists:
		return e.exists(target)
	case PTR:
		return e.ptr(target)
	}
	return false, nil
}

// neverMatches reports whether a term takes its name from a local part that is
// not ASCII: such terms never match (RFC 8616 §4).
func (e *evaluation) neverMatches(m Macro) bool { return !isASCII(e.local) && m.uses("sl") }

// target is the name that a domain-spec stands for; false when no question can
// be made of it.
func (e *evaluation) target(m Macro, domain string) (string, bool) {
	name := strings.TrimSuffix(truncate(m.expand(e.values(domain))), ".")
	return name, queryable(name)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// include is §5.2.
func (e *evaluation) include(target string, me int) (bool, *outcome) {
	o := e.checkHost(target, me)
	switch o.status {
	case Pass:
		return true, nil
	case Fail, SoftFail, Neutral:
		return false, nil
	case None:
		o = problem(PermError, ErrNoPolicy)
	}
	return false, &o
}

// covers reports whether one of the addresses shares the prefix with the client.
func (e *evaluation) covers(d *Directive, ips []netip.Addr) bool {
	bits := d.Bits4
	if e.ip.Is6() {
		bits = d.Bits6
	}
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.BitLen() != e.ip.BitLen() {
			continue
		}
		if p, err := ip.WithZone("").Prefix(bits); err == nil && p.Contains(e.ip) {
			return true
		}
	}
	return false
}

// address is the mechanism a (§5.3).
func (e *evaluation) address(d *Directive, target string) (bool, *outcome) {
	ips, void, bad := e.addresses(target, e.network)
	if void {
		bad = e.void()
	}
	if bad != nil {
		return false, bad
	}
	return e.covers(d, ips), nil
}

// mx is §5.4. Too many hosts are an error even when one of the first would match:
// the order of equals is the server's whim, the result must not be.
func (e *evaluation) mx(d *Directive, target string) (bool, *outcome) {
	mxs, err := e.lookupMX(target)
	if err != nil && len(mxs) == 0 {
		if notFound(err) {
			return false, e.void()
		}
		o := problem(TempError, e.cause(err))
		return false, &o
	}
	if len(mxs) > e.mxHosts {
		o := problem(PermError, ErrMXLimit)
		return false, &o
	}
	anyVoid := false
	for _, mx := range mxs {
		host := strings.TrimSuffix(mx.Host, ".")
		if !queryable(host) { // the null MX too (RFC 7505)
			continue
		}
		ips, void, bad := e.addresses(host, e.network)
		if bad != nil {
			return false, bad
		}
		if e.covers(d, ips) {
			return true, nil
		}
		anyVoid = anyVoid || void
	}
	if anyVoid {
		return false, e.void()
	}
	return false, nil
}

// exists is §5.7: an A record, whatever the client's family.
func (e *evaluation) exists(target string) (bool, *outcome) {
	ips, void, bad := e.addresses(target, "ip4")
	if void {
		bad = e.void()
	}
	return bad == nil && len(ips) > 0, bad
}

// ptr is §5.5.
func (e *evaluation) ptr(target string) (bool, *outcome) {
	names := e.validated()
	for _, n := range names {
		if within(n, target) {
			return true, nil
		}
	}
	if e.ctx.Err() != nil { // names may be missing for want of time (§4.6.4)
		o := problem(TempError, context.Cause(e.ctx))
		return false, &o
	}
	if e.ptrVoid {
		return false, e.void()
	}
	return false, nil
}

// validated is the names of the client's address that lead back to it, of the
// first PTRNames. Failed lookups leave names out; they are no errors (§5.5).
func (e *evaluation) validated() []string {
	if e.ptrDone {
		return e.names
	}
	e.ptrDone = true
	names, err := e.lookupPTR()
	e.ptrVoid = len(names) == 0 && (err == nil || notFound(err))
	for _, n := range names[:min(len(names), e.ptrNames)] {
		n = strings.TrimSuffix(n, ".")
		if !queryable(n) {
			continue
		}
		ips, _, bad := e.addresses(n, e.network)
		if bad != nil {
			continue
		}
		for _, ip := range ips {
			if ip.Unmap() == e.ip {
				e.names = append(e.names, n)
				break
			}
		}
	}
	return e.names
}

// values gives the macro letters within the record of domain (§7.2).
func (e *evaluation) values(domain string) func(byte) string {
	return func(letter byte) string {
		switch letter {
		case 's':
			return e.local + "@" + e.domain
		case 'l':
			return e.local
		case 'o':
			return e.domain
		case 'd':
			return domain
		case 'i':
			return dotted(e.ip)
		case 'p':
			return e.bestName(domain)
		case 'v':
			if e.ip.Is4() {
				return "in-addr"
			}
			return "ip6"
		case 'h':
			return e.helo
		case 'c':
			return e.ip.String()
		case 'r':
			if e.receiver == "" {
				return "unknown"
			}
			return e.receiver
		case 't':
			return strconv.FormatInt(time.Now().Unix(), 10)
		}
		return ""
	}
}

// bestName is the macro p (§7.3): the domain itself, else a name below it, else
// any validated name.
func (e *evaluation) bestName(domain string) string {
	best := "unknown"
	names := e.validated()
	for i, n := range names {
		if strings.EqualFold(n, domain) {
			return n
		}
		if i == 0 || within(n, domain) && !within(best, domain) {
			best = n
		}
	}
	return best
}

const maxExplanation = 450 // fits a reply line of RFC 5321 §4.5.3.1.5 with its code

// explain fetches and expands the explanation (§6.2). Anything wrong with it
// makes it empty.
func (e *evaluation) explain(o outcome) string {
	e.visit, e.term = o.visit, termExp
	text, why := e.explanation(o.exp, o.domain)
	v := &e.visits[o.visit]
	v.exp, v.told = o.exp.String(), why
	return text
}

func (e *evaluation) explanation(exp Macro, domain string) (text, why string) {
	name, ok := e.target(exp, domain)
	if !ok || e.neverMatches(exp) {
		return "", "not a name"
	}
	if e.ctx.Err() != nil {
		return "", "no time left"
	}
	txts, err := e.lookupTXT(name)
	if err != nil || len(txts) != 1 {
		return "", "not one text"
	}
	if !printable(txts[0]) || len(txts[0]) > maxRecord {
		return "", "not plain text"
	}
	m, reason := parseMacro(txts[0], anyMacro)
	if reason != "" {
		return "", reason
	}
	text = m.expand(e.values(domain))
	if !printable(text) { // a macro brought in what the client sent
		return "", "not plain text with this sender"
	}
	return text[:min(len(text), maxExplanation)], "found"
}

// printable: US-ASCII without controls (§6.2).
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
