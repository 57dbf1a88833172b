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

// PlaceLater is st's, or a Place that has ended already.
func PlaceLater(ctx context.Context, st Store, targets []Target) (wait func() []Placed) {
	if p, ok := st.(Pipeliner); ok {
		return p.PlaceLater(ctx, targets)
	}
	placed := st.Place(ctx, targets)
	return func() []Placed { return placed }
}
