package main

import (
	"context"

	"github.com/posta-mail/posta/store/sqlite"
)

// repair mends the store, which nobody may have open, and tells what it found.
func repair(ctx context.Context, c *config) error {
	n := 0
	if err := (sqlite.Options{}).Repair(ctx, c.store, c.counted(&n)); err != nil {
		return err
	}
	c.out.say(event{"event": "done", "problems": n}, "%d problems mended", n)
	return nil
}
