package sqlite

import (
	"context"
	"fmt"

	"github.com/posta-mail/posta/store"
)

func (a *accountHandle) Rename(ctx context.Context, from, to string) error {
	from, err := store.CanonicalName(from)
	if err != nil {
		return errNoMailbox // such a mailbox cannot be
	}
	if to, err = store.CanonicalName(to); err != nil {
		return err
	}
	if from == store.Inbox {
		a.warm(ctx, from)
	}
	return a.mutate(ctx, func(a *acctTx) error {
		if from == store.Inbox {
			return a.renameInbox(to)
		}
		return a.rename(from, to)
	})
}

// rename gives a mailbox and all below it new names.
func (a *acctTx) rename(from, to string) error {
	if _, ok := a.lookup(from); !ok {
		return errNoMailbox
	}
	if _, ok := a.lookup(to); ok {
		return fmt.Errorf("%w: mailbox", store.ErrExists)
	}
	if store.Below(to, from) {
		return fmt.Errorf("%w: below itself", store.ErrInvalidName)
	}
	var move []*boxTx
	names := make(map[string]bool) // that become free
	for _, b := range a.all() {
		if b.m.Name == from || store.Below(b.m.Name, from) {
			move = append(move, b)
			names[b.m.Name] = true
		}
	}
	renamed := func(old string) string { return to + old[len(from):] }
	for _, b := range move {
		name, err := store.CanonicalName(renamed(b.m.Name)) // it may be too long now
		if err != nil {
			return err
		}
		if _, ok := a.lookup(name); ok && !names[name] {
			return fmt.Errorf("%w: mailbox", store.ErrExists)
		}
	}
	if err := a.admit(store.Usage{Mailboxes: int64(len(a.missingParents(to)))}); err != nil {
		return err
	}
	at := a.next()
	all := a.allNames()
	for _, b := range move {
		delete(all, b.m.Name)
	}
	a.addParents(to, at)
	for _, b := range move {
		old := b.m.Name
		b.m.Name, b.changed = renamed(old), true
		all[b.m.Name] = b.m.ID
		a.event(store.MailboxRenamed, at, b.m.ID, b.m.Name, old)
	}
	return nil
}

// renameInbox moves the messages of INBOX to a new mailbox and leaves INBOX,
// and what is below it, where it is (RFC 9051 §6.3.6).
func (a *acctTx) renameInbox(to string) error {
	if _, ok := a.lookup(to); ok {
		return fmt.Errorf("%w: mailbox", store.ErrExists)
	}
	inbox, err := a.named(store.Inbox)
	if err != nil {
		return err
	}
	snap, err := inbox.snapshot()
	if err == nil {
		err = inbox.loadMarks()
	}
	if err != nil {
		return err
	}
	if err := a.admit(store.Usage{Mailboxes: 1 + int64(len(a.missingParents(to)))}); err != nil {
		return err
	}
	at, saved := a.next(), a.t.s.now().Unix()
	a.addParents(to, at)
	dest := a.addBox(to, "", at)
	dest.m.keywords = inbox.m.keywords
	rows := selected(snap, store.AllUIDs(), nil)
	var was, is []store.UID
	for _, r := range rows {
		r.Saved = saved
		was, is = append(was, r.UID), append(is, dest.add(at, r))
	}
	inbox.carry(at, dest, was, is, "", true)
	if len(rows) > 0 {
		inbox.remove(at, rows)
	}
	return nil
}
