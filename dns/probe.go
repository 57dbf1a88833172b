package dns

import (
	"context"
	"errors"
	"time"

	mdns "github.com/miekg/dns"
)

// ServerProbe is what Probe found out about one server.
type ServerProbe struct {
	// Server is its address with port.
	Server string
	// Validates is whether it set the AD bit for a zone that is known to be
	// signed: the root.
	Validates bool
	// Took is how long the answer took.
	Took time.Duration
	// Err is set when it gave no usable answer; an *Error.
	Err error
}

// Probe asks every server once for the NS records of the root, past the cache,
// and reports which of them validate DNSSEC. Do this at start: DANE behind a
// resolver that does not validate protects nobody. At most 16 servers are asked.
func (r *Resolver) Probe(ctx context.Context) []ServerProbe {
	servers := r.servers()
	servers = servers[:min(len(servers), maxServers)]
	out := make([]ServerProbe, len(servers))
	done := make(chan struct{})
	for i, s := range servers {
		go func() {
			start := time.Now()
			resp, err := r.askServer(ctx, s, ".", mdns.TypeNS)
			p := ServerProbe{Server: s, Took: time.Since(start)}
			if err != nil {
				p.Err = err
			} else {
				p.Validates = resp.AuthenticatedData && resp.Rcode == mdns.RcodeSuccess && len(resp.Answer) > 0
			}
			out[i] = p
			done <- struct{}{}
		}()
	}
	for range servers {
		<-done
	}
	return out
}

// Validates reports whether every server that answers Probe validates DNSSEC: a
// lookup may be answered by any of them. The error is set when none answers.
func (r *Resolver) Validates(ctx context.Context) (bool, error) {
	var errs []error
	validates, answered := true, false
	for _, p := range r.Probe(ctx) {
		if p.Err != nil {
			errs = append(errs, p.Err)
			continue
		}
		answered = true
		validates = validates && p.Validates
	}
	if !answered {
		return false, errors.Join(errs...)
	}
	return validates, nil
}
