package dnsbl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/dns"
)

// Defaults and limits of a Checker.
const (
	// DefaultTimeout is for how long lists are waited for.
	DefaultTimeout = 5 * time.Second
	// MaxReason is how many octets of a list's reason are kept.
	MaxReason = 512
	// maxAnswers is how many addresses of an answer are looked at.
	maxAnswers = 64
)

// Reasons why a list has nothing to say. Match them with errors.Is.
var (
	// ErrList: the list answered with an error code, 127.255.255.x: the
	// resolver is refused, asks too often, or the zone is misspelt.
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
	// Zone is the list's name.
	Zone string
	// Kind is what it is about.
	Kind Kind
	// Allow says that it lists those that are good (RFC 5782 §1, RFC 8904).
	Allow bool
	// NoIPv4 and NoIPv6 leave a kind of address out that the list does not have.
	NoIPv4, NoIPv6 bool
	// Codes are the answers that count and what they mean; others do not.
	// Empty: all of 127.0.0.0/8 but the error codes.
	Codes []Code
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
}

// Resolver is what a Checker looks up; *net.Resolver and *dns.Resolver have it.
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

	mu  sync.Mutex
	ill map[int]error // by place in Lists, since the last Probe
}

// Result is what a list says.
type Result struct {
	// List is the one that was asked.
	List List
	// Name is what was looked up.
	Name string
	// Listed: it is in the list.
	Listed bool
	// Answers are those that count.
	Answers []netip.Addr
	// Meanings are those of the list's Codes, in their order.
	Meanings []string
	// Weight is what the listing counts, 0 if it is none.
	Weight int
	// Reason is the list's own text; it may hold any octets: quote it.
	Reason string
	// Err is why the list has nothing to say; a listing without a reason has
	// none.
	Err error
}

// Addr asks the lists of addresses that are well, all at once. The results are
// in their order, one for each list that has such addresses. It blocks until
// all have answered or the time is up.
func (c *Checker) Addr(ctx context.Context, addr netip.Addr) []Result {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return nil
	}
	return c.ask(ctx, false, func(l *List) string {
		if l.Kind != Addresses || addr.Is4() && l.NoIPv4 || addr.Is6() && l.NoIPv6 {
			return ""
		}
		return reversed(addr)
	})
}

// Domain asks the lists of domains about a name, likewise. A name that cannot be
// is in no list.
func (c *Checker) Domain(ctx context.Context, domain string) []Result {
	name, err := dns.CanonicalName(domain)
	if err != nil || name == "." {
		return nil
	}
	return c.ask(ctx, false, func(l *List) string {
		if l.Kind != Domains {
			return ""
		}
		return name
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

// AuthResult is the result of an allow list for an Authentication-Results field
// (RFC 8904).
func (r *Result) AuthResult() authres.Result {
	res := authres.Result{Method: authres.MethodDNSWL, Value: "none"}
	switch {
	case r.Listed:
		res.Value = "pass"
	case errors.Is(r.Err, ErrDNS):
		res.Value = "temperror"
	case r.Err != nil:
		res.Value = "permerror"
	}
	res.Props = append(res.Props, authres.Prop{Type: "dns", Property: "zone", Value: r.List.Zone})
	if len(r.Answers) > 0 {
		res.Props = append(res.Props, authres.Prop{Type: "policy", Property: "ip", Value: r.Answers[0].String()})
	}
	if r.Reason != "" {
		res.Props = append(res.Props, authres.Prop{Type: "policy", Property: "txt", Value: r.Reason})
	}
	return res
}

// ask asks the lists for which name returns one, and of those that are ill only
// if all is true.
func (c *Checker) ask(ctx context.Context, all bool, name func(*List) string) []Result {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	results := make([]Result, 0, len(c.Lists))
	for i := range c.Lists {
		l := &c.Lists[i]
		what := name(l)
		if what == "" || !all && c.illness(i) != nil {
			continue
		}
		results = append(results, Result{List: *l, Name: what + "." + strings.TrimSuffix(l.Zone, ".")})
	}
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { c.look(ctx, &results[i]) })
	}
	wg.Wait()
	return results
}

func (c *Checker) illness(i int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ill[i]
}

func (c *Checker) resolver() Resolver {
	if c.Resolver == nil {
		return net.DefaultResolver
	}
	return c.Resolver
}

// look asks one list.
func (c *Checker) look(ctx context.Context, r *Result) {
	if len(r.Name) > 253 {
		return // RFC 1035 §2.3.4: there is no such name
	}
	addrs, err := c.resolver().LookupNetIP(ctx, "ip4", r.Name+".")
	var de *net.DNSError
	switch {
	case errors.As(err, &de) && de.IsNotFound:
		return
	case err != nil:
		r.Err = fmt.Errorf("%w: %w", ErrDNS, err)
		return
	}
	for _, a := range addrs[:min(len(addrs), maxAnswers)] {
		r.take(a.Unmap())
	}
	if r.Listed = len(r.Answers) > 0; !r.Listed {
		return
	}
	r.Err = nil
	if r.List.Reasons {
		if texts, err := c.resolver().LookupTXT(ctx, r.Name+"."); err == nil && len(texts) > 0 {
			r.Reason = texts[0][:min(len(texts[0]), MaxReason)]
		}
	}
}

var (
	loopback   = netip.MustParsePrefix("127.0.0.0/8")
	errorCodes = netip.MustParsePrefix("127.255.255.0/24")
)

// take takes an answer into account.
func (r *Result) take(a netip.Addr) {
	switch {
	case !loopback.Contains(a): // RFC 5782 §2.1
		r.Err = fmt.Errorf("%w: %s", ErrAnswer, a)
		return
	case errorCodes.Contains(a):
		r.Err = fmt.Errorf("%w: %s", ErrList, a)
		return
	case len(r.List.Codes) == 0:
		r.Answers = append(r.Answers, a)
		r.Weight = max(r.Weight, r.List.weight(0))
		return
	}
	counts := false
	for _, code := range r.List.Codes {
		if !code.has(a) {
			continue
		}
		counts = true
		r.Meanings = append(r.Meanings, code.Meaning)
		r.Weight = max(r.Weight, r.List.weight(code.Weight))
	}
	if counts {
		r.Answers = append(r.Answers, a)
	}
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

// reversed is an address as lists have it: octets (RFC 5782 §2.1) or nibbles
// (§2.4) from the last to the first.
func reversed(a netip.Addr) string {
	name := strings.TrimSuffix(dns.ReverseName(a), ".")
	return strings.TrimSuffix(strings.TrimSuffix(name, ".in-addr.arpa"), ".ip6.arpa")
}
