package arc

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/internal/ctxio"
)

// Defaults of Verifier.
const (
	DefaultMaxSets    = maxInstance
	DefaultMaxHistory = 10
	DefaultTimeout    = 10 * time.Second
)

// Verifier checks the chains of messages. The zero value works, with
// net.DefaultResolver. It may be used by several goroutines at once; its fields
// must not change meanwhile. In all limits zero or less means the default.
type Verifier struct {
	// Resolver fetches keys; nil means net.DefaultResolver.
	Resolver dkim.Resolver
	// MaxSets is the largest number of sets accepted, default and maximum 50
	// (RFC 8617 §5.2). Longer chains fail. A message costs at most MaxSets +
	// MaxHistory lookups, eight at a time.
	MaxSets int
	// MaxHistory is how many message signatures are checked, from the newest,
	// default 10. Validity needs the first only, OldestPass the others: it goes
	// back no further than they do.
	MaxHistory int
	// MinRSABits is the smallest RSA key accepted, default and minimum 1024
	// (RFC 8301 §3.2), MaxRSABits the largest, default 4096.
	MinRSABits, MaxRSABits int
	// MaxRecordBytes is the largest key record parsed, default 8192 octets.
	MaxRecordBytes int
	// MaxHeaderBytes and MaxHeaderFields bound the header that is kept in
	// memory: default 1 MiB and 5000 fields. Beyond them the chain fails.
	MaxHeaderBytes, MaxHeaderFields int
	// Timeout bounds all key lookups of a message together, counted from the
	// end of its header; default 10 seconds.
	Timeout time.Duration
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

// Verify reads a message to its end and judges its chain. The error is r's or
// ctx's; what is wrong with the message is in the Result.
func (v *Verifier) Verify(ctx context.Context, r io.Reader) (*Result, error) {
	n := v.NewVerification(ctx)
	defer n.Close()
	if err := ctxio.Feed(ctx, n, r); err != nil {
		return nil, err
	}
	return n.Result(), nil
}

// Verification is the check of one message that is being written to it. It is
// not safe for concurrent use.
type Verification struct {
	v      *Verifier
	ctx    context.Context
	cancel context.CancelFunc
	lf     *dkim.LineEnds
	header *dkim.Header
	body   *dkim.BodyHasher
	hashes []*dkim.BodyHash // of the newest message signature and those before
	chain  *chain
	keys   map[string]*key
	result *Result
	final  *Result // result once it is complete

	started, finished bool
}

// NewVerification starts the check of a message: write the message to it as it
// comes, then ask Result; or Close to give up. ctx bounds the key lookups,
// which begin as soon as the header is complete.
func (v *Verifier) NewVerification(ctx context.Context) *Verification {
	n := &Verification{v: v, ctx: ctx, header: dkim.NewHeader(v.MaxHeaderBytes, v.MaxHeaderFields), body: new(dkim.BodyHasher)}
	if v.AcceptLF {
		n.lf = new(dkim.LineEnds)
	}
	return n
}

// NewBodyVerification starts the check of a message whose header the caller has
// gathered, complete: only its body is to be written. The limits of the header
// and AcceptLF are then the caller's. body may be shared with other schemes,
// so that a body is hashed once for all of them: the caller then writes to body,
// when all of them have begun, and not to the Verification. nil: its own.
func (v *Verifier) NewBodyVerification(ctx context.Context, h *dkim.Header, body *dkim.BodyHasher) *Verification {
	if body == nil {
		body = new(dkim.BodyHasher)
	}
	n := &Verification{v: v, ctx: ctx, header: h, body: body}
	n.start()
	return n
}

// Write takes the next piece of the message. It always takes all of it: what is
// wrong with the message is in the Result.
func (n *Verification) Write(p []byte) (int, error) {
	size := len(p)
	if n.finished {
		return size, nil
	}
	if n.lf != nil {
		p = n.lf.Convert(p)
	}
	if !n.started {
		p = n.header.Take(p)
		if n.header.Done() {
			n.start()
		}
	}
	if len(p) > 0 && len(n.hashes) > 0 {
		_, _ = n.body.Write(p)
	}
	return size, nil
}

// Close gives up a verification and ends its lookups; it is harmless after
// Result.
func (n *Verification) Close() error {
	n.finished = true
	if n.cancel != nil {
		n.cancel()
	}
	return nil
}

// start reads the chain of a complete header and sends for the keys.
func (n *Verification) start() {
	n.started = true
	if err := n.header.Close(); err != nil {
		n.result = &Result{Status: StatusFail, Err: err}
		return
	}
	n.chain = collect(n.header, min(orDefault(n.v.MaxSets, DefaultMaxSets), maxInstance))
	n.result = newResult(n.chain)
	if n.result.Err != nil || n.result.Instance == 0 {
		return
	}
	var wanted []*signature
	sets := n.chain.sets
	for i := len(sets) - 1; i >= 0; i-- {
		if len(n.hashes) < orDefault(n.v.MaxHistory, DefaultMaxHistory) {
			n.hashes = append(n.hashes, n.body.Add(sets[i].message.bodyC, -1))
			wanted = append(wanted, sets[i].message)
		}
		wanted = append(wanted, sets[i].seal)
	}
	n.ctx, n.cancel = context.WithTimeout(n.ctx, orDefault(n.v.Timeout, DefaultTimeout))
	n.keys = n.v.fetch(n.ctx, wanted)
}

// Result ends the message and returns what was found out. It waits for keys at
// most until the Timeout. Further calls return the same; after Close it is nil.
func (n *Verification) Result() *Result {
	if n.finished {
		return n.final
	}
	if !n.started {
		_ = n.header.Close()
		n.start()
	}
	_ = n.body.Close()
	if n.keys != nil {
		n.evaluate()
	}
	n.final = n.result
	n.Close()
	return n.final
}

// evaluate does steps 4 to 7 of RFC 8617 §5.2.
func (n *Verification) evaluate() {
	r, top := n.result, len(n.chain.sets)-1
	r.Status = StatusPass
	if !n.conclude(top, nameMessage, n.checkMessage(top)) {
		return
	}
	sums := n.chain.sealSums()
	for i := top; i >= 0; i-- {
		if !n.conclude(i, nameSeal, n.checkSeal(i, sums[i])) {
			return
		}
	}
	if r.Status != StatusPass {
		return
	}
	for i := top - 1; i >= 0; i-- {
		if top-i >= len(n.hashes) || n.checkMessage(i) != nil {
			r.OldestPass = i + 2
			return
		}
	}
}

// conclude takes the outcome of a check that the chain depends on into account
// and reports whether to go on: behind a temporary error there may be one that
// is not.
func (n *Verification) conclude(i int, field string, err error) bool {
	if err == nil {
		return true
	}
	temporary := errors.Is(err, dkim.ErrKeyUnavailable)
	if !temporary || n.result.Err == nil {
		n.result.Err = &SetError{i + 1, field, err}
	}
	n.result.Status = StatusFail
	if temporary {
		n.result.Status = StatusTempError
	}
	return temporary
}

// checkMessage verifies the message signature of sets[i], which must be one of
// those with a body hash.
func (n *Verification) checkMessage(i int) error {
	s, to := n.chain.sets[i].message, &n.result.Sets[i].Message
	body := n.hashes[len(n.chain.sets)-1-i]
	err := error(nil)
	switch {
	case s.expires >= 0 && s.expires < n.v.now().Unix():
		err = dkim.ErrExpired
	case s.length > body.Total():
		err = dkim.ErrBodyLength
	case s.length >= 0 && s.length < body.Total(): // RFC 6376 §8.2
		err = dkim.ErrPartialBody
	case !bytes.Equal(body.Sum(), s.bh):
		err = dkim.ErrBodyHash
	default:
		err = n.verify(s, to, func() []byte {
			h := sha256.New()
			n.header.HashFields(h, s.headerC, s.headers)
			h.Write(s.appendUnsigned(nil))
			return h.Sum(nil)
		})
	}
	to.settle(err)
	return err
}

func (n *Verification) checkSeal(i int, sum []byte) error {
	to := &n.result.Sets[i].Seal
	err := n.verify(n.chain.sets[i].seal, to, func() []byte { return sum })
	to.settle(err)
	return err
}

// verify waits for the key of a signature and tries it over a hash.
func (n *Verification) verify(s *signature, to *Signature, sum func() []byte) error {
	records, err := n.keys[s.keyName()].wait(n.ctx)
	if err != nil {
		return err
	}
	var first error
	for _, record := range records {
		to.KeyBits, to.Testing = record.Bits(), record.Testing
		err := n.v.acceptable(record, s)
		if err == nil {
			if err = record.Verify(sum(), s.b); err == nil {
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
func (v *Verifier) acceptable(k *dkim.KeyRecord, s *signature) error {
	if err := k.Allows(s.algorithm); err != nil {
		return err
	}
	if _, ok := k.Key.(*rsa.PublicKey); ok {
		if bits := k.Bits(); bits < max(v.MinRSABits, dkim.DefaultMinRSABits) {
			return dkim.ErrKeyTooShort
		} else if bits > orDefault(v.MaxRSABits, dkim.DefaultMaxRSABits) {
			return dkim.ErrKeyTooLong
		}
	}
	return nil
}

// sealSums returns the hash that each seal signs. A seal covers all sets up to
// its own, so each hash goes on where the one before came to its own seal (RFC
// 8617 §5.1.1).
func (c *chain) sealSums() [][]byte {
	sums := make([][]byte, len(c.sets))
	var before hash.Hash = sha256.New()
	buf := make([]byte, 0, 4096)
	for i := range c.sets {
		s := &c.sets[i]
		buf = s.appendSealed(buf[:0])
		before.Write(buf)
		own := fork(before)
		own.Write(s.seal.appendUnsigned(buf[:0]))
		sums[i] = own.Sum(nil)
		before.Write(s.seal.appendSeal(buf[:0]))
	}
	return sums
}

// appendSealed appends what a seal covers of its own set before itself.
func (s *set) appendSealed(dst []byte) []byte {
	dst = append(dkim.Relaxed.AppendHeader(dst, s.resultsField), '\r', '\n')
	return append(dkim.Relaxed.AppendHeader(dst, s.message.field), '\r', '\n')
}

// appendSeal appends a seal as those above it cover it.
func (s *signature) appendSeal(dst []byte) []byte {
	return append(dkim.Relaxed.AppendHeader(dst, s.field), '\r', '\n')
}

// fork copies the state of a hash.
func fork(h hash.Hash) hash.Hash {
	c, err := h.(hash.Cloner).Clone()
	if err != nil {
		panic(err) // SHA-256 can always be cloned
	}
	return c
}
