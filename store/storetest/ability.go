package storetest

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// Ability is an optional part of the contract. An engine declares those it
// has in Config.Abilities.
type Ability string

// The abilities there are. Each is an interface of package store.
const (
	Spool            Ability = "Spool"            // store.Spooler
	Leases           Ability = "Leases"           // store.Leaser
	Quotas           Ability = "Quotas"           // store.Quotas
	Annotations      Ability = "Annotations"      // store.Annotations, and \Seen of each actor's own
	AnnotationFinder Ability = "AnnotationFinder" // store.AnnotationFinder
	UIDLs            Ability = "UIDLs"            // store.UIDLs
	Pipelining       Ability = "Pipelining"       // store.Pipeliner
)

// AllAbilities is what a complete engine declares. It grows with the contract.
func AllAbilities() []Ability {
	var all []Ability
	for _, a := range abilities() {
		all = append(all, a.name)
	}
	return all
}

// ability says how to find out that an engine has one, and what it must then
// keep.
type ability struct {
	name   Ability
	has    func(k *kit) bool
	checks []check
}

func abilities() []ability {
	return []ability{
		{Spool, func(k *kit) bool { _, ok := k.st.(store.Spooler); return ok },
			slices.Concat(spoolChecks, spoolLeaseChecks,
				[]check{{"Watch/spool", watchSpool}, {"Watch/spool-no-lost-wake-up", watchSpoolLosesNothing},
					{"Model/spool", modelSpool}, {"Close/spool", closeSpool}, {"Reopen/spool", reopenSpool},
					{"Context/during-spool", contextDuringSpool}, {"Second/spool", secondSpool}})},
		{Leases, func(k *kit) bool { _, ok := k.st.(store.Leaser); return ok },
			slices.Concat(leaserChecks, []check{{"Second/leases", secondLeases}})},
		{Quotas, func(k *kit) bool { _, ok := k.st.(store.Quotas); return ok }, quotaChecks},
		{Annotations, func(k *kit) bool { _, ok := k.account("zoe").(store.Annotations); return ok },
			slices.Concat(annotationChecks, seenChecks)},
		{AnnotationFinder, func(k *kit) bool { _, ok := k.st.(store.AnnotationFinder); return ok }, finderChecks},
		{UIDLs, func(k *kit) bool { _, ok := k.box(k.account("yan"), store.Inbox).(store.UIDLs); return ok }, uidlChecks},
		{Pipelining, func(k *kit) bool { _, ok := k.st.(store.Pipeliner); return ok }, pipelineChecks},
	}
}

// declared makes sure that what an engine declares is what it has: a missing
// declaration would leave checks out unseen.
func declared(k *kit) {
	for _, a := range k.cfg.Abilities {
		require.Contains(k, AllAbilities(), a, "unknown ability")
	}
	for _, a := range abilities() {
		if slices.Contains(k.cfg.Abilities, a.name) {
			require.True(k, a.has(k), "Config.Abilities has %s, but the engine lacks it", a.name)
		} else {
			require.False(k, a.has(k), "the engine has %s, but Config.Abilities lacks it: its checks would be left out", a.name)
			k.Logf("left out: %d checks of %s", len(a.checks), a.name)
		}
	}
	if !slices.Contains(k.cfg.Abilities, Annotations) {
		k.account("xenia")
		_, err := k.st.Account(k.Context(), "xenia", "zoe")
		require.ErrorIs(k, err, store.ErrReadOnly, "who cannot tell actors apart has none but the owner")
	}
}

// leftOut are the names of the checks that are not for this engine.
func (cfg Config) leftOut() map[string]bool {
	out := map[string]bool{}
	for _, a := range abilities() {
		for _, c := range a.checks {
			out[c.name] = !slices.Contains(cfg.Abilities, a.name)
		}
	}
	return out
}

// actor opens an account on behalf of another user.
func (k *kit) actor(name, actor string) store.Account {
	k.Helper()
	a, err := k.st.Account(k.Context(), name, actor)
	require.NoError(k, err)
	return a
}
