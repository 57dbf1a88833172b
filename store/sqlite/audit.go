package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/posta-mail/posta/store"
)

// audit goes over everything that is stored and finds what is damaged or does
// not fit together. With exec it puts it right, in the transaction it is given;
// else it only looks, and the same code tells both times.
type audit struct {
	ctx  context.Context
	db   queryer
	exec func(query string, args ...any) error // nil: only look
	out  func(Problem)
	seg  *segments
	now  time.Time
	lost *lostFolder // of a repair

	state    state
	stateOld state
	accounts map[int64]*auditAccount
	boxes    map[store.MailboxID]*auditBox

	bad     map[uint64]error   // references whose octets cannot be read
	checked map[recordLoc]bool // bodies that have been read; true: damaged
	cache   map[uint64]*refPage
	used    refSet // references that some row has
	dying   refSet // those that a sweep will look at
	topRef  uint64 // above all references that there are

	// What a repair knows to be missing.
	partial bool           // rows of the database are
	noPage  map[int64]bool // pages of rows that could not be read
	noRefs  bool           // pages of places
	index   *segIndex      // what the segments hold, once it was needed
	again   map[store.MailboxID][]filing
	tombs   map[store.MailboxID]store.UIDSet

	buf []byte
}

// auditAccount is an account; modSeq is the highest there is of it.
type auditAccount struct {
	id     int64
	name   string
	modSeq store.ModSeq
	bumped bool // modSeq is that of the repair
	names  map[string]store.MailboxID
}

// auditBox is a mailbox's row.
type auditBox struct {
	mbox
	account int64
	uidls   bool
	changed bool
}

func newAudit(ctx context.Context, db queryer, seg *segments, now time.Time, out func(Problem)) *audit {
	return &audit{ctx: ctx, db: db, seg: seg, now: now, out: out, bad: make(map[uint64]error), checked: make(map[recordLoc]bool),
		accounts: make(map[int64]*auditAccount), boxes: make(map[store.MailboxID]*auditBox), cache: make(map[uint64]*refPage),
		used: make(refSet), dying: make(refSet), noPage: make(map[int64]bool), again: make(map[store.MailboxID][]filing), tombs: make(map[store.MailboxID]store.UIDSet), buf: make([]byte, 64<<10)}
}

// found tells of a problem, which mend puts right if it may.
func (a *audit) found(p Problem, mend func() error) error {
	if a.exec != nil && mend != nil {
		if err := mend(); err != nil {
			return err
		}
	}
	p.Mended = a.exec != nil
	a.out(p)
	return a.ctx.Err()
}

// sql is a mend that needs one statement.
func (a *audit) sql(query string, args ...any) func() error {
	return func() error { return a.exec(query, args...) }
}

func (a *audit) mending() bool { return a.exec != nil }

// tables goes over the database. What is told online must be read in one
// transaction.
func (a *audit) tables() error {
	for _, step := range []func() error{
		a.loadState, a.loadAccounts, a.relocateAll, a.loadDead, a.loadBoxes, a.strayPages, a.mailboxes, a.inboxes, a.orphans, a.references, a.spool, a.counters,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) loadState() error {
	err := a.state.load(a.ctx, a.db)
	if err == errNoState {
		a.state = a.freshState()
		err = a.found(Problem{Err: err}, a.sql(
			"INSERT OR REPLACE INTO state (id, next_ref, next_body, next_box, next_item, uidvalidity, modseq, segment, committed) VALUES (1,1,1,1,1,0,0,0,0)"))
		return readError(err) // stateOld stays, so that it is written
	}
	a.stateOld = a.state
	return readError(err)
}

// freshState is above whatever the store may have counted before.
func (a *audit) freshState() state {
	now := uint64(max(a.now.Unix(), 1<<20))
	return state{nextRef: 1 << 20, nextBody: 1, nextBox: now, nextItem: now << 16, uidValidity: uint32(min(now, math.MaxUint32-1<<24)), modSeq: now << 16}
}

// counters sees that the store's counters are above what there is.
func (a *audit) counters() error {
	s := &a.state
	for _, c := range []struct {
		name string
		have *uint64
		want uint64
	}{{"references", &s.nextRef, a.topRef}, {"mailboxes", &s.nextBox, a.topBox()}} {
		if *c.have < c.want {
			was := *c.have
			*c.have = c.want
			if err := a.found(Problem{Err: damage("counter of %s is %d, there is %d", c.name, was, c.want-1)}, nil); err != nil {
				return err
			}
		}
	}
	if s.uidValidity == math.MaxUint32 {
		s.uidValidity--
	}
	if a.index != nil {
		s.nextBody = max(s.nextBody, a.index.topID+1)
	}
	if err := a.activeSegment(); err != nil {
		return err
	}
	if !a.mending() || *s == a.stateOld {
		return nil
	}
	return a.exec(`UPDATE state SET next_ref=?, next_body=?, next_box=?, next_item=?, uidvalidity=?, modseq=?, segment=?, committed=?`,
		int64(s.nextRef), int64(s.nextBody), int64(s.nextBox), int64(s.nextItem), int64(s.uidValidity), int64(s.modSeq), int64(s.segment), s.committed)
}

func (a *audit) topBox() (top uint64) {
	for id := range a.boxes {
		top = max(top, uint64(id)+1)
	}
	return top
}

// activeSegment must have what was committed to it. If it has not, it is not
// appended to any more.
func (a *audit) activeSegment() error {
	s := &a.state
	if s.segment == 0 {
		return nil
	}
	var size int64
	err := a.withSegment(s.segment, func(h *segHandle) error {
		info, err := h.file.Stat()
		if err == nil {
			size = info.Size()
		}
		return err
	})
	if err != nil {
		if err := a.notDamage(err); err != nil {
			return err
		}
	}
	if size >= s.committed && s.committed >= segHeaderSize {
		return nil
	}
	p := Problem{Err: damage("segment %d has %d octets of %d", s.segment, size, s.committed)}
	s.segment, s.committed = 0, 0
	return a.found(p, nil)
}

func (a *audit) loadAccounts() error {
	var bad []*auditAccount
	err := eachRow(a.ctx, a.db, "SELECT id, name, modseq FROM account ORDER BY id", func(rows *sql.Rows) error {
		acc := &auditAccount{names: make(map[string]store.MailboxID)}
		var modSeq int64
		if err := rows.Scan(&acc.id, &acc.name, &modSeq); err != nil {
			return err
		}
		acc.modSeq = store.ModSeq(max(modSeq, 0))
		a.accounts[acc.id] = acc
		if store.CheckAccountName(acc.name) != nil || modSeq < 0 {
			bad = append(bad, acc)
		}
		return nil
	})
	if err != nil {
		return readError(err)
	}
	for _, acc := range bad {
		was := acc.name
		acc.name = a.freeAccount(strings.ToValidUTF8(was, ""), acc.id)
		err := a.found(Problem{Account: acc.name, Err: damage("account has the name %q", was)},
			a.sql("UPDATE account SET name=?, modseq=? WHERE id=?", acc.name, int64(acc.modSeq), acc.id))
		if err != nil {
			return err
		}
	}
	return nil
}

// freeAccount is a name for an account that has none, like the one given if
// that may be.
func (a *audit) freeAccount(name string, id int64) string {
	taken := func(name string) bool {
		for _, acc := range a.accounts {
			if acc.id != id && acc.name == name {
				return true
			}
		}
		return false
	}
	if store.CheckAccountName(name) == nil && !taken(name) {
		return name
	}
	for n := id; ; n++ {
		if name := fmt.Sprintf("recovered-%d", n); !taken(name) {
			return name
		}
	}
}

// addAccount makes an account that mailboxes or messages belong to.
func (a *audit) addAccount(id int64, name string) (*auditAccount, error) {
	if id == 0 {
		for n := range a.accounts {
			id = max(id, n)
		}
		id++
	}
	acc := &auditAccount{id: id, names: make(map[string]store.MailboxID), modSeq: store.ModSeq(a.state.modSeq)}
	acc.name = a.freeAccount(name, id)
	a.accounts[id] = acc
	return acc, a.exec("INSERT INTO account (id, name, modseq, low) VALUES (?,?,?,?)", id, acc.name, int64(acc.modSeq), int64(acc.modSeq))
}

// next is the mod-sequence of what the repair does to an account.
func (acc *auditAccount) next() store.ModSeq {
	if !acc.bumped {
		acc.modSeq++
		acc.bumped = true
	}
	return acc.modSeq
}

func (a *audit) nameOf(account int64) string {
	if acc := a.accounts[account]; acc != nil {
		return acc.name
	}
	return ""
}
