package memory

import (
	"fmt"
	"math"
	"time"

	"github.com/posta-mail/posta/store"
)

// commit collects what one call changes in an account. Nothing is visible, and
// nothing has to be undone, before commit.commit. The account's lock is held
// throughout.
type commit struct {
	a       *account
	modSeq  store.ModSeq // of everything in it
	boxes   []*change
	byBox   map[*mailbox]*change
	fresh   map[uint64]*content // new contents, without references yet
	refs    []uint64            // one for each new row
	events  []store.MailboxEvent
	names   map[string]*mailbox // names that change; nil: free
	created []*mailbox
	deleted []*mailbox
	tokens  []tokenUse
	subs    map[string]bool
}

type tokenUse struct {
	token  string
	placed store.Placed
}

// change is what a commit does to the messages of one mailbox.
type change struct {
	mb       *mailbox
	keywords []store.Flag
	uidNext  store.UID
	updated  []store.Row // messages that were there, ascending
	added    []store.Row
	gone     store.UIDSet
	goneRows []store.Row
}

// begin starts a commit. a.mu is held.
func (a *account) begin() *commit {
	return &commit{a: a, modSeq: a.modSeq + 1, byBox: map[*mailbox]*change{}}
}

func (c *commit) box(mb *mailbox) *change {
	ch := c.byBox[mb]
	if ch == nil {
		ch = &change{mb: mb, keywords: mb.snap.Keywords(), uidNext: mb.snap.UIDNext()}
		c.byBox[mb] = ch
		c.boxes = append(c.boxes, ch)
	}
	return ch
}

// event notes what happens to a mailbox.
func (c *commit) event(kind store.EventKind, id store.MailboxID, name, old string) {
	c.events = append(c.events, store.MailboxEvent{Kind: kind, ModSeq: c.modSeq, Mailbox: id, Name: name, OldName: old})
}

// add files a message under the next UID.
func (c *commit) add(mb *mailbox, row store.Row) (store.UID, error) {
	ch := c.box(mb)
	if ch.uidNext == math.MaxUint32 { // UIDNEXT has to stay above it
		return 0, fmt.Errorf("%w: UIDs of the mailbox", store.ErrLimit)
	}
	row.UID, row.ModSeq, row.Created = ch.uidNext, c.modSeq, c.modSeq
	ch.uidNext++
	ch.added = append(ch.added, row)
	c.refs = append(c.refs, row.Ref)
	return row.UID, nil
}

// remove expunges a message of the mailbox's snapshot.
func (c *commit) remove(mb *mailbox, row store.Row) {
	ch := c.box(mb)
	ch.gone.Add(row.UID)
	ch.goneRows = append(ch.goneRows, row)
}

// find gives a mailbox by its canonical name as the commit leaves it.
func (c *commit) find(name string) *mailbox {
	if mb, ok := c.names[name]; ok {
		return mb
	}
	return c.a.byName[name]
}

func (c *commit) setName(name string, mb *mailbox) {
	if c.names == nil {
		c.names = map[string]*mailbox{}
	}
	c.names[name] = mb
}

// create makes a mailbox and the missing ones above it.
func (c *commit) create(name, specialUse string) *mailbox {
	if p := store.Parent(name); p != "" && c.find(p) == nil {
		c.create(p, "")
	}
	mb := &mailbox{a: c.a, id: c.a.lastID + 1 + store.MailboxID(len(c.created)), name: name, specialUse: specialUse}
	mb.snap = store.NewSnapshot(mb.id, c.a.s.nextValidity(), 1, c.modSeq, nil, nil)
	c.created = append(c.created, mb)
	c.setName(name, mb)
	c.event(store.MailboxCreated, mb.id, name, "")
	return mb
}

// empty reports whether nothing happens.
func (c *commit) empty() bool {
	return len(c.boxes) == 0 && len(c.events) == 0
}

// commit makes everything visible and wakes the watchers.
func (c *commit) commit() {
	a := c.a
	for ref, content := range c.fresh {
		a.contents[ref] = content
	}
	for _, ref := range c.refs {
		a.contents[ref].refs++
	}
	for _, t := range c.tokens {
		a.tokens[t.token] = t.placed
		a.tokenAge = append(a.tokenAge, aged[string]{time.Now().Add(tokenLife), t.token})
	}
	if c.empty() {
		return
	}
	a.modSeq = c.modSeq
	for _, mb := range c.created {
		a.byID[mb.id] = mb
		a.lastID = mb.id
	}
	for name, mb := range c.names {
		if mb == nil {
			delete(a.byName, name)
		} else {
			a.byName[name], mb.name = mb, name
		}
	}
	for name, on := range c.subs {
		if a.subs[name] = on; !on {
			delete(a.subs, name)
		}
	}
	for _, ch := range c.boxes {
		ch.apply(c.modSeq)
	}
	for _, mb := range c.deleted {
		mb.drop()
	}
	a.events = append(a.events, c.events...)
	if over := len(a.events) - max(a.s.opt.History, 0); over > 0 {
		a.low = a.events[over-1].ModSeq
		a.events = append([]store.MailboxEvent(nil), a.events[over:]...)
	}
	a.waker.Wake()
}

// apply makes the changes of one mailbox visible.
func (ch *change) apply(modSeq store.ModSeq) {
	mb := ch.mb
	old := mb.snap
	mb.changed = modSeq
	for _, r := range ch.updated {
		i, _ := old.Find(r.UID)
		mb.count(old.At(i), -1)
		mb.count(r, 1)
	}
	for _, r := range ch.added {
		mb.count(r, 1)
	}
	until := time.Now().Add(max(mb.a.s.opt.Grace, 0))
	for _, r := range ch.goneRows {
		mb.count(r, -1)
		key := graveKey{mb.id, r.UID}
		mb.a.graves[key] = r.Ref
		mb.a.graveAge = append(mb.a.graveAge, aged[graveKey]{until, key})
	}
	mb.snap = old.With(store.Changes{Since: old.ModSeq(), Through: modSeq, Rows: append(ch.updated, ch.added...),
		Vanished: ch.gone, UIDNext: ch.uidNext, Keywords: ch.keywords})
	if len(ch.gone) > 0 {
		mb.tombs = append(mb.tombs, tomb{modSeq, ch.gone})
		mb.tombRanges += len(ch.gone)
		for mb.tombRanges > max(mb.a.s.opt.History, 0) {
			mb.low = mb.tombs[0].modSeq
			mb.tombRanges -= len(mb.tombs[0].uids)
			mb.tombs = mb.tombs[1:]
		}
	}
}
