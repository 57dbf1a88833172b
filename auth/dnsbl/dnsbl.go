package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/dns"
)

// Defaults and limits of a Checker.
const (
	// DefaultTimeout is for how long lists are waited for.
	DefaultTimeout = 5 * time.Second
	// DefaultParallel is how many lists are asked at once.
	DefaultParallel = 16
	// MaxReason is how many octets of a list's reason are kept.
	MaxReason = 512
	// maxAnswers bounds Result.Answers.
	maxAnswers = 64
)

// Reasons why a list has nothing to say. Match them with errors.Is.
var (
	// ErrList: the list answered with an error code: the resolver is refused,
	// asks too often, or the zone is misspelt. These are 127.255.255.x; 127.0.0.1,
	// which some lists use so, unless a Code has it as its Network; and Codes with
	// Refused.
	ErrList = errors.New("dnsbl: the list answers with an error")
	// ErrAnswer: the answer is outside 127.0.0.0/8: not the list's, but that of
	// whoever owns its name now, or of a resolver that makes answers up (RFC
	// 5782 §2.1).
	ErrAnswer = errors.New("dnsbl: the answer is not a list's")
	// ErrDNS: DNS gave no answer.
	ErrDNS = errors.New("dnsbl: DNS gave no answer")
	// ErrDead: the list lacks its test entry (RFC 5782 §5).
	ErrDead = errors.New("dnsbl: the list lacks its test entry")
	// ErrEverything: the list has what no list may have: it answers everything.
	ErrEverything = errors.New("dnsbl: the list answers everything")
	// ErrName: no question can be made of the list's Zone, or of the domain below
	// it.
	ErrName = errors.New("dnsbl: not a domain name")
)

// Kind is what a list is about.
type Kind uint8

// The kinds of lists.
const (
	Addresses Kind = iota // IPv4 and IPv6 addresses (RFC 5782 §2.1, §2.4)
	Domains               // domain names (RFC 5782 §2.2)
)

// List is a list in DNS. Only Zone is needed.
type List struct {
	// Zone is where the list is in DNS: at most 150 octets. Some lists have one for
	// each customer, which is a secret then.
	Zone string
	// Name is what String says in place of Zone; empty: Zone.
	Name string
	// Kind is what it is about.
	Kind Kind
	// Allow says that it lists those that are good (RFC 5782 §1, RFC 8904).
	Allow bool
	// NoIPv4 and NoIPv6 leave a kind of address out that the list does not have.
	NoIPv4, NoIPv6 bool
	// Codes are the answers that count and what they mean; others do not.
	// Empty: all of 127.0.0.0/8 but the error codes.
	Codes []Code
	// NoTestEntries says that the list lacks the entries that it must have by RFC
	// 5782 §5: Probe asks only for those that it must not have.
	NoTestEntries bool
	// Weight is what a listing counts in Score, if its Code says nothing else.
	// 0: 1.
	Weight int
	// Reasons asks for the reason too, when something is listed (RFC 5782 §2.1).
	Reasons bool
}

// Code is a group of answers.
type Code struct {
	// Network has the answers, such as 127.0.0.4/32. Lists whose answers are
	// bit masks have one in the last octet: then Mask is not 0, and an answer
	// counts that has one of its bits there.
	Network netip.Prefix
	Mask    byte
	// Meaning is for people.
	Meaning string
	// Weight is what it counts in Score. 0: the list's.
	Weight int
	// Refused says that the list so says that it does not answer, as
	// list.dnswl.org does by 127.0.0.255.
	Refused bool
}

// String is the list's Name, or its Zone.
func (l *List) String() string {
	if l.Name != "" {
		return l.Name
	}
	return l.Zone
}

// Resolver is what a Checker looks up; *net.Resolver and *dns.Resolver have it.
// Lookups must end when their context does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Checker asks lists. The zero value has none. Its fields must not change once
// it is in use; it is then safe for concurrent use.
type Checker struct {
	Lists []List
	// Resolver answers; nil: net.DefaultResolver. Large lists refuse public
	// resolvers.
	Resolver Resolver
	// Timeout is for how long all lists together are waited for. 0:
	// DefaultTimeout.
	Timeout time.Duration
	// Parallel is how many lookups are under way at a time, and how many
	// goroutines. 0: DefaultParallel.
	Parallel int

	mu  sync.Mutex
	ill []state // by place in Lists, since the last Probe
}

// Result is what a list says.
type Result struct {
	// List is the one that was asked.
	List List
	// Name is what was looked up. It holds the list's Zone.
	Name string
	// Listed: it is in the list.
	Listed bool
	// Answers are those that count, in their order; at most 64.
	Answers []netip.Addr
	// Meanings are those of the list's Codes, in their order.
	Meanings []string
	// Weight is what the listing counts, 0 if it is none.
	Weight int
	// Reason is the list's own text: printable ASCII, with "?" for whatever else
	// there was, but the words of a stranger.
	Reason string
	// Err is why the list has nothing to say; a listing without a reason has
	// none.
	Err error
}

// Addr asks the lists of addresses that are well, all at once. The results are
// in their order, one for each list that has such addresses. It blocks until
// all have answered or the time is up. Of loopback, private, link-local and
// multicast addresses no list knows anything: they are not asked.
func (c *Checker) Addr(ctx context.Context, addr netip.Addr) []Result {
	addr = addr.Unmap().WithZone("")
	if !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return nil
	}
	f := v4
	if addr.Is6() {
		f = v6
	}
	what := reversed(addr)
	return c.ask(ctx, func(i int) (string, bool) {
		return what, c.Lists[i].has(f) && c.illness(i, f) == nil
	})
}

// Domain asks the lists of domains about a name, likewise. It is looked up as it
// is, U-labels as A-labels: lists of registered domains want no host names. A
// name that cannot be is in no list, nor is an address.
func (c *Checker) Domain(ctx context.Context, domain string) []Result {
	name, err := dns.CanonicalName(domain)
	if err != nil || !wellFormed(name) {
		return nil
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	return c.ask(ctx, func(i int) (string, bool) {
		return name, c.Lists[i].has(names) && c.illness(i, names) == nil
	})
}

// Score is what the results weigh together: listings in block lists count for
// it, those in allow lists against it.
func Score(results []Result) int {
	score := 0
	for i := range results {
		if results[i].List.Allow {
			score -= results[i].Weight
		} else {
			score += results[i].Weight
		}
	}
	return score
}

// DNSWL is what Authentication-Results says of an allow list (RFC 8904): "pass",
// "none", "temperror" or "permerror". authres.DNSWL makes a result of it.
func (r *Result) DNSWL() string {
	switch {
	case r.Listed:
		return "pass"
	case errors.Is(r.Err, ErrDNS):
		return "temperror"
	case r.Err != nil:
		return "permerror"
	}
	return "none"
}

// ask asks the lists for which name says so, about what it says.
func (c *Checker) ask(ctx context.Context, name func(i int) (string, bool)) []Result {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	results := make([]Result, 0, len(c.Lists))
	for i := range c.Lists {
		if what, ok := name(i); ok {
			l := c.Lists[i]
			results = append(results, Result{List: l, Name: what + "." + strings.TrimSuffix(l.Zone, ".")})
		}
	}
	parallel := c.Parallel
	if parallel <= 0 {
		parallel = DefaultParallel
	}
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(results); i = int(next.Add(1)) - 1 {
			c.look(ctx, &results[i])
		}
	}
	var wg sync.WaitGroup
	for range min(parallel, len(results)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	return results
}

func (c *Checker) resolver() Resolver {
	if c.Resolver == nil {
		return net.DefaultResolver
	}
	return c.Resolver
}

// look asks one list.
func (c *Checker) look(ctx context.Context, r *Result) {
	zone := strings.TrimSuffix(r.List.Zone, ".")
	if len(zone) > maxZone || !wellFormed(zone) || len(r.Name) > maxName {
		r.Err = fmt.Errorf("%w: %.300q", ErrName, r.Name)
		return
	}
	if err := ctx.Err(); err != nil {
		r.Err = fmt.Errorf("%w: %w", ErrDNS, err)
		return
	}
	addrs, err := c.resolver().LookupNetIP(ctx, "ip4", r.Name+".")
	var de *net.DNSError
	switch {
	case err == nil || len(addrs) > 0:
	case errors.As(err, &de) && de.IsNotFound:
		return
	default:
		r.Err = fmt.Errorf("%w: %w", ErrDNS, err)
		return
	}
	addrs = slices.Clone(addrs) // the order that servers give is none
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range addrs {
		r.take(a)
	}
	if r.Listed = len(r.Answers) > 0; !r.Listed {
		return
	}
	r.Err = nil
	if r.List.Reasons && ctx.Err() == nil {
		if texts, err := c.resolver().LookupTXT(ctx, r.Name+"."); err == nil && len(texts) > 0 {
			r.Reason = clean(texts[0])
		}
	}
}

// clean makes printable ASCII of a text and cuts it.
func clean(s string) string {
	b := []byte(s[:min(len(s), MaxReason)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

var (
	loopback   = netip.MustParsePrefix("127.0.0.0/8")
	errorCodes = netip.MustParsePrefix("127.255.255.0/24")
	one        = netip.MustParseAddr("127.0.0.1")
)

// take takes an answer into account.
func (r *Result) take(a netip.Addr) {
	switch {
	case !loopback.Contains(a): // RFC 5782 §2.1
		r.Err = fmt.Errorf("%w: %s", ErrAnswer, a)
		return
	case r.List.refusal(a):
		r.Err = fmt.Errorf("%w: %s", ErrList, a)
		return
	case len(r.List.Codes) == 0:
		r.count(a)
		r.Weight = r.List.weight(0)
		return
	}
	counts := false
	for i := range r.List.Codes {
		code := &r.List.Codes[i]
		if !code.has(a) {
			continue
		}
		counts = true
		if !slices.Contains(r.Meanings, code.Meaning) {
			r.Meanings = append(r.Meanings, code.Meaning)
		}
		r.Weight = max(r.Weight, r.List.weight(code.Weight))
	}
	if counts {
		r.count(a)
	}
}

func (r *Result) count(a netip.Addr) {
	if len(r.Answers) < maxAnswers {
		r.Answers = append(r.Answers, a)
	}
}

// refusal says whether an answer within 127.0.0.0/8 is an error code.
func (l *List) refusal(a netip.Addr) bool {
	if errorCodes.Contains(a) {
		return true
	}
	named := false
	for i := range l.Codes {
		c := &l.Codes[i]
		if c.Refused && c.has(a) {
			return true
		}
		named = named || c.Network.IsSingleIP() && c.Network.Addr() == a
	}
	return a == one && !named
}

func (c *Code) has(a netip.Addr) bool {
	if !c.Network.Contains(a) {
		return false
	}
	octets := a.As4()
	return c.Mask == 0 || octets[3]&c.Mask != 0
}

func (l *List) weight(code int) int {
	switch {
	case code != 0:
		return code
	case l.Weight != 0:
		return l.Weight
	}
	return 1
}
