package dkim

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/ctxio"
)

// Defaults of Verifier.
const (
	DefaultMaxSignatures  = 10
	DefaultMinRSABits     = 1024
	DefaultMaxRSABits     = 4096
	DefaultMaxRecordBytes = 8 << 10
	DefaultTimeout        = 10 * time.Second
)

// Verifier checks the signatures of messages. The zero value works, with
// net.DefaultResolver. It may be used by several goroutines at once; its fields
// must not change meanwhile. In all limits zero or less means the default.
type Verifier struct {
	// Resolver fetches keys; nil means net.DefaultResolver.
	Resolver Resolver
	// MaxSignatures is how many signatures of a message are tried, from the
	// top; default 10. The others get StatusPolicy.
	MaxSignatures int
	// MinRSABits is the smallest RSA key accepted, default and minimum 1024
	// (RFC 8301 §3.2). Signatures of smaller keys are StatusFail.
	MinRSABits int
	// MaxRSABits is the largest RSA key used, default 4096, which RFC 8301 §3.2
	// requires. Signatures of larger keys are StatusPolicy.
	MaxRSABits int
	// MaxRecordBytes is the largest key record parsed, default 8192 octets.
	MaxRecordBytes int
	// MaxHeaderBytes and MaxHeaderFields bound the header that is kept in
	// memory: default 1 MiB and 5000 fields. Beyond them no signature is
	// checked and there is one Result with ErrHeaderTooLarge.
	MaxHeaderBytes, MaxHeaderFields int
	// Timeout bounds all key lookups of a message together, counted from the
	// end of its header; default 10 seconds.
	Timeout time.Duration
	// TrustTesting makes signatures by keys with t=y count as any other,
	// which RFC 6376 §3.6.1 forbids and most large receivers do.
	TrustTesting bool
	// AcceptLF takes a bare LF for CRLF, for messages from files. Mail from the
	// wire has none (RFC 5321 §2.3.8).
	AcceptLF bool
	// Clock tells the time for x=; nil means time.Now.
	Clock func() time.Time
}

func (v *Verifier) now() time.Time {
	if v.Clock != nil {
		return v.Clock()
	}
	return time.Now()
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Verify reads a message to its end and returns one Result per signature, from
// the top of the header; none where the message is not signed. The error is
// r's or ctx's; without error the message was read completely.
func (v *Verifier) Verify(ctx context.Context, r io.Reader) ([]Result, error) {
	n := v.NewVerification(ctx)
	n.whole = true
	defer n.Close()
	if err := ctxio.Feed(ctx, n, r); err != nil {
		return nil, err
	}
	return n.Results(), nil
}

// Verification is the check of one message that is being written to it. It is
// not safe for concurrent use.
type Verification struct {
	v      *Verifier
	ctx    context.Context
	cancel context.CancelFunc
	// Of the lookups, all together.
	deadline time.Time
	timer    *time.Timer

	lf     *lfConverter
	header *headerCollector
	keys   []*keyLookup
	few    [2]*keyLookup // what keys mostly is
	first  keyLookup     // the first of them
	body   *BodyHasher   // of the workspace, unless the caller has one
	*workspace

	whole             bool // perhaps: keys are not sent for before more is written
	started, finished bool
	results           []Result
}

// workspace is what a Verification needs until it has its results; the next one
// takes it over.
type workspace struct {
	own    headerCollector // unless the caller gathers the header
	hasher BodyHasher
	checks []check
	sigs   []signature
	sum    hash.Hash // over header fields
	digest [sha256.Size]byte
	room   []byte // of a signature that is hashed
}

var workspaces = sync.Pool{New: func() any { return &workspace{sum: sha256.New()} }}

// maxKept is up to which size in octets buffers are kept.
const maxKept = 64 << 10

// release gives the workspace to the next message.
func (w *workspace) release() {
	if cap(w.own.buf) > maxKept || cap(w.room) > maxKept || cap(w.own.line) > maxKept || len(w.own.index) > 1024 || cap(w.sigs) > DefaultMaxSignatures {
		return
	}
	w.own.reset()
	w.hasher.reset()
	clear(w.checks)
	for i := range w.sigs {
		w.sigs[i] = signature{b: w.sigs[i].b}
	}
	workspaces.Put(w)
}

// check is one signature on its way to a Result.
type check struct {
	field int32
	sig   *signature // nil when not even parsed
	err   error
	body  *BodyHash
	key   *keyLookup
}

// NewVerification starts the check of a message: write the message to it as it
// comes, then ask Results; or Close to give up. ctx bounds the key lookups,
// which begin as soon as the header is complete.
func (v *Verifier) NewVerification(ctx context.Context) *Verification {
	n := v.verification(ctx)
	n.header = &n.own
	n.header.maxBytes = orDefault(v.MaxHeaderBytes, defaultHeaderBytes)
	n.header.maxFields = orDefault(v.MaxHeaderFields, defaultHeaderFields)
	if v.AcceptLF {
		n.lf = new(lfConverter)
	}
	return n
}

func (v *Verifier) verification(ctx context.Context) *Verification {
	n := &Verification{v: v, ctx: ctx, workspace: workspaces.Get().(*workspace)}
	n.keys, n.body = n.few[:0], &n.hasher
	return n
}

// NewBodyVerification starts the check of a message whose header the caller has
// gathered, complete: only its body is to be written. The limits of the header
// and AcceptLF are then the caller's. body may be shared with other schemes,
// so that a body is hashed once for all of them: the caller then writes to body,
// when all of them have begun, and not to the Verification. nil: its own.
func (v *Verifier) NewBodyVerification(ctx context.Context, h *Header, body *BodyHasher) *Verification {
	n := v.verification(ctx)
	n.header = &h.c
	if body != nil {
		n.body = body
	}
	_ = h.Close()
	n.start()
	return n
}

// Write takes the next piece of the message. It always takes all of it: what is
// wrong with the message is in the Results.
func (n *Verification) Write(p []byte) (int, error) {
	size := len(p)
	if n.finished {
		return size, nil
	}
	if n.lf != nil {
		p = n.lf.convert(p)
	}
	if n.started {
		n.send(false)
	}
	if !n.header.done {
		p = n.header.write(p)
		if n.header.done {
			n.start()
		}
	}
	if len(p) > 0 {
		n.body.Write(p)
	}
	return size, nil
}

// Close gives up a verification and ends its lookups; it is harmless after
// Results.
func (n *Verification) Close() error {
	n.finished = true
	if n.timer != nil {
		n.timer.Stop()
	}
	if n.cancel != nil {
		n.cancel()
	}
	if n.workspace != nil {
		n.release()
		n.workspace = nil
	}
	return nil
}

// start parses the signatures of a complete header and sends for the keys.
func (n *Verification) start() {
	n.started = true
	n.checks = n.checks[:0]
	if n.header.err != nil {
		n.checks = append(n.checks, check{err: n.header.err})
		return
	}
	total := n.header.count(fieldName)
	if total == 0 {
		return
	}
	// RFC 6376 §8.15: with two From fields the signed one may not be the one
	// that is shown.
	oneFrom := n.header.count("from") == 1
	limit := orDefault(n.v.MaxSignatures, DefaultMaxSignatures)
	now := n.v.now().Unix()
	n.checks = slices.Grow(n.checks, total)[:total]
	if most := min(total, limit); cap(n.sigs) < most {
		n.sigs = make([]signature, most)
	}
	n.sigs = n.sigs[:cap(n.sigs)]
	next := n.header.from(fieldName)
	for i := total - 1; i >= 0; i, next = i-1, n.header.fields[next].prev {
		n.checks[i] = check{field: next}
	}
	for i := range n.checks {
		c := &n.checks[i]
		if i >= limit {
			c.err = ErrTooManySignatures
			continue
		}
		c.sig = &n.sigs[i]
		c.err = c.sig.parse(n.header.raw(c.field))
		switch {
		case c.err != nil:
		case !oneFrom:
			c.err = ErrFromCount
		case c.sig.expires >= 0 && c.sig.expires < now:
			c.err = ErrExpired
		default:
			c.body = n.body.Add(c.sig.bodyC, c.sig.length)
			c.key = n.want(c.sig)
		}
	}
	if !n.whole {
		n.send(false)
	}
}

// Results ends the message and returns one Result per signature, from the top
// of the header. It waits for keys at most until the Timeout. Further calls
// return the same.
func (n *Verification) Results() []Result {
	if n.finished {
		return n.results
	}
	if !n.started {
		n.header.close()
		n.start()
	}
	n.body.Close()
	n.send(true)
	n.results = make([]Result, len(n.checks))
	var few [DefaultMaxSignatures]string
	texts := few[:0]
	for i := range n.checks {
		n.results[i] = n.evaluate(&n.checks[i])
		if s := n.checks[i].sig; s != nil {
			texts = append(texts, s.bText)
		}
	}
	setPrefixes(n.results, texts)
	n.Close()
	return n.results
}

func (n *Verification) evaluate(c *check) Result {
	r := Result{BodyLength: -1}
	if s := c.sig; s != nil {
		r.Domain, r.Selector, r.Identifier = s.domain, s.selector, s.identifier
		r.Algorithm, r.HeaderCanon, r.BodyCanon = s.algorithm, s.headerC, s.bodyC
		r.Signed, r.Expires = timeOf(s.signed), timeOf(s.expires)
		r.SignedFields, r.BodyLength = s.headers, s.length
	}
	r.Err = c.err
	if r.Err == nil {
		r.Err = n.verify(c, &r)
	}
	r.Expired = r.Err == ErrExpired
	r.Status = statusOf(r.Err)
	r.Trusted = r.Status == StatusPass && (!r.Testing || n.v.TrustTesting)
	return r
}

// verify does what is left when header and body are complete and fills in what
// the key tells.
func (n *Verification) verify(c *check, r *Result) error {
	s := c.sig
	records, keyErr := n.wait(c.key)
	// RFC 6376 §3.5 l=: never more than there is.
	total := c.body.Total()
	r.Partial = s.length >= 0 && s.length < total
	bodyErr := error(nil)
	if s.length > total {
		bodyErr = ErrBodyLength
	} else if !bytes.Equal(c.body.Sum(), s.bh) {
		bodyErr = ErrBodyHash
	}
	if keyErr != nil {
		if bodyErr != nil {
			return bodyErr // no key could mend that
		}
		return keyErr
	}
	var sum []byte
	var first error
	for _, record := range records {
		err := n.v.acceptable(record, s)
		r.Testing, r.Strict, r.KeyBits = record.Testing, record.Strict, record.Bits()
		if err == nil {
			err = bodyErr
		}
		if err == nil {
			if sum == nil {
				sum = n.headerHash(s)
			}
			if err = record.Verify(sum, s.b); err == nil && r.Partial {
				return ErrPartialBody
			} else if err == nil {
				return nil
			}
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// acceptable checks a key before it is used.
func (v *Verifier) acceptable(k *KeyRecord, s *signature) error {
	if err := k.Allows(s.algorithm); err != nil {
		return err
	}
	if k.Strict && s.idDomain != s.domain { // RFC 6376 §3.6.1 t=s
		return fmt.Errorf("%w: t", ErrIdentifier)
	}
	if _, ok := k.Key.(*rsa.PublicKey); ok {
		if bits := k.Bits(); bits < max(v.MinRSABits, DefaultMinRSABits) {
			return ErrKeyTooShort
		} else if bits > orDefault(v.MaxRSABits, DefaultMaxRSABits) {
			return ErrKeyTooLong
		}
	}
	return nil
}

// headerHash hashes the signed fields, then the signature's own (RFC 6376 §3.7).
func (n *Verification) headerHash(s *signature) []byte {
	n.sum.Reset()
	n.header.hashFields(n.sum, s.headerC, s.headers)
	n.room = s.hashSelf(n.sum, n.room)
	return n.sum.Sum(n.digest[:0])
}
