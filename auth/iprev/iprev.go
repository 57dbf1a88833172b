package iprev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Resolver is the lookups that are needed, with the signatures and errors of
// net.Resolver: a *net.DNSError with IsNotFound (found by errors.As) means that
// there is no such record, every other error that the lookup failed. Names are
// passed with a final dot. Lookups must end when their context does.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Defaults of Checker.
const (
	// DefaultNames is how many names of an address are looked up.
	DefaultNames = 10
	// DefaultTimeout is for how long a check may go on.
	DefaultTimeout = 20 * time.Second
)

// Checker checks addresses. The zero value is ready to use. It is safe for
// concurrent use; its fields must not be changed after the first check.
type Checker struct {
	// Resolver does the lookups. Nil means net.DefaultResolver.
	Resolver Resolver
	// Names limits the names of an address that are looked up, in the order in
	// which they came; the others are ignored. Zero means DefaultNames, negative
	// that none is, so that nothing passes.
	Names int
	// Timeout bounds a whole check. Zero means DefaultTimeout; negative means
	// that only the context bounds it.
	Timeout time.Duration
}

// Status is the result of a check (RFC 8601 §2.7.3). Its text, as String returns
// it, is the one of Authentication-Results.
type Status uint8

// The results.
const (
	// PermError: the address has no name, or is no address. The zero value.
	PermError Status = iota
	// Pass: the address has a name that leads back to it.
	Pass
	// Fail: none of the names leads back to the address.
	Fail
	// TempError: lookups failed, and no name was found to lead back.
	TempError
)

var statusText = [...]string{"permerror", "pass", "fail", "temperror"}

// String returns the name of RFC 8601 §2.7.3, in lower case.
func (s Status) String() string {
	if int(s) < len(statusText) {
		return statusText[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Result is the outcome of one check.
type Result struct {
	// Status is the result.
	Status Status
	// IP is the address, 4-in-6 unmapped and without zone.
	IP netip.Addr
	// Name is the name that leads back to IP; empty but for Pass. Lower case,
	// without final dot, a host name of letters, digits, hyphens and underscores.
	Name string
	// Claimed are the names that IP says it has, at most Checker.Names, in the
	// form of Name. Without a Pass they are the words of a stranger.
	Claimed []string
	// Err is the reason of TempError and PermError: ErrNoName, ErrBadIP,
	// ErrTimeout, or the resolver's or the context's error. Otherwise nil.
	Err error
}

// Reasons in Result.Err, for errors.Is.
var (
	// ErrNoName: the address has no PTR record with a host name.
	ErrNoName = errors.New("iprev: the address has no name")
	// ErrBadIP: the zero Addr.
	ErrBadIP = errors.New("iprev: not an IP address")
	// ErrTimeout: the check took longer than allowed.
	ErrTimeout = errors.New("iprev: check timed out")
)

// Check looks up the names of ip and their addresses. The result is never an
// error of its own; when ctx ends it is TempError.
func (c *Checker) Check(ctx context.Context, ip netip.Addr) Result {
	res := Result{IP: ip.Unmap().WithZone("")}
	if !ip.IsValid() {
		res.Err = ErrBadIP
		return res
	}
	if c.Timeout >= 0 {
		timeout := c.Timeout
		if timeout == 0 {
			timeout = DefaultTimeout
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer cancel()
	}
	var r Resolver = net.DefaultResolver
	if c.Resolver != nil {
		r = c.Resolver
	}
	names, err := r.LookupAddr(ctx, res.IP.String())
	if len(names) == 0 && err != nil && !notFound(err) {
		res.Status, res.Err = TempError, cause(ctx, err)
		return res
	}
	limit := c.Names
	if limit == 0 {
		limit = DefaultNames
	}
	for _, n := range names[:min(len(names), max(limit, 0))] {
		if n, ok := hostName(n); ok {
			res.Claimed = append(res.Claimed, n)
		}
	}
	if len(res.Claimed) == 0 {
		res.Err = ErrNoName
		return res
	}
	res.forward(ctx, r)
	return res
}

// forward looks the claimed names up until one leads back.
func (res *Result) forward(ctx context.Context, r Resolver) {
	network := "ip4"
	if res.IP.Is6() {
		network = "ip6"
	}
	var failed error
	for _, name := range res.Claimed {
		if ctx.Err() != nil { // the rest was not asked for
			failed = cmp.Or(failed, context.Cause(ctx))
			break
		}
		ips, err := r.LookupNetIP(ctx, network, name+".")
		for _, ip := range ips {
			if ip.Unmap().WithZone("") == res.IP {
				res.Status, res.Name = Pass, name
				return
			}
		}
		if err != nil && !notFound(err) && failed == nil {
			failed = cause(ctx, err)
		}
	}
	res.Status = Fail
	if failed != nil { // it might have been the one
		res.Status, res.Err = TempError, failed
	}
}

// cause prefers our own time-out to how a resolver reports it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func notFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}

// hostName is a name in the form of Result.Name; false for what is no host name
// of at most 253 octets with labels of 1 to 63 octets (RFC 1035 §2.3.4).
func hostName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return "", false
	}
	label := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return "", false
			}
			label = 0
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			if label++; label > 63 {
				return "", false
			}
		default:
			return "", false
		}
	}
	return strings.ToLower(s), label > 0
}
