package verify

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// Resolver is what the checks look up; *net.Resolver and *dns.Resolver have it.
// With the second, names that do not exist are told from those without a
// record, which DMARC's np needs (RFC 9989 §4.7). It must be safe for
// concurrent use.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// ErrLookups is the reason of a temporary error when a check has made all the
// DNS lookups that it may for one message. It is found by errors.Is in the
// results' errors, as far as those wrap what the Resolver said.
var ErrLookups = errors.New("verify: too many DNS lookups for one message")

// lookups asks each question of one message once, whoever wants to know.
type lookups struct {
	resolver Resolver
	rooted   bool            // names need a final dot, against the search list
	ctx      context.Context // of the message

	mu      sync.Mutex
	answers map[question]*answer
}

type question struct{ kind, name string }

type answer struct {
	done  chan struct{}
	value any
	err   error
}

func newLookups(ctx context.Context, r Resolver) *lookups {
	if r == nil {
		r = net.DefaultResolver
	}
	_, rooted := r.(*net.Resolver)
	return &lookups{resolver: r, rooted: rooted, ctx: ctx, answers: make(map[question]*answer)}
}

// part is a check's share: its lookups count for itself, so that a message
// cannot spend those of DMARC on its own SPF records.
type part struct {
	*lookups
	mu   sync.Mutex
	left int
}

func (l *lookups) part(most int) *part { return &part{lookups: l, left: most} }

// spend takes a lookup from the share.
func (p *part) spend() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left--
	return p.left >= 0
}

// ask returns the answer to a question, looking it up if nobody has yet. That
// goes on when one of those who wait for it gives up, until the message is done.
func (p *part) ask(ctx context.Context, kind, name string, look func(ctx context.Context, name string) (any, error)) (any, error) {
	q := question{kind, strings.ToLower(strings.TrimSuffix(name, "."))}
	p.lookups.mu.Lock()
	a := p.answers[q]
	if a == nil {
		if p.ctx.Err() != nil { // nothing new: what is known counts
			p.lookups.mu.Unlock()
			return nil, context.Cause(p.ctx)
		}
		if !p.spend() {
			p.lookups.mu.Unlock()
			return nil, &net.DNSError{UnwrapErr: ErrLookups, Err: ErrLookups.Error(), Name: name, IsTemporary: true}
		}
		a = &answer{done: make(chan struct{})}
		p.answers[q] = a
		if p.rooted && kind != "PTR" {
			name = q.name + "."
		}
		go func() {
			defer close(a.done)
			a.value, a.err = look(p.ctx, name)
		}()
	}
	p.lookups.mu.Unlock()
	select {
	case <-a.done: // first, since ctx may be over when the answer is known
		return a.value, a.err
	default:
	}
	select {
	case <-a.done:
		return a.value, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// LookupTXT implements the checks' Resolvers, as do the following.
func (p *part) LookupTXT(ctx context.Context, name string) ([]string, error) {
	v, err := p.ask(ctx, "TXT", name, func(ctx context.Context, name string) (any, error) { return p.resolver.LookupTXT(ctx, name) })
	texts, _ := v.([]string)
	return texts, err
}

func (p *part) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	v, err := p.ask(ctx, "MX", name, func(ctx context.Context, name string) (any, error) { return p.resolver.LookupMX(ctx, name) })
	mx, _ := v.([]*net.MX)
	return mx, err
}

func (p *part) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	v, err := p.ask(ctx, network, host, func(ctx context.Context, name string) (any, error) {
		return p.resolver.LookupNetIP(ctx, network, name)
	})
	addrs, _ := v.([]netip.Addr)
	return addrs, err
}

func (p *part) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	v, err := p.ask(ctx, "PTR", addr, func(ctx context.Context, addr string) (any, error) { return p.resolver.LookupAddr(ctx, addr) })
	names, _ := v.([]string)
	return names, err
}

// LookupHost is how DMARC asks whether a name exists.
func (p *part) LookupHost(ctx context.Context, host string) ([]string, error) {
	addrs, err := p.LookupNetIP(ctx, "ip", host)
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out, err
}
