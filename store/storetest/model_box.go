package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func (m *model) create(s step) string {
	name := modelNames[s.name]
	m.did("create %s", name)
	_, err := m.a.Create(m.Context(), name, store.CreateOptions{})
	if m.boxes[name] != nil {
		require.ErrorIs(m, err, store.ErrExists)
		return "exists"
	}
	require.NoError(m, err)
	m.adoptWithParents(name)
	return ""
}

func (m *model) adoptWithParents(name string) *modelBox {
	m.adoptParents(name)
	return m.adopt(name)
}

// adoptParents takes the parents that were made. Above one that was there an
// engine may leave gaps or close them.
func (m *model) adoptParents(name string) {
	direct := store.Parent(name)
	for p := direct; p != ""; p = store.Parent(p) {
		if m.boxes[p] != nil {
			continue
		}
		if _, err := m.a.Mailbox(m.Context(), p); err == nil || p == direct {
			m.adopt(p)
		}
	}
}

// follow makes and deletes the mailboxes above others in which engines may
// differ, so that the twin has those that m has.
func (twin *model) follow(m *model) {
	for name := range m.boxes {
		if twin.boxes[name] == nil {
			_, err := twin.a.Create(twin.Context(), name, store.CreateOptions{})
			require.NoError(twin, err)
			twin.adopt(name)
		}
	}
	for name, b := range twin.boxes {
		if m.boxes[name] == nil {
			require.Empty(twin, b.messages)
			require.NoError(twin, twin.a.Delete(twin.Context(), name))
			delete(twin.boxes, name)
		}
	}
}

func (m *model) delete(s step) string {
	name, b := m.pick(s.box)
	m.did("delete %s", name)
	err := m.a.Delete(m.Context(), name)
	if name == store.Inbox {
		require.ErrorIs(m, err, store.ErrReadOnly)
		return ""
	}
	require.NoError(m, err)
	_, err = b.mb.Info(m.Context())
	require.ErrorIs(m, err, store.ErrNotFound)
	delete(m.boxes, name)
	return name
}

func (m *model) subscribe(s step) string {
	name := append(modelNames, store.Inbox)[(s.name+s.n)%(len(modelNames)+1)]
	m.did("subscribe %s: %v", name, s.odd)
	require.NoError(m, m.a.Subscribe(m.Context(), name, s.odd))
	if delete(m.subscribed, name); s.odd {
		m.subscribed[name] = true
	}
	return ""
}

func (m *model) rename(s step) string {
	from, b := m.pick(s.box)
	to := modelNames[s.name]
	m.did("rename %s to %s", from, to)
	err := m.a.Rename(m.Context(), from, to)
	if m.boxes[to] != nil || from == to {
		require.ErrorIs(m, err, store.ErrExists)
		return "exists"
	}
	if from == store.Inbox {
		require.NoError(m, err)
		m.renamedInbox(b, to)
		return ""
	}
	moved := map[string]string{from: to}
	clash := store.Below(to, from)
	for name := range m.boxes {
		if store.Below(name, from) {
			moved[name] = to + name[len(from):]
		}
	}
	for _, now := range moved {
		clash = clash || m.boxes[now] != nil && moved[now] == "" // unless it is given up
	}
	if clash {
		require.Error(m, err)
		return "refused"
	}
	require.NoError(m, err)
	old := maps.Clone(m.boxes)
	for name := range moved {
		delete(m.boxes, name)
	}
	for name, now := range moved {
		m.boxes[now] = old[name]
		if m.used[now] == nil {
			m.used[now] = map[uint32]store.MailboxID{}
		}
		id := m.used[now][old[name].validity]
		require.True(m, id == 0 || id == old[name].mb.ID(), "UIDVALIDITY of %s again", now)
		m.used[now][old[name].validity] = old[name].mb.ID()
	}
	m.adoptParents(to)
	return fmt.Sprint(len(moved))
}

func (m *model) renamedInbox(inbox *modelBox, to string) {
	b := m.adoptWithParents(to)
	uids := slices.Sorted(maps.Keys(inbox.messages))
	s := m.snap(b.mb)
	require.Equal(m, len(uids), s.Len())
	for i, uid := range uids {
		b.messages[s.At(i).UID] = inbox.messages[uid]
		delete(inbox.messages, uid)
	}
	m.check(inbox, b)
}

// reopened ends the store and starts it again.
func (m *model) reopened() string {
	if m.cfg.Reopen == nil {
		return "" // the twin
	}
	m.did("reopen")
	m.reopen()
	m.a = m.open("anna")
	for name, b := range m.boxes {
		id := b.mb.ID()
		b.mb = m.kit.box(m.a, name)
		require.Equal(m, id, b.mb.ID(), "%s is the same mailbox", name)
		b.reopened = true
	}
	return ""
}

// check compares mailboxes with the model.
func (m *model) check(boxes ...*modelBox) {
	for _, b := range boxes {
		s := m.snap(b.mb)
		if n := len(b.past); n > 0 && !b.reopened {
			require.NoError(m, follows(b.past[n-1], s))
		}
		b.past, b.reopened = append(b.past, s), false
		require.Equal(m, b.validity, s.UIDValidity())
		require.Equal(m, len(b.messages), s.Len())
		for _, r := range s.All() {
			msg, ok := b.messages[r.UID]
			require.True(m, ok, "UID %d", r.UID)
			require.Equal(m, msg, modelMessage{msg.body, r.Date, flagString(s.Flags(r.Flags))}, "UID %d", r.UID)
			require.EqualValues(m, len(mail(msg.body)), r.Size)
		}
	}
}

// checkAll compares everything, with bodies and history, and says what there is.
func (m *model) checkAll() string {
	m.did("check all")
	names := slices.Sorted(maps.Keys(m.boxes))
	require.Equal(m, names, m.names(m.a))
	subscribed, err := m.a.Subscriptions(m.Context())
	require.NoError(m, err)
	require.Equal(m, append([]string{}, slices.Sorted(maps.Keys(m.subscribed))...), append([]string{}, subscribed...))
	outcome := ""
	groups := map[string]int{} // messages with one EMAILID are copies
	for _, name := range names {
		b := m.boxes[name]
		m.check(b)
		s := b.past[len(b.past)-1]
		i := m.info(b.mb)
		require.Equal(m, m.subscribed[name], i.Subscribed)
		outcome += fmt.Sprintf("%s: %d messages of %d octets, %d unseen, %d deleted\n", name, i.Messages, i.Size, i.Unseen, i.Deleted)
		for _, d := range m.details(b.mb, s) {
			msg := b.messages[d.Row.UID]
			text := mail(msg.body)
			require.Equal(m, text, m.body(b.mb, d.Row))
			require.EqualValues(m, len(text), d.Outline.Size)
			body, ok := groups[d.EmailID]
			require.True(m, !ok || mail(body) == text, "one EMAILID for mail(%d) and mail(%d)", body, msg.body)
			groups[d.EmailID] = msg.body
			outcome += fmt.Sprintln(" ", msg)
		}
		m.replay(b.mb, b.past, s)
		if n := len(b.past); n > 30 {
			b.past = b.past[n-30:]
		}
	}
	m.replayEvents()
	return outcome
}

// replayEvents checks that the account's events lead from every earlier check
// to now.
func (m *model) replayEvents() {
	now := moment{boxes: map[store.MailboxID]string{}}
	for name, b := range m.boxes {
		now.boxes[b.mb.ID()] = name
	}
	for _, past := range append(m.moments, moment{boxes: map[store.MailboxID]string{}}) {
		c, err := m.a.Changes(m.Context(), past.at)
		if errors.Is(err, store.ErrHistoryGone) {
			continue
		}
		require.NoError(m, err)
		now.at = c.Through
		boxes, changed := maps.Clone(past.boxes), map[store.MailboxID]bool{}
		for _, e := range c.Events {
			require.Greater(m, e.ModSeq, past.at)
			switch e.Kind {
			case store.MailboxCreated:
				boxes[e.Mailbox] = e.Name
				changed[e.Mailbox] = true // who is told of a new mailbox looks into it
			case store.MailboxRenamed:
				require.Equal(m, boxes[e.Mailbox], e.OldName)
				boxes[e.Mailbox] = e.Name
			case store.MailboxDeleted:
				delete(boxes, e.Mailbox)
			case store.MailboxChanged:
				changed[e.Mailbox] = true
			}
		}
		require.Equal(m, now.boxes, boxes, "mailboxes as told by the events since %d", past.at)
		for name, b := range m.boxes {
			s := b.past[len(b.past)-1]
			for _, r := range s.All() {
				require.True(m, r.ModSeq <= past.at || changed[b.mb.ID()], "UID %d of %s changed at %d, which the events since %d do not tell", r.UID, name, r.ModSeq, past.at)
			}
		}
	}
	if now.at > 0 {
		m.moments = append(m.moments, now)
	}
}
