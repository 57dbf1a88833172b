package storetest

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// The optional interfaces of a mutantStore.

func (s *mutantStore) Lease(ctx context.Context, account, name string, ttl time.Duration) (store.Lease, error) {
	return s.Store.(store.Leaser).Lease(ctx, account, name, ttl)
}

func (s *mutantStore) Quota(ctx context.Context, account string) (store.Quota, error) {
	return s.Store.(store.Quotas).Quota(ctx, account)
}

func (s *mutantStore) SetQuota(ctx context.Context, account string, limit store.Usage) error {
	return s.Store.(store.Quotas).SetQuota(ctx, account, limit)
}

func (s *mutantStore) Annotated(ctx context.Context, key string) iter.Seq2[string, error] {
	return s.Store.(store.AnnotationFinder).Annotated(ctx, key)
}

func (s *mutantStore) PlaceLater(ctx context.Context, t []store.Target) func() []store.Placed {
	return s.Store.(store.Pipeliner).PlaceLater(ctx, t)
}

func (a mutantAccount) Annotations(ctx context.Context, box store.MailboxID, prefix string) ([]store.Annotation, error) {
	return a.Account.(store.Annotations).Annotations(ctx, box, prefix)
}

func (a mutantAccount) Annotate(ctx context.Context, box store.MailboxID, set ...store.Annotation) (store.ModSeq, error) {
	return a.Account.(store.Annotations).Annotate(ctx, box, set...)
}

func (b mutantMailbox) UIDLs(ctx context.Context) (map[store.UID]string, error) {
	return b.Mailbox.(store.UIDLs).UIDLs(ctx)
}

// faults are hooks like those of a mutant, with the receiver first: they see
// who is acting, and what is around.
type faults struct {
	place     func(*faultyStore, context.Context, []store.Target) []store.Placed
	later     func(*faultyStore, context.Context, []store.Target) func() []store.Placed
	quota     func(*faultyStore, string, store.Quota) store.Quota
	setQuota  func(*faultyStore, context.Context, string, store.Usage) error
	annotated func(iter.Seq2[string, error]) iter.Seq2[string, error]
	account   func(*faultyStore, context.Context, string, string) (store.Account, error)
	mailboxes func(faultyAccount, context.Context) ([]store.MailboxInfo, error)
	create    func(faultyAccount, context.Context, string) (store.MailboxInfo, error)
	rename    func(faultyAccount, context.Context, string, string) error
	delete    func(faultyAccount, context.Context, string) error
	annotate  func(faultyAccount, context.Context, store.MailboxID, []store.Annotation) (store.ModSeq, error)
	events    func(faultyAccount, store.AccountChanges) store.AccountChanges
	info      func(faultyMailbox, store.MailboxInfo) store.MailboxInfo
	row       func(faultyMailbox, store.Row) store.Row // of Snapshot and Changes
	changes   func(faultyMailbox, context.Context, store.ModSeq) (store.Changes, error)
	flag      func(faultyMailbox, context.Context, store.UIDSet, store.FlagUpdate) (store.Flagged, error)
	expunge   func(faultyMailbox, context.Context, store.UIDSet, []store.Flag) (store.Expunged, error)
	copy      func(faultyMailbox, context.Context, store.UIDSet, store.MailboxID) (store.Copied, error)
	move      func(faultyMailbox, context.Context, store.UIDSet, store.MailboxID) (store.Copied, error)
	uidls     func(faultyMailbox, map[store.UID]string) map[store.UID]string
}

// at names a message.
type at struct {
	box store.MailboxID
	uid store.UID
}

// faultyStore is the memory engine with faults.
type faultyStore struct {
	*memory.Store
	f *faults

	mu     sync.Mutex // for what the faults remember
	limits map[string]store.Usage
	saved  map[at]int64
	ids    map[at]string
	notes  map[string][]store.Annotation
}

func newFaulty(f *faults) *faultyStore {
	return &faultyStore{Store: memory.New(), f: f, limits: map[string]store.Usage{}, saved: map[at]int64{}, ids: map[at]string{},
		notes: map[string][]store.Annotation{}}
}

func (s *faultyStore) Place(ctx context.Context, t []store.Target) []store.Placed {
	if s.f.place != nil {
		return s.f.place(s, ctx, t)
	}
	return s.Store.Place(ctx, t)
}

func (s *faultyStore) PlaceLater(ctx context.Context, t []store.Target) func() []store.Placed {
	if s.f.later != nil {
		return s.f.later(s, ctx, t)
	}
	return s.Store.PlaceLater(ctx, t)
}

func (s *faultyStore) Quota(ctx context.Context, account string) (store.Quota, error) {
	q, err := s.Store.Quota(ctx, account)
	if s.f.quota != nil && err == nil {
		q = s.f.quota(s, account, q)
	}
	return q, err
}

func (s *faultyStore) SetQuota(ctx context.Context, account string, limit store.Usage) error {
	if s.f.setQuota != nil {
		return s.f.setQuota(s, ctx, account, limit)
	}
	return s.Store.SetQuota(ctx, account, limit)
}

func (s *faultyStore) Annotated(ctx context.Context, key string) iter.Seq2[string, error] {
	if s.f.annotated != nil {
		return s.f.annotated(s.Store.Annotated(ctx, key))
	}
	return s.Store.Annotated(ctx, key)
}

func (s *faultyStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	open := s.Store.Account
	if s.f.account != nil {
		open = func(ctx context.Context, name, actor string) (store.Account, error) {
			return s.f.account(s, ctx, name, actor)
		}
	}
	a, err := open(ctx, name, actor)
	if err != nil {
		return nil, err
	}
	return faultyAccount{a, s}, nil
}

type faultyAccount struct {
	store.Account
	s *faultyStore
}

func (a faultyAccount) notes() store.Annotations { return a.Account.(store.Annotations) }

func (a faultyAccount) Annotations(ctx context.Context, box store.MailboxID, prefix string) ([]store.Annotation, error) {
	return a.notes().Annotations(ctx, box, prefix)
}

// owned reports whether the owner himself acts.
func (a faultyAccount) owned() bool { return a.Name() == a.Actor() }

func (a faultyAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	return faultyMailbox{mb, a}, nil
}

func (a faultyAccount) Mailboxes(ctx context.Context) ([]store.MailboxInfo, error) {
	if a.s.f.mailboxes != nil {
		return a.s.f.mailboxes(a, ctx)
	}
	return a.Account.Mailboxes(ctx)
}

func (a faultyAccount) Create(ctx context.Context, name string, opt store.CreateOptions) (store.MailboxInfo, error) {
	if a.s.f.create != nil {
		return a.s.f.create(a, ctx, name)
	}
	return a.Account.Create(ctx, name, opt)
}

func (a faultyAccount) Rename(ctx context.Context, from, to string) error {
	if a.s.f.rename != nil {
		return a.s.f.rename(a, ctx, from, to)
	}
	return a.Account.Rename(ctx, from, to)
}

func (a faultyAccount) Delete(ctx context.Context, name string) error {
	if a.s.f.delete != nil {
		return a.s.f.delete(a, ctx, name)
	}
	return a.Account.Delete(ctx, name)
}

func (a faultyAccount) Annotate(ctx context.Context, box store.MailboxID, set ...store.Annotation) (store.ModSeq, error) {
	if a.s.f.annotate != nil {
		return a.s.f.annotate(a, ctx, box, set)
	}
	return a.notes().Annotate(ctx, box, set...)
}

func (a faultyAccount) Changes(ctx context.Context, since store.ModSeq) (store.AccountChanges, error) {
	c, err := a.Account.Changes(ctx, since)
	if a.s.f.events != nil && err == nil {
		c = a.s.f.events(a, c)
	}
	return c, err
}

type faultyMailbox struct {
	store.Mailbox
	a faultyAccount
}

// as is the same mailbox for another actor.
func (b faultyMailbox) as(ctx context.Context, actor string) store.Mailbox {
	info, err := b.Mailbox.Info(ctx)
	if err != nil {
		return b.Mailbox
	}
	return b.a.s.box(ctx, b.a.Name(), actor, info.ID)
}

// box finds a mailbox by its id, as an actor sees it.
func (s *faultyStore) box(ctx context.Context, account, actor string, id store.MailboxID) store.Mailbox {
	a, err := s.Store.Account(ctx, account, actor)
	if err != nil {
		return nil
	}
	infos, _ := a.Mailboxes(ctx)
	for _, i := range infos {
		if i.ID == id {
			mb, _ := a.Mailbox(ctx, i.Name)
			return mb
		}
	}
	return nil
}

func (b faultyMailbox) Info(ctx context.Context) (store.MailboxInfo, error) {
	i, err := b.Mailbox.Info(ctx)
	if b.a.s.f.info != nil && err == nil {
		i = b.a.s.f.info(b, i)
	}
	return i, err
}

func (b faultyMailbox) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	s, err := b.Mailbox.Snapshot(ctx)
	if b.a.s.f.row == nil || err != nil {
		return s, err
	}
	rows := rowsOf(s)
	for i := range rows {
		rows[i] = b.a.s.f.row(b, rows[i])
	}
	return store.NewSnapshot(s.Mailbox(), s.UIDValidity(), s.UIDNext(), s.ModSeq(), s.Keywords(), rows), nil
}

func (b faultyMailbox) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	get := b.Mailbox.Changes
	if b.a.s.f.changes != nil {
		get = func(ctx context.Context, since store.ModSeq) (store.Changes, error) {
			return b.a.s.f.changes(b, ctx, since)
		}
	}
	c, err := get(ctx, since)
	for i := range c.Rows {
		if b.a.s.f.row != nil {
			c.Rows[i] = b.a.s.f.row(b, c.Rows[i])
		}
	}
	return c, err
}

func (b faultyMailbox) Flag(ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
	if b.a.s.f.flag != nil {
		return b.a.s.f.flag(b, ctx, set, u)
	}
	return b.Mailbox.Flag(ctx, set, u)
}

func (b faultyMailbox) Expunge(ctx context.Context, set store.UIDSet, with ...store.Flag) (store.Expunged, error) {
	if b.a.s.f.expunge != nil {
		return b.a.s.f.expunge(b, ctx, set, with)
	}
	return b.Mailbox.Expunge(ctx, set, with...)
}

func (b faultyMailbox) Copy(ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
	if b.a.s.f.copy != nil {
		return b.a.s.f.copy(b, ctx, set, to)
	}
	return b.Mailbox.Copy(ctx, set, to)
}

func (b faultyMailbox) Move(ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
	if b.a.s.f.move != nil {
		return b.a.s.f.move(b, ctx, set, to)
	}
	return b.Mailbox.Move(ctx, set, to)
}

func (b faultyMailbox) UIDLs(ctx context.Context) (map[store.UID]string, error) {
	m, err := b.Mailbox.(store.UIDLs).UIDLs(ctx)
	if b.a.s.f.uidls != nil && err == nil {
		m = b.a.s.f.uidls(b, m)
	}
	return m, err
}

// bare is an engine without abilities.
type bare struct{ store.Store }

func (b bare) Account(ctx context.Context, name, actor string) (store.Account, error) {
	if name != actor {
		return nil, store.ErrReadOnly
	}
	a, err := b.Store.Account(ctx, name, actor)
	return bareAccount{a}, err
}

type bareAccount struct{ store.Account }

func (a bareAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return bareMailbox{mb}, err
}

type bareMailbox struct{ store.Mailbox }

// TestAbilities proves that nothing is left out unseen: an engine has exactly
// what it declares.
func TestAbilities(t *testing.T) {
	full := func(testing.TB) store.Store { return memory.New() }
	none := func(testing.TB) store.Store { return bare{memory.New()} }
	c := check{"Abilities", declared}
	r := &recorder{TB: t}
	require.Empty(t, r.run(c, Config{New: full, Abilities: AllAbilities()}))
	require.Empty(t, r.run(c, Config{New: none}))
	require.NotEmpty(t, r.run(c, Config{New: full, Abilities: append(AllAbilities(), "flying")}))
	for i, a := range AllAbilities() {
		require.Contains(t, r.run(c, Config{New: none, Abilities: []Ability{a}}), "lacks it")
		rest := append(append([]Ability{}, AllAbilities()[:i]...), AllAbilities()[i+1:]...)
		require.Contains(t, r.run(c, Config{New: full, Abilities: rest}), "left out")
		out := Config{Abilities: rest}.leftOut()
		for _, had := range abilities() {
			for _, c := range had.checks {
				require.Equal(t, had.name == a, out[c.name], c.name)
			}
		}
	}
	shared := func(testing.TB) store.Store { return sharing{bare{memory.New()}} }
	require.NotEmpty(t, r.run(c, Config{New: shared}), "without annotations, no other actors")
	require.NotContains(t, Config{}.leftOut(), "Place/results")
}

// sharing lets others in though it has no annotations.
type sharing struct{ bare }

func (s sharing) Account(ctx context.Context, name, _ string) (store.Account, error) {
	return s.bare.Account(ctx, name, name)
}
