package imap

import (
	"slices"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// tellElsewhere tells what has happened to the mailboxes that NOTIFY observes.
func (s *session) tellElsewhere() {
	n := s.notify
	if n == nil {
		return
	}
	for _, o := range n.accounts {
		l := looking{session: s, n: n, o: o}
		if err := l.run(); err != nil {
			if s.ctx.Err() == nil {
				s.srv.log.Error("mailboxes cannot be observed", "server", "imap", "peer", s.peer(), "account", o.acc.Name(), "err", err)
			}
			return // the next change tries again
		}
	}
	if n.count() > s.srv.lim.notified { // RFC 5465 §5.8
		s.setNotify(&notify{})
		s.untagged(okCode("NOTIFICATIONOVERFLOW", "Too many mailboxes, notifications have ended"))
	}
}

// looking is one look at an observed account.
type looking struct {
	*session
	n       *notify
	o       *observed
	infos   []store.MailboxInfo // in the order of their names
	named   map[string]*store.MailboxInfo
	subs    map[string]bool // as they were
	renames map[string]string
	hurt    []string // names that others below have changed
}

func (l *looking) run() (err error) {
	if l.infos, err = l.o.acc.Mailboxes(l.ctx); err != nil {
		return err
	}
	l.subs = l.n.subscribed
	if l.o.own() && (l.n.events&wire.NotifySubscription != 0 || l.n.filters(wire.NotifySubscribed)) {
		if err := l.readSubscriptions(l.n); err != nil {
			return err
		}
	}
	if l.moved() {
		l.names()
		if err := l.structure(); err != nil {
			return err
		}
	}
	for i := range l.infos {
		if b := l.o.boxes[l.infos[i].ID]; b != nil {
			had := b.events & notifyMessages
			b.events = l.n.interest(b.name, l.o.own())
			if err := l.rememberEntries(l.o, b, &l.infos[i]); err != nil {
				return err
			}
			if had == 0 && b.events&notifyMessages != 0 { // it has been renamed or subscribed
				b.note(&l.infos[i])
				l.begun(b, &l.infos[i])
			}
			l.messages(b, &l.infos[i])
		}
	}
	l.subscriptions()
	return l.metadata()
}

// moved reports whether mailboxes have come, gone or got another name.
func (l *looking) moved() bool {
	known := 0
	for i := range l.infos {
		b := l.o.boxes[l.infos[i].ID]
		switch {
		case b == nil && l.observedName(l.o, l.infos[i].Name) != "", b != nil && b.local != l.infos[i].Name:
			return true
		case b != nil:
			known++
		}
	}
	return known < len(l.o.boxes) || len(l.o.mine) > 0
}

// names fills named.
func (l *looking) names() {
	if l.named != nil {
		return
	}
	l.named = make(map[string]*store.MailboxInfo, len(l.infos))
	for i := range l.infos {
		if name := l.observedName(l.o, l.infos[i].Name); name != "" {
			l.named[name] = &l.infos[i]
		}
	}
}

// structure tells of mailboxes that have come, gone or got another name.
func (l *looking) structure() error {
	l.gone()
	l.renames = map[string]string{}
	for i := range l.infos {
		name := l.observedName(l.o, l.infos[i].Name)
		if b := l.o.boxes[l.infos[i].ID]; b != nil && b.name != name && (b.events|l.n.interest(name, l.o.own()))&wire.NotifyName != 0 {
			l.renames[b.name] = name
		}
	}
	for i := range l.infos {
		info := &l.infos[i]
		name := l.observedName(l.o, info.Name)
		switch b := l.o.boxes[info.ID]; {
		case name == "":
			delete(l.o.boxes, info.ID)
		case b == nil:
			if err := l.created(name, info); err != nil {
				return err
			}
		case b.name != name:
			l.renamed(b, name, info)
		}
	}
	l.own()
	for _, name := range l.hurt {
		l.name(name, "")
	}
	return nil
}

// is is which mailbox has a name now; 0 for none.
func (l *looking) is(name string) store.MailboxID {
	if info := l.named[name]; info != nil {
		return info.ID
	}
	return 0
}

// expected reports whether a name is as this session has left it.
func (l *looking) expected(name string) bool {
	id, own := l.o.mine[name]
	return own && id == l.is(name)
}

// gone tells of mailboxes that are no longer there, or no longer in sight.
func (l *looking) gone() {
	byID := make(map[store.MailboxID]bool, len(l.infos))
	for i := range l.infos {
		byID[l.infos[i].ID] = true
	}
	var lost []*observedBox
	for id, b := range l.o.boxes {
		if !byID[id] {
			lost = append(lost, b)
			delete(l.o.boxes, id)
		}
	}
	slices.SortFunc(lost, func(a, b *observedBox) int { return strings.Compare(a.name, b.name) })
	for _, b := range lost {
		switch {
		case l.is(b.name) != 0 || l.expected(b.name):
		case b.events&wire.NotifyName != 0:
			l.name(b.name, "")
			l.parent(b.name)
		case b.events&notifyMessages != 0 && !l.o.own(): // RFC 5465 §5.9
			l.tellNoAccess(b.name)
		}
	}
}

// created tells of a mailbox that is new, or has come in sight.
func (l *looking) created(name string, info *store.MailboxInfo) error {
	b, err := l.add(l.n, l.o, info)
	if err != nil {
		return err
	}
	if b.events&wire.NotifyName != 0 && !l.expected(name) {
		l.name(name, "")
		l.parent(name)
	}
	if !l.expected(name) || info.Messages > 0 {
		l.begun(b, info)
	}
	return nil
}

// begun tells of the messages of a mailbox that begins to be observed: its name
// may have stood for another one (RFC 5465 §5.1).
func (l *looking) begun(b *observedBox, info *store.MailboxInfo) {
	if b.readable && b.events&notifyMessages != 0 && (info.Messages > 0 || b.events&wire.NotifyFlags != 0) {
		l.status(b, info, wire.StatusUIDValidity|wire.StatusUIDNext|wire.StatusMessages)
	}
}

// renamed tells of a new name, but not if it comes from that of a mailbox above
// (RFC 5465 §5.4).
func (l *looking) renamed(b *observedBox, name string, info *store.MailboxInfo) {
	old := b.name
	b.name, b.local = name, info.Name
	if l.renames[old] == "" || l.expected(name) || l.renames[store.Parent(old)] == store.Parent(name) && store.Parent(name) != "" {
		return
	}
	l.name(name, old)
}

// messages tells what has happened to the messages of a mailbox that is not
// selected.
func (l *looking) messages(b *observedBox, info *store.MailboxInfo) {
	readable := info.UIDNext != 0
	was := *b
	b.note(info)
	switch {
	case readable != was.readable && readable: // RFC 5465 §5.9
		l.name(b.name, "")
	case readable != was.readable:
		l.tellNoAccess(b.name)
	}
	if !readable || was.modSeq == info.ModSeq && was.uidNext == info.UIDNext && was.messages == info.Messages && was.unseen == info.Unseen {
		return
	}
	var items wire.StatusItems
	if b.events&wire.NotifyNew != 0 && (was.messages != info.Messages || was.uidNext != info.UIDNext) { // RFC 5465 §5.2, §5.3
		items = wire.StatusMessages | wire.StatusUIDNext | l.modSeqItem(l.condStor)
	}
	if b.events&wire.NotifyFlags != 0 { // RFC 5465 §5.1
		if was.unseen != info.Unseen {
			items |= wire.StatusUnseen | wire.StatusUIDValidity
		}
		if l.condStor {
			items |= wire.StatusUIDValidity | l.modSeqItem(true)
		}
	}
	l.status(b, info, items)
}

func (l *looking) status(b *observedBox, info *store.MailboxInfo, items wire.StatusItems) {
	if items != 0 && !l.selected(l.o.acc, info.ID) {
		l.sendStatus(place{acc: l.o.acc, local: info.Name, name: b.name}, *info, items|l.modSeqItem(l.condStor))
	}
}

// parent notes that the level above a name may have changed (RFC 5465 §5.4). The
// levels above an account of another are no mailboxes' names.
func (l *looking) parent(name string) {
	up := store.Parent(name)
	if len(up) <= len(l.o.prefix) || slices.Contains(l.hurt, up) || l.n.interest(up, l.o.own())&wire.NotifyName == 0 {
		return
	}
	l.hurt = append(l.hurt, up)
}

// own tells where what this session did has been undone by another, and forgets
// what it did.
func (l *looking) own() {
	for name, id := range l.o.mine {
		if id != 0 && l.is(name) == 0 && l.n.interest(name, l.o.own())&wire.NotifyName != 0 {
			l.name(name, "")
		}
	}
	l.o.mine = nil
}

// name appends a LIST response about a name, which may have been another.
func (l *looking) name(name, old string) {
	if !l.isOwn(name) && l.o.own() { // a subscription that is elsewhere
		l.subscribedElsewhere(name)
		return
	}
	l.names()
	node := node{place: place{acc: l.o.acc, name: name}, info: l.named[name], subscribed: l.n.subscribed[name]}
	if node.info != nil {
		node.local, node.subscribed = node.info.Name, node.subscribed || l.o.own() && node.info.Subscribed
	}
	below := strings.TrimPrefix(name, l.o.prefix) + string(store.Separator)
	i, _ := slices.BinarySearchFunc(l.infos, below, func(m store.MailboxInfo, s string) int { return strings.Compare(m.Name, s) })
	node.children = i < len(l.infos) && strings.HasPrefix(l.infos[i].Name, below)
	l.listLine(&node)
	if old != "" {
		l.out.put(" (\"OLDNAME\" (")
		l.out.b = wire.AppendMailbox(l.out.b, old, l.utf8())
		l.out.put("))")
	}
	l.out.put("\r\n")
	l.out.spill()
}

// listLine begins a LIST response.
func (l *looking) listLine(n *node) {
	l.out.put("* LIST (")
	l.attributes(n, &wire.List{Return: wire.ListSubscribed})
	l.out.put(") \"/\" ")
	l.out.b = wire.AppendMailbox(l.out.b, n.name, l.utf8())
}

// subscribedElsewhere is name for a mailbox of another account.
func (l *looking) subscribedElsewhere(name string) {
	n := node{place: place{acc: l.acc, name: name}, subscribed: l.n.subscribed[name]}
	if at, err := l.placeOf(name); err == nil {
		n.place = at
		if infos, err := at.acc.Mailboxes(l.ctx); err == nil {
			for i := range infos {
				if infos[i].Name == at.local {
					n.info = &infos[i]
				}
				n.children = n.children || store.Below(infos[i].Name, at.local)
			}
		}
	}
	l.listLine(&n)
	l.out.put("\r\n")
}

// subscriptions tells which names have been subscribed or are no longer (RFC
// 5465 §5.5). Which mailboxes are observed may depend on them (§6.4).
func (l *looking) subscriptions() {
	if !l.o.own() {
		return
	}
	var changed []string
	for name := range l.n.subscribed {
		if !l.subs[name] {
			changed = append(changed, name)
		}
	}
	for name := range l.subs {
		if !l.n.subscribed[name] {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	for _, name := range changed {
		mine, own := l.o.subs[name]
		if own && mine == l.n.subscribed[name] {
			continue
		}
		ev := l.n.interest(name, l.isOwn(name)) | l.n.interestWith(l.subs, name, l.isOwn(name))
		if ev&wire.NotifySubscription != 0 {
			l.name(name, "")
		}
	}
	l.o.subs = nil
	if l.n.filters(wire.NotifySubscribed) {
		for _, name := range changed {
			l.observeNew(name)
		}
	}
}

// isOwn reports whether a name is of the user's own mailboxes.
func (s *session) isOwn(name string) bool {
	_, _, elsewhere, _ := s.elsewhere(name)
	return !elsewhere
}

// observeNew observes the account of a name that has been subscribed.
func (l *looking) observeNew(name string) {
	had := len(l.n.accounts)
	l.observeElsewhere(l.n, name, false)
	for _, o := range l.n.accounts[had:] {
		l.watch(o.acc)
		if err := l.look(l.n, o); err != nil {
			o.boxes = map[store.MailboxID]*observedBox{}
		}
	}
}

// metadata tells which entries have been changed (RFC 5465 §5.6, §5.7). The
// store says where to look.
func (l *looking) metadata() error {
	if l.n.events&(wire.NotifyMetadata|wire.NotifyServerMetadata) == 0 {
		return nil
	}
	c, err := l.o.acc.Changes(l.ctx, l.o.since)
	all := err != nil // the history is gone: everything is looked at
	if all {
		if c.Through, err = lastChange(l.ctx, l.o.acc); err != nil {
			return err
		}
	}
	where := map[store.MailboxID]bool{}
	for _, e := range c.Events {
		where[e.Mailbox] = where[e.Mailbox] || e.Kind == store.MailboxAnnotated
	}
	l.o.since = c.Through
	if l.o.server != nil && (all || where[0]) {
		changed, now, err := l.metadataChanges(place{acc: l.o.acc}, 0, l.o.server)
		if err != nil {
			return err
		}
		l.o.server = now
		l.tellMetadata("", changed)
	}
	for i := range l.infos {
		id := l.infos[i].ID
		b := l.o.boxes[id]
		if b == nil || b.entries == nil || !all && !where[id] {
			continue
		}
		changed, now, err := l.metadataChanges(place{acc: l.o.acc, local: l.infos[i].Name, name: b.name}, id, b.entries)
		if err != nil {
			continue // gone, or out of sight: the next look tells
		}
		b.entries = now
		l.tellMetadata(b.name, changed)
	}
	return nil
}
