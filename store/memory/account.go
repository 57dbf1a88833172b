package memory

import (
	"context"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/store"
)

// tokenLife is how long a token is remembered; the contract says a day at
// least.
const tokenLife = 25 * time.Hour

// account is an account's state. Whatever is below mu is guarded by it;
// readers hold it for as long as a lookup takes.
type account struct {
	s     *Store
	name  string
	waker *store.Waker

	mu       sync.RWMutex
	gone     bool
	modSeq   store.ModSeq
	lastID   store.MailboxID
	byID     map[store.MailboxID]*mailbox
	byName   map[string]*mailbox
	subs     map[string]bool
	events   []store.MailboxEvent // all kinds but MailboxChanged
	low      store.ModSeq         // events up to it may be missing
	contents map[uint64]*content  // by Row.Ref
	tokens   map[string]store.Placed
	tokenAge []aged[string]
	graves   map[graveKey]uint64 // Row.Ref of expunged messages
	graveAge []aged[graveKey]
	used     store.Usage
	limit    store.Usage
	// notes holds annotations; those of the account itself are box 0's.
	notes map[store.MailboxID]map[string][]byte
}

// aged is a key that is to be forgotten.
type aged[K comparable] struct {
	until time.Time
	key   K
}

type graveKey struct {
	mailbox store.MailboxID
	uid     store.UID
}

func newAccount(s *Store, name string, w *store.Waker) *account {
	a := &account{s: s, name: name, waker: w, byID: map[store.MailboxID]*mailbox{}, byName: map[string]*mailbox{},
		subs: map[string]bool{}, contents: map[uint64]*content{}, tokens: map[string]store.Placed{}, graves: map[graveKey]uint64{},
		notes: map[store.MailboxID]map[string][]byte{}}
	t := a.begin()
	t.create(store.Inbox, "")
	t.commit()
	return a
}

// read runs f with the account locked for reading.
func (a *account) read(ctx context.Context, f func() error) error {
	if err := a.s.gate.Enter(ctx); err != nil {
		return err
	}
	defer a.s.gate.Leave()
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.gone {
		return store.ErrNotFound
	}
	return f()
}

// write runs f in a commit: all that f does to it happens, or nothing if it
// fails.
func (a *account) write(ctx context.Context, f func(*commit) error) error {
	if err := a.s.gate.Enter(ctx); err != nil {
		return err
	}
	defer a.s.gate.Leave()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return store.ErrNotFound
	}
	a.purge(time.Now())
	c := a.begin()
	if err := f(c); err != nil {
		return err
	}
	if err := (store.Quota{Used: a.used, Limit: a.limit}).Admit(c.usage); err != nil {
		return err
	}
	c.commit()
	return nil
}

// purge forgets tokens and expunged messages whose time is over. a.mu is held.
func (a *account) purge(now time.Time) {
	n := 0
	for ; n < len(a.tokenAge) && now.After(a.tokenAge[n].until); n++ {
		delete(a.tokens, a.tokenAge[n].key)
	}
	a.tokenAge = a.tokenAge[n:]
	n = 0
	for ; n < len(a.graveAge) && !now.Before(a.graveAge[n].until); n++ {
		key := a.graveAge[n].key
		a.unref(a.graves[key])
		delete(a.graves, key)
	}
	a.graveAge = a.graveAge[n:]
}

// unref lets go of a content. a.mu is held.
func (a *account) unref(ref uint64) {
	c := a.contents[ref]
	if c.refs--; c.refs == 0 {
		delete(a.contents, ref)
		c.free()
	}
}

// drop ends the account's life.
func (a *account) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	for _, c := range a.contents {
		c.free()
	}
	for id := range a.notes {
		a.dropNotes(id)
	}
	a.contents, a.byID, a.byName, a.tokens, a.graves = nil, nil, nil, nil, nil
	a.graveAge, a.tokenAge, a.events = nil, nil, nil
	a.waker.Wake()
}

// mailbox gives a mailbox by any spelling of its name. a.mu is held.
func (a *account) mailbox(name string) (*mailbox, error) {
	name, err := store.CanonicalName(name)
	if err != nil {
		return nil, err
	}
	mb := a.byName[name]
	if mb == nil {
		return nil, store.ErrNotFound
	}
	return mb, nil
}

// openAccount is an account as seen by an actor.
type openAccount struct {
	*account
	actor string
}

var _ store.Account = openAccount{}

func (a openAccount) Name() string  { return a.name }
func (a openAccount) Actor() string { return a.actor }

func (a openAccount) Mailboxes(ctx context.Context) (infos []store.MailboxInfo, err error) {
	err = a.read(ctx, func() error {
		infos = make([]store.MailboxInfo, 0, len(a.byName))
		for _, name := range slices.Sorted(maps.Keys(a.byName)) {
			infos = append(infos, a.handle(a.byName[name]).info())
		}
		return nil
	})
	return infos, err
}

func (a openAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	var mb *mailbox
	err := a.read(ctx, func() (err error) {
		mb, err = a.mailbox(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return a.handle(mb), nil
}

func (a openAccount) Subscriptions(ctx context.Context) (names []string, err error) {
	err = a.read(ctx, func() error {
		names = slices.Sorted(maps.Keys(a.subs))
		return nil
	})
	return names, err
}

func (a openAccount) Changes(ctx context.Context, since store.ModSeq) (c store.AccountChanges, err error) {
	err = a.read(ctx, func() error {
		if since < a.low {
			return store.ErrHistoryGone
		}
		c = store.AccountChanges{Since: since, Through: max(a.modSeq, since)}
		i := sort.Search(len(a.events), func(i int) bool { return a.events[i].ModSeq > since })
		c.Events = append(c.Events, a.events[i:]...)
		for _, mb := range a.byID {
			if changed := max(mb.changed, mb.seenBy(a.other()).ModSeq()); changed > since {
				c.Events = append(c.Events, store.MailboxEvent{Kind: store.MailboxChanged, ModSeq: changed, Mailbox: mb.id, Name: mb.name})
			}
		}
		// A mailbox is created before it changes in the same commit.
		slices.SortStableFunc(c.Events, func(x, y store.MailboxEvent) int {
			if x.ModSeq != y.ModSeq || x.Kind != store.MailboxChanged || y.Kind != store.MailboxChanged {
				return compare(x.ModSeq, y.ModSeq)
			}
			return compare(x.Mailbox, y.Mailbox)
		})
		return nil
	})
	return c, err
}

func compare[N ~uint64](a, b N) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (a openAccount) Watch(ctx context.Context) <-chan struct{} { return a.waker.Watch(ctx) }

// emailID names content that was never seen before (RFC 8474 §5.1): unique in
// this store and, by the UIDVALIDITY, not that of an earlier process.
func emailID(validity uint32, ref uint64) string {
	return strings.Join([]string{"M", strconv.FormatUint(uint64(validity), 36), "-", strconv.FormatUint(ref, 36)}, "")
}
