package storetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var modelChecks = []check{{"Model/random-operations", modelRandom}}

// modelMessage is what the model knows of a message.
type modelMessage struct {
	body  int // mail(body)
	date  int64
	flags string // lower case, sorted, joined by spaces
}

// modelBox is a mailbox the naive way.
type modelBox struct {
	mb       store.Mailbox
	validity uint32
	messages map[store.UID]modelMessage
	past     []*store.Snapshot
	reopened bool // after the last of past
}

// modelToken is a placement with a token and its outcome.
type modelToken struct {
	box    string
	body   int
	token  string
	placed store.Placed
}

// moment is what an account's mailboxes were at a mod-sequence.
type moment struct {
	at    store.ModSeq
	boxes map[store.MailboxID]string
}

// model runs steps on a store and on maps.
type model struct {
	*kit
	a          store.Account
	boxes      map[string]*modelBox
	used       map[string]map[uint32]store.MailboxID // UIDVALIDITY values of each name
	tokens     []modelToken
	subscribed map[string]bool
	moments    []moment
	log        *[]string
}

func newModel(k *kit, log *[]string) *model {
	m := &model{kit: k, a: k.account("anna"), boxes: map[string]*modelBox{}, used: map[string]map[uint32]store.MailboxID{},
		subscribed: map[string]bool{}, log: log}
	m.adopt(store.Inbox)
	return m
}

// adopt takes a mailbox that has come to be into the model.
func (m *model) adopt(name string) *modelBox {
	mb := m.kit.box(m.a, name)
	v := m.info(mb).UIDValidity
	if m.used[name] == nil {
		m.used[name] = map[uint32]store.MailboxID{}
	}
	require.Zero(m, m.used[name][v], "UIDVALIDITY of %s again", name)
	m.used[name][v] = mb.ID()
	b := &modelBox{mb: mb, validity: v, messages: map[store.UID]modelMessage{}}
	m.boxes[name] = b
	return b
}

// pick is the mailbox of a number.
func (m *model) pick(n int) (string, *modelBox) {
	names := slices.Sorted(maps.Keys(m.boxes))
	name := names[n%len(names)]
	return name, m.boxes[name]
}

// some picks UIDs of a mailbox, and some that are not there.
func (m *model) some(b *modelBox, s step) store.UIDSet {
	var set store.UIDSet
	for i, uid := range slices.Sorted(maps.Keys(b.messages)) {
		if s.messages&(1<<(i%64)) != 0 {
			set.Add(uid)
		}
	}
	if s.span && len(set) > 0 {
		set = store.UIDSet{{From: set[0].From, To: set[len(set)-1].To}}
	}
	if next := m.info(b.mb).UIDNext; s.beyond {
		set.AddRange(next, next+5)
	}
	return set
}

// bodies names messages in the model's words, the same for every engine.
func (b *modelBox) bodies(set store.UIDSet) []int {
	out := []int{}
	for _, uid := range slices.Sorted(maps.Keys(b.messages)) {
		if set.Contains(uid) {
			out = append(out, b.messages[uid].body)
		}
	}
	return out
}

func flagString(flags []store.Flag) string {
	var s []string
	for _, f := range flags {
		s = append(s, strings.ToLower(string(f)))
	}
	slices.Sort(s)
	return strings.Join(slices.Compact(s), " ")
}

// target makes message number i of a step.
func (m *model) target(s step, i int) (store.Target, *modelBox, modelMessage) {
	name, b := m.pick(s.box + i)
	body := s.serial*4 + i + 1
	t := store.Target{Account: "anna", Mailbox: name, Body: m.stage(mail(body)), Flags: flagsOf(s.flags), Date: time.Unix(1_000_000_000+int64(body), 0)}
	return t, b, modelMessage{body, t.Date.Unix(), flagString(t.Flags)}
}

func (m *model) place(s step) string {
	n := s.n
	targets, boxes, messages := make([]store.Target, n), make([]*modelBox, n), make([]modelMessage, n)
	for i := range n {
		targets[i], boxes[i], messages[i] = m.target(s, i)
	}
	if s.odd {
		targets[n-1].Mailbox = "missing"
	}
	for _, t := range targets {
		m.did("place mail(%d) in %s with %v", t.Date.Unix()-1_000_000_000, t.Mailbox, t.Flags)
	}
	for i, p := range m.kit.place(targets...) {
		if s.odd {
			require.ErrorIs(m, p.Err, store.ErrNotFound)
			continue
		}
		require.NoError(m, p.Err)
		m.filedIn(boxes[i], p, messages[i])
	}
	m.check(boxes...)
	return ""
}

// commit checks that a change was one commit of this mod-sequence: it is the
// mailboxes' highest, and 0 if nothing changed.
func (m *model) commit(at store.ModSeq, changed int, boxes ...*modelBox) {
	require.Equal(m, changed > 0, at > 0, "mod-sequence %d of a change of %d messages", at, changed)
	for _, b := range boxes {
		if changed > 0 {
			require.Equal(m, at, m.info(b.mb).ModSeq, "one commit, one mod-sequence")
		}
	}
}

// filedIn notes one message that was filed.
func (m *model) filedIn(b *modelBox, p store.Placed, msg modelMessage) {
	require.Equal(m, b.mb.ID(), p.Mailbox)
	require.Equal(m, b.validity, p.UIDValidity)
	m.commit(p.ModSeq, 1, b)
	require.NotContains(m, b.messages, p.UID)
	b.messages[p.UID] = msg
}

func (m *model) placeToken(s step) string {
	t, b, msg := m.target(s, 0)
	t.Token = fmt.Sprint("token-", s.serial)
	m.did("place mail(%d) in %s with %v and token %s", msg.body, t.Mailbox, t.Flags, t.Token)
	p := m.kit.place(t)[0]
	require.NoError(m, p.Err)
	require.False(m, p.Duplicate)
	m.filedIn(b, p, msg)
	m.tokens = append(m.tokens, modelToken{t.Mailbox, msg.body, t.Token, p})
	m.check(b)
	return ""
}

func (m *model) placeAgain(s step) string {
	if len(m.tokens) == 0 {
		return ""
	}
	old := m.tokens[(s.n+s.box)%len(m.tokens)]
	b := m.boxes[old.box]
	if b == nil {
		return ""
	}
	m.did("place mail(%d) in %s again with token %s", old.body, old.box, old.token)
	p := m.kit.place(store.Target{Account: "anna", Mailbox: old.box, Body: m.stage(mail(old.body)), Token: old.token})[0]
	require.NoError(m, p.Err)
	require.True(m, p.Duplicate)
	p.Duplicate = false
	require.Equal(m, old.placed, p)
	m.check(b)
	return old.token
}

// replace files a message in place of another (RFC 8508).
func (m *model) replace(s step) string {
	from, src := m.pick(s.dest)
	set := m.some(src, step{messages: s.messages})
	if len(set) == 0 {
		return ""
	}
	t, b, msg := m.target(s, 0)
	t.Replaces, t.ReplacesIn = set[0].From, src.mb.ID()
	m.did("place mail(%d) in %s with %v, replacing UID %d of %s", msg.body, t.Mailbox, t.Flags, t.Replaces, from)
	p := m.kit.place(t)[0]
	require.NoError(m, p.Err)
	old := src.messages[t.Replaces].body
	delete(src.messages, t.Replaces)
	m.filedIn(b, p, msg)
	m.commit(p.ModSeq, 1, b, src)
	m.check(b, src)
	return fmt.Sprint("replaced ", old)
}

func (m *model) flag(s step) string {
	name, b := m.pick(s.box)
	set, op, flags := m.some(b, s), s.op, flagsOf(s.flags)
	update := store.FlagUpdate{Op: op, Flags: flags}
	snap := m.snap(b.mb)
	unless := ""
	if s.since > 0 {
		since := sinceRank(snap, s.since)
		update.UnchangedSince = &since
		unless = fmt.Sprint(", unless changed since ", since)
	}
	m.did("flag %v of %s: %s %v%s", set, name, [...]string{"add", "remove", "replace by"}[op], flags, unless)
	got, err := b.mb.Flag(m.Context(), set, update)
	require.NoError(m, err)
	var changed, failed store.UIDSet
	for uid, msg := range b.messages {
		if !set.Contains(uid) {
			continue
		}
		if update.UnchangedSince != nil && m.row(snap, uid).ModSeq > *update.UnchangedSince {
			failed.Add(uid)
			continue
		}
		if now := applied(msg.flags, op, flags); now != msg.flags {
			msg.flags = now
			b.messages[uid] = msg
			changed.Add(uid)
		}
	}
	require.True(m, changed.Equal(got.Changed), "changed %v, want %v", got.Changed, changed)
	require.True(m, failed.Equal(got.Failed), "failed %v, want %v", got.Failed, failed)
	m.commit(got.ModSeq, changed.Len(), b)
	m.check(b)
	return fmt.Sprint("changed ", b.bodies(changed))
}

// sinceRank is the mod-sequence that so many eighths of the messages do not
// exceed. Numbers are each engine's own, and so is how many it leaves out; the
// order of changes is not.
func sinceRank(snap *store.Snapshot, eighths int) store.ModSeq {
	var all []store.ModSeq
	for _, r := range snap.All() {
		all = append(all, r.ModSeq)
	}
	slices.Sort(all)
	if n := len(all) * eighths / 8; n > 0 {
		return all[n-1]
	}
	return 1
}

// applied is the flags of a message after a change.
func applied(before string, op store.FlagOp, flags []store.Flag) string {
	has := map[string]bool{}
	for _, f := range strings.Fields(before) {
		has[f] = op != store.FlagsReplace
	}
	for _, f := range flags {
		has[strings.ToLower(string(f))] = op != store.FlagsRemove
	}
	var now []store.Flag
	for f, on := range has {
		if on {
			now = append(now, store.Flag(f))
		}
	}
	return flagString(now)
}

func (m *model) expunge(s step) string {
	name, b := m.pick(s.box)
	set := m.some(b, s)
	var with []store.Flag
	if s.odd {
		with = []store.Flag{store.FlagDeleted}
	}
	m.did("expunge %v of %s with %v", set, name, with)
	got, err := b.mb.Expunge(m.Context(), set, with...)
	require.NoError(m, err)
	var want store.UIDSet
	for uid, msg := range b.messages {
		if set.Contains(uid) && (with == nil || slices.Contains(strings.Fields(msg.flags), `\deleted`)) {
			want.Add(uid)
		}
	}
	require.True(m, want.Equal(got.UIDs), "expunged %v, want %v", got.UIDs, want)
	m.commit(got.ModSeq, want.Len(), b)
	gone := b.bodies(want)
	for uid := range want.All() {
		delete(b.messages, uid)
	}
	m.check(b)
	return fmt.Sprint("expunged ", gone)
}

func (m *model) transfer(s step) string {
	from, src := m.pick(s.box)
	to, dst := m.pick(s.dest)
	set := m.some(src, s)
	var got store.Copied
	var err error
	if s.kind == stepMove {
		m.did("move %v from %s to %s", set, from, to)
		got, err = src.mb.Move(m.Context(), set, dst.mb.ID())
	} else {
		m.did("copy %v from %s to %s", set, from, to)
		got, err = src.mb.Copy(m.Context(), set, dst.mb.ID())
	}
	require.NoError(m, err)
	want := []store.UID{}
	for _, uid := range slices.Sorted(maps.Keys(src.messages)) {
		if set.Contains(uid) {
			want = append(want, uid)
		}
	}
	require.Equal(m, want, append([]store.UID{}, got.From...))
	require.Len(m, got.To, len(got.From))
	names := src.bodies(set)
	for i, uid := range got.From {
		msg := src.messages[uid]
		if s.kind == stepMove {
			delete(src.messages, uid)
		}
		require.NotContains(m, dst.messages, got.To[i])
		dst.messages[got.To[i]] = msg
	}
	m.commit(got.ModSeq, len(want), dst)
	if s.kind == stepMove {
		m.commit(got.ModSeq, len(want), src)
	}
	m.check(src, dst)
	return fmt.Sprint(names)
}
