package imap

import (
	"slices"
	"strings"

	"github.com/posta-mail/posta/store"
)

// RFC 5465 §5: what a session does itself is not told to it. So that nothing is
// missed that others do at the same time, it is noted what it must have come to.

// observing is what is known of an account that NOTIFY observes; nil if it does
// not.
func (s *session) observing(acc store.Account) *observed {
	if s.notify == nil {
		return nil
	}
	for _, o := range s.notify.accounts {
		if o.acc.Name() == acc.Name() {
			return o
		}
	}
	return nil
}

// ownNames notes names that this session has given or taken away, and with them
// the levels above, which may have been made.
func (s *session) ownNames(acc store.Account, locals ...string) {
	o := s.observing(acc)
	if o == nil {
		return
	}
	infos, err := acc.Mailboxes(s.ctx)
	if err != nil {
		return
	}
	if o.mine == nil {
		o.mine = make(map[string]store.MailboxID)
	}
	for _, local := range locals {
		for ; local != ""; local = store.Parent(local) {
			name := s.observedName(o, local)
			i, there := slices.BinarySearchFunc(infos, local, func(m store.MailboxInfo, s string) int { return strings.Compare(m.Name, s) })
			switch {
			case name == "":
			case there:
				o.mine[name] = infos[i].ID
			default:
				o.mine[name] = 0
			}
		}
	}
}

// ownSubscription notes what this session has done to a subscription.
func (s *session) ownSubscription(name string, on bool) {
	if o := s.observing(s.acc); o != nil {
		if o.subs == nil {
			o.subs = make(map[string]bool)
		}
		o.subs[name] = on
	}
}

// ownEntries notes entries that this session has set.
func (s *session) ownEntries(at place, id store.MailboxID, set []store.Annotation) {
	o := s.observing(at.acc)
	if o == nil {
		return
	}
	entries := o.server
	if id != 0 {
		if o.boxes[id] == nil {
			return
		}
		entries = o.boxes[id].entries
	}
	if entries != nil {
		s.remember(entries, set)
	}
}

// ownRemoved notes which messages of the selected mailbox this session has
// removed.
func (s *session) ownRemoved(uids store.UIDSet) {
	if s.withheld() && s.sel != nil {
		s.sel.removed = s.sel.removed.Union(uids)
	}
}

// ownFiled notes which messages this session has filed: a FETCH of them would
// tell it nothing (RFC 5465 §5.2).
func (s *session) ownFiled(acc store.Account, id store.MailboxID, uids ...store.UID) {
	if s.notify == nil || len(uids) == 0 {
		return
	}
	if len(s.notify.items) > 0 && s.selected(acc, id) {
		s.sel.filed = s.sel.filed.Union(store.UIDs(uids...))
	}
	o := s.observing(acc)
	if o == nil || o.boxes[id] == nil {
		return
	}
	// Others may have filed some before, or between.
	b, n := o.boxes[id], len(uids)
	if uids[0] == b.uidNext && uids[n-1] == uids[0]+store.UID(n)-1 {
		b.uidNext += store.UID(n)
		b.messages += n
	}
}
