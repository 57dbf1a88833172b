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
	now     time.Time
	usage   store.Usage // what it adds
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
	notes   map[store.MailboxID][]store.Annotation
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
	seen     map[string][]store.Row // private \Seen by actor, ascending
	uidls    map[store.UID]string
}

// begin starts a commit. a.mu is held.
func (a *account) begin() *commit {
	return &commit{a: a, modSeq: a.modSeq + 1, now: time.Now(), byBox: map[*mailbox]*change{}}
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
	row.UID, row.ModSeq, row.Created, row.Saved = ch.uidNext, c.modSeq, c.modSeq, c.now.Unix()
	ch.uidNext++
	ch.added = append(ch.added, row)
	c.refs = append(c.refs, row.Ref)
	c.usage.Messages++
	c.usage.Octets += int64(row.Size)
	return row.UID, nil
}

// remove expunges a message of the mailbox's snapshot.
func (c *commit) remove(mb *mailbox, row store.Row) {
	ch := c.box(mb)
	ch.gone.Add(row.UID)
	ch.goneRows = append(ch.goneRows, row)
	c.usage.Messages--
	c.usage.Octets -= int64(row.Size)
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
	mb.unmarked = store.NewSnapshot(mb.id, mb.snap.UIDValidity(), 1, 0, nil, nil)
	c.created = append(c.created, mb)
	c.usage.Mailboxes++
	c.setName(name, mb)
	c.event(store.MailboxCreated, mb.id, name, "")
	return mb
}

// drop removes a mailbox with all that is in it.
func (c *commit) drop(mb *mailbox) {
	c.setName(mb.name, nil)
	c.deleted = append(c.deleted, mb)
	c.usage.Mailboxes--
	c.usage.Messages -= int64(mb.snap.Len())
	c.usage.Octets -= mb.size
	c.event(store.MailboxDeleted, mb.id, mb.name, "")
}

// empty reports whether nothing happens.
func (c *commit) empty() bool {
	return len(c.boxes) == 0 && len(c.events) == 0
}

// commit makes everything visible and wakes the watchers.
func (c *commit) commit() {
	a := c.a
	for ref, content := range c.fresh {
		content.body.acquire() // the caller holds one
		a.contents[ref] = content
	}
	for _, ref := range c.refs {
		a.contents[ref].refs++
	}
	for _, t := range c.tokens {
		a.tokens[t.token] = t.placed
		a.tokenAge = append(a.tokenAge, aged[string]{c.now.Add(tokenLife), t.token})
	}
	if c.empty() {
		return
	}
	a.modSeq = c.modSeq
	a.used.Octets += c.usage.Octets
	a.used.Messages += c.usage.Messages
	a.used.Mailboxes += c.usage.Mailboxes
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
		ch.apply(c.modSeq, c.now)
	}
	for _, mb := range c.deleted {
		mb.drop()
	}
	for id, set := range c.notes {
		a.annotate(id, set)
	}
	a.events = append(a.events, c.events...)
	if over := len(a.events) - max(a.s.opt.History, 0); over > 0 {
		a.low = a.events[over-1].ModSeq
		a.events = append([]store.MailboxEvent(nil), a.events[over:]...)
	}
	a.waker.Wake()
}

// apply makes the changes of one mailbox visible.
func (ch *change) apply(modSeq store.ModSeq, now time.Time) {
	mb := ch.mb
	old := mb.snap
	if len(ch.updated)+len(ch.added)+len(ch.goneRows) == 0 {
		ch.applySeen(modSeq)
		return // the mailbox has changed for one actor alone
	}
	mb.changed = modSeq
	for _, r := range ch.updated {
		i, _ := old.Find(r.UID)
		mb.count(old.At(i), -1)
		mb.count(r, 1)
	}
	for _, r := range ch.added {
		mb.count(r, 1)
	}
	until := now.Add(max(mb.a.s.opt.Grace, 0))
	for _, r := range ch.goneRows {
		mb.count(r, -1)
		delete(mb.uidls, r.UID)
		key := graveKey{mb.id, r.UID}
		mb.a.graves[key] = r.Ref
		mb.a.graveAge = append(mb.a.graveAge, aged[graveKey]{until, key})
	}
	mb.snap = old.With(store.Changes{Since: old.ModSeq(), Through: modSeq, Rows: append(ch.updated, ch.added...),
		Vanished: ch.gone, UIDNext: ch.uidNext, Keywords: ch.keywords})
	ch.applySeen(modSeq)
	for uid, uidl := range ch.uidls {
		if mb.uidls == nil {
			mb.uidls = map[store.UID]string{}
		}
		mb.uidls[uid] = uidl
	}
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
