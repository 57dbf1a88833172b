package storetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// actorMessage is a message the naive way: what is shared, and who has seen it.
type actorMessage struct {
	flags string // as flagString; without \seen
	seen  [3]bool
	size  int
	uidl  string
}

// actorBox is one mailbox as three actors see it.
type actorBox struct {
	*actors
	name     string
	messages map[store.UID]actorMessage
	notes    map[string]string
	past     [3][]*store.Snapshot
}

// actorModel is an account with its limits, annotations and actors.
type actorModel struct {
	*kit
	boxes []*actorBox
	notes map[string]string
	limit store.Usage
	log   *[]string
}

func modelActors(k *kit) { runRandom(k, makeActorSteps, runActors, simplerActorSteps) }

func runActors(k *kit, steps []actorStep, log *[]string, at *int) {
	m := &actorModel{kit: k, notes: map[string]string{}, log: log}
	a := k.account("anna")
	for _, name := range []string{store.Inbox, "Two", "Three"} {
		if name != store.Inbox {
			k.create(a, name)
		}
		m.boxes = append(m.boxes, m.adopt(name))
	}
	for i, s := range append(steps[:len(steps):len(steps)], actorStep{kind: actorCheck}) {
		*at = i
		m.do(s)
		m.check()
	}
}

func (m *actorModel) adopt(name string) *actorBox {
	return &actorBox{actors: m.kit.actors(name), name: name, messages: map[store.UID]actorMessage{}, notes: map[string]string{}}
}

// can reports whether the engine has an ability besides actors.
func (m *actorModel) can(a Ability) bool { return slices.Contains(m.cfg.Abilities, a) }

func (m *actorModel) did(format string, args ...any) {
	*m.log = append(*m.log, fmt.Sprintf(format, args...))
}

func (m *actorModel) do(s actorStep) {
	b := m.boxes[s.box]
	switch s.kind {
	case actorPlace:
		m.place(s, b)
	case actorPlaceLater:
		m.placeLater(s, b)
	case actorReplace:
		m.replace(s, b)
	case actorFlag:
		m.flag(s, b)
	case actorTransfer:
		m.transfer(s, b, m.boxes[s.dest])
	case actorExpunge:
		m.expunge(s, b)
	case actorAnnotate:
		m.annotate(s, b)
	case actorLimit:
		m.setLimit(s)
	case actorRename, actorRecreate:
		m.remake(s, b)
	case actorReopen:
		m.reopened()
	default:
		m.replayAll()
	}
}

func (m *actorModel) used() (u store.Usage) {
	u.Mailboxes = int64(len(m.boxes))
	for _, b := range m.boxes {
		u.Messages += int64(len(b.messages))
		for _, msg := range b.messages {
			u.Octets += int64(msg.size)
		}
	}
	return u
}

// admits reports whether the limits allow something, and checks that the
// engine thinks so too.
func (m *actorModel) admits(octets, messages int, err error) bool {
	m.Helper()
	q := store.Quota{Used: m.used(), Limit: m.limit}
	if q.Admit(store.Usage{Octets: int64(octets), Messages: int64(messages)}) == nil {
		require.NoError(m, err)
		return true
	}
	require.ErrorIs(m, err, store.ErrOverQuota)
	return false
}

func (m *actorModel) target(s actorStep, b *actorBox, i int) (store.Target, actorMessage) {
	t := m.sized(b.accounts[0], b.name, 20+s.size+i)
	t.Flags = s.flagList()
	msg := actorMessage{flags: flagString(slices.DeleteFunc(s.flagList(), isSeen)), size: 20 + s.size + i}
	if s.n%2 == 1 {
		t.UIDL = fmt.Sprint("id-", s.size, "-", i)
		msg.uidl = t.UIDL
	}
	msg.seen[0] = slices.Contains(t.Flags, store.FlagSeen)
	m.did("place %d octets in %s with %v %s", msg.size, b.name, t.Flags, t.UIDL)
	return t, msg
}

func isSeen(f store.Flag) bool { return f == store.FlagSeen }

// place files some messages in one call.
func (m *actorModel) place(s actorStep, b *actorBox) {
	var targets []store.Target
	var messages []actorMessage
	octets := 0
	for i := range 1 + s.n {
		t, msg := m.target(s, b, i)
		targets, messages, octets = append(targets, t), append(messages, msg), octets+msg.size
	}
	placed := m.kit.place(targets...)
	if m.admits(octets, len(targets), placed[0].Err) {
		for i, p := range placed {
			require.NoError(m, p.Err)
			b.messages[p.UID] = messages[i]
		}
	}
}

// placeLater files some messages in calls that do not wait for each other.
func (m *actorModel) placeLater(s actorStep, b *actorBox) {
	var waits []func() []store.Placed
	var messages []actorMessage
	for i := range 1 + s.n {
		t, msg := m.target(s, b, -i) // smaller ones may fit where larger ones do not
		waits, messages = append(waits, store.PlaceLater(m.Context(), m.st, []store.Target{t})), append(messages, msg)
	}
	for i, wait := range waits {
		if p := wait()[0]; m.admits(messages[i].size, 1, p.Err) {
			b.messages[p.UID] = messages[i]
		}
	}
}

func (m *actorModel) replace(s actorStep, b *actorBox) {
	from := m.boxes[s.dest]
	set := from.some(s)
	if len(set) == 0 {
		return
	}
	t, msg := m.target(s, b, 0)
	t.Replaces, t.ReplacesIn = set[0].From, from.boxes[0].ID()
	m.did("… replacing UID %d of %s", t.Replaces, from.name)
	if p := m.kit.place(t)[0]; m.admits(msg.size-from.messages[t.Replaces].size, 0, p.Err) {
		delete(from.messages, t.Replaces)
		b.messages[p.UID] = msg
	}
}

// some picks UIDs of a mailbox.
func (b *actorBox) some(s actorStep) store.UIDSet {
	var set store.UIDSet
	for i, uid := range slices.Sorted(maps.Keys(b.messages)) {
		if s.messages&(1<<(i%64)) != 0 {
			set.Add(uid)
		}
	}
	return set
}

func (m *actorModel) flag(s actorStep, b *actorBox) {
	set, mb := b.some(s), b.boxes[s.who]
	update := store.FlagUpdate{Op: s.op, Flags: s.flagList()}
	now := m.snap(mb)
	unless := ""
	if s.since > 0 {
		since := sinceRank(now, s.since)
		update.UnchangedSince = &since
		unless = fmt.Sprint(", unless changed since ", since)
	}
	m.did("%s flags %v of %s: %s %v%s", b.names[s.who], set, b.name, [...]string{"add", "remove", "replace by"}[s.op], update.Flags, unless)
	got, err := mb.Flag(m.Context(), set, update)
	require.NoError(m, err)
	var changed, failed store.UIDSet
	for uid := range set.All() {
		msg := b.messages[uid]
		if update.UnchangedSince != nil && m.row(now, uid).ModSeq > *update.UnchangedSince {
			failed.Add(uid)
			continue
		}
		before := msg
		msg.flags = applied(msg.flags, s.op, slices.DeleteFunc(s.flagList(), isSeen))
		switch mine := slices.Contains(update.Flags, store.FlagSeen); s.op {
		case store.FlagsAdd:
			msg.seen[s.who] = msg.seen[s.who] || mine
		case store.FlagsRemove:
			msg.seen[s.who] = msg.seen[s.who] && !mine
		case store.FlagsReplace:
			msg.seen[s.who] = mine
		}
		if msg != before {
			b.messages[uid] = msg
			changed.Add(uid)
		}
	}
	require.True(m, changed.Equal(got.Changed), "changed %v, want %v", got.Changed, changed)
	require.True(m, failed.Equal(got.Failed), "failed %v, want %v", got.Failed, failed)
	require.Equal(m, len(changed) > 0, got.ModSeq > 0)
}

func (m *actorModel) transfer(s actorStep, src, dst *actorBox) {
	set := src.some(s)
	octets := 0
	for uid := range set.All() {
		octets += src.messages[uid].size
	}
	mb, dest := src.boxes[s.who], dst.boxes[0].ID()
	var c store.Copied
	var err error
	if s.move {
		m.did("%s moves %v from %s to %s", src.names[s.who], set, src.name, dst.name)
		c, err = mb.Move(m.Context(), set, dest)
		require.NoError(m, err)
	} else {
		m.did("%s copies %v from %s to %s", src.names[s.who], set, src.name, dst.name)
		if c, err = mb.Copy(m.Context(), set, dest); !m.admits(octets, set.Len(), err) {
			return
		}
	}
	require.Len(m, c.From, set.Len())
	for i, uid := range c.From {
		msg := src.messages[uid]
		msg.uidl = ""
		if s.move {
			delete(src.messages, uid)
		} else {
			mine := msg.seen[s.who]
			msg.seen = [3]bool{}
			msg.seen[s.who] = mine
		}
		dst.messages[c.To[i]] = msg
	}
}

// expunge removes what the actor has seen.
func (m *actorModel) expunge(s actorStep, b *actorBox) {
	set := b.some(s)
	m.did("%s expunges what he has seen of %v in %s", b.names[s.who], set, b.name)
	e, err := b.boxes[s.who].Expunge(m.Context(), set, store.FlagSeen)
	require.NoError(m, err)
	var want store.UIDSet
	for uid := range set.All() {
		if b.messages[uid].seen[s.who] {
			want.Add(uid)
			delete(b.messages, uid)
		}
	}
	require.True(m, want.Equal(e.UIDs), "expunged %v, want %v", e.UIDs, want)
}

func (m *actorModel) annotate(s actorStep, b *actorBox) {
	notes, id, name := b.notes, b.boxes[0].ID(), b.name
	if s.move {
		notes, id, name = m.notes, 0, "the account"
	}
	set := []store.Annotation{{Key: fmt.Sprint("k", s.n)}, {Key: "k"}}[:1+s.dest%2]
	changed := false
	for i := range set {
		key := set[i].Key
		old, had := notes[key]
		if s.op == store.FlagsRemove {
			changed = changed || had
			delete(notes, key)
			continue
		}
		set[i].Value = []byte(strings.Repeat("v", s.size%3))
		changed = changed || !had || old != string(set[i].Value)
		notes[key] = string(set[i].Value)
	}
	m.did("%s annotates %s: %q", b.names[s.who], name, set)
	since := m.through(b.accounts[0])
	at, err := m.kit.notes(b.accounts[s.who]).Annotate(m.Context(), id, set...)
	require.NoError(m, err)
	require.Equal(m, changed, at > 0)
	if changed {
		e := m.accountChanges(b.accounts[0], since).Events
		require.Len(m, e, 1)
		require.Equal(m, store.MailboxAnnotated, e[0].Kind)
		require.Equal(m, []any{at, id}, []any{e[0].ModSeq, e[0].Mailbox})
	}
}

// setLimit sets limits around what is used, so that some of what follows fits.
func (m *actorModel) setLimit(s actorStep) {
	if !m.can(Quotas) {
		return
	}
	u := m.used()
	m.limit = [...]store.Usage{
		{}, {Octets: u.Octets + int64(s.size)}, {Octets: u.Octets + 2000, Messages: u.Messages + 3},
		{Messages: u.Messages + 5}, {Octets: u.Octets/2 + 1}, {Octets: -1},
	}[s.n]
	m.did("limit %+v", m.limit)
	require.NoError(m, m.quotas().SetQuota(m.Context(), "anna", m.limit))
}

// remake renames a mailbox to another name and back, or deletes it and makes
// another of its name.
func (m *actorModel) remake(s actorStep, b *actorBox) {
	if b.name == store.Inbox {
		return
	}
	a := b.accounts[s.who]
	if s.kind == actorRename {
		m.did("rename %s", b.name)
		require.NoError(m, a.Rename(m.Context(), b.name, "Renamed"))
		b.name, _ = strings.CutSuffix(b.name, "'")
		if s.move {
			b.name += "'"
		}
		require.NoError(m, a.Rename(m.Context(), "Renamed", b.name))
		return
	}
	m.did("delete and create %s", b.name)
	require.NoError(m, a.Delete(m.Context(), b.name))
	_, err := a.Create(m.Context(), b.name, store.CreateOptions{})
	require.NoError(m, err)
	m.boxes[s.box] = m.adopt(b.name)
}

func (m *actorModel) reopened() {
	if m.cfg.Reopen == nil {
		return
	}
	m.did("reopen")
	m.reopen()
	for i, b := range m.boxes {
		now := m.adopt(b.name)
		now.messages, now.notes, now.past = b.messages, b.notes, b.past
		m.boxes[i] = now
	}
}

// check compares everything but history.
func (m *actorModel) check() {
	for _, b := range m.boxes {
		for who, mb := range b.boxes {
			s := m.snap(mb)
			past := b.past[who]
			if n := len(past); n > 0 {
				require.NoError(m, follows(past[n-1], s))
			}
			b.past[who] = append(past, s)
			require.Equal(m, len(b.messages), s.Len())
			for _, r := range s.All() {
				msg := b.messages[r.UID]
				got := actorMessage{flagString(s.Flags(r.Flags &^ store.BitSeen)), msg.seen, int(r.Size), msg.uidl}
				got.seen[who] = r.Flags&store.BitSeen != 0
				require.Equal(m, msg, got, "UID %d of %s as %s sees it", r.UID, b.name, b.names[who])
			}
		}
		if m.can(UIDLs) {
			want := map[store.UID]string{}
			for uid, msg := range b.messages {
				if msg.uidl != "" {
					want[uid] = msg.uidl
				}
			}
			require.Equal(m, want, m.uidls(b.boxes[0]))
		}
		m.checkNotes(b.accounts[0], b.boxes[0].ID(), b.notes)
	}
	m.checkNotes(m.boxes[0].accounts[0], 0, m.notes)
	if m.can(Quotas) {
		require.Equal(m, store.Quota{Used: m.used(), Limit: m.limit}, m.quota(m.boxes[0].accounts[0]))
	}
}

func (m *actorModel) checkNotes(a store.Account, box store.MailboxID, want map[string]string) {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		all = append(all, key+"="+want[key])
	}
	require.Equal(m, strings.Join(all, " "), m.noted(a, box, ""))
}

func (m *actorModel) replayAll() {
	m.did("check all")
	for _, b := range m.boxes {
		for who, mb := range b.boxes {
			m.replay(mb, b.past[who], m.snap(mb))
			b.past[who] = b.past[who][max(len(b.past[who])-60, 0):]
		}
	}
}
