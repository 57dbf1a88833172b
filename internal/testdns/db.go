package testdns

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// Failure is a way in which a lookup goes wrong.
type Failure int

// The failures. Those that are about messages only (Truncate and below) leave a
// Resolver's answers as they are, unless the comment says otherwise.
const (
	// None: no failure; takes an earlier one back.
	None Failure = iota
	// ServFail and Refused answer with that response code.
	ServFail
	Refused
	// NXDomain and NoData deny the records in spite of the zone.
	NXDomain
	NoData
	// Timeout: no answer at all. A Resolver reports a time-out at once.
	Timeout
	// Truncate: over UDP no records and the TC bit; TCP has the whole answer.
	Truncate
	// Oversize: over UDP the whole answer however long, without the TC bit.
	Oversize
	// Spoof: over UDP forged answers with a wrong id, then with a wrong
	// question, come before the true one.
	Spoof
	// WrongID: only answers with a wrong id. A Resolver reports a time-out.
	WrongID
	// WrongQuestion: only answers to another question. A Resolver reports a time-out.
	WrongQuestion
	// Garbage: the right id, then nothing that decodes, over UDP and TCP. A
	// Resolver reports a temporary failure.
	Garbage
	// HalfChain: of a chain of aliases only the first, as some servers send it.
	HalfChain
	// FlipAD: the AD bit is the opposite of what it should be.
	FlipAD
	// NoEDNS: FORMERR for a query with EDNS.
	NoEDNS
	// Referral: no answer but name servers to ask instead, as from a server
	// that does not recurse. A Resolver reports a temporary failure.
	Referral
)

// Query is one question that was asked.
type Query struct{ Type, Name string }

// DB is a zone under test together with its failures and counters; it is part of
// both Server and Resolver. All methods are safe for concurrent use, also while
// queries run.
type DB struct {
	mu        sync.Mutex
	nodes     map[string]*node
	authentic bool
	negTTL    int
	counts    map[Query]int
	log       []Query
}

type node struct {
	rrs      map[uint16][]mdns.RR
	fail     map[string]Failure
	delay    time.Duration
	insecure bool
	absent   bool // known for its failures or delay alone
}

const maxLog = 10000

func newDB(z Zone) (*DB, error) {
	db := &DB{nodes: map[string]*node{}, counts: map[Query]int{}, negTTL: 60}
	for name, r := range z {
		if err := db.set(name, r); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// Set replaces all records and failures of a name. It panics when a record does
// not parse: that is a mistake in the test.
func (db *DB) Set(name string, r Records) {
	if err := db.set(name, r); err != nil {
		panic(err)
	}
}

func (db *DB) set(name string, r Records) error {
	rrs, err := r.build()
	if err != nil {
		return fmt.Errorf("testdns: %s: %w", name, err)
	}
	n := &node{rrs: rrs, fail: map[string]Failure{}, insecure: r.Insecure}
	for t, f := range r.Fail {
		if t == "" {
			t = "*"
		}
		n.fail[t] = f
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.nodes[ownerName(name)] = n
	return nil
}

// Remove takes a name out of the zone.
func (db *DB) Remove(name string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.nodes, ownerName(name))
}

// Fail makes lookups of a name and record type ("MX", …; "" for all types) go
// wrong until Fail is called with None. The name need not be in the zone.
func (db *DB) Fail(name, qtype string, f Failure) {
	if qtype == "" {
		qtype = "*"
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.node(name).fail[qtype] = f
}

// Delay makes every answer about a name come later.
func (db *DB) Delay(name string, d time.Duration) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.node(name).delay = d
}

func (db *DB) node(name string) *node {
	name = ownerName(name)
	n := db.nodes[name]
	if n == nil {
		n = &node{fail: map[string]Failure{}, absent: true}
		db.nodes[name] = n
	}
	return n
}

// SetAuthentic makes the server one that validates: answers carry the AD bit,
// except for Insecure names. It is off at first.
func (db *DB) SetAuthentic(on bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.authentic = on
}

// SetNegativeTTL sets TTL and minimum of the SOA record in negative answers, in
// seconds; negative means that there is none. It is 60 at first.
func (db *DB) SetNegativeTTL(seconds int) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.negTTL = seconds
}

// Count is how often a name and type was asked for; an empty name or type
// stands for all of them. Aliases that the server followed itself do not count.
func (db *DB) Count(name, qtype string) int {
	all := name == ""
	name = ownerName(name)
	db.mu.Lock()
	defer db.mu.Unlock()
	n := 0
	for q, c := range db.counts {
		if (all || q.Name == name) && (qtype == "" || q.Type == qtype) {
			n += c
		}
	}
	return n
}

// Queries are the first 10,000 questions in the order in which they came.
func (db *DB) Queries() []Query {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Clone(db.log)
}

// answer is the outcome of one question.
type answer struct {
	failure   Failure
	rcode     int
	chain     []mdns.RR // CNAMEs on the way
	rrs       []mdns.RR
	canonical string
	authentic bool
	negTTL    int
	delay     time.Duration
}

// ask answers a question; name is literal.
func (db *DB) ask(name string, qtype uint16) answer {
	db.mu.Lock()
	defer db.mu.Unlock()
	typ := mdns.TypeToString[qtype]
	name = ownerName(name)
	q := Query{typ, name}
	db.counts[q]++
	if len(db.log) < maxLog {
		db.log = append(db.log, q)
	}
	a := answer{authentic: db.authentic, negTTL: db.negTTL, canonical: name}
	for links := 0; ; links++ {
		n := db.find(name)
		if n != nil {
			a.delay += n.delay
			if f := n.failureOf(typ); f != None && a.failure == None {
				a.failure = f
			}
			a.authentic = a.authentic && !n.insecure
		}
		if a.failure == NXDomain || n == nil || n.absent {
			a.rcode = mdns.RcodeNameError
			if a.failure != NXDomain && db.hasBelow(name) || name == "" {
				a.rcode = mdns.RcodeSuccess
			}
			if name == "" && qtype == mdns.TypeNS && a.failure == None {
				a.rrs = owned([]mdns.RR{rootNS()}, "")
			}
			return a
		}
		if a.failure == NoData {
			return a
		}
		if rrs := n.rrs[qtype]; len(rrs) > 0 {
			a.rrs = owned(rrs, name)
			return a
		}
		cname := n.rrs[mdns.TypeCNAME]
		if len(cname) == 0 {
			return a
		}
		a.chain = append(a.chain, owned(cname[:1], name)...)
		if links == 20 { // what a recursive resolver says to a loop
			if a.failure != HalfChain {
				a.failure = ServFail
			}
			return a
		}
		name = ownerName(plainName(cname[0].(*mdns.CNAME).Target))
		a.canonical = name
	}
}

func (n *node) failureOf(typ string) Failure {
	if f := n.fail[typ]; f != None {
		return f
	}
	return n.fail["*"]
}

// find is the node of a name, or of the wildcard that covers it (RFC 4592 §3.3).
func (db *DB) find(name string) *node {
	if n := db.nodes[name]; n != nil {
		return n
	}
	if db.hasBelow(name) {
		return nil
	}
	for rest := name; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return nil
		}
		if n := db.nodes["*."+parent]; n != nil {
			return n
		}
		if db.nodes[parent] != nil || db.hasBelow(parent) {
			return nil
		}
		rest = parent
	}
}

// hasBelow reports whether there are names below this one, so that it exists.
func (db *DB) hasBelow(name string) bool {
	for n, node := range db.nodes {
		if !node.absent && strings.HasSuffix(n, "."+name) {
			return true
		}
	}
	return false
}

func owned(rrs []mdns.RR, name string) []mdns.RR {
	out := make([]mdns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = mdns.Copy(rr)
		out[i].Header().Name = wireName(name)
	}
	return out
}

func rootNS() mdns.RR {
	return &mdns.NS{
		Hdr: mdns.RR_Header{Rrtype: mdns.TypeNS, Class: mdns.ClassINET, Ttl: 300},
		Ns:  "ns.invalid.",
	}
}

func soa(ttl int) mdns.RR {
	return &mdns.SOA{
		Hdr: mdns.RR_Header{Name: ".", Rrtype: mdns.TypeSOA, Class: mdns.ClassINET, Ttl: uint32(ttl)},
		Ns:  "ns.invalid.", Mbox: "hostmaster.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: uint32(ttl),
	}
}

// wait sleeps for d unless ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
