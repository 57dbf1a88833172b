package sqlite

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/posta-mail/posta/store"
)

var (
	errNoAccount = fmt.Errorf("%w: account", store.ErrNotFound)
	errNoMailbox = fmt.Errorf("%w: mailbox", store.ErrNotFound)
)

// tx is a batch being planned: what the published state will become. Plans
// check everything before they change anything, so that one that fails leaves
// no trace.
type tx struct {
	s        *Store
	dirty    bool
	state    state
	accounts map[string]*acctTx

	places   []*placing // new references, from s.state.nextRef on
	bodies   []*staged  // needed in a segment, in order
	located  map[*staged]bodyLoc
	twins    map[*staged]*staged // of equal content, which is located
	hashes   map[hashKey]hashEntry
	start    int64 // end of the active segment before the batch, 0: untouched
	locs     []place
	refPages map[uint64]*refPage
	erase    []uint64 // references that are dead for good

	moves     []*movement // by compaction
	tokens    map[tokenKey]tokenRow
	tombs     []tombRow
	dead      []deadRow
	events    []eventRow
	subs      []subRow
	uidls     []uidlRow
	uidlsGone []uidlsGone
	spool     map[store.ItemID]*spoolWrite
	undo      []func()                    // of the spool's index
	spoolHit  bool                        // wake the spool's watchers
	segments  []uint64                    // begun or placed in this batch
	jobs      []func(w *writerConn) error // of the sweeper
}

// acctTx is an account in a batch.
type acctTx struct {
	e       *entry
	t       *tx
	absent  bool // does not exist, as of the batch
	id      int64
	modSeq  store.ModSeq
	low     store.ModSeq
	used    store.Usage
	limit   store.Usage
	notes   map[noteKey][]byte         // annotations set, or removed: nil
	counts  map[store.MailboxID]int    // of annotations, where known
	boxes   map[store.MailboxID]*boxTx // touched
	names   map[string]store.MailboxID // nil: as published
	subs    map[string]bool            // nil: as published
	touched bool                       // anything to publish
	row     bool                       // the account's own row changes
	created bool
	gone    []int64 // accounts of this name deleted in the batch
	goneBox []store.MailboxID
	seq     int // of events
}

// boxTx is a mailbox in a batch.
type boxTx struct {
	a        *acctTx
	m        mbox
	fresh    bool // created in the batch
	deleted  bool
	changed  bool
	cached   bool // snap was cached when the batch began
	snap     *store.Snapshot
	appended []store.Row // not in snap yet
	pages    map[uint32]struct{}
}

func newTx(s *Store) *tx {
	return &tx{s: s, state: s.state, accounts: make(map[string]*acctTx)}
}

// account returns an account, which may be absent.
func (t *tx) account(name string) (*acctTx, error) {
	if a := t.accounts[name]; a != nil {
		return a, nil
	}
	e, err := t.s.pin(name)
	if err != nil {
		return nil, err
	}
	a := &acctTx{e: e, t: t, boxes: make(map[store.MailboxID]*boxTx)}
	if e.a == nil {
		a.absent = true
	} else {
		a.id, a.modSeq, a.low, a.used, a.limit = e.a.id, e.a.modSeq, e.a.low, e.a.used, e.a.limit
	}
	t.accounts[name] = a
	return a, nil
}

// existing is account, but ErrNotFound if it is absent.
func (t *tx) existing(name string) (*acctTx, error) {
	a, err := t.account(name)
	if err == nil && a.absent {
		return nil, errNoAccount
	}
	return a, err
}

// end lets go of the accounts.
func (t *tx) end() {
	for _, a := range t.accounts {
		t.s.unpin(a.e)
	}
}

// rollback undoes what planning did to the spool's index. Everything else of
// the batch is just forgotten.
func (t *tx) rollback() {
	t.s.spool.mu.Lock()
	defer t.s.spool.mu.Unlock()
	for _, undo := range slices.Backward(t.undo) {
		undo()
	}
}

// next gives the account's next mod-sequence, to a plan that will not fail.
func (a *acctTx) next() store.ModSeq {
	a.modSeq++
	a.touched, a.t.dirty = true, true
	return a.modSeq
}

func (a *acctTx) lookup(name string) (store.MailboxID, bool) {
	names := a.names
	if names == nil && a.e.a != nil && !a.created {
		names = a.e.a.names
	}
	id, ok := names[name]
	return id, ok
}

// allNames is the map of names, for changing.
func (a *acctTx) allNames() map[string]store.MailboxID {
	if a.names == nil {
		a.names = make(map[string]store.MailboxID)
		if a.e.a != nil && !a.created {
			maps.Copy(a.names, a.e.a.names)
		}
	}
	return a.names
}

// allSubs is the set of subscriptions, for changing or reading.
func (a *acctTx) allSubs() map[string]bool {
	if a.subs == nil {
		a.subs = make(map[string]bool)
		if a.e.a != nil && !a.created {
			maps.Copy(a.subs, a.e.a.subs)
		}
	}
	return a.subs
}

// box returns a mailbox by its id.
func (a *acctTx) box(id store.MailboxID) (*boxTx, error) {
	if b := a.boxes[id]; b != nil {
		if b.deleted || b.m.of != 0 {
			return nil, errNoMailbox
		}
		return b, nil
	}
	if a.e.a == nil || a.created {
		return nil, errNoMailbox
	}
	m := a.e.a.boxes[id]
	if m == nil {
		return nil, errNoMailbox
	}
	b := &boxTx{a: a, m: *m}
	a.e.mu.RLock()
	b.snap = a.e.snaps[id]
	a.e.mu.RUnlock()
	b.cached = b.snap != nil
	a.boxes[id] = b
	return b, nil
}

// named returns a mailbox by its canonical name.
func (a *acctTx) named(name string) (*boxTx, error) {
	id, ok := a.lookup(name)
	if !ok {
		return nil, errNoMailbox
	}
	return a.box(id)
}

// addBox makes a mailbox. The name is free and the plan will not fail.
func (a *acctTx) addBox(name, special string, at store.ModSeq) *boxTx {
	t := a.t
	id := store.MailboxID(t.state.nextBox)
	t.state.nextBox++
	t.state.uidValidity = max(t.state.uidValidity+1, uint32(min(max(t.s.now().Unix(), 1), math.MaxUint32-1<<24)))
	b := &boxTx{a: a, fresh: true, changed: true, m: mbox{
		MailboxInfo: store.MailboxInfo{ID: id, Name: name, SpecialUse: special, UIDValidity: t.state.uidValidity, UIDNext: 1, ModSeq: at},
		created:     at,
	}}
	b.snap = store.NewSnapshot(id, b.m.UIDValidity, 1, at, nil, nil)
	a.boxes[id] = b
	a.used.Mailboxes++
	a.allNames()[name] = id
	a.event(store.MailboxCreated, at, id, name, "")
	return b
}

func (a *acctTx) event(kind store.EventKind, at store.ModSeq, id store.MailboxID, name, old string) {
	a.row = true
	a.t.events = append(a.t.events, eventRow{a, a.seq, store.MailboxEvent{Kind: kind, ModSeq: at, Mailbox: id, Name: name, OldName: old}})
	a.seq++
}

// snapshot is the mailbox as of the batch so far.
func (b *boxTx) snapshot() (*store.Snapshot, error) {
	if b.snap == nil {
		snap, err := b.a.t.s.q.snapshot(b.m.ID, b.m.of != 0)
		if err != nil {
			return nil, readError(err)
		}
		b.snap = snap
	}
	b.settle()
	return b.snap, nil
}

// settle puts what was appended into the snapshot.
func (b *boxTx) settle() {
	if b.snap != nil && len(b.appended) > 0 {
		b.snap = b.snap.With(store.Changes{Rows: b.appended, Through: b.m.ModSeq, UIDNext: b.m.UIDNext, Keywords: b.m.keywords})
		b.appended = nil
	}
}

// apply changes rows, ascending, and removes others, at mod-sequence at. The
// snapshot has been asked for before.
func (b *boxTx) apply(at store.ModSeq, rows []store.Row, gone store.UIDSet) {
	b.settle()
	b.m.ModSeq, b.changed = at, true
	b.touchAll(rows)
	for _, g := range gone {
		for no := pageNo(g.From); ; no++ {
			b.touch(store.UID(no << pageShift))
			if no == pageNo(g.To) {
				break
			}
		}
	}
	b.m.tail = nil
	b.snap = b.snap.With(store.Changes{Rows: rows, Vanished: gone, Through: at, UIDNext: b.m.UIDNext, Keywords: b.m.keywords})
}

// touchAll is touch for rows, ascending.
func (b *boxTx) touchAll(rows []store.Row) {
	for i := range rows {
		if i == 0 || pageNo(rows[i].UID) != pageNo(rows[i-1].UID) {
			b.touch(rows[i].UID)
		}
	}
}

func (b *boxTx) touch(uid store.UID) {
	if b.pages == nil {
		b.pages = make(map[uint32]struct{})
	}
	b.pages[pageNo(uid)] = struct{}{}
}

// room reports whether n more messages can be numbered. UIDNEXT itself must
// stay a UID (RFC 9051 §2.3.1.1).
func (b *boxTx) room(n int) error {
	if uint64(b.m.UIDNext)+uint64(n) > math.MaxUint32 {
		return fmt.Errorf("%w: no UIDs left in mailbox", store.ErrLimit)
	}
	return nil
}

// add appends a message; there is room.
func (b *boxTx) add(at store.ModSeq, r store.Row) store.UID {
	r.UID, r.ModSeq, r.Created = b.m.UIDNext, at, at
	b.m.UIDNext++
	b.m.ModSeq, b.changed = at, true
	b.appended = append(b.appended, r)
	b.touch(r.UID)
	b.count(r, 1)
	return r.UID
}

// count adds a message to, or takes it from, what mailbox and account hold.
func (b *boxTx) count(r store.Row, n int) {
	b.m.count(r, n)
	b.a.used.Octets += int64(n) * int64(r.Size)
	b.a.used.Messages += int64(n)
}

// remove expunges rows, ascending, of the mailbox's snapshot. The flags of all
// actors have been loaded.
func (b *boxTx) remove(at store.ModSeq, rows []store.Row) store.UIDSet {
	var gone store.UIDSet
	refs := make([]uint64, len(rows))
	for i, r := range rows {
		gone.Add(r.UID)
		refs[i] = r.Ref
		b.count(r, -1)
	}
	b.apply(at, nil, gone)
	b.unmark(at, gone)
	b.a.t.bury(b, at, gone, refs)
	if b.m.uidls {
		b.a.t.uidlsGone = append(b.a.t.uidlsGone, uidlsGone{b, gone})
	}
	return gone
}

// bury remembers an expunge: a tombstone, and references that may be dead.
func (t *tx) bury(b *boxTx, at store.ModSeq, gone store.UIDSet, refs []uint64) {
	t.dead = append(t.dead, deadRow{a: b.a, refs: refs})
	// The same plan may have expunged from this mailbox before.
	for i := len(t.tombs) - 1; i >= 0 && t.tombs[i].modSeq == at; i-- {
		if t.tombs[i].mailbox == b.m.ID {
			for _, g := range gone {
				t.tombs[i].uids.AddRange(g.From, g.To)
			}
			return
		}
	}
	t.tombs = append(t.tombs, tombRow{b.m.ID, at, slices.Clone(gone)})
}

// selectedBatch is how many rows selected reads before it keeps some.
const selectedBatch = 1024

// selected returns the rows of a snapshot that are in a set, ascending.
func selected(snap *store.Snapshot, uids store.UIDSet, keep func(r *store.Row) bool) []store.Row {
	var rows []store.Row
	for _, g := range uids {
		from, _ := snap.Find(g.From)
		to, last := snap.Find(g.To)
		if last {
			to++
		}
		if rows == nil && from < to {
			rows = make([]store.Row, 0, min(to-from, 16<<10))
		}
		for from < to {
			next := min(from+selectedBatch, to)
			n := len(rows)
			rows = snap.AppendRows(rows, from, next)
			if keep != nil {
				rows = kept(rows, n, keep)
			}
			from = next
		}
	}
	return rows
}

// kept drops the rows from from on that keep does not want.
func kept(rows []store.Row, from int, keep func(r *store.Row) bool) []store.Row {
	n := from
	for i := from; i < len(rows); i++ {
		if !keep(&rows[i]) {
			continue
		}
		if n < i {
			rows[n] = rows[i]
		}
		n++
	}
	return rows[:n]
}

// publish makes a committed batch visible and wakes who watches.
func (t *tx) publish() {
	s := t.s
	s.state = t.state
	for st, loc := range t.located {
		st.keep(loc)
	}
	for st := range t.twins {
		st.keep(t.where(st))
	}
	for no, p := range t.refPages {
		s.refs.put(no, p)
	}
	for k, r := range t.tokens {
		s.tokens.add(k.a.id, k.token, r.at)
	}
	for _, a := range t.accounts {
		if a.touched {
			a.publish()
		}
	}
	if t.spoolHit {
		s.spool.wake.Wake()
	}
}

func (a *acctTx) publish() {
	e, s := a.e, a.t.s
	type touched struct {
		id   store.MailboxID
		size int64
	}
	var keep []touched
	gone := make(map[store.MailboxID]bool)
	e.mu.Lock()
	old := e.a
	if a.absent {
		e.a = nil
	} else if a.created {
		e.a = &account{id: a.id, boxes: make(map[store.MailboxID]*mbox), hidden: make(map[store.MailboxID]*mbox)}
	}
	if len(a.gone) > 0 && old != nil {
		for id := range old.boxes {
			gone[id] = true
		}
		for id := range old.hidden {
			gone[id] = true
		}
	}
	if e.a != nil {
		e.a.modSeq, e.a.low, e.a.used, e.a.limit = a.modSeq, a.low, a.used, a.limit
		if a.names != nil {
			e.a.names = a.names
		}
		if a.subs != nil {
			e.a.subs = a.subs
		}
		for id, b := range a.boxes {
			switch {
			case b.deleted:
				delete(e.a.boxes, id)
				delete(e.a.hidden, id)
				gone[id] = true
			case b.changed:
				m := b.m
				if m.of != 0 {
					e.a.hidden[id] = &m
				} else {
					e.a.boxes[id] = &m
				}
				if b.publish(e) {
					keep = append(keep, touched{id, b.snap.Octets()})
				}
			}
		}
	}
	drop := e.dropSnapshots(gone)
	e.mu.Unlock()
	for _, key := range drop {
		s.snaps.forget(e, key)
	}
	for _, k := range keep {
		s.snaps.touch(e, viewKey{id: k.id}, k.size)
	}
	e.wake.Wake()
}

// publish hands the new snapshot to readers; e is locked. It reports whether
// there is one.
func (b *boxTx) publish(e *entry) bool {
	load := e.loads[b.m.ID]
	b.settle()
	if b.snap == nil {
		delete(e.snaps, b.m.ID)
		if load != nil {
			load.deltas = append(load.deltas, store.Changes{Rows: b.appended, Through: b.m.ModSeq, UIDNext: b.m.UIDNext, Keywords: b.m.keywords})
		}
		return false
	}
	if load != nil {
		load.snap, load.deltas = b.snap, nil
	}
	e.snaps[b.m.ID] = b.snap
	return true
}
