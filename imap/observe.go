package imap

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// observed is an account whose mailboxes NOTIFY observes. What has happened is
// found by comparing: whatever came and went between two looks is not told.
type observed struct {
	acc    store.Account
	prefix string                           // of its mailboxes' names
	boxes  map[store.MailboxID]*observedBox // all, but for the hidden ones
	since  store.ModSeq                     // entries have been looked at until then
	server metadataMemory                   // with ServerMetadataChange

	// What this session has done itself is not told (RFC 5465 §5): which
	// mailbox, or none, has a name now, and whether it is subscribed.
	mine map[string]store.MailboxID
	subs map[string]bool
}

// observedBox is what is known of a mailbox.
type observedBox struct {
	local       string
	name        string // as this session calls it
	events      wire.NotifyEvents
	uidNext     store.UID
	uidValidity uint32
	messages    int
	unseen      int
	modSeq      store.ModSeq
	readable    bool
	entries     metadataMemory // with MailboxMetadataChange
}

// count is how many mailboxes are observed.
func (n *notify) count() (c int) {
	for _, o := range n.accounts {
		for _, b := range o.boxes {
			if b.events != 0 {
				c++
			}
		}
	}
	return c
}

const notifyMessages = wire.NotifyNew | wire.NotifyExpunge | wire.NotifyFlags

// observe finds the accounts and mailboxes that NOTIFY asks about, and what they
// are like now. The session is woken by them from now on.
func (s *session) observe(n *notify) error {
	if len(n.groups) == 0 {
		return nil
	}
	if err := s.readSubscriptions(n); err != nil {
		return err
	}
	n.accounts = []*observed{{acc: s.acc}}
	for i := range n.groups {
		for _, name := range n.groups[i].names {
			s.observeElsewhere(n, name, n.groups[i].filter == wire.NotifySubtree)
		}
	}
	if n.filters(wire.NotifySubscribed) {
		for name := range n.subscribed {
			s.observeElsewhere(n, name, false)
		}
	}
	for _, o := range n.accounts {
		s.watch(o.acc) // before looking
		if err := s.look(n, o); err != nil {
			return err
		}
	}
	return nil
}

// readSubscriptions reads which names are subscribed.
func (s *session) readSubscriptions(n *notify) error {
	names, err := s.acc.Subscriptions(s.ctx)
	if err != nil {
		return err
	}
	n.subscribed = make(map[string]bool, len(names))
	for _, name := range names {
		n.subscribed[name] = true
	}
	return nil
}

// observeElsewhere observes the account of others that a name is in, or, of a
// subtree, all whose names are below it. Those that the user may not know of are
// ignored (RFC 5465 §3.1).
func (s *session) observeElsewhere(n *notify, name string, subtree bool) {
	if _, _, elsewhere, _ := s.elsewhere(name); !elsewhere {
		return
	}
	for _, sp := range s.srv.spaces {
		switch {
		case name == sp.level && subtree && sp.accounts != nil:
			for _, account := range sp.accounts {
				s.observeAccount(n, sp, account)
			}
		case name == sp.level && subtree:
			for share, err := range s.guard.Shared(s.ctx) {
				if err == nil && !s.observeAccount(n, sp, share.Account) {
					break
				}
			}
		case store.Below(name, sp.level):
			account, rest, _ := strings.Cut(name[len(sp.level)+1:], string(store.Separator))
			if rest != "" || subtree {
				s.observeAccount(n, sp, account)
			}
		}
	}
}

// observeAccount observes an account of a namespace. It reports whether there
// may be more.
func (s *session) observeAccount(n *notify, sp space, account string) bool {
	if account == s.acc.Name() || !s.srv.holds(sp, account) || slices.ContainsFunc(n.accounts, func(o *observed) bool { return o.acc.Name() == account }) {
		return true
	}
	if max := s.srv.lim.accounts; max >= 0 && len(n.accounts) > max {
		return false
	}
	if acc, err := s.guard.Account(s.ctx, account); err == nil {
		sep := string(store.Separator)
		n.accounts = append(n.accounts, &observed{acc: acc, prefix: sp.level + sep + acc.Name() + sep})
	}
	return true
}

// own reports whether these are the user's own mailboxes.
func (o *observed) own() bool { return o.prefix == "" }

// name is what this session calls a mailbox; empty if it is hidden by a
// namespace.
func (s *session) observedName(o *observed, local string) string {
	if !o.own() {
		return o.prefix + local
	}
	if _, _, elsewhere, _ := s.elsewhere(local); elsewhere {
		return ""
	}
	return local
}

// look notes what an account is like, for the first time.
func (s *session) look(n *notify, o *observed) error {
	var err error
	if n.events&(wire.NotifyMetadata|wire.NotifyServerMetadata) != 0 {
		if o.since, err = lastChange(s.ctx, o.acc); err != nil {
			return err
		}
	}
	infos, err := o.acc.Mailboxes(s.ctx)
	if err != nil {
		return err
	}
	o.boxes = make(map[store.MailboxID]*observedBox)
	for i := range infos {
		if _, err := s.add(n, o, &infos[i]); err != nil {
			return err
		}
	}
	if o.own() && n.events&wire.NotifyServerMetadata != 0 {
		_, o.server, err = s.metadataChanges(place{acc: o.acc}, 0, nil)
	}
	return err
}

// add begins to observe a mailbox, unless it is hidden.
func (s *session) add(n *notify, o *observed, info *store.MailboxInfo) (*observedBox, error) {
	name := s.observedName(o, info.Name)
	if name == "" {
		return nil, nil
	}
	b := &observedBox{local: info.Name, name: name, events: n.interest(name, o.own())}
	b.note(info)
	o.boxes[info.ID] = b
	return b, s.rememberEntries(o, b, info)
}

// rememberEntries notes the entries of a mailbox if changes of them are to be
// told. Those that the user may not see are none.
func (s *session) rememberEntries(o *observed, b *observedBox, info *store.MailboxInfo) (err error) {
	if b.events&wire.NotifyMetadata == 0 || b.entries != nil {
		return nil
	}
	_, b.entries, err = s.metadataChanges(place{acc: o.acc, local: info.Name, name: b.name}, info.ID, nil)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrReadOnly) {
		return nil
	}
	return err
}

// note notes what a mailbox is like.
func (b *observedBox) note(info *store.MailboxInfo) {
	b.uidNext, b.uidValidity, b.modSeq = info.UIDNext, info.UIDValidity, info.ModSeq
	b.messages, b.unseen, b.readable = info.Messages, info.Unseen, info.UIDNext != 0
}

// lastChange is the mod-sequence of an account as of now.
func lastChange(ctx context.Context, acc store.Account) (store.ModSeq, error) {
	infos, err := acc.Mailboxes(ctx)
	if err != nil {
		return 0, err
	}
	var since store.ModSeq
	for i := range infos {
		since = max(since, infos[i].ModSeq)
	}
	c, err := acc.Changes(ctx, since)
	for step := store.ModSeq(1); errors.Is(err, store.ErrHistoryGone) && step < math.MaxInt64/2; step *= 2 {
		since += step // far enough, it is beyond what has happened: nothing is missed then, and nothing told twice
		c, err = acc.Changes(ctx, since)
	}
	return c.Through, err
}

// tellObserved tells, when NOTIFY begins, of mailboxes that cannot be observed
// and, if the client wants to know, what the others are like (RFC 5465 §3.1).
func (s *session) tellObserved(n *notify, o *observed, status bool) {
	infos, err := o.acc.Mailboxes(s.ctx)
	if err != nil {
		return // NOTIFY itself could read them a moment ago; the next look will tell
	}
	for i := range infos {
		b := o.boxes[infos[i].ID]
		switch {
		case b == nil || b.events == 0:
		case !b.readable:
			s.tellNoAccess(b.name)
		case status && b.events&notifyMessages != 0 && !s.selected(o.acc, infos[i].ID):
			items := wire.StatusMessages | wire.StatusUIDNext | wire.StatusUIDValidity
			if b.events&wire.NotifyFlags != 0 {
				items |= wire.StatusUnseen | s.modSeqItem(true)
			}
			s.sendStatus(place{acc: o.acc, local: infos[i].Name, name: b.name}, infos[i], items|s.modSeqItem(s.condStor))
			b.note(&infos[i])
		}
	}
}

// modSeqItem is HIGHESTMODSEQ if it is wanted and there.
func (s *session) modSeqItem(wanted bool) wire.StatusItems {
	if wanted && s.can("CONDSTORE") {
		return wire.StatusHighestModSeq
	}
	return 0
}

// tellNoAccess tells of a mailbox that may only be found in a list (RFC 5465
// §3.1, §5.9).
func (s *session) tellNoAccess(name string) {
	s.out.put("* LIST (\\NoAccess) \"/\" ")
	s.out.b = wire.AppendMailbox(s.out.b, name, s.utf8())
	s.out.put("\r\n")
}
