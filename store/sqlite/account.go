package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/posta-mail/posta/store"
)

// Account implements store.Store.
func (s *Store) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a := &accountHandle{s: s, name: name, actor: actor}
	e, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	a.leave(e)
	return a, nil
}

// Accounts implements store.Store. It reads a few names at a time and holds
// nothing between them.
func (s *Store) Accounts(ctx context.Context) iter.Seq2[string, error] {
	return s.pages(ctx, s.q.names)
}

// pages iterates over names of accounts that a query gives in order, up to max
// after one.
func (s *Store) pages(ctx context.Context, query func(after string, max int) ([]string, error)) iter.Seq2[string, error] {
	const chunk = 256
	return func(yield func(string, error) bool) {
		after := ""
		for {
			names, err := s.page(ctx, func() ([]string, error) { return query(after, chunk) })
			if err != nil {
				yield("", err)
				return
			}
			for _, n := range names {
				if !yield(n, nil) {
					return
				}
			}
			if len(names) < chunk {
				return
			}
			after = names[len(names)-1]
		}
	}
}

func (s *Store) page(ctx context.Context, query func() ([]string, error)) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	names, err := query()
	return names, readError(err)
}

// CreateAccount implements store.Store.
func (s *Store) CreateAccount(ctx context.Context, name string) error {
	if err := store.CheckAccountName(name); err != nil {
		return err
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.do(ctx, func(t *tx) error {
		a, err := t.account(name)
		if err != nil {
			return err
		}
		if !a.absent {
			return fmt.Errorf("%w: account", store.ErrExists)
		}
		a.absent, a.created, a.seq = false, true, 0
		a.used, a.limit, a.notes, a.counts = store.Usage{}, store.Usage{}, nil, nil
		// Above all of an earlier life of the name.
		a.modSeq = store.ModSeq(t.state.modSeq)
		a.low = a.modSeq
		a.boxes = make(map[store.MailboxID]*boxTx)
		a.names, a.subs = make(map[string]store.MailboxID), make(map[string]bool)
		a.addBox(store.Inbox, "", a.next())
		return nil
	})
}

// DeleteAccount implements store.Store.
func (s *Store) DeleteAccount(ctx context.Context, name string) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.do(ctx, func(t *tx) error {
		a, err := t.existing(name)
		if err != nil {
			return err
		}
		return t.deleteAccount(a)
	})
}

func (t *tx) deleteAccount(a *acctTx) error {
	var refs [][]uint64
	boxes := a.all()
	for _, b := range boxes {
		snap, err := b.snapshot()
		if err != nil {
			return err
		}
		refs = append(refs, snapshotRefs(snap))
	}
	if err := t.forgetActor(a.e.name); err != nil {
		return err
	}
	for id, b := range a.boxes { // deleted before, in the same batch
		if b.deleted && !b.fresh {
			a.goneBox = append(a.goneBox, id)
		}
	}
	for i, b := range boxes {
		if !b.fresh {
			a.goneBox = append(a.goneBox, b.m.ID)
		}
		for _, id := range b.m.actors {
			a.goneBox = append(a.goneBox, id)
		}
		b.deleted = true
		t.dead = append(t.dead, deadRow{a: a, refs: refs[i]})
	}
	for i := range t.dead {
		if t.dead[i].a == a {
			t.dead[i].a, t.dead[i].id = nil, a.id
		}
	}
	t.events = slices.DeleteFunc(t.events, func(r eventRow) bool { return r.a == a })
	t.subs = slices.DeleteFunc(t.subs, func(r subRow) bool { return r.a == a })
	for k := range t.tokens {
		if k.a == a {
			delete(t.tokens, k)
		}
	}
	a.next()
	t.state.modSeq = max(t.state.modSeq, uint64(a.modSeq))
	if !a.created {
		a.gone = append(a.gone, a.id)
	}
	a.absent, a.created, a.row, a.id = true, false, false, 0
	a.boxes = make(map[store.MailboxID]*boxTx)
	a.names, a.subs, a.notes, a.counts = nil, nil, nil, nil
	return nil
}

// all returns every mailbox of the account as of the batch.
func (a *acctTx) all() []*boxTx {
	names := a.names
	if names == nil && a.e.a != nil {
		names = a.e.a.names
	}
	var boxes []*boxTx
	for _, id := range names {
		if b, err := a.box(id); err == nil {
			boxes = append(boxes, b)
		}
	}
	slices.SortFunc(boxes, func(x, y *boxTx) int { return strings.Compare(x.m.Name, y.m.Name) })
	return boxes
}

func snapshotRefs(snap *store.Snapshot) []uint64 {
	refs := make([]uint64, 0, snap.Len())
	for _, r := range snap.All() {
		refs = append(refs, r.Ref)
	}
	return refs
}

// accountHandle is an account opened by an actor. It holds nothing.
type accountHandle struct {
	s           *Store
	name, actor string
}

// enter begins a call: the store is open, the account exists and is pinned.
func (a *accountHandle) enter(ctx context.Context) (*entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := a.s.enter(); err != nil {
		return nil, err
	}
	e, err := a.s.pin(a.name)
	if err != nil {
		a.s.leave()
		return nil, err
	}
	e.mu.RLock()
	gone := e.a == nil
	e.mu.RUnlock()
	if gone {
		a.leave(e)
		return nil, errNoAccount
	}
	return e, nil
}

func (a *accountHandle) leave(e *entry) {
	a.s.unpin(e)
	a.s.leave()
}

func (a *accountHandle) Name() string  { return a.name }
func (a *accountHandle) Actor() string { return a.actor }

func (a *accountHandle) Mailboxes(ctx context.Context) ([]store.MailboxInfo, error) {
	e, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer a.leave(e)
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.a == nil {
		return nil, errNoAccount
	}
	infos := make([]store.MailboxInfo, 0, len(e.a.boxes))
	for _, m := range e.a.boxes {
		infos = append(infos, e.a.info(m, a.other()))
	}
	slices.SortFunc(infos, func(x, y store.MailboxInfo) int { return strings.Compare(x.Name, y.Name) })
	return infos, nil
}

func (a *accountHandle) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	name, err := store.CanonicalName(name)
	if err != nil {
		return nil, errNoMailbox // such a mailbox cannot be
	}
	e, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer a.leave(e)
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.a == nil {
		return nil, errNoAccount
	}
	id, ok := e.a.names[name]
	if !ok {
		return nil, errNoMailbox
	}
	return &mailboxHandle{a: a, id: id}, nil
}

func (a *accountHandle) Subscriptions(ctx context.Context) ([]string, error) {
	e, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer a.leave(e)
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.a == nil {
		return nil, errNoAccount
	}
	names := make([]string, 0, len(e.a.subs))
	for n := range e.a.subs {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// Changes reads the events of the database; that messages changed is told by
// the mailboxes themselves.
func (a *accountHandle) Changes(ctx context.Context, since store.ModSeq) (store.AccountChanges, error) {
	e, err := a.enter(ctx)
	if err != nil {
		return store.AccountChanges{}, err
	}
	defer a.leave(e)
	e.mu.RLock()
	if e.a == nil {
		e.mu.RUnlock()
		return store.AccountChanges{}, errNoAccount
	}
	id, low := e.a.id, e.a.low
	c := store.AccountChanges{Since: since, Through: max(e.a.modSeq, since)}
	for _, m := range e.a.boxes {
		changed := m.ModSeq
		if h := e.a.hiddenOf(m, a.other()); h != nil {
			changed = max(changed, h.ModSeq)
		}
		if changed > since && changed > m.created {
			c.Events = append(c.Events, store.MailboxEvent{Kind: store.MailboxChanged, ModSeq: changed, Mailbox: m.ID, Name: m.Name})
		}
	}
	e.mu.RUnlock()
	if since < low {
		return store.AccountChanges{}, fmt.Errorf("%w: before %d", store.ErrHistoryGone, low)
	}
	events, err := a.s.q.events(id, since, c.Through)
	if err != nil {
		return store.AccountChanges{}, readError(err)
	}
	// In an order that does not change from call to call.
	slices.SortFunc(c.Events, func(x, y store.MailboxEvent) int { return cmp.Compare(x.Mailbox, y.Mailbox) })
	c.Events = append(events, c.Events...)
	slices.SortStableFunc(c.Events, func(x, y store.MailboxEvent) int { return cmp.Compare(x.ModSeq, y.ModSeq) })
	return c, nil
}

// Watch keeps the account in the cache while ctx lasts.
func (a *accountHandle) Watch(ctx context.Context) <-chan struct{} {
	e, err := a.s.pinForWatch(a.name)
	if err != nil {
		ch := make(chan struct{})
		close(ch)
		return ch
	}
	ch := e.wake.Watch(ctx)
	context.AfterFunc(ctx, func() { a.s.unpin(e) })
	return ch
}

func (s *Store) pinForWatch(name string) (*entry, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.pin(name)
}
