package dnsbl

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Health is what Probe found out about a list.
type Health struct {
	List List
	// Err is what is wrong: ErrDead, ErrEverything, or what the answer to a test
	// was. Nil if the list is well. Until a Probe finds it well it is not asked;
	// with ErrDNS, only if that was so at the Probe before, too.
	Err error
	// IPv6 is the same for IPv6 addresses. ErrDead is common there: many lists
	// have none, and are then asked about IPv4 alone.
	IPv6 error
}

// state is what is known of a list since the last Probe.
type state struct {
	ill     [families]error // why it is not asked
	unheard [families]bool  // DNS gave no answer the last time
}

// tests are the entries that every list has, and those that none may have (RFC
// 5782 §5).
var tests = [families]struct{ must, mustNot string }{
	v4:    {reversed(netip.MustParseAddr("127.0.0.2")), reversed(netip.MustParseAddr("127.0.0.1"))},
	v6:    {reversed(netip.MustParseAddr("::ffff:7f00:2")), reversed(netip.MustParseAddr("::ffff:7f00:1"))},
	names: {"test", "invalid"},
}

// Probe asks each list for its test entries (RFC 5782 §5) and remembers which
// are well: the others are not asked until a later Probe. A list that has no
// entry that it must have is dead; one that has an entry that it must not have
// answers everything, or the resolver does. If DNS gives no answer the list
// stays what it was, until that happens to it twice in a row. It takes at most
// twice Timeout. When ctx ends early nothing is remembered.
func (c *Checker) Probe(ctx context.Context) []Health {
	mustNot, must := c.probe(ctx, false), c.probe(ctx, true)
	all := make([]Health, len(c.Lists))
	c.mu.Lock()
	defer c.mu.Unlock()
	known := make([]state, len(c.Lists))
	copy(known, c.ill)
	for i := range c.Lists {
		l, h, s := &c.Lists[i], &all[i], &known[i]
		h.List = *l
		for f := range families {
			if !l.has(f) {
				continue
			}
			err := verdict(l, must[i][f], mustNot[i][f])
			if f == v6 {
				h.IPv6 = err
			}
			if f != v6 || l.NoIPv4 {
				h.Err = err
			}
			unheard := errors.Is(err, ErrDNS)
			if !unheard || s.unheard[f] {
				s.ill[f] = err
			}
			s.unheard[f] = unheard
		}
	}
	if ctx.Err() == nil {
		c.ill = known
	}
	return all
}

// verdict judges the answers to the two tests.
func verdict(l *List, has, wrong Result) error {
	switch {
	case wrong.Listed, errors.Is(wrong.Err, ErrAnswer):
		return ErrEverything
	case wrong.Err != nil:
		return wrong.Err
	case l.NoTestEntries:
		return nil
	case has.Err != nil:
		return has.Err
	case !has.Listed:
		return ErrDead
	}
	return nil
}

// probe asks every list for one of its test entries of each kind. Only those of
// the Codes matter that say that the list refuses: a test entry may have any.
func (c *Checker) probe(ctx context.Context, must bool) [][families]Result {
	plain := &Checker{Resolver: c.Resolver, Timeout: c.Timeout, Parallel: c.Parallel}
	type place struct {
		list int
		f    family
	}
	var places []place
	for i, l := range c.Lists {
		t := List{Zone: l.Zone}
		for _, code := range l.Codes {
			if code.Refused {
				t.Codes = append(t.Codes, code)
			}
		}
		if t.Codes != nil {
			t.Codes = append(t.Codes, Code{Network: loopback})
		}
		for f := range families {
			if l.has(f) && !(must && l.NoTestEntries) {
				places = append(places, place{i, f})
				plain.Lists = append(plain.Lists, t)
			}
		}
	}
	results := make([][families]Result, len(c.Lists))
	for n, r := range plain.ask(ctx, func(n int) (string, bool) {
		if must {
			return tests[places[n].f].must, true
		}
		return tests[places[n].f].mustNot, true
	}) {
		results[places[n].list][places[n].f] = r
	}
	return results
}

// Watch probes at once, and then again and again after a pause, at least a
// second; an hour is good. It calls report, which may be nil, after each Probe,
// and returns when ctx ends.
func (c *Checker) Watch(ctx context.Context, pause time.Duration, report func([]Health)) {
	t := time.NewTicker(max(pause, time.Second))
	defer t.Stop()
	for {
		health := c.Probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if report != nil {
			report(health)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// illness is why a list is not asked.
func (c *Checker) illness(i int, f family) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i >= len(c.ill) {
		return nil
	}
	return c.ill[i].ill[f]
}
