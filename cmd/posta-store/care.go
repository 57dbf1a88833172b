package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/posta-mail/posta/store/sqlite"
)

// problem tells one problem of a store.
func (c *config) problem(p sqlite.Problem) {
	e := event{"event": "problem", "error": p.Err.Error(), "mended": p.Mended}
	if p.Account != "" {
		e["account"] = p.Account
	}
	if p.Mailbox != "" {
		e["mailbox"] = p.Mailbox
	}
	if p.UID != 0 {
		e["uid"] = p.UID
	}
	c.out.say(e, "%v", p)
}

// maxSeen is how many problems are looked at a second time.
const maxSeen = 10_000

// check reads everything. A server may be writing: what looks damaged is
// looked at again, and told if it still does.
func check(ctx context.Context, c *config) error {
	first, look := map[string]bool{}, c.engineOf(c.engine).check
	err := look(ctx, c, func(p sqlite.Problem) {
		if len(first) < maxSeen {
			first[p.Error()] = true
		}
	})
	if err != nil || len(first) == 0 {
		if err == nil {
			c.out.say(event{"event": "done", "problems": 0}, "no problems")
		}
		return err
	}
	n := 0
	err = look(ctx, c, func(p sqlite.Problem) {
		if first[p.Error()] || len(first) == maxSeen {
			n++
			c.problem(p)
		}
	})
	if err != nil {
		return err
	}
	c.out.say(event{"event": "done", "problems": n}, "%d problems", n)
	if n > 0 {
		return errProblems
	}
	return nil
}

func backupFlags(fs *flag.FlagSet, c *config) {
	fs.StringVar(&c.to, "to", "", "the backup's folder")
}

func restoreFlags(fs *flag.FlagSet, c *config) {
	fs.StringVar(&c.from, "from", "", "the backup's folder")
	fs.BoolVar(&c.exact, "exact", false, "keep all numbers: for a store that is moved, not one brought back")
}

// copied tells how far a backup is.
func (c *config) copied(done, total int64) {
	c.out.progress(event{"octets": done, "total": total}, "%s of %s %s", octets(done), octets(total), percent(done, total))
}

func backup(ctx context.Context, c *config) error {
	if c.to == "" {
		return usage("-to is missing")
	}
	n, err := c.engineOf(c.engine).backup(ctx, c)
	return c.finished(err, n, "saved in "+c.to)
}

func restore(ctx context.Context, c *config) error {
	if c.from == "" {
		return usage("-from is missing")
	}
	n, err := c.engineOf(c.engine).restore(ctx, c)
	return c.finished(err, n, "restored to "+c.store)
}

// counted tells problems and counts them.
func (c *config) counted(n *int) func(sqlite.Problem) {
	return func(p sqlite.Problem) {
		*n++
		c.problem(p)
	}
}

// finished ends a command that may have met damage.
func (c *config) finished(err error, problems int, text string) error {
	if err != nil {
		return err
	}
	if problems > 0 {
		text = fmt.Sprintf("%s, with %d problems", text, problems)
	}
	c.out.say(event{"event": "done", "problems": problems}, "%s", text)
	if problems > 0 {
		return errProblems
	}
	return nil
}
