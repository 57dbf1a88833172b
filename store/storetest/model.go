package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var modelChecks = []check{{"Model/random-operations", modelRandom}, {"Model/spool", modelSpool}}

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
}

// model runs random operations on a store and on maps.
type model struct {
	*kit
	rnd    *rand.Rand
	a      store.Account
	boxes  map[string]*modelBox
	used   map[string]map[uint32]store.MailboxID // UIDVALIDITY values of each name
	tokens []store.Target
	filed  map[string]store.Placed
	bodies int
	log    []string
}

var modelNames = []string{"a", "a/b", "a/b/c", "b", "b/c", "c"}

func modelRandom(k *kit) {
	seed := k.cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	steps := k.cfg.Steps
	if steps == 0 {
		steps = 400
	}
	m := &model{kit: k, rnd: rand.New(rand.NewPCG(seed, 0)), a: k.account("anna"), boxes: map[string]*modelBox{},
		used: map[string]map[uint32]store.MailboxID{}, filed: map[string]store.Placed{}}
	k.Cleanup(func() {
		if k.Failed() {
			k.Logf("Config.Seed: %d; the last operations:\n%s", seed, strings.Join(m.log[max(0, len(m.log)-25):], "\n"))
		}
	})
	m.adopt(store.Inbox)
	ops := []func(){m.place, m.place, m.place, m.placeToken, m.flag, m.flag, m.flag, m.expunge, m.copy, m.move,
		m.create, m.create, m.rename, m.delete}
	for step := range steps {
		ops[m.rnd.IntN(len(ops))]()
		if step%40 == 39 {
			m.checkAll()
		}
	}
	m.checkAll()
}

func (m *model) did(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

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

func (m *model) pick() (string, *modelBox) {
	names := slices.Sorted(maps.Keys(m.boxes))
	name := names[m.rnd.IntN(len(names))]
	return name, m.boxes[name]
}

// some picks UIDs of a mailbox, and some that are not there.
func (m *model) some(b *modelBox) store.UIDSet {
	var set store.UIDSet
	for _, uid := range slices.Sorted(maps.Keys(b.messages)) {
		if m.rnd.IntN(3) == 0 {
			set.Add(uid)
		}
	}
	set.Add(store.UID(m.rnd.IntN(100) + 1))
	return set
}

func (m *model) someFlags() []store.Flag {
	all := []store.Flag{store.FlagSeen, store.FlagDeleted, store.FlagFlagged, "$Work", "later", "x1", "x2"}
	m.rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:m.rnd.IntN(4)]
}

func flagString(flags []store.Flag) string {
	var s []string
	for _, f := range flags {
		s = append(s, strings.ToLower(string(f)))
	}
	slices.Sort(s)
	return strings.Join(slices.Compact(s), " ")
}

func (m *model) target() (store.Target, *modelBox, modelMessage) {
	name, b := m.pick()
	m.bodies++
	flags := m.someFlags()
	t := store.Target{Account: "anna", Mailbox: name, Body: m.stage(mail(m.bodies)), Flags: flags, Date: seconds().AddDate(0, 0, -m.bodies)}
	return t, b, modelMessage{m.bodies, t.Date.Unix(), flagString(flags)}
}

func (m *model) place() {
	n := 1 + m.rnd.IntN(3)
	targets, boxes, messages := make([]store.Target, n), make([]*modelBox, n), make([]modelMessage, n)
	for i := range n {
		targets[i], boxes[i], messages[i] = m.target()
	}
	fail := m.rnd.IntN(8) == 0
	if fail {
		targets[n-1].Mailbox = "missing"
	}
	m.did("place %d, to fail: %v", n, fail)
	for i, p := range m.kit.place(targets...) {
		if fail {
			require.ErrorIs(m, p.Err, store.ErrNotFound)
			continue
		}
		require.NoError(m, p.Err)
		m.filedIn(boxes[i], p, messages[i])
	}
	m.check(boxes...)
}

// filedIn notes one message that was filed.
func (m *model) filedIn(b *modelBox, p store.Placed, msg modelMessage) {
	require.Equal(m, b.mb.ID(), p.Mailbox)
	require.Equal(m, b.validity, p.UIDValidity)
	require.NotContains(m, b.messages, p.UID)
	b.messages[p.UID] = msg
}

func (m *model) placeToken() {
	if len(m.tokens) > 0 && m.rnd.IntN(2) == 0 {
		t := m.tokens[m.rnd.IntN(len(m.tokens))]
		if _, ok := m.boxes[t.Mailbox]; ok {
			m.did("place again %s", t.Token)
			p := m.kit.place(t)[0]
			require.NoError(m, p.Err)
			require.True(m, p.Duplicate)
			p.Duplicate = false
			require.Equal(m, m.filed[t.Token], p)
			m.check(m.boxes[t.Mailbox])
		}
		return
	}
	t, b, msg := m.target()
	t.Token = fmt.Sprint("token-", len(m.tokens))
	m.did("place %s in %s", t.Token, t.Mailbox)
	p := m.kit.place(t)[0]
	require.NoError(m, p.Err)
	require.False(m, p.Duplicate)
	m.filedIn(b, p, msg)
	m.tokens = append(m.tokens, t)
	m.filed[t.Token] = p
	m.check(b)
}

func (m *model) flag() {
	name, b := m.pick()
	set, op, flags := m.some(b), store.FlagOp(m.rnd.IntN(3)), m.someFlags()
	update := store.FlagUpdate{Op: op, Flags: flags}
	snap := m.snap(b.mb)
	if m.rnd.IntN(4) == 0 {
		since := store.ModSeq(m.rnd.Uint64N(uint64(snap.ModSeq()) + 1))
		update.UnchangedSince = &since
	}
	m.did("flag %s %v op %d %v unchanged since %v", name, set, op, flags, update.UnchangedSince)
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
		has := map[string]bool{}
		for _, f := range strings.Fields(msg.flags) {
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
		if s := flagString(now); s != msg.flags {
			msg.flags = s
			b.messages[uid] = msg
			changed.Add(uid)
		}
	}
	require.True(m, changed.Equal(got.Changed), "changed %v, want %v", got.Changed, changed)
	require.True(m, failed.Equal(got.Failed), "failed %v, want %v", got.Failed, failed)
	m.check(b)
}

func (m *model) expunge() {
	name, b := m.pick()
	set := m.some(b)
	var with []store.Flag
	if m.rnd.IntN(2) == 0 {
		with = []store.Flag{store.FlagDeleted}
	}
	m.did("expunge %s %v with %v", name, set, with)
	got, err := b.mb.Expunge(m.Context(), set, with...)
	require.NoError(m, err)
	var want store.UIDSet
	for uid, msg := range b.messages {
		if set.Contains(uid) && (with == nil || slices.Contains(strings.Fields(msg.flags), `\deleted`)) {
			want.Add(uid)
			delete(b.messages, uid)
		}
	}
	require.True(m, want.Equal(got.UIDs), "expunged %v, want %v", got.UIDs, want)
	m.check(b)
}

func (m *model) copy() { m.transfer(false) }
func (m *model) move() { m.transfer(true) }

func (m *model) transfer(move bool) {
	from, src := m.pick()
	to, dst := m.pick()
	set := m.some(src)
	m.did("copy %s to %s %v, move: %v", from, to, set, move)
	var got store.Copied
	var err error
	if move {
		got, err = src.mb.Move(m.Context(), set, dst.mb.ID())
	} else {
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
	for i, uid := range got.From {
		msg := src.messages[uid]
		if move {
			delete(src.messages, uid)
		}
		require.NotContains(m, dst.messages, got.To[i])
		dst.messages[got.To[i]] = msg
	}
	m.check(src, dst)
}

func (m *model) create() {
	name := modelNames[m.rnd.IntN(len(modelNames))]
	m.did("create %s", name)
	_, err := m.a.Create(m.Context(), name, store.CreateOptions{})
	if m.boxes[name] != nil {
		require.ErrorIs(m, err, store.ErrExists)
		return
	}
	require.NoError(m, err)
	m.adoptWithParents(name)
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

func (m *model) delete() {
	name, b := m.pick()
	if m.rnd.IntN(2) == 0 {
		return
	}
	m.did("delete %s", name)
	err := m.a.Delete(m.Context(), name)
	if name == store.Inbox {
		require.ErrorIs(m, err, store.ErrReadOnly)
		return
	}
	require.NoError(m, err)
	_, err = b.mb.Info(m.Context())
	require.ErrorIs(m, err, store.ErrNotFound)
	delete(m.boxes, name)
}

func (m *model) rename() {
	from, b := m.pick()
	to := modelNames[m.rnd.IntN(len(modelNames))]
	m.did("rename %s to %s", from, to)
	err := m.a.Rename(m.Context(), from, to)
	if m.boxes[to] != nil || from == to {
		require.ErrorIs(m, err, store.ErrExists)
		return
	}
	if from == store.Inbox {
		require.NoError(m, err)
		m.renamedInbox(b, to)
		return
	}
	moved := map[string]string{from: to}
	clash := store.Below(to, from)
	for name := range m.boxes {
		if store.Below(name, from) {
			moved[name] = to + name[len(from):]
			clash = clash || m.boxes[moved[name]] != nil
		}
	}
	if clash {
		require.Error(m, err)
		return
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

// check compares mailboxes with the model.
func (m *model) check(boxes ...*modelBox) {
	for _, b := range boxes {
		s := m.snap(b.mb)
		if n := len(b.past); n > 0 {
			require.NoError(m, follows(b.past[n-1], s))
		}
		b.past = append(b.past, s)
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

// checkAll compares everything, with bodies and history.
func (m *model) checkAll() {
	m.did("check all")
	require.Equal(m, slices.Sorted(maps.Keys(m.boxes)), m.names(m.a))
	for _, b := range m.boxes {
		m.check(b)
		s := b.past[len(b.past)-1]
		for _, d := range m.details(b.mb, s) {
			text := mail(b.messages[d.Row.UID].body)
			require.Equal(m, text, m.body(b.mb, d.Row))
			require.EqualValues(m, len(text), d.Outline.Size)
		}
		m.replay(b.mb, b.past, s)
		if n := len(b.past); n > 30 {
			b.past = b.past[n-30:]
		}
	}
}
