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

// seenMessage is a message the naive way: what is shared, and who has seen it.
type seenMessage struct {
	flags string // shared, as flagString; without \seen
	seen  [3]bool
}

// seenWorld is two mailboxes as three actors see them.
type seenWorld struct {
	*kit
	rnd      *rand.Rand
	boxes    [2]*actors
	messages [2]map[store.UID]seenMessage
	past     [2][3][]*store.Snapshot
	log      []string
}

// seenModel does random things on behalf of three actors.
func seenModel(k *kit) {
	seed := k.cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	a := k.account("anna")
	k.create(a, "Two")
	w := &seenWorld{kit: k, rnd: rand.New(rand.NewPCG(seed, 1))}
	for b, name := range []string{store.Inbox, "Two"} {
		w.boxes[b] = k.actors(name)
		w.messages[b] = map[store.UID]seenMessage{}
	}
	k.Cleanup(func() {
		if k.Failed() {
			k.Logf("Config.Seed: %d; the last operations:\n%s", seed, strings.Join(w.log[max(0, len(w.log)-25):], "\n"))
		}
	})
	steps := k.cfg.Steps
	if steps == 0 {
		steps = 400
	}
	for step := range steps / 2 {
		[]func(){w.place, w.flag, w.flag, w.flag, w.flag, w.transfer, w.transfer, w.expunge}[w.rnd.IntN(8)]()
		w.check()
		if step%40 == 39 {
			w.replayAll()
		}
	}
	w.replayAll()
}

func (w *seenWorld) did(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// some picks UIDs of a mailbox.
func (w *seenWorld) some(b int) store.UIDSet {
	var set store.UIDSet
	for _, uid := range slices.Sorted(maps.Keys(w.messages[b])) {
		if w.rnd.IntN(3) == 0 {
			set.Add(uid)
		}
	}
	return set
}

func (w *seenWorld) someFlags() (flags []store.Flag, seen bool, others []store.Flag) {
	for _, f := range []store.Flag{store.FlagFlagged, store.FlagDeleted, "Work"} {
		if w.rnd.IntN(4) == 0 {
			others = append(others, f)
		}
	}
	flags = slices.Clone(others)
	if w.rnd.IntN(3) > 0 {
		seen, flags = true, append(flags, store.FlagSeen)
	}
	return flags, seen, others
}

func (w *seenWorld) place() {
	b := w.rnd.IntN(2)
	flags, seen, others := w.someFlags()
	w.did("place in %d with %v", b, flags)
	uid := w.filed(store.Target{Account: "anna", Mailbox: []string{store.Inbox, "Two"}[b], Body: w.stage(mail(1)), Flags: flags})[0]
	w.messages[b][uid] = seenMessage{flagString(others), [3]bool{seen}}
}

func (w *seenWorld) flag() {
	b, who := w.rnd.IntN(2), w.rnd.IntN(3)
	set, op := w.some(b), store.FlagOp(w.rnd.IntN(3))
	flags, seen, others := w.someFlags()
	update := store.FlagUpdate{Op: op, Flags: flags}
	now := w.snap(w.boxes[b].boxes[who])
	if w.rnd.IntN(4) == 0 {
		since := store.ModSeq(w.rnd.Uint64N(uint64(now.ModSeq()) + 1))
		update.UnchangedSince = &since
	}
	w.did("%d flags %v in %d, op %d %v, unchanged since %v", who, set, b, op, flags, update.UnchangedSince)
	got, err := w.boxes[b].boxes[who].Flag(w.Context(), set, update)
	require.NoError(w, err)
	var changed, failed store.UIDSet
	for uid := range set.All() {
		old := w.messages[b][uid]
		if update.UnchangedSince != nil && w.row(now, uid).ModSeq > *update.UnchangedSince {
			failed.Add(uid)
			continue
		}
		msg := old
		has := strings.Fields(old.flags)
		switch op {
		case store.FlagsAdd:
			msg.seen[who] = old.seen[who] || seen
		case store.FlagsRemove:
			msg.seen[who] = old.seen[who] && !seen
		case store.FlagsReplace:
			has, msg.seen[who] = nil, seen
		}
		for _, f := range others {
			low := strings.ToLower(string(f))
			if has = slices.DeleteFunc(has, func(h string) bool { return h == low }); op != store.FlagsRemove {
				has = append(has, low)
			}
		}
		slices.Sort(has)
		msg.flags = strings.Join(has, " ")
		if msg != old {
			w.messages[b][uid] = msg
			changed.Add(uid)
		}
	}
	require.True(w, changed.Equal(got.Changed), "changed %v, want %v", got.Changed, changed)
	require.True(w, failed.Equal(got.Failed), "failed %v, want %v", got.Failed, failed)
	require.Equal(w, len(changed) > 0, got.ModSeq > 0)
}

func (w *seenWorld) transfer() {
	from, to, who, move := w.rnd.IntN(2), w.rnd.IntN(2), w.rnd.IntN(3), w.rnd.IntN(2) == 0
	set := w.some(from)
	if !move && set.Len() > 4 {
		set = set[:1]
	}
	w.did("%d copies %v from %d to %d, move: %v", who, set, from, to, move)
	src, dst := w.boxes[from].boxes[who], w.boxes[to].boxes[0].ID()
	do := src.Copy
	if move {
		do = src.Move
	}
	c, err := do(w.Context(), set, dst)
	require.NoError(w, err)
	require.Len(w, c.From, set.Len())
	for i, uid := range c.From {
		msg := w.messages[from][uid]
		if move {
			delete(w.messages[from], uid)
		} else {
			mine := msg.seen[who]
			msg.seen = [3]bool{}
			msg.seen[who] = mine
		}
		w.messages[to][c.To[i]] = msg
	}
}

func (w *seenWorld) expunge() {
	b, who := w.rnd.IntN(2), w.rnd.IntN(3)
	set := w.some(b)
	w.did("%d expunges what he has seen of %v in %d", who, set, b)
	e, err := w.boxes[b].boxes[who].Expunge(w.Context(), set, store.FlagSeen)
	require.NoError(w, err)
	var want store.UIDSet
	for uid := range set.All() {
		if w.messages[b][uid].seen[who] {
			want.Add(uid)
			delete(w.messages[b], uid)
		}
	}
	require.True(w, want.Equal(e.UIDs), "expunged %v, want %v", e.UIDs, want)
}

func (w *seenWorld) check() {
	for b := range w.boxes {
		for who, mb := range w.boxes[b].boxes {
			s := w.snap(mb)
			past := w.past[b][who]
			if n := len(past); n > 0 {
				require.NoError(w, follows(past[n-1], s))
			}
			w.past[b][who] = append(past, s)
			require.Equal(w, len(w.messages[b]), s.Len())
			for _, r := range s.All() {
				msg := w.messages[b][r.UID]
				got := seenMessage{flagString(s.Flags(r.Flags &^ store.BitSeen)), msg.seen}
				got.seen[who] = r.Flags&store.BitSeen != 0
				require.Equal(w, msg, got, "UID %d of %d as %s sees it", r.UID, b, w.boxes[b].names[who])
			}
		}
	}
}

func (w *seenWorld) replayAll() {
	w.did("replay")
	for b := range w.boxes {
		for who, mb := range w.boxes[b].boxes {
			w.replay(mb, w.past[b][who], w.snap(mb))
			w.past[b][who] = w.past[b][who][max(len(w.past[b][who])-60, 0):]
		}
	}
}
