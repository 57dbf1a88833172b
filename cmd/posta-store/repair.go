package main

import (
	"context"

	"github.com/posta-mail/posta/store/sqlite"
)

// repair mends the store, which nobody may have open, and tells what it found.
func repair(ctx context.Context, c *config) error {
	n, left := 0, 0
	err := (sqlite.Options{}).Repair(ctx, c.store, func(p sqlite.Problem) {
		n++
		if !p.Mended {
			left++
		}
		c.problem(p)
	})
	if err != nil {
		return err
	}
	c.out.say(event{"event": "done", "problems": n, "left": left}, "%d problems mended", n-left)
	if left > 0 {
		return errProblems
	}
	return nil
}
