package store

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"sync"
)

// Source is what the author of a read-only back end writes: which accounts
// there are, which mailboxes they have, and of each mailbox a list of messages
// and their bytes. ReadOnly makes a Store of it, which IMAP and POP3 can serve;
// examples/customstore is one. Its methods are called concurrently.
//
// A source that is an io.Closer is closed with the store.
type Source interface {
	// Accounts lists the account names in order. The iterator may be stopped.
	Accounts(ctx context.Context) iter.Seq2[string, error]
	// Mailboxes lists what an account has, in any order; ErrNotFound if there
	// is no such account. One without an INBOX is given an empty one.
	Mailboxes(ctx context.Context, account string) ([]SourceMailbox, error)
}

// SourceMailbox is a mailbox of a Source.
type SourceMailbox struct {
	// ID is the mailbox's own for as long as it exists, below 2^63; not 0.
	ID MailboxID
	// Name is as CanonicalName has it.
	Name string
	// SpecialUse is an RFC 6154 attribute such as `\Archive`, or empty.
	SpecialUse string
	Messages   Messages
}

// Messages is the content of a mailbox of a Source. Messages with a method
// Changes as Mailbox has it tell what happened; of others the store knows only
// whether something did.
type Messages interface {
	// Snapshot is the list of the messages as of now, made by NewSnapshot and
	// then With. A message keeps its UID, its size and its octets: what has
	// other content gets another UID, higher than all there were, and where
	// that cannot be kept up the mailbox gets a higher UIDVALIDITY. Whatever
	// changes raises the mod-sequence. Return the same Snapshot as long as
	// nothing has changed.
	Snapshot(ctx context.Context) (*Snapshot, error)
	// Open gives the bytes of a message of a snapshot, as many as the row
	// says; ErrExpunged if it is there no more. Row.Ref is the source's own.
	Open(ctx context.Context, row Row) (Body, error)
}

// ReadOnlyStore is a Store made of a Source. Whatever would change something is
// ErrReadOnly, and so is opening an account for anyone but its owner. Safe for
// concurrent use.
type ReadOnlyStore struct {
	src   Source
	waker Waker

	mu     sync.RWMutex // held for reading by calls under way
	closed bool
}

var _ Store = (*ReadOnlyStore)(nil)

// ReadOnly makes a Store of a Source.
func ReadOnly(src Source) *ReadOnlyStore { return &ReadOnlyStore{src: src} }

// Wake tells those who Watch that something may have changed: a source that
// finds out calls it, and clients in IDLE learn of new messages at once.
func (s *ReadOnlyStore) Wake() { s.waker.Wake() }

// Close implements Store.
func (s *ReadOnlyStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.waker.Close()
	if c, ok := s.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// run calls f unless the store is closed or ctx over. f must not call run.
func (s *ReadOnlyStore) run(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrUnavailable
	}
	return f()
}

// refuse is the answer to whatever would change something.
func (s *ReadOnlyStore) refuse(ctx context.Context) error {
	return s.run(ctx, func() error { return fmt.Errorf("%w: the store is read-only", ErrReadOnly) })
}

// Stage implements Store.
func (s *ReadOnlyStore) Stage(ctx context.Context, _ io.Reader) (Staged, error) {
	return nil, s.refuse(ctx)
}

// Place implements Store.
func (s *ReadOnlyStore) Place(ctx context.Context, targets []Target) []Placed {
	placed := make([]Placed, len(targets))
	for i := range placed {
		placed[i].Err = s.refuse(ctx)
	}
	return placed
}

// CreateAccount implements Store.
func (s *ReadOnlyStore) CreateAccount(ctx context.Context, _ string) error { return s.refuse(ctx) }

// DeleteAccount implements Store.
func (s *ReadOnlyStore) DeleteAccount(ctx context.Context, _ string) error { return s.refuse(ctx) }

// Accounts implements Store.
func (s *ReadOnlyStore) Accounts(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var names iter.Seq2[string, error]
		if err := s.run(ctx, func() error { names = s.src.Accounts(ctx); return nil }); err != nil {
			yield("", err)
			return
		}
		names(yield)
	}
}

// Account implements Store.
func (s *ReadOnlyStore) Account(ctx context.Context, name, actor string) (Account, error) {
	a := &readOnlyAccount{s: s, name: name}
	if _, err := a.list(ctx); err != nil {
		return nil, err
	}
	if actor != name {
		return nil, s.refuse(ctx)
	}
	return a, nil
}

// readOnlyAccount is an account of a Source.
type readOnlyAccount struct {
	s    *ReadOnlyStore
	name string
}

// list is what the source has, by name.
func (a *readOnlyAccount) list(ctx context.Context) (boxes []SourceMailbox, err error) {
	err = a.s.run(ctx, func() (err error) {
		boxes, err = a.s.src.Mailboxes(ctx, a.name)
		return err
	})
	if err != nil {
		return nil, err
	}
	boxes = slices.Clone(boxes)
	hasInbox := false
	for _, b := range boxes {
		if name, err := CanonicalName(b.Name); err != nil || name != b.Name {
			return nil, fmt.Errorf("%w: %.80q of the source", ErrInvalidName, b.Name)
		}
		hasInbox = hasInbox || b.Name == Inbox
	}
	if !hasInbox {
		boxes = append(boxes, SourceMailbox{ID: noInbox, Name: Inbox, Messages: noMessages{}})
	}
	slices.SortFunc(boxes, func(a, b SourceMailbox) int { return cmp.Compare(a.Name, b.Name) })
	return boxes, nil
}

func (a *readOnlyAccount) Name() string  { return a.name }
func (a *readOnlyAccount) Actor() string { return a.name }

func (a *readOnlyAccount) Mailboxes(ctx context.Context) ([]MailboxInfo, error) {
	boxes, err := a.list(ctx)
	if err != nil {
		return nil, err
	}
	infos := make([]MailboxInfo, len(boxes))
	for i, b := range boxes {
		if infos[i], err = (&readOnlyMailbox{a.s, b}).Info(ctx); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

func (a *readOnlyAccount) Mailbox(ctx context.Context, name string) (Mailbox, error) {
	name, err := CanonicalName(name)
	if err != nil {
		return nil, err
	}
	boxes, err := a.list(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(boxes, func(b SourceMailbox) bool { return b.Name == name })
	if i < 0 {
		return nil, ErrNotFound
	}
	return &readOnlyMailbox{a.s, boxes[i]}, nil
}

func (a *readOnlyAccount) Create(ctx context.Context, _ string, _ CreateOptions) (MailboxInfo, error) {
	return MailboxInfo{}, a.s.refuse(ctx)
}

func (a *readOnlyAccount) Rename(ctx context.Context, _, _ string) error { return a.s.refuse(ctx) }
func (a *readOnlyAccount) Delete(ctx context.Context, _ string) error    { return a.s.refuse(ctx) }
func (a *readOnlyAccount) Subscribe(ctx context.Context, _ string, _ bool) error {
	return a.s.refuse(ctx)
}

func (a *readOnlyAccount) Subscriptions(ctx context.Context) ([]string, error) {
	return nil, a.s.run(ctx, func() error { return nil })
}

// Changes knows only whether something has happened.
func (a *readOnlyAccount) Changes(ctx context.Context, since ModSeq) (AccountChanges, error) {
	infos, err := a.Mailboxes(ctx)
	if err != nil {
		return AccountChanges{}, err
	}
	for _, info := range infos {
		if info.ModSeq > since {
			return AccountChanges{}, ErrHistoryGone
		}
	}
	return AccountChanges{Since: since, Through: since}, nil
}

func (a *readOnlyAccount) Watch(ctx context.Context) <-chan struct{} { return a.s.waker.Watch(ctx) }

func (a *readOnlyAccount) MyRights(ctx context.Context, _ MailboxID) (Rights, error) {
	return RightLookup | RightRead, a.s.run(ctx, func() error { return nil })
}

// readOnlyMailbox is a mailbox of a Source.
type readOnlyMailbox struct {
	s   *ReadOnlyStore
	box SourceMailbox
}

func (m *readOnlyMailbox) ID() MailboxID { return m.box.ID }

// Info counts the messages of the snapshot.
func (m *readOnlyMailbox) Info(ctx context.Context) (MailboxInfo, error) {
	snap, err := m.Snapshot(ctx)
	if err != nil {
		return MailboxInfo{}, err
	}
	info := MailboxInfo{ID: m.box.ID, Name: m.box.Name, SpecialUse: m.box.SpecialUse,
		UIDValidity: snap.UIDValidity(), UIDNext: snap.UIDNext(), ModSeq: snap.ModSeq(), Messages: snap.Len()}
	for _, r := range snap.All() {
		info.Unseen += unseen(r)
		info.Size += int64(r.Size)
		if r.Flags&BitDeleted != 0 {
			info.Deleted++
			info.DeletedSize += int64(r.Size)
		}
	}
	return info, nil
}

func (m *readOnlyMailbox) Snapshot(ctx context.Context) (snap *Snapshot, err error) {
	err = m.s.run(ctx, func() (err error) {
		snap, err = m.box.Messages.Snapshot(ctx)
		return err
	})
	return snap, err
}

func (m *readOnlyMailbox) Changes(ctx context.Context, since ModSeq) (c Changes, err error) {
	teller, ok := m.box.Messages.(interface {
		Changes(context.Context, ModSeq) (Changes, error)
	})
	if ok {
		err = m.s.run(ctx, func() (err error) {
			c, err = teller.Changes(ctx, since)
			return err
		})
		return c, err
	}
	snap, err := m.Snapshot(ctx)
	switch {
	case err != nil:
		return Changes{}, err
	case snap.ModSeq() > since:
		return Changes{}, ErrHistoryGone
	}
	return ChangesOf(snap, since), nil
}

// ChangesOf is what Changes says of a mailbox from which nothing is ever
// removed: the rows of its present snapshot that changed after since.
func ChangesOf(snap *Snapshot, since ModSeq) Changes {
	c := Changes{Since: since, Through: max(since, snap.ModSeq()), UIDNext: snap.UIDNext(), Keywords: snap.Keywords()}
	for _, r := range snap.ChangedSince(since) {
		c.Rows = append(c.Rows, r)
	}
	return c
}

// Open asks the source only for what its present list has.
func (m *readOnlyMailbox) Open(ctx context.Context, row Row) (Body, error) {
	body, _, err := m.open(ctx, row)
	return body, err
}

func (m *readOnlyMailbox) open(ctx context.Context, row Row) (body Body, snap *Snapshot, err error) {
	err = m.s.run(ctx, func() error {
		if snap, err = m.box.Messages.Snapshot(ctx); err != nil {
			return err
		}
		i, ok := snap.Find(row.UID)
		if !ok || snap.At(i).Ref != row.Ref || snap.At(i).Size != row.Size {
			return ErrExpunged
		}
		if body, err = m.box.Messages.Open(ctx, row); err != nil {
			return err
		}
		// Protocols announce the row's size before they send the body.
		if n := body.Size(); n != int64(row.Size) {
			_ = body.Close()
			body = nil
			return fmt.Errorf("%w: message of %d octets in the list has %d", ErrCorrupt, row.Size, n)
		}
		return nil
	})
	return body, snap, err
}

// Details reads and parses each message.
func (m *readOnlyMailbox) Details(ctx context.Context, rows []Row) iter.Seq2[Detail, error] {
	return func(yield func(Detail, error) bool) {
		for _, row := range rows {
			d, err := m.detail(ctx, row)
			if !yield(d, err) {
				return
			}
			if over := m.s.run(ctx, func() error { return nil }); over != nil {
				if err == nil {
					yield(Detail{}, over)
				}
				return
			}
		}
	}
}

func (m *readOnlyMailbox) detail(ctx context.Context, row Row) (Detail, error) {
	d := Detail{Row: row}
	body, snap, err := m.open(ctx, row)
	if err != nil {
		return d, err
	}
	defer body.Close()
	if d.Outline, err = Parse(body, body.Size()); err != nil {
		return d, err
	}
	// UIDs are never used twice under one UIDVALIDITY, so that this names one content (RFC 8474 §5.1).
	for _, n := range []uint64{uint64(m.box.ID), uint64(snap.UIDValidity()), uint64(row.UID)} {
		d.EmailID += "R" + strconv.FormatUint(n, 36)
	}
	return d, nil
}

func (m *readOnlyMailbox) Flag(ctx context.Context, _ UIDSet, _ FlagUpdate) (Flagged, error) {
	return Flagged{}, m.s.refuse(ctx)
}

func (m *readOnlyMailbox) Expunge(ctx context.Context, _ UIDSet, _ ...Flag) (Expunged, error) {
	return Expunged{}, m.s.refuse(ctx)
}

func (m *readOnlyMailbox) Copy(ctx context.Context, _ UIDSet, _ MailboxID) (Copied, error) {
	return Copied{}, m.s.refuse(ctx)
}

func (m *readOnlyMailbox) Move(ctx context.Context, _ UIDSet, _ MailboxID) (Copied, error) {
	return Copied{}, m.s.refuse(ctx)
}

// noInbox is the id of the INBOX of an account whose source has none.
const noInbox MailboxID = 1 << 63

// noMessages is its content.
type noMessages struct{}

func (noMessages) Snapshot(context.Context) (*Snapshot, error) {
	return NewSnapshot(noInbox, 1, 1, 1, nil, nil), nil
}

func (noMessages) Open(context.Context, Row) (Body, error) { return nil, ErrExpunged }
