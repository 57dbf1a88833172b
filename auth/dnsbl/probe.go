package dnsbl

import (
	"context"
	"errors"
	"net/netip"
)

// Health is what Probe found out about a list.
type Health struct {
	List List
	// Err is why the list is not asked: ErrDead, ErrEverything, or what its
	// answer to a test was. Nil if it is well.
	Err error
}

// The entries that every list has, and those that none may have (RFC 5782 §5).
var (
	listed4   = netip.MustParseAddr("127.0.0.2")
	unlisted4 = netip.MustParseAddr("127.0.0.1")
	listed6   = netip.MustParseAddr("::ffff:7f00:2")
	unlisted6 = netip.MustParseAddr("::ffff:7f00:1")
)

// Probe asks each list for its test entries (RFC 5782 §5) and remembers which
// are well: the others are not asked until a later Probe. A list that has no
// entry that it must have is dead; one that has an entry that it must not have
// answers everything, or the resolver does. What cannot be found out, because
// DNS gives no answer, leaves a list as it was.
func (c *Checker) Probe(ctx context.Context) []Health {
	must := c.probe(ctx, true)
	mustNot := c.probe(ctx, false)
	all := make([]Health, len(c.Lists))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ill == nil {
		c.ill = make(map[int]error)
	}
	for i := range c.Lists {
		h := &all[i]
		h.List = c.Lists[i]
		switch has, wrong := must[i], mustNot[i]; {
		case wrong.Listed:
			h.Err = ErrEverything
		case errors.Is(has.Err, ErrDNS) || errors.Is(wrong.Err, ErrDNS):
			h.Err = c.ill[i] // not known: as before
			continue
		case has.Err != nil:
			h.Err = has.Err
		case wrong.Err != nil:
			h.Err = wrong.Err
		case !has.Listed:
			h.Err = ErrDead
		}
		if h.Err != nil {
			c.ill[i] = h.Err
		} else {
			delete(c.ill, i)
		}
	}
	return all
}

// probe asks every list for one of its test entries. Codes do not matter: a
// test entry may have any.
func (c *Checker) probe(ctx context.Context, must bool) []Result {
	plain := &Checker{Resolver: c.Resolver, Timeout: c.Timeout, Lists: make([]List, len(c.Lists))}
	for i, l := range c.Lists {
		plain.Lists[i] = List{Zone: l.Zone, Kind: l.Kind, NoIPv4: l.NoIPv4}
	}
	return plain.ask(ctx, true, func(l *List) string {
		switch {
		case l.Kind == Domains && must:
			return "test"
		case l.Kind == Domains:
			return "invalid"
		case l.NoIPv4 && must:
			return reversed6(listed6)
		case l.NoIPv4:
			return reversed6(unlisted6)
		case must:
			return reversed(listed4)
		}
		return reversed(unlisted4)
	})
}

// reversed6 is an IPv4-mapped address by its nibbles.
func reversed6(a netip.Addr) string {
	const hex = "0123456789abcdef"
	octets := a.As16()
	b := make([]byte, 0, 64)
	for i := len(octets) - 1; i >= 0; i-- {
		b = append(b, hex[octets[i]&15], '.', hex[octets[i]>>4], '.')
	}
	return string(b[:len(b)-1])
}
