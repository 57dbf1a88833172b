package imap

import (
	"slices"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// notify is what a client has asked for by NOTIFY (RFC 5465). A session that
// has not used it has none; NOTIFY NONE is the zero value.
type notify struct {
	// Of the selected mailbox:
	selected wire.NotifyEvents
	delayed  bool // EXPUNGE waits for a command that may tell of it
	items    []wire.FetchItem

	groups     []notifyGroup // of all others
	events     wire.NotifyEvents
	subscribed map[string]bool // by the names of this session
	accounts   []*observed
}

// notifyGroup is one group of events, with the names of its mailboxes as this
// session calls them.
type notifyGroup struct {
	filter wire.NotifyFilter
	names  []string
	events wire.NotifyEvents
}

// notifyCommand is NOTIFY (RFC 5465 §3.1).
func (s *session) notifyCommand(p *wire.Parser) reply {
	c := p.Notify()
	if p.End() != nil {
		return syntax(p)
	}
	if c.Groups == nil {
		s.quiet = true // nothing is told of what the client does not want to know
		s.setNotify(&notify{})
		return ok("NOTIFY completed")
	}
	n := &notify{}
	for i := range c.Groups {
		g := &c.Groups[i]
		if g.Events&^s.events() != 0 { // RFC 5465 §3.1
			return no("BADEVENT ("+s.eventNames()+")", "Unknown event")
		}
		if g.Selected() {
			n.selected, n.delayed, n.items = g.Events, g.Filter == wire.NotifySelectedDelayed, g.Items
			continue
		}
		n.groups = append(n.groups, notifyGroup{g.Filter, s.groupNames(g), g.Events})
		n.events |= g.Events
	}
	if slices.ContainsFunc(n.items, func(it wire.FetchItem) bool { return it.Attr == wire.FetchModSeq }) {
		s.enableCondStore() // RFC 7162 §3.1
	}
	if err := s.observe(n); err != nil {
		s.rewatch()
		return s.failed(err)
	}
	if n.count() > s.srv.lim.notified {
		s.rewatch()
		return no("NOTIFICATIONOVERFLOW", "Too many mailboxes")
	}
	// RFC 5465 §3.1: what has changed until now is told whatever is asked for.
	s.notify = nil
	if !s.sync(true) {
		return gone
	}
	s.quiet = true
	for _, o := range n.accounts {
		s.tellObserved(n, o, c.Status)
	}
	s.setNotify(n)
	return ok("NOTIFY completed")
}

// events are the events that can be asked for: there are no annotations of
// messages.
func (s *session) events() wire.NotifyEvents {
	ev := wire.NotifyNew | wire.NotifyExpunge | wire.NotifyFlags | wire.NotifyName | wire.NotifySubscription
	if s.can("METADATA") {
		ev |= wire.NotifyMetadata | wire.NotifyServerMetadata
	}
	return ev
}

func (s *session) eventNames() string {
	var names []string
	for i, name := range wire.NotifyNames {
		if s.events()&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// groupNames are the names that a group gives. Those that cannot be names of
// mailboxes are ignored (RFC 5465 §3.1).
func (s *session) groupNames(g *wire.NotifyGroup) (names []string) {
	for _, sent := range g.Mailboxes {
		name, err := s.name(sent)
		if err != nil {
			continue
		}
		if at, err := s.placeOf(name); err == nil {
			name = at.name // with INBOX as it is called
		}
		names = append(names, name)
	}
	return names
}

// setNotify puts what has been asked for in force.
func (s *session) setNotify(n *notify) {
	s.notify = n
	if s.sel != nil {
		s.sel.removed, s.sel.filed = nil, nil
	}
	s.rewatch()
}

// rewatch has the session woken by what it needs to know of, and by nothing
// else.
func (s *session) rewatch() {
	n := s.notify
	if n == nil && !s.idling && s.watches == nil {
		return
	}
	var needed []string
	need := func(acc store.Account) {
		needed = append(needed, acc.Name())
		if s.watch(acc) {
			s.conn.Wake() // what has happened since it looked last is told, too
		}
	}
	switch {
	case s.state&stateKnown == 0:
	case s.sel != nil && (s.idling || n != nil && n.selected != 0):
		need(s.sel.acc)
	case s.idling:
		need(s.acc)
	}
	if n != nil && s.state&stateKnown != 0 {
		for _, o := range n.accounts {
			need(o.acc)
		}
	}
	s.unwatch(needed...)
}

// interest is the events that are asked for of a mailbox, selected or not.
func (n *notify) interest(name string, own bool) wire.NotifyEvents {
	return n.interestWith(n.subscribed, name, own)
}

// interestWith is interest with other subscriptions.
func (n *notify) interestWith(subscribed map[string]bool, name string, own bool) (ev wire.NotifyEvents) {
	for i := range n.groups {
		if g := &n.groups[i]; g.covers(subscribed, name, own) {
			ev |= g.events
		}
	}
	return ev
}

// covers reports whether a group is about a mailbox. Any personal mailbox may be
// one to which messages are delivered (RFC 5465 §6.3).
func (g *notifyGroup) covers(subscribed map[string]bool, name string, own bool) bool {
	switch g.filter {
	case wire.NotifyInboxes, wire.NotifyPersonal:
		return own
	case wire.NotifySubscribed:
		return subscribed[name]
	case wire.NotifySubtree:
		return slices.ContainsFunc(g.names, func(top string) bool { return name == top || store.Below(name, top) })
	}
	return slices.Contains(g.names, name)
}

// filters reports whether a group has a filter.
func (n *notify) filters(f wire.NotifyFilter) bool {
	return slices.ContainsFunc(n.groups, func(g notifyGroup) bool { return g.filter == f })
}

// withheld reports whether nothing is told of the selected mailbox but what the
// session itself does there (RFC 5465 §3.1).
func (s *session) withheld() bool { return s.notify != nil && s.notify.selected == 0 }

// tells reports whether an event of the selected mailbox is told.
func (s *session) tells(ev wire.NotifyEvents) bool {
	return s.notify == nil || s.notify.selected&ev != 0
}

// tellOwn tells of the messages that this session itself has removed, while
// nothing else is told of the mailbox.
func (s *session) tellOwn(cur *store.Snapshot, expunge bool) {
	v := s.sel
	if !expunge || v.removed.Empty() {
		return
	}
	gone := store.Diff(v.told, cur).Vanished.Intersect(v.removed)
	v.removed = nil
	if !gone.Empty() {
		s.tellRemoved(v.told, gone)
		s.tellExpunged(v.told, gone)
		v.told = v.told.With(store.Changes{Vanished: gone})
	}
}

// fetchNew sends the items asked for of new messages (RFC 5465 §5.2).
func (s *session) fetchNew(rows []store.Row, told *store.Snapshot) {
	v := s.sel
	if s.notify == nil || len(s.notify.items) == 0 {
		v.filed = nil
		return
	}
	c := wire.Fetch{Items: slices.Clip(s.notify.items)}
	f := s.plan(&c, s.needsUID())
	defer f.release()
	f.seen = false               // nobody has read them
	if s.condStor && !f.modSeq { // RFC 7162 §3.2
		f.items = append(f.items, wire.FetchItem{Attr: wire.FetchModSeq})
	}
	for _, row := range rows {
		if _, known := told.Find(row.UID); known || v.filed.Contains(row.UID) {
			continue
		}
		i, found := v.told.Find(row.UID)
		if !found {
			continue
		}
		f.rows = append(f.rows, row)
		f.asked = append(f.asked, asked{number: i})
		if len(f.rows) == fetchBatch && !f.answer() {
			break
		}
	}
	f.answer()
	v.filed = nil
	if f.failure != nil {
		s.srv.log.Warn("new messages cannot be told", "server", "imap", "peer", s.peer(), "account", s.accountName(), "err", f.failure)
	}
}
