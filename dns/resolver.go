package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"

	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// Defaults of Resolver's fields, and limits that are not fields.
const (
	defaultTimeout     = 5 * time.Second
	defaultAttempts    = 2
	defaultCacheSize   = 4096
	defaultMaxTTL      = 24 * time.Hour
	defaultNegativeTTL = 15 * time.Minute
	defaultFailureTTL  = 5 * time.Second
	maxFailureTTL      = 5 * time.Minute // RFC 2308 §7.1

	maxChain    = 10   // CNAME links followed
	maxRecords  = 1024 // records accepted in one answer section
	ednsPayload = 1232 // UDP payload we announce: passes every path unfragmented
)

// Resolver asks recursive resolvers and remembers their answers. The zero value
// is ready to use. It is safe for concurrent use; its fields must not be changed
// after the first lookup. It must not be copied.
//
// Lookups of the same name and type that run at the same time share one query.
// A lookup returns when its context ends; the query goes on only while someone
// else waits for it.
type Resolver struct {
	// Servers are the recursive resolvers, as host:port or as an address, which
	// gets port 53. They are asked in order until one gives an answer; one that
	// failed is asked last the next time. Empty means those of /etc/resolv.conf,
	// looked at again when the file changes, or 127.0.0.1 without such a file.
	Servers []string
	// Timeout bounds one query to one server. Zero means 5 seconds; negative
	// means that only the context bounds it.
	Timeout time.Duration
	// Attempts is how many times the list of servers is gone through before the
	// lookup fails. Zero means 2; below 1 counts as 1.
	Attempts int
	// CacheSize bounds the cached answers, positive and negative together, and
	// its memory, at 1 KiB per entry on average; the least recently used go
	// first. Zero means 4096; negative turns the cache off.
	CacheSize int
	// MaxTTL caps how long a positive answer is cached, whatever its TTL says.
	// Zero means 24 hours; negative means that positive answers are not cached.
	MaxTTL time.Duration
	// NegativeTTL caps how long the absence of a name or of records is cached;
	// below it the SOA record decides (RFC 2308 §5). Zero means 15 minutes;
	// negative means not at all.
	NegativeTTL time.Duration
	// FailureTTL is how long a temporary failure is remembered, and an absence
	// that came without SOA record, so that a resolver in trouble is not asked
	// again for each message (RFC 2308 §7; at most 5 minutes). Zero means 5
	// seconds; negative means not at all.
	FailureTTL time.Duration
	// Dial opens connections to servers; network is "udp" or "tcp", address one
	// of Servers. On a connection for "udp" one Write is one datagram. Nil means
	// a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger gets failed exchanges at debug level. Nil means none.
	Logger *slog.Logger

	cache   cache
	flights flights
	conf    resolvConf
	first   atomic.Uint32 // index of the server to ask first
}

// entry is the outcome of one lookup that may be cached: records, or their
// proven absence. It is immutable.
type entry struct {
	failure   *Error // nothing is known: the lookup failed
	kind      Kind   // 0: records; else NXDomain or NoData
	name      string
	authentic bool
	expires   time.Time
	cacheable bool
	server    string
	detail    string
	rrs       []mdns.RR
}

// err is the error an entry stands for; nil when it has records.
func (e *entry) err(name string, qtype uint16) error {
	if e.failure != nil {
		return e.failure
	}
	if e.kind == 0 {
		return nil
	}
	return &Error{Kind: e.kind, Name: name, Type: typeName(qtype), Server: e.server, Detail: e.detail, Authentic: e.authentic}
}

// Flush empties the cache.
func (r *Resolver) Flush() { r.cache.flush() }

// resolve finds the entry for a name, in the cache or by asking. Entry and
// error are both returned for a negative answer.
func (r *Resolver) resolve(ctx context.Context, name string, qtype uint16) (*entry, error) {
	qname, err := CanonicalName(name)
	if err != nil {
		return nil, &Error{Kind: BadName, Name: printable(name, maxName), Type: typeName(qtype), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return nil, contextError(ctx, qname, qtype)
	}
	if e := special(qname, qtype); e != nil {
		return e, e.err(qname, qtype)
	}
	k := key{qname, qtype}
	e, ok := r.cache.get(k, time.Now())
	if !ok {
		if e, err = r.flights.do(ctx, k, r.fly); err != nil {
			return nil, err
		}
	}
	return e, e.err(qname, qtype)
}

// fly is one shared lookup: it asks and fills the cache.
func (r *Resolver) fly(ctx context.Context, k key) (*entry, error) {
	e, err := r.ask(ctx, k)
	var failure *Error
	switch {
	case err == nil:
		r.cache.put(k, e, r.cacheSize())
	case ctx.Err() == nil && errors.As(err, &failure) && failure.Kind == Temporary:
		// RFC 2308 §7: a server that does not answer is not asked for each
		// message anew.
		ttl := min(r.cap(r.FailureTTL, defaultFailureTTL), maxFailureTTL)
		r.cache.put(k, &entry{failure: failure, expires: time.Now().Add(ttl), cacheable: ttl > 0}, r.cacheSize())
	}
	return e, err
}

// ask queries, following aliases across messages where a server returned only a
// part of the chain.
func (r *Resolver) ask(ctx context.Context, k key) (*entry, error) {
	name, links, authentic, ttl := k.name, 0, true, r.cap(r.MaxTTL, defaultMaxTTL)
	for {
		resp, server, qerr := r.query(ctx, name, k.qtype)
		if qerr != nil {
			return nil, renamed(qerr, k)
		}
		v, err := interpret(resp, name, k.qtype, maxChain-links)
		if err != nil {
			return nil, &Error{Kind: BadAnswer, Name: k.name, Type: typeName(k.qtype), Server: server, Err: err}
		}
		authentic = authentic && resp.AuthenticatedData
		links += v.links
		ttl = min(ttl, v.ttl)
		if v.next != "" {
			name = v.next
			continue
		}
		if v.kind != 0 {
			limit := r.cap(r.NegativeTTL, defaultNegativeTTL)
			if ttl == 0 {
				// Without SOA the answer says not how long it holds.
				ttl = min(r.cap(r.FailureTTL, defaultFailureTTL), maxFailureTTL)
			}
			ttl = min(ttl, limit)
		}
		return &entry{
			kind:      v.kind,
			name:      v.name,
			authentic: authentic,
			expires:   time.Now().Add(ttl),
			cacheable: ttl > 0,
			server:    server,
			detail:    v.detail,
			rrs:       v.rrs,
		}, nil
	}
}

func (r *Resolver) cap(d, zero time.Duration) time.Duration {
	if d == 0 {
		return zero
	}
	return max(d, 0)
}

func (r *Resolver) cacheSize() int {
	switch {
	case r.CacheSize == 0:
		return defaultCacheSize
	case r.CacheSize < 0:
		return 0
	}
	return r.CacheSize
}

func (r *Resolver) logger() *slog.Logger {
	if r.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Logger
}

// special answers names that must not reach a server: localhost (RFC 6761 §6.3),
// invalid (§6.4) and onion (RFC 7686 §2).
func special(qname string, qtype uint16) *entry {
	e := &entry{name: qname, expires: time.Now()}
	switch last := qname[strings.LastIndexByte(qname, '.')+1:]; last {
	case "invalid", "onion":
		e.kind = NXDomain
	case "localhost":
		switch qtype {
		case mdns.TypeA:
			e.rrs = []mdns.RR{&mdns.A{A: net.IPv4(127, 0, 0, 1).To4()}}
		case mdns.TypeAAAA:
			e.rrs = []mdns.RR{&mdns.AAAA{AAAA: net.IPv6loopback}}
		default:
			e.kind = NoData
		}
	default:
		return nil
	}
	return e
}

func contextError(ctx context.Context, name string, qtype uint16) *Error {
	err := ctx.Err()
	return &Error{
		Kind: Temporary, Name: name, Type: typeName(qtype), Err: err,
		timeout: errors.Is(err, context.DeadlineExceeded),
	}
}

// renamed tells an error of a later link under the name that was asked for.
func renamed(err *Error, k key) *Error {
	if err.Name != k.name {
		c := *err
		c.Name = k.name
		return &c
	}
	return err
}

func typeName(qtype uint16) string {
	if s, ok := mdns.TypeToString[qtype]; ok {
		return s
	}
	return "type"
}
