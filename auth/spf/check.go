package spf

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Resolver is the lookups that SPF needs, with the signatures and the errors of
// net.Resolver: a *net.DNSError with IsNotFound (found by errors.As) means that
// there is no such record, every other error that the lookup failed. Names are
// passed with a final dot; TXT strings come back concatenated.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Checker checks senders. The zero value is ready to use and has the limits of
// RFC 7208 §4.6.4. It is safe for concurrent use; its fields must not be changed
// after the first check. In all limits zero means the default and negative
// means that none is allowed.
type Checker struct {
	// Resolver does the lookups. Nil means net.DefaultResolver.
	Resolver Resolver
	// Receiver is the name of the checking host for the macro r in explanations.
	// Empty means "unknown".
	Receiver string
	// Lookups limits the terms that need the DNS (include, a, mx, ptr, exists,
	// redirect) in one check. Zero means 10, which the RFC demands.
	Lookups int
	// VoidLookups limits the terms whose lookup finds nothing. Zero means 2,
	// which the RFC recommends.
	VoidLookups int
	// MXAddresses limits the hosts looked up for one mx mechanism; more are a
	// PermError. Zero means 10, which the RFC demands.
	MXAddresses int
	// PTRNames limits the names looked at for one ptr mechanism or the macro p;
	// more are ignored. Zero means 10, which the RFC demands.
	PTRNames int
	// Timeout bounds a whole check. Zero means 20 seconds, the least that the
	// RFC asks for; negative means that only the context bounds it.
	Timeout time.Duration
}

const (
	defaultTimeout = 20 * time.Second
	maxValue       = 1 << 10 // octets of the client's words that macros use
)

func limit(n, zero int) int {
	if n == 0 {
		return zero
	}
	return max(n, 0)
}

// Check checks the MAIL FROM identity: may ip send for the domain of mailFrom?
// mailFrom is the address without angle brackets; for the null sender "" it is
// the HELO identity, as postmaster@helo (RFC 7208 §2.4). helo is the name that
// the client gave, unchanged. Of it and of the local part macros use the first
// 1,024 octets. The result is never an error of its own: what
// went wrong is TempError or PermError with Err. When ctx ends it is TempError.
func (c *Checker) Check(ctx context.Context, ip netip.Addr, helo, mailFrom string) Result {
	if mailFrom == "" || mailFrom == "<>" {
		return c.CheckHELO(ctx, ip, helo)
	}
	local, domain := splitSender(mailFrom)
	return c.check(ctx, ip, helo, local, domain, MailFrom)
}

// CheckHELO checks the HELO identity alone (RFC 7208 §2.3), as one may do before
// MAIL FROM is known.
func (c *Checker) CheckHELO(ctx context.Context, ip netip.Addr, helo string) Result {
	return c.check(ctx, ip, helo, "postmaster", helo, HELO)
}

func (c *Checker) check(ctx context.Context, ip netip.Addr, helo, local, domain string, id Identity) Result {
	ip = ip.Unmap().WithZone("") // 4-in-6 counts as IPv4 (RFC 7208 §5)
	res := Result{Identity: id, Domain: domain, Sender: local + "@" + domain, HELO: helo, IP: ip}
	name, ok := identityDomain(domain)
	if !ok || !ip.IsValid() {
		res.Err = ErrBadDomain // §4.3: none
		return res
	}
	res.Domain = name
	if c.Timeout >= 0 {
		timeout := c.Timeout
		if timeout == 0 {
			timeout = defaultTimeout
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer cancel()
	}
	// What no server takes as a name is cut: a record may repeat it thousands of
	// times (§11.1).
	helo, local = helo[:min(len(helo), maxValue)], local[:min(len(local), maxValue)]
	e := &evaluation{
		ctx:         ctx,
		resolver:    c.Resolver,
		ip:          ip,
		network:     "ip4",
		helo:        strings.TrimSuffix(helo, "."),
		local:       local,
		domain:      name,
		receiver:    c.Receiver,
		lookupsLeft: limit(c.Lookups, 10),
		voidsLeft:   limit(c.VoidLookups, 2),
		mxHosts:     limit(c.MXAddresses, 10),
		ptrNames:    limit(c.PTRNames, 10),
	}
	if e.resolver == nil {
		e.resolver = net.DefaultResolver
	}
	if ip.Is6() {
		e.network = "ip6"
	}
	o := e.checkHost(name, -1)
	res.Status, res.Mechanism, res.Err = o.status, o.mechanism, o.err
	if o.status == Fail && !o.exp.IsZero() {
		res.Explanation = e.explain(o)
	}
	res.Lookups, res.VoidLookups, res.trace = e.lookups, e.voids, e.record
	return res
}
