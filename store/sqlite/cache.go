package sqlite

import (
	"container/list"
	"context"
	"sync"

	"github.com/posta-mail/posta/store"
)

// account is what is known of an account; see entry for who may touch it.
type account struct {
	id     int64
	modSeq store.ModSeq // highest of the account
	low    store.ModSeq // events above it are known
	used   store.Usage
	limit  store.Usage
	boxes  map[store.MailboxID]*mbox
	hidden map[store.MailboxID]*mbox // see private.go
	names  map[string]store.MailboxID
	subs   map[string]bool
}

// mbox is a mailbox as of a commit. A published one is never modified.
type mbox struct {
	store.MailboxInfo
	created  store.ModSeq
	low      store.ModSeq // expunges above it are known
	keywords []store.Flag
	actors   map[string]store.MailboxID // who has \Seen flags of his own: the hidden mailbox
	of       store.MailboxID            // of a hidden one: whose \Seen flags these are
	actor    string
	uidls    bool        // some message has or had one
	tail     []store.Row // rows of the page of UIDNext-1, if known
}

// count adds a row to, or takes it from, the mailbox's counts.
func (m *mbox) count(r store.Row, n int) {
	m.Messages += n
	m.Size += int64(n) * int64(r.Size)
	if r.Flags&store.BitSeen == 0 {
		m.Unseen += n
	}
	if r.Flags&store.BitDeleted != 0 {
		m.Deleted += n
		m.DeletedSize += int64(n) * int64(r.Size)
	}
}

// entry is an account in the cache. Only the committer modifies a and snaps,
// holding mu; a loaded entry with pins stays in the cache.
type entry struct {
	name string
	wake store.Waker

	load   sync.Mutex // while reading from the database
	mu     sync.RWMutex
	loaded bool
	a      *account // nil: there is no such account
	snaps  map[store.MailboxID]*store.Snapshot
	loads  map[store.MailboxID]*snapLoad
	views  map[viewKey]*store.SeenView

	pins int // under accountCache.mu
	elem *list.Element
}

// accountCache holds accounts, those in use and the most recently used.
type accountCache struct {
	mu      sync.Mutex
	entries map[string]*entry
	recent  list.List
}

func (c *accountCache) init() { c.entries = make(map[string]*entry) }

// pin returns the entry of an account, loaded. Unpin it.
func (s *Store) pin(name string) (*entry, error) {
	c := &s.accounts
	c.mu.Lock()
	e := c.entries[name]
	if e == nil {
		e = &entry{name: name, snaps: make(map[store.MailboxID]*store.Snapshot), loads: make(map[store.MailboxID]*snapLoad),
			views: make(map[viewKey]*store.SeenView)}
		e.elem = c.recent.PushFront(e)
		c.entries[name] = e
	} else {
		c.recent.MoveToFront(e.elem)
	}
	e.pins++
	c.mu.Unlock()
	if err := s.ensure(e); err != nil {
		s.unpin(e)
		return nil, err
	}
	return e, nil
}

func (s *Store) unpin(e *entry) {
	c := &s.accounts
	c.mu.Lock()
	defer c.mu.Unlock()
	e.pins--
	limit := max(s.opt.Accounts, 0)
	for el := c.recent.Back(); el != nil && len(c.entries) > limit; {
		v := el.Value.(*entry)
		el = el.Prev()
		if v.pins == 0 {
			c.recent.Remove(v.elem)
			delete(c.entries, v.name)
		}
	}
}

// ensure reads an account from the database unless it is there. No batch can
// be changing it meanwhile: the committer loads before it plans, and keeps the
// entry pinned until it has published.
func (s *Store) ensure(e *entry) error {
	e.mu.RLock()
	loaded := e.loaded
	e.mu.RUnlock()
	if loaded {
		return nil
	}
	e.load.Lock()
	defer e.load.Unlock()
	if e.loaded { // written under both locks
		return nil
	}
	a, err := s.q.account(context.Background(), e.name)
	if err != nil {
		return readError(err)
	}
	e.mu.Lock()
	e.a, e.loaded = a, true
	e.mu.Unlock()
	return nil
}

func (c *accountCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		e.wake.Close()
	}
}

// mailbox returns the published state of a mailbox and its account.
func (e *entry) mailbox(id store.MailboxID) (*mbox, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.a == nil {
		return nil, errNoAccount
	}
	m := e.a.boxes[id]
	if m == nil {
		return nil, errNoMailbox
	}
	return m, nil
}

// accountID is the id of the account, 0 if there is none.
func (e *entry) accountID() int64 {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.a == nil {
		return 0
	}
	return e.a.id
}

// info is the description of a mailbox to an actor, empty for the owner.
func (a *account) info(m *mbox, actor string) store.MailboxInfo {
	i := m.MailboxInfo
	i.Subscribed = a.subs[i.Name]
	if actor == "" {
		return i
	}
	i.Unseen = i.Messages
	if h := a.hiddenOf(m, actor); h != nil {
		i.Unseen -= h.Messages - h.Unseen
		i.ModSeq = max(i.ModSeq, h.ModSeq)
	}
	return i
}

// snapshotCache keeps the snapshots of entries within a budget of memory.
type snapshotCache struct {
	mu     sync.Mutex
	budget int64
	used   int64
	items  map[snapKey]*list.Element
	recent list.List
}

type snapKey struct {
	e *entry
	viewKey
}

type snapItem struct {
	key  snapKey
	size int64
}

// snapBase is what a cached snapshot is counted with beyond its own octets.
const snapBase = 512

func (c *snapshotCache) init(budget int64) {
	c.budget, c.items = budget, make(map[snapKey]*list.Element)
}

// touch notes that a snapshot of e was used or replaced, and drops others to
// keep the budget. No entry may be locked.
func (c *snapshotCache) touch(e *entry, of viewKey, octets int64) {
	key, size := snapKey{e, of}, snapBase+octets
	c.mu.Lock()
	if el := c.items[key]; el != nil {
		it := el.Value.(*snapItem)
		c.used += size - it.size
		it.size = size
		c.recent.MoveToFront(el)
	} else {
		c.items[key] = c.recent.PushFront(&snapItem{key, size})
		c.used += size
	}
	var victims []snapKey
	for c.used > c.budget && c.recent.Len() > 0 {
		el := c.recent.Back()
		it := c.recent.Remove(el).(*snapItem)
		delete(c.items, it.key)
		c.used -= it.size
		victims = append(victims, it.key)
	}
	c.mu.Unlock()
	for _, v := range victims {
		v.e.mu.Lock()
		v.e.uncache(v.viewKey)
		v.e.mu.Unlock()
	}
}

// forget drops what is counted for a mailbox that is gone.
func (c *snapshotCache) forget(e *entry, of viewKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.items[snapKey{e, of}]; el != nil {
		c.used -= c.recent.Remove(el).(*snapItem).size
		delete(c.items, snapKey{e, of})
	}
}

// dropSnapshots drops those of mailboxes that are gone, and what actors make of
// them; e is locked.
func (e *entry) dropSnapshots(gone map[store.MailboxID]bool) (keys []viewKey) {
	for id := range gone {
		keys = append(keys, viewKey{id: id})
	}
	if len(gone) > 0 {
		for key := range e.views {
			if gone[key.id] {
				keys = append(keys, key)
			}
		}
	}
	for _, key := range keys {
		e.uncache(key)
	}
	return keys
}

// uncache drops a snapshot, or what an actor makes of it; e is locked.
func (e *entry) uncache(of viewKey) {
	if of.actor == "" {
		delete(e.snaps, of.id)
	} else {
		delete(e.views, of)
	}
}
