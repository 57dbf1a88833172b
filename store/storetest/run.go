package storetest

import (
	"testing"
	"time"

	"github.com/posta-mail/posta/store"
)

// Config tells Run how to get at an engine.
type Config struct {
	// New returns an empty store. The suite closes it; what lies beneath, such
	// as a folder, is for t.Cleanup and t.TempDir. Required.
	New func(t testing.TB) store.Store
	// Reopen closes st and opens again what it kept, as the next start of the
	// process would. Nil: the engine keeps nothing, and the checks of
	// persistence are left out.
	Reopen func(t testing.TB, st store.Store) store.Store
	// SetUIDNext changes the UIDNEXT of a mailbox behind the contract's back,
	// so that the end of the UIDs can be tested. Nil: that check is skipped.
	SetUIDNext func(t testing.TB, st store.Store, account, mailbox string, next store.UID)
	// Abilities are the optional parts of the contract that the engine has, see
	// AllAbilities. Their checks run; those of others are left out. Both a
	// declared ability that is missing and one that is not declared fail the
	// check named Abilities, so that nothing is left out unseen.
	Abilities []Ability
	// Seed makes the random operations repeatable; 0 picks one. It is printed
	// when they fail, with the shortest list of operations found that fails.
	Seed uint64
	// Steps is the number of random operations; 0 means 400.
	Steps int
	// Shrink is how long operations that fail are tried again with less, to
	// find the few that are enough for it; 0 means 30 s, negative: not at all.
	Shrink time.Duration
	// InMemory says that the engine keeps bodies in memory, so that their size
	// shows there. Otherwise the checks of bodies of 100 MB hold it to 16 MiB.
	InMemory bool
	// Huge asks for the check of a body of 2 GiB, which takes minutes and as
	// much disk.
	Huge bool
	// Second says what becomes of a second opener of the same place, and
	// OpenAgain is one: it opens where st is, which may be open or closed.
	// The suite closes what it returns.
	Second    Sharing
	OpenAgain func(t testing.TB, st store.Store) (store.Store, error)
	// Written tells Bench how many octets have been written to disk so far;
	// nil: by this process, where the system tells (Linux).
	Written func() int64
	// Rival is another engine that Bench measures in the same rounds, such as
	// one that keeps a file for each message; nil: none.
	Rival func(t testing.TB) store.Store
	// Patience is how long a check waits for what has to happen, such as a
	// wake-up, before it fails; 0 means 30 s.
	Patience time.Duration
}

// check is one property. It fails by way of k and may stop its goroutine.
type check struct {
	name string
	run  func(k *kit)
}

// checks lists all properties in the order in which they run.
func checks() []check {
	var all []check
	for _, group := range [][]check{
		stagingChecks, placeChecks, tokenChecks, accountChecks, mailboxChecks, renameChecks,
		flagChecks, expungeChecks, copyChecks, readChecks, changesChecks, watchChecks,
		savedChecks, concurrencyChecks, atomicChecks, modelChecks, lifecycleChecks, duringChecks, searchChecks, largeChecks, hostileChecks, secondChecks,
		reopenChecks, {{"Abilities", declared}},
	} {
		all = append(all, group...)
	}
	for _, a := range abilities() {
		all = append(all, a.checks...)
	}
	return all
}

// Run checks the engine, one subtest for each property.
func Run(t *testing.T, cfg Config) {
	leftOut := cfg.leftOut()
	for _, c := range checks() {
		if leftOut[c.name] || !cfg.needs(c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(newKit(t, cfg)) })
	}
}
