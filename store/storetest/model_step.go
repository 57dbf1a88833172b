package storetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// stepKind says what a step does.
type stepKind uint8

const (
	stepPlace stepKind = iota
	stepToken
	stepTokenAgain
	stepReplace
	stepFlag
	stepExpunge
	stepCopy
	stepMove
	stepCreate
	stepRename
	stepDelete
	stepSubscribe
	stepReopen
	stepCheck // everything, with bodies and history
)

// step is one operation of a random run as data. It names mailboxes and
// messages by their place among those that there are, so that it keeps a
// meaning when steps before it are left out.
type step struct {
	kind      stepKind
	serial    int // of the run as it was made; names the bodies
	box, dest int // numbers of mailboxes, modulo
	name      int // in modelNames, modulo
	n         int // how many to place; which token
	messages  uint64
	span      bool // all from the first to the last of messages, holes included
	beyond    bool // and UIDs that do not exist yet
	flags     uint8
	op        store.FlagOp
	since     int  // UnchangedSince, see sinceRank; 0: none
	odd       bool // place: to fail; expunge: with \Deleted; subscribe: on
}

var modelNames = []string{"a", "a/b", "a/b/c", "b", "b/c", "c"}

var modelFlags = []store.Flag{store.FlagSeen, store.FlagDeleted, store.FlagFlagged, "$Work", "later", "x1", "x2"}

// stepKinds are as likely as they are many.
var stepKinds = []stepKind{stepPlace, stepPlace, stepPlace, stepToken, stepTokenAgain, stepReplace, stepFlag, stepFlag, stepFlag,
	stepExpunge, stepCopy, stepMove, stepCreate, stepCreate, stepRename, stepDelete, stepSubscribe}

// makeSteps makes n random steps, everything checked and reopened now and then.
func makeSteps(rnd *rand.Rand, n int) []step {
	var all []step
	for i := range n {
		s := step{kind: stepKinds[rnd.IntN(len(stepKinds))], serial: i, box: rnd.IntN(60), dest: rnd.IntN(60), name: rnd.IntN(len(modelNames)),
			n: 1 + rnd.IntN(3), messages: rnd.Uint64() & rnd.Uint64(), span: rnd.IntN(6) == 0, beyond: rnd.IntN(3) == 0,
			flags: uint8(rnd.Uint32() & rnd.Uint32() & 0x7f), op: store.FlagOp(rnd.IntN(3)), odd: rnd.IntN(2) == 0}
		if rnd.IntN(4) == 0 {
			s.since = 1 + rnd.IntN(8)
		}
		switch s.kind {
		case stepPlace:
			s.odd = rnd.IntN(8) == 0
		case stepDelete:
			if rnd.IntN(2) == 0 {
				s.kind = stepPlace
			}
		}
		all = append(all, s)
		if i%40 == 39 {
			all = append(all, step{kind: stepCheck})
		}
		if i%100 == 99 {
			all = append(all, step{kind: stepReopen})
		}
	}
	return all
}

// simplerSteps are steps that do less than s, the simplest first.
func simplerSteps(s step) []step {
	var out []step
	add := func(changed bool, f func(*step)) {
		if changed {
			t := s
			f(&t)
			out = append(out, t)
		}
	}
	add(s.box != 0, func(t *step) { t.box = 0 })
	add(s.dest != 0, func(t *step) { t.dest = 0 })
	add(s.name != 0, func(t *step) { t.name = 0 })
	add(s.n != 1, func(t *step) { t.n = 1 })
	add(s.since != 0, func(t *step) { t.since = 0 })
	add(s.span, func(t *step) { t.span = false })
	add(s.beyond, func(t *step) { t.beyond = false })
	add(s.odd, func(t *step) { t.odd = false })
	add(s.op != 0, func(t *step) { t.op = 0 })
	add(s.flags&(s.flags-1) != 0, func(t *step) { t.flags &= t.flags - 1 })
	add(s.flags != 0, func(t *step) { t.flags = 0 })
	if m := s.messages; m != 0 {
		add(true, func(t *step) { t.messages = 0 })
		add(m != 1, func(t *step) { t.messages = 1 })
		add(m&(m-1) != 0, func(t *step) { t.messages = m & -m })
		add(m&(m-1) != 0, func(t *step) { t.messages = m & (m - 1) })
	}
	return out
}

func flagsOf(bits uint8) []store.Flag {
	var flags []store.Flag
	for i, f := range modelFlags {
		if bits&(1<<i) != 0 {
			flags = append(flags, f)
		}
	}
	return flags
}

// runner carries out steps of a kind on stores made for it. It logs what it
// does and says how far it came.
type runner[T any] func(k *kit, steps []T, log *[]string, at *int)

// runRandom carries out random steps and, where they fail, finds the few that
// are enough for it.
func runRandom[T any](k *kit, generate func(*rand.Rand, int) []T, run runner[T], simpler func(T) []T) {
	k.Helper()
	seed, n := k.cfg.Seed, k.cfg.Steps
	if seed == 0 {
		seed = rand.Uint64()
	}
	if n == 0 {
		n = 400
	}
	patience := k.cfg.Shrink
	if patience == 0 {
		patience = 30 * time.Second
	}
	var log []string
	var at int
	attempt := func(steps []T) string {
		log, at = nil, len(steps)
		return testfail.Run(k.TB, func(t testing.TB) { run(newKit(t, k.cfg), steps, &log, &at) })
	}
	steps := generate(rand.New(rand.NewPCG(seed, 0)), n)
	why := attempt(steps)
	if why == "" {
		return
	}
	few := steps[:min(at+1, len(steps))] // the last of which is the one that failed
	few = shrink(few, time.Now().Add(patience), func(s []T) bool { return attempt(s) != "" }, simpler)
	last := attempt(few)
	if last == "" {
		k.Fatalf("random operations failed, but not again (a race?): %s\nConfig.Seed: %d, operation %d of %d", why, seed, at, n)
	}
	k.Fatalf("random operations failed: %s\nConfig.Seed: %d; of %d operations these %d are enough:\n%s", last, seed, n, len(few), strings.Join(log, "\n"))
}

// runModel carries out steps on the engine and on the memory engine, each
// compared with a model of maps, and the two with each other.
func runModel(k *kit, steps []step, log *[]string, at *int) {
	m := newModel(k, log)
	twin := newModel(newKit(k.TB, Config{New: func(testing.TB) store.Store { return memory.New() }, Patience: k.cfg.Patience}), new([]string))
	for i, s := range append(steps[:len(steps):len(steps)], step{kind: stepCheck}) {
		*at = i
		if s.kind == stepReopen && k.cfg.Reopen == nil {
			continue
		}
		got := m.do(s)
		want := twin.do(s)
		require.Equal(k, want, got, "the memory engine does otherwise")
		twin.follow(m)
	}
}

// do carries out one step and returns its outcome in the model's words.
func (m *model) do(s step) string {
	switch s.kind {
	case stepPlace:
		return m.place(s)
	case stepToken:
		return m.placeToken(s)
	case stepTokenAgain:
		return m.placeAgain(s)
	case stepReplace:
		return m.replace(s)
	case stepFlag:
		return m.flag(s)
	case stepExpunge:
		return m.expunge(s)
	case stepCopy, stepMove:
		return m.transfer(s)
	case stepCreate:
		return m.create(s)
	case stepRename:
		return m.rename(s)
	case stepDelete:
		return m.delete(s)
	case stepSubscribe:
		return m.subscribe(s)
	case stepReopen:
		return m.reopened()
	default:
		return m.checkAll()
	}
}

func modelRandom(k *kit) { runRandom(k, makeSteps, runModel, simplerSteps) }

func (m *model) did(format string, args ...any) {
	*m.log = append(*m.log, fmt.Sprintf(format, args...))
}
