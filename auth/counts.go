package auth

import (
	"crypto/sha256"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// accountKey is the hash of a folded name: of bounded length.
type accountKey [16]byte

// foldName makes the key of a name, without case and in one Unicode form.
func foldName(name string) accountKey {
	ascii := strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	switch {
	case ascii:
		name = strings.ToLower(name)
	case len(name) <= 1024: // longer ones are nobody's; not worth the work
		name = cases.Fold().String(norm.NFKC.String(name))
	}
	sum := sha256.Sum256([]byte(name))
	return accountKey(sum[:16])
}

// recordKey is an account, a prefix, or an account seen from one of its
// owner's prefixes.
type recordKey struct {
	account accountKey
	prefix  netip.Prefix
}

// subject is one thing an attempt is counted by.
type subject struct {
	table *table
	key   recordKey
	limit int // failures that lock; 0 or less: never
	free  int // failures that cost nothing
	from  netip.Prefix
	// spared: the limit is told, but does not lock.
	spared bool
}

// steps are the doublings after which every delay is the longest.
const steps = 31

// most is as far as failures are counted: where nothing locks, up to the longest
// delay, so that what strangers did for a day is not felt for a month.
func (s subject) most() int {
	if s.limit > 0 && !s.spared {
		return s.limit
	}
	return max(s.limit, s.free+steps)
}

// parallel is how many attempts may be in flight beside the failures counted.
func (s subject) parallel() int {
	if s.limit > 0 && !s.spared {
		return min(inFlight, s.limit)
	}
	return inFlight
}

func (s subject) isAccount() bool { return s.key.account != accountKey{} }

// prefix is what an Event tells.
func (s subject) prefix() netip.Prefix {
	if s.isAccount() {
		return netip.Prefix{}
	}
	return s.key.prefix
}

// home is the prefix that stands for the network of one user.
func home(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // invalid for an invalid address
	return p
}

// keys lists what an attempt is counted by, the account first.
func (g *Governor) keys(addr netip.Addr, account string) []subject {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.subjects(time.Now(), addr, account)
}

func (g *Governor) subjects(now time.Time, addr netip.Addr, account string) []subject {
	g.setup()
	list := make([]subject, 0, 3)
	from := home(addr)
	if account != "" {
		limit := orDefault(g.AccountFailures, 10)
		key := recordKey{account: foldName(account)}
		if g.known[key.account].has(now, from) {
			key.prefix = from
		}
		list = append(list, subject{&g.accounts, key, limit, free(limit, 10), from, g.spare[key.account]})
	}
	if !from.IsValid() || g.exempt(addr) {
		return list
	}
	limit := orDefault(g.AddressFailures, 40)
	list = append(list, subject{&g.prefixes, recordKey{prefix: from}, limit, free(limit, 40), from, false})
	if from.Addr().Is6() {
		wide, _ := from.Addr().Prefix(48)
		list = append(list, subject{&g.prefixes, recordKey{prefix: wide}, 4 * limit, 4 * free(limit, 40), from, false})
	}
	return list
}

// free is a quarter of the failures that lock.
func free(limit, def int) int {
	if limit <= 0 {
		limit = def
	}
	return limit / 4
}

func (g *Governor) exempt(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(g.Exempt, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// settled ends the time in flight and lists the subjects.
func (g *Governor) settled(now time.Time, addr netip.Addr, account string) []subject {
	list := g.subjects(now, addr, account)
	if account == "" {
		return list
	}
	// The attempt may have been admitted before the prefix became known as the
	// owner's, or after: the sum over both records is what matters.
	plain := list[0].key.account
	for _, k := range []recordKey{{plain, list[0].from}, {account: plain}} {
		if r := g.accounts.get(k); r != nil && r.flying > 0 {
			r.flying--
			r.ring()
			g.accounts.drop(k)
			break
		}
	}
	return list
}

// verdict is what the records say about an attempt.
type verdict struct {
	locked   time.Duration // how much longer, if locked
	wait     time.Duration
	busy     bool // too many of the account are in flight
	refused  bool // may not wait
	prefix   netip.Prefix
	failures int
	records  []*record
}

// judge asks every subject; the strictest counts.
func (g *Governor) judge(now time.Time, subjects []subject) verdict {
	v := verdict{}
	for _, s := range subjects {
		r := s.table.get(s.key)
		if r == nil {
			continue
		}
		r.fade(now, g.forget())
		v.records = append(v.records, r)
		if s.isAccount() {
			v.failures = r.count
			v.busy = r.flying > 0 && (r.flying+r.count >= s.parallel() || r.count > s.free)
		}
		if d := r.locked.Sub(now); d > v.locked {
			v.locked, v.prefix, v.failures = d, s.prefix(), r.count
		}
		if d := r.last.Add(g.delay(r.count - s.free)).Sub(now); r.count > s.free && d > v.wait && v.locked == 0 {
			v.wait, v.prefix, v.failures = d, s.prefix(), r.count
		}
	}
	return v
}

// delay is BaseDelay doubled n-1 times, at most MaxDelay.
func (g *Governor) delay(n int) time.Duration {
	base, longest := g.delays()
	if n <= 0 || base <= 0 {
		return 0
	}
	if n >= steps || base > longest>>(n-1) {
		return longest
	}
	return base << (n - 1)
}

// enter counts an attempt in flight.
func (g *Governor) enter(now time.Time, subjects []subject) {
	for _, s := range subjects {
		if s.isAccount() {
			s.table.make(now, g.maxEntries(), g.forget(), s.key).flying++
		}
	}
}

// queue takes a place among those who wait.
func (g *Governor) queue(records []*record) bool {
	if g.waiting >= positive(g.MaxWaiting, 1024) {
		return false
	}
	for _, r := range records {
		if r.waiting >= keyWaiting {
			return false
		}
	}
	g.waiting++
	for _, r := range records {
		r.waiting++
		if r.wake == nil {
			r.wake = make(chan struct{})
		}
	}
	return true
}

func (g *Governor) dequeue(records []*record) {
	g.waiting--
	for _, r := range records {
		r.waiting--
	}
}

// wake is closed when the account's record changes.
func (v verdict) wake() <-chan struct{} {
	if len(v.records) == 0 {
		return nil
	}
	return v.records[0].wake
}

// record is the history of one subject.
type record struct {
	count   int
	since   time.Time // up to when failures have been forgotten
	last    time.Time // the last failure
	locked  time.Time // until when
	from    netip.Prefix
	row     int       // failures in a row from that prefix
	marks   [4]uint64 // of the last wrong passwords
	flying  int
	waiting int
	wake    chan struct{} // closed by the next change; nil if nobody waits
}

// fade forgets what is old enough.
func (r *record) fade(now time.Time, forget time.Duration) {
	if forget <= 0 || r.count == 0 || now.Before(r.since) {
		r.since = now
		return
	}
	n := now.Sub(r.since) / forget
	if n >= time.Duration(min(r.count, math.MaxInt32)) {
		r.count, r.row, r.since = 0, 0, now
		return
	}
	r.count -= int(n)
	r.row = min(r.row, r.count)
	r.since = r.since.Add(n * forget)
}

// blame notes from where the failure came.
func (r *record) blame(from netip.Prefix) {
	if r.from != from {
		r.from, r.row = from, 0
	}
	r.row++
}

// repeats tells whether a wrong password is one of the last, and notes it.
func (r *record) repeats(mark uint64) bool {
	if mark == 0 {
		return false
	}
	if slices.Contains(r.marks[:], mark) {
		return true
	}
	copy(r.marks[1:], r.marks[:])
	r.marks[0] = mark
	return false
}

// ring wakes those who wait, to be judged again.
func (r *record) ring() {
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// idle tells whether nothing would be lost with the record.
func (r *record) idle(now time.Time, forget time.Duration) bool {
	r.fade(now, forget)
	return r.count == 0 && r.flying == 0 && r.waiting == 0 && !now.Before(r.locked)
}

// table holds a bounded number of records.
type table struct{ records map[recordKey]*record }

func (t *table) get(k recordKey) *record { return t.records[k] }

// drop deletes a record that holds nothing any more.
func (t *table) drop(k recordKey) {
	if r := t.records[k]; r != nil && r.count == 0 && r.flying == 0 && r.waiting == 0 {
		delete(t.records, k)
	}
}

// make finds or makes a record. A few others are looked at on the way, as the
// map's order is random: idle ones go, and when the table is full so does the
// least of them, by failures and then by age.
func (t *table) make(now time.Time, limit int, forget time.Duration, k recordKey) *record {
	if r := t.records[k]; r != nil {
		return r
	}
	if t.records == nil {
		t.records = make(map[recordKey]*record)
	}
	var victim recordKey
	var least *record
	looked := 0
	for key, r := range t.records {
		if looked++; r.idle(now, forget) {
			delete(t.records, key)
		} else if least == nil || r.less(least) {
			victim, least = key, r
		}
		if looked >= 2 && len(t.records) < limit || looked >= 16 {
			break
		}
	}
	if len(t.records) >= limit {
		delete(t.records, victim)
	}
	r := &record{since: now}
	t.records[k] = r
	return r
}

// less orders records by what is lost with them.
func (r *record) less(other *record) bool {
	if (r.flying+r.waiting > 0) != (other.flying+other.waiting > 0) {
		return r.flying+r.waiting == 0
	}
	if r.count != other.count {
		return r.count < other.count
	}
	return r.last.Before(other.last)
}

// places are the last prefixes from which an account has logged in.
type places struct{ list []place }

type place struct {
	prefix netip.Prefix
	last   time.Time
}

const (
	maxPlaces = 8
	placeFor  = 30 * 24 * time.Hour
)

func (p *places) has(now time.Time, prefix netip.Prefix) bool {
	return p != nil && prefix.IsValid() && slices.ContainsFunc(p.list, func(e place) bool {
		return e.prefix == prefix && now.Sub(e.last) < placeFor
	})
}

// remember notes a success, the latest place first.
func (g *Governor) remember(now time.Time, addr netip.Addr, account string) {
	from := home(addr)
	if account == "" || !from.IsValid() {
		return
	}
	if g.known == nil {
		g.known = make(map[accountKey]*places)
	}
	k := foldName(account)
	p := g.known[k]
	if p == nil {
		g.makeRoom()
		p = new(places)
		g.known[k] = p
	}
	p.list = slices.DeleteFunc(p.list, func(e place) bool { return e.prefix == from })
	// Before it is inserted: a list that has once been longer keeps the room.
	p.list = slices.Insert(p.list[:min(len(p.list), maxPlaces-1)], 0, place{from, now})
}

// makeRoom drops the account that has been away longest, of a few.
func (g *Governor) makeRoom() {
	if len(g.known) < g.maxEntries() {
		return
	}
	var victim accountKey
	var oldest time.Time
	looked := 0
	for k, p := range g.known {
		if last := p.list[0].last; looked == 0 || last.Before(oldest) {
			victim, oldest = k, last
		}
		if looked++; looked >= 16 {
			break
		}
	}
	delete(g.known, victim)
}
