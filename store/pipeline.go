package store

import "context"

// Pipeliner is an optional ability of a Store: to place messages without
// waiting for the commit of those before, so that one connection's consecutive
// deliveries share it.
type Pipeliner interface {
	// PlaceLater begins what Store.Place does. Calls made one after another
	// are filed in that order. wait returns the outcome and may be called
	// once; until it has returned, the targets and what they hold belong to
	// the store. ctx governs both halves.
	PlaceLater(ctx context.Context, targets []Target) (wait func() []Placed)
}

// FlagPipeliner is an optional ability of a Mailbox: to change flags without
// waiting for the commit of the changes before, so that one connection's
// consecutive changes share it.
type FlagPipeliner interface {
	// FlagLater begins what Mailbox.Flag does. Calls made one after another, and
	// those of Pipeliner, are done in that order. wait returns the outcome and may
	// be called once; uids and update are the caller's again at once. ctx governs
	// both halves.
	FlagLater(ctx context.Context, uids UIDSet, update FlagUpdate) (wait func() (Flagged, error))
}

// FlagLater is mb's, or a Flag that has ended already.
func FlagLater(ctx context.Context, mb Mailbox, uids UIDSet, update FlagUpdate) (wait func() (Flagged, error)) {
	if p, ok := mb.(FlagPipeliner); ok {
		return p.FlagLater(ctx, uids, update)
	}
	done, err := mb.Flag(ctx, uids, update)
	return func() (Flagged, error) { return done, err }
}

// PlaceLater is st's, or a Place that has ended already.
func PlaceLater(ctx context.Context, st Store, targets []Target) (wait func() []Placed) {
	if p, ok := st.(Pipeliner); ok {
		return p.PlaceLater(ctx, targets)
	}
	placed := st.Place(ctx, targets)
	return func() []Placed { return placed }
}
