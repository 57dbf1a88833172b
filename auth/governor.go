package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// Governor slows down and then locks out whoever guesses passwords. It counts
// failures by account and by address prefix: an IPv4 address, or the /64 and,
// with four times the allowance, the /48 of an IPv6 address. A quarter of an
// allowance costs nothing; then each failure doubles the time to wait before
// the next attempt; at the full allowance further attempts are refused with
// ErrThrottled for LockFor, whatever their password. Counts fade with time.
//
// Names are counted whether such an account exists or not, so that nothing
// can be learned from being delayed or refused.
//
// The same wrong password for the same account again is counted once, as
// [Login] sees it by a keyed hash: it teaches a guesser nothing, and a
// forgotten device with an old password does not lock its owner out. (SCRAM
// shows no password: there each failure counts.)
//
// A success forgets the account's failures, and those of the address that
// were made on the same account just before: who mistypes and then succeeds is
// clean, and who owns one account cannot wipe out guesses at others.
//
// So that strangers cannot lock the owner out, the last few prefixes from
// which an account has logged in within 30 days are remembered, and attempts
// from them are counted apart from everybody else's, with an allowance of
// their own. That memory and the counts do not survive a restart.
//
// The zero value works with the defaults told below; a nil Governor governs
// nothing. Fields must not change once it is in use. It is safe for concurrent
// use. Memory is bounded by MaxEntries: at the default less than 90 MiB when
// every entry is used. When a kind of entries is full, those with the fewest failures
// give way, so that to free a locked account about as many failures must be
// spent elsewhere as there are entries times the allowance.
type Governor struct {
	// Off switches everything off: nothing is counted, delayed or refused.
	// For closed networks and load tests.
	Off bool
	// AccountFailures is how many failures lock an account. 0: 10; negative:
	// accounts are delayed but never locked.
	AccountFailures int
	// AddressFailures is how many failures lock an IPv4 address or an IPv6
	// /64. 0: 40; negative: addresses are delayed but never locked.
	AddressFailures int
	// BaseDelay is the first delay, doubled by each failure up to MaxDelay.
	// 0: 500 ms and 16 s. A negative BaseDelay: no delays; a negative MaxDelay
	// is as 0.
	BaseDelay, MaxDelay time.Duration
	// LockFor is how long attempts are refused. 0 or negative: 15 minutes.
	LockFor time.Duration
	// Forget is the time after which one failure is forgotten, and so the
	// pace of guesses that can be kept up for ever. 0: 5 minutes; negative:
	// never.
	Forget time.Duration
	// MaxEntries bounds the accounts, the prefixes, and the accounts whose
	// successes are remembered, each. 0 or negative: 65,536.
	MaxEntries int
	// MaxWaiting bounds the attempts that wait out a delay at one time;
	// further ones that would have to are refused with ErrThrottled. For one
	// account or prefix the bound is 16. 0 or negative: 1,024.
	MaxWaiting int
	// Exempt lists prefixes whose addresses are not counted, for example a
	// web mail server that does not pass on its clients' addresses. Accounts
	// are still counted. Empty: none, not even loopback.
	Exempt []netip.Prefix
	// NeverLock lists accounts that are delayed but never locked, for example
	// of whoever must get in to help while strangers guess. Names are those by
	// which failures are counted, which are a [Namer]'s canonical ones; case
	// does not matter. The addresses from which such an account is guessed are
	// locked as for any other. Each failure that would have locked it is told as
	// Spared. Empty: none.
	NeverLock []string
	// OnDecision, if not nil, is called with each decision, by the goroutine
	// that asked and without a lock held; it should return soon.
	OnDecision func(Event)

	mu       sync.Mutex
	accounts table
	prefixes table
	known    map[accountKey]*places
	waiting  int

	once  sync.Once // guards the next group
	key   [32]byte
	spare map[accountKey]bool // NeverLock
}

// Decision is what a [Governor] did.
type Decision int

// The decisions.
const (
	Admitted  Decision = iota // the attempt may go on
	Delayed                   // it waits first; once for each attempt
	Refused                   // ErrThrottled
	Failed                    // a failure was counted
	Succeeded                 // a success was counted
	LockedOut                 // a failure began a lock-out
	Spared                    // a failure would have, but for NeverLock
)

// String names the decision in lower case.
func (d Decision) String() string {
	switch d {
	case Admitted:
		return "admitted"
	case Delayed:
		return "delayed"
	case Refused:
		return "refused"
	case Failed:
		return "failed"
	case Succeeded:
		return "succeeded"
	case LockedOut:
		return "locked out"
	case Spared:
		return "spared"
	}
	return "unknown"
}

// Event describes a decision. It holds no credentials.
type Event struct {
	Decision Decision
	Addr     netip.Addr // invalid when unknown
	// Account is the name as given, cut at 256 octets. It is what a stranger
	// sent: quote it.
	Account string
	// Prefix is set when the decision is an address prefix's and not the
	// account's: which one refuses, delays or is locked.
	Prefix netip.Prefix
	// Wait is how long the attempt waits (Delayed), or for how long attempts
	// are refused (Refused, LockedOut; 0 when too many are waiting).
	Wait time.Duration
	// Failures is the count that led to it.
	Failures int
}

// inFlight bounds the attempts on one account that are being verified at the
// same time, and so does what is left of its allowance, so that guesses in
// parallel do not outrun the count. From the first delay on it is one at a time.
const inFlight = 16

// keyWaiting bounds the attempts that wait for one account or prefix.
const keyWaiting = 16

// Admit waits as long as earlier failures of this address or account demand,
// or returns ErrThrottled when they are locked out, when it would have to wait
// longer than twice MaxDelay or when too many are waiting, or ctx's error.
// After nil exactly one of Failed, Succeeded and Release must follow with the
// same arguments. An invalid addr or an empty account is not counted.
func (g *Governor) Admit(ctx context.Context, addr netip.Addr, account string) error {
	return g.admit(ctx, addr, account, false)
}

func (g *Governor) admit(ctx context.Context, addr netip.Addr, account string, again bool) error {
	if err := ctx.Err(); err != nil || g == nil || g.Off {
		return err
	}
	keys := g.keys(addr, account)
	_, longest := g.delays()
	deadline := time.Now().Add(2 * longest)
	told := again
	for {
		now := time.Now()
		g.mu.Lock()
		v := g.judge(now, keys)
		if again {
			v.wait = 0
		}
		switch {
		case v.locked > 0:
		case v.wait <= 0 && !v.busy:
			g.enter(now, keys)
		case now.Add(v.wait).After(deadline), v.busy && !now.Before(deadline), !g.queue(v.records):
			v.refused = true
		}
		wake := v.wake()
		g.mu.Unlock()

		switch {
		case v.locked > 0:
			g.tell(Event{Refused, addr, account, v.prefix, v.locked, v.failures})
			return ErrThrottled
		case v.refused:
			g.tell(Event{Refused, addr, account, v.prefix, 0, v.failures})
			return ErrThrottled
		case v.wait <= 0 && !v.busy:
			if !again {
				g.tell(Event{Admitted, addr, account, netip.Prefix{}, 0, v.failures})
			}
			return nil
		}
		if !told {
			g.tell(Event{Delayed, addr, account, v.prefix, v.wait, v.failures})
			told = true
		}
		pause := v.wait
		if pause <= 0 { // busy: until one in flight ends
			pause = deadline.Sub(now)
		}
		err := sleep(ctx, pause, wake)
		g.mu.Lock()
		g.dequeue(v.records)
		g.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// sleep returns after d, when wake is closed, or with ctx's error.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// resume takes up an attempt again that was admitted and released: it does not
// wait for a delay again, but for those in flight, and it is refused when what
// happened since demands a lock-out.
func (g *Governor) resume(ctx context.Context, addr netip.Addr, account string) error {
	return g.admit(ctx, addr, account, true)
}

// settle reports the outcome of an admitted attempt. secret is the password or
// token it was made with, "" if none was shown.
func (g *Governor) settle(addr netip.Addr, account, secret string, err error) {
	switch {
	case err == nil:
		g.Succeeded(addr, account)
	case countable(err):
		g.failed(addr, account, g.mark(secret))
	default:
		g.Release(addr, account)
	}
}

// mark is what is remembered of a wrong password: 64 bits made with a random
// key of the process. They tell one from another but not what it was.
func (g *Governor) mark(password string) uint64 {
	if g == nil || g.Off || password == "" {
		return 0
	}
	g.setup()
	m := hmac.New(sha256.New, g.key[:])
	m.Write([]byte(password))
	return binary.BigEndian.Uint64(m.Sum(nil)) | 1 // never 0
}

// setup makes what is made of the fields, and the key.
func (g *Governor) setup() {
	g.once.Do(func() {
		rand.Read(g.key[:])
		g.spare = make(map[accountKey]bool, len(g.NeverLock))
		for _, name := range g.NeverLock {
			g.spare[foldName(name)] = true
		}
	})
}

// Failed counts a failure of an admitted attempt.
func (g *Governor) Failed(addr netip.Addr, account string) { g.failed(addr, account, 0) }

func (g *Governor) failed(addr netip.Addr, account string, mark uint64) {
	if g == nil || g.Off {
		return
	}
	now := time.Now()
	g.mu.Lock()
	keys := g.settled(now, addr, account)
	events := []Event{{Decision: Failed, Addr: addr, Account: account}}
	for _, k := range keys {
		r := k.table.make(now, g.maxEntries(), g.forget(), k.key)
		r.fade(now, g.forget())
		r.last = now
		if k.isAccount() && r.repeats(mark) {
			events[0].Failures = r.count
			r.ring()
			break // nor is it counted for the address
		}
		r.count = min(r.count+1, k.most())
		if k.isAccount() {
			r.blame(k.from)
			events[0].Failures = r.count
		}
		switch {
		case k.limit <= 0 || r.count < k.limit:
		case k.spared:
			events = append(events, Event{Spared, addr, account, netip.Prefix{}, 0, r.count})
		case !now.Before(r.locked):
			r.locked = now.Add(g.lockFor())
			events = append(events, Event{LockedOut, addr, account, k.prefix(), g.lockFor(), r.count})
		}
		r.ring()
	}
	g.mu.Unlock()
	g.tell(events...)
}

// Succeeded counts a success of an admitted attempt: it forgets the account's
// failures and remembers the address as one of the owner's.
func (g *Governor) Succeeded(addr netip.Addr, account string) {
	if g == nil || g.Off {
		return
	}
	now := time.Now()
	g.mu.Lock()
	keys := g.settled(now, addr, account)
	refund := 0
	for _, k := range keys {
		r := k.table.get(k.key)
		if r == nil {
			continue
		}
		r.fade(now, g.forget())
		if !k.isAccount() {
			r.count = max(0, r.count-refund)
			continue
		}
		if r.from == k.from {
			refund = r.row
		}
		r.count, r.row, r.locked = 0, 0, time.Time{}
		r.ring()
		k.table.drop(k.key)
	}
	g.remember(now, addr, account)
	g.mu.Unlock()
	g.tell(Event{Decision: Succeeded, Addr: addr, Account: account})
}

// Release ends an admitted attempt that says nothing about the password, such
// as one that the back end could not answer.
func (g *Governor) Release(addr netip.Addr, account string) {
	if g == nil || g.Off {
		return
	}
	g.mu.Lock()
	g.settled(time.Now(), addr, account)
	g.mu.Unlock()
}

// tell calls OnDecision.
func (g *Governor) tell(events ...Event) {
	if g.OnDecision == nil {
		return
	}
	for _, e := range events {
		e.Account = e.Account[:min(len(e.Account), 256)]
		g.OnDecision(e)
	}
}

func (g *Governor) delays() (base, longest time.Duration) {
	return orDefault(g.BaseDelay, 500*time.Millisecond), positive(g.MaxDelay, 16*time.Second)
}

func (g *Governor) lockFor() time.Duration { return positive(g.LockFor, 15*time.Minute) }
func (g *Governor) forget() time.Duration  { return orDefault(g.Forget, 5*time.Minute) }
func (g *Governor) maxEntries() int        { return positive(g.MaxEntries, 65536) }

func positive[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}
