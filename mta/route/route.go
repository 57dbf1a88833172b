// Package route finds where mail for a domain goes: its MX hosts and their
// addresses (RFC 5321 §5.1), or a smarthost.
package route

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/smtp"
)

// Resolver is the part of dns.Resolver that routing uses.
type Resolver interface {
	MX(ctx context.Context, name string) (dns.Answer[dns.MX], error)
	IP(ctx context.Context, name string) (dns.Answer[netip.Addr], error)
}

// Router turns domains into hosts to connect to. Set its fields before use;
// safe for concurrent use. The zero value routes by MX with the system's
// resolver.
type Router struct {
	// Resolver looks up MX and addresses; a zero dns.Resolver if nil.
	Resolver Resolver
	// Names are the names this system is known by as a mail exchanger. MX
	// records that are no better than one's own are not used (RFC 5321 §5.1).
	Names []string
	// Addrs are this system's own addresses, treated the same way.
	Addrs []netip.AddrPort
	// Port is the port of MX hosts; 25 if zero.
	Port uint16
	// Smarthost, host or host:port (port 25 if missing; an IPv6 address in
	// brackets), takes all mail instead of the MX hosts. Its addresses are
	// not subject to AllowPrivate.
	Smarthost string
	// Static maps domains to a host or host:port, before Smarthost.
	Static map[string]string
	// AllowLiterals permits recipients at address literals (RFC 5321 §4.1.3).
	AllowLiterals bool
	// AllowPrivate permits MX hosts at loopback, private and link-local
	// addresses, which a hostile domain could otherwise name to reach
	// services behind this system.
	AllowPrivate bool
	// MaxHosts and MaxAddrs bound what is tried for one domain, whatever its
	// DNS says; 10 hosts and 20 addresses if zero.
	MaxHosts, MaxAddrs int
}

// Route is where mail for a domain goes, best first.
type Route struct {
	Domain string
	Hosts  []Host
	// Authentic: the resolver vouches for the MX records (DNSSEC).
	Authentic bool
}

// Host is one host to try.
type Host struct {
	Name       string // A-label without final dot; empty for an address literal
	Preference uint16
	Port       uint16
	Addrs      []netip.Addr // at least one
	// Authentic: the resolver vouches for the addresses.
	Authentic bool
}

// What routing answers for domains that cannot be reached. They are final or
// passing as their code says.
var (
	errNoDomain   = smtp.Errorf(550, smtp.EnhancedCode{5, 1, 2}, "Domain does not exist")
	errNoMail     = smtp.Errorf(550, smtp.EnhancedCode{5, 1, 2}, "Domain has no mail exchanger and no address")
	errNullMX     = smtp.Errorf(556, smtp.EnhancedCode{5, 1, 10}, "Domain does not accept mail (null MX)")
	errDNS        = smtp.Errorf(451, smtp.EnhancedCode{4, 4, 3}, "DNS lookup failed")
	errUnusable   = smtp.Errorf(550, smtp.EnhancedCode{5, 4, 4}, "No usable mail exchanger for the domain")
	errLoop       = smtp.Errorf(554, smtp.EnhancedCode{5, 4, 6}, "Mail for the domain loops back to this system")
	errLiteral    = smtp.Errorf(550, smtp.EnhancedCode{5, 1, 2}, "Address literals are not accepted here")
	errBadRoute   = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 5}, "Static route or smarthost is misconfigured")
	errBadLiteral = smtp.Errorf(501, smtp.EnhancedCode{5, 1, 3}, "Malformed address literal")
)

// Route finds the hosts for a domain, given as A-label or address literal. The
// error is an *smtp.Error; a temporary one means try again later.
func (r *Router) Route(ctx context.Context, domain string) (*Route, error) {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	if via, ok := r.Static[domain]; ok {
		return r.fixed(ctx, domain, via)
	}
	if r.Smarthost != "" {
		return r.fixed(ctx, domain, r.Smarthost)
	}
	if strings.HasPrefix(domain, "[") {
		return r.literal(domain)
	}
	return r.byMX(ctx, domain)
}

func (r *Router) resolver() Resolver {
	if r.Resolver == nil {
		return new(dns.Resolver)
	}
	return r.Resolver
}

func (r *Router) port() uint16 { return cmp.Or(r.Port, 25) }

// fixed routes by configuration.
func (r *Router) fixed(ctx context.Context, domain, via string) (*Route, error) {
	host, port := via, "25"
	if h, p, err := net.SplitHostPort(via); err == nil {
		host, port = h, p
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, errBadRoute
	}
	h := Host{Name: strings.ToLower(strings.TrimSuffix(host, ".")), Port: uint16(n)}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		h.Name, h.Addrs = "", []netip.Addr{ip.Unmap()}
	} else if strings.EqualFold(h.Name, "localhost") {
		// RFC 6761 §6.3: never a question for the DNS.
		h.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	} else {
		ans, err := r.resolver().IP(ctx, h.Name)
		if err != nil {
			return nil, errDNS // its owner will mend it: never bounce for that
		}
		h.Addrs, h.Authentic = ans.Records, ans.Authentic
	}
	h.Addrs = h.Addrs[:min(len(h.Addrs), cmp.Or(r.MaxAddrs, 20))]
	if len(h.Addrs) == 0 {
		return nil, errDNS
	}
	return &Route{Domain: domain, Hosts: []Host{h}}, nil
}

func (r *Router) literal(domain string) (*Route, error) {
	if !r.AllowLiterals {
		return nil, errLiteral
	}
	text, ok := strings.CutSuffix(strings.TrimPrefix(domain, "["), "]")
	text = strings.TrimPrefix(text, "ipv6:")
	ip, err := netip.ParseAddr(text)
	if !ok || err != nil || ip.Zone() != "" {
		return nil, errBadLiteral
	}
	h := Host{Port: r.port(), Addrs: []netip.Addr{ip.Unmap()}}
	if r.isSelf(h) {
		return nil, errLoop
	}
	if h.Addrs = r.reachable(h.Addrs); len(h.Addrs) == 0 {
		return nil, errUnusable
	}
	return &Route{Domain: domain, Hosts: []Host{h}}, nil
}

// byMX follows RFC 5321 §5.1 and RFC 7505.
func (r *Router) byMX(ctx context.Context, domain string) (*Route, error) {
	ans, err := r.resolver().MX(ctx, domain)
	switch {
	case err == nil && len(ans.Records) > 0:
	case err == nil, dns.IsNoData(err):
		// No MX: the domain itself is its mail exchanger.
		return r.collect(ctx, domain, []dns.MX{{Host: domain}}, true, false)
	case dns.IsNotExist(err):
		return nil, errNoDomain
	default:
		return nil, errDNS
	}
	records := slices.Clone(ans.Records)
	if len(records) == 1 && isRoot(records[0].Host) {
		return nil, errNullMX // RFC 7505 §3, whatever its preference
	}
	records = slices.DeleteFunc(records, func(mx dns.MX) bool { return isRoot(mx.Host) })
	// Equals in random order (RFC 5321 §5.1).
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b dns.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	return r.collect(ctx, domain, records, false, ans.Authentic)
}

func isRoot(host string) bool { return host == "" || host == "." }

// collect looks up the hosts' addresses and leaves out what must not be tried.
func (r *Router) collect(ctx context.Context, domain string, records []dns.MX, implicit, authentic bool) (*Route, error) {
	route := &Route{Domain: domain, Authentic: authentic}
	var temporary, loop bool
	left := cmp.Or(r.MaxAddrs, 20)
	for i, mx := range records {
		if i >= cmp.Or(r.MaxHosts, 10) || left <= 0 {
			break
		}
		h := Host{Name: strings.ToLower(strings.TrimSuffix(mx.Host, ".")), Preference: mx.Preference, Port: r.port()}
		if r.isSelf(h) {
			loop = true
			break // this and everything behind it is no better than ourselves
		}
		ans, err := r.resolver().IP(ctx, h.Name)
		if err != nil {
			if implicit && dns.IsNotFound(err) {
				return nil, errNoMail
			}
			temporary = temporary || !dns.IsNotFound(err)
			continue
		}
		h.Addrs, h.Authentic = ans.Records, ans.Authentic
		if r.isSelf(h) {
			loop = true
			break
		}
		h.Addrs = r.reachable(h.Addrs)
		h.Addrs = h.Addrs[:min(len(h.Addrs), left)]
		left -= len(h.Addrs)
		if len(h.Addrs) > 0 {
			route.Hosts = append(route.Hosts, h)
		}
	}
	switch {
	case len(route.Hosts) > 0:
		return route, nil
	case temporary:
		return nil, errDNS
	case loop:
		return nil, errLoop
	}
	return nil, errUnusable
}

// isSelf reports whether a host is this system, by name or by address.
func (r *Router) isSelf(h Host) bool {
	if slices.ContainsFunc(r.Names, func(n string) bool {
		return h.Name != "" && strings.EqualFold(strings.TrimSuffix(n, "."), h.Name)
	}) {
		return true
	}
	return slices.ContainsFunc(h.Addrs, func(a netip.Addr) bool {
		return slices.Contains(r.Addrs, netip.AddrPortFrom(a.Unmap(), h.Port))
	})
}

// reachable leaves out addresses that a public name must not point to.
func (r *Router) reachable(addrs []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool {
		a = a.Unmap()
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return true
		}
		return !r.AllowPrivate && (a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || reserved(a))
	})
}

var reservedPrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // RFC 1122 §3.2.1.3
	netip.MustParsePrefix("100.64.0.0/10"),   // RFC 6598
	netip.MustParsePrefix("240.0.0.0/4"),     // RFC 1112 §4
	netip.MustParsePrefix("64:ff9b:1::/48"),  // RFC 8215
	netip.MustParsePrefix("fec0::/10"),       // RFC 3879
	netip.MustParsePrefix("::ffff:0:0:0/96"), // RFC 2765
}

func reserved(a netip.Addr) bool {
	return slices.ContainsFunc(reservedPrefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
