package store

import (
	"context"
	"errors"
	"iter"
)

// BodyReader is an optional ability of a Mailbox: to give the bodies of many
// messages with fewer reads than as many calls of Open. Call it through Bodies.
type BodyReader interface {
	// Bodies gives what Open gives for each of rows, in their order. A Body is
	// valid until the next one is asked for; it need not be closed. Errors are
	// those of Details: of one message, or of ctx or the store, which are the
	// last. Memory is bounded whatever the number and size of messages.
	Bodies(ctx context.Context, rows []Row) iter.Seq2[Body, error]
}

// Bodies gives the bodies of many messages as BodyReader has it, one by one
// where the mailbox has no such ability.
func Bodies(ctx context.Context, mb Mailbox, rows []Row) iter.Seq2[Body, error] {
	if r, ok := mb.(BodyReader); ok && len(rows) > 1 {
		return r.Bodies(ctx, rows)
	}
	return func(yield func(Body, error) bool) {
		for _, row := range rows {
			b, err := mb.Open(ctx, row)
			ok := yield(b, err)
			if err == nil {
				_ = b.Close()
			}
			if !ok || err != nil && (ctx.Err() != nil || errors.Is(err, ErrUnavailable)) {
				return
			}
		}
	}
}
