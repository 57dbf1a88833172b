package storetest

import (
	"math/rand/v2"

	"github.com/posta-mail/posta/store"
)

// actorStepKind says what an actorStep does.
type actorStepKind uint8

const (
	actorPlace actorStepKind = iota
	actorPlaceLater
	actorReplace
	actorFlag
	actorTransfer
	actorExpunge
	actorAnnotate
	actorLimit
	actorRename
	actorRecreate // deletes a mailbox and makes one of the same name
	actorReopen
	actorCheck // with history
)

// actorStep is one operation on behalf of one of three actors, as data.
type actorStep struct {
	kind      actorStepKind
	who       int
	box, dest int
	messages  uint64
	flags     uint8 // of actorFlags; the highest bit is \Seen
	op        store.FlagOp
	move      bool
	since     int // UnchangedSince, see sinceRank; 0: none
	n         int // how many; which key; which limit
	size      int // octets beyond the least
}

var actorFlags = []store.Flag{store.FlagFlagged, store.FlagDeleted, "Work", store.FlagSeen}

func (s actorStep) flagList() (flags []store.Flag) {
	for i, f := range actorFlags {
		if s.flags&(1<<i) != 0 {
			flags = append(flags, f)
		}
	}
	return flags
}

// actorKinds are as likely as they are many.
var actorKinds = []actorStepKind{actorPlace, actorPlace, actorPlaceLater, actorReplace, actorFlag, actorFlag, actorFlag, actorFlag,
	actorTransfer, actorTransfer, actorExpunge, actorAnnotate, actorAnnotate, actorLimit, actorRename, actorRecreate}

func makeActorSteps(rnd *rand.Rand, n int) []actorStep {
	var all []actorStep
	for i := range n / 2 {
		s := actorStep{kind: actorKinds[rnd.IntN(len(actorKinds))], who: rnd.IntN(3), box: rnd.IntN(3), dest: rnd.IntN(3),
			messages: rnd.Uint64() & rnd.Uint64(), flags: uint8(rnd.IntN(16)), op: store.FlagOp(rnd.IntN(3)), move: rnd.IntN(2) == 0,
			n: rnd.IntN(6), size: rnd.IntN(300)}
		if rnd.IntN(4) == 0 {
			s.since = 1 + rnd.IntN(8)
		}
		all = append(all, s)
		if i%40 == 39 {
			all = append(all, actorStep{kind: actorCheck})
		}
		if i%50 == 49 {
			all = append(all, actorStep{kind: actorReopen})
		}
	}
	return all
}

// simplerActorSteps are steps that do less than s.
func simplerActorSteps(s actorStep) []actorStep {
	var out []actorStep
	add := func(f func(*actorStep)) {
		t := s
		if f(&t); t != s {
			out = append(out, t)
		}
	}
	add(func(t *actorStep) { t.who = 0 })
	add(func(t *actorStep) { t.box = 0 })
	add(func(t *actorStep) { t.dest = 0 })
	add(func(t *actorStep) { t.flags &= t.flags - 1 })
	add(func(t *actorStep) { t.op = 0 })
	add(func(t *actorStep) { t.since = 0 })
	add(func(t *actorStep) { t.n = 0 })
	add(func(t *actorStep) { t.size = 0 })
	add(func(t *actorStep) { t.move = false })
	add(func(t *actorStep) { t.messages = 0 })
	add(func(t *actorStep) { t.messages = 1 })
	add(func(t *actorStep) { t.messages &= t.messages - 1 })
	return out
}
