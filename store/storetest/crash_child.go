package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/store"
)

// What a child is told by its environment.
const (
	crashDirEnv   = "POSTA_CRASH_DIR"   // the store's folder
	crashRoundEnv = "POSTA_CRASH_ROUND" // part of all tokens
	crashStepsEnv = "POSTA_CRASH_STEPS" // deliveries of each worker between two openings
	crashTurnsEnv = "POSTA_CRASH_TURNS" // openings; 0: no end
	crashTimeEnv  = "POSTA_CRASH_TIME"  // milliseconds until the child kills itself; 0: never
)

// CrashChild turns a test binary into the child of Kill and PowerLoss if its
// environment says so, and then does not return. Call it first in TestMain;
// open opens the store in a folder that may not exist, or hold what a crash
// left, with options that make everything happen often.
func CrashChild(open func(dir string) (store.Store, error)) {
	dir := os.Getenv(crashDirEnv)
	if dir == "" {
		return
	}
	c := &crashChild{open: open, dir: dir, round: os.Getenv(crashRoundEnv), say: tell(), ctx: context.Background()}
	number := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	c.steps = number(crashStepsEnv)
	if ms := number(crashTimeEnv); ms > 0 {
		time.AfterFunc(time.Duration(ms)*time.Millisecond, c.end)
	}
	for turn := 0; turn < number(crashTurnsEnv) || number(crashTurnsEnv) == 0; turn++ {
		if err := c.turn(turn); err != nil {
			c.say(&crashEvent{Kind: crashError, Text: err.Error()})
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// crashChild does what a server does, all at once.
type crashChild struct {
	open  func(dir string) (store.Store, error)
	dir   string
	round string
	steps int
	ctx   context.Context

	say  func(*crashEvent)
	st   store.Store
	user store.Account // the first
	left atomic.Int32  // workers that deliver
}

// tell writes each event at once: what the parent has read to its end was said.
func tell() func(*crashEvent) {
	var mu sync.Mutex
	return func(e *crashEvent) {
		mu.Lock()
		defer mu.Unlock()
		os.Stdout.Write(e.line())
	}
}

// end kills the process as a power switch would, if nobody else did.
func (c *crashChild) end() {
	c.say(&crashEvent{Kind: crashEnd})
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		p.Kill()
	}
	select {}
}

// turn opens the store, works and closes it.
func (c *crashChild) turn(turn int) error {
	var err error
	if c.st, err = c.open(c.dir); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	c.say(&crashEvent{Kind: crashOpen})
	workers := []func() error{c.flagger, c.expunger, c.copier, c.mover, c.churner}
	if sp, ok := c.st.(store.Spooler); ok {
		workers = append(workers, func() error { return c.settler(sp.Spool()) })
		c.left.Add(1)
		workers = append(workers, func() error {
			defer c.left.Add(-1)
			return c.spooler(sp.Spool(), fmt.Sprintf("r%s-t%d-s", c.round, turn))
		})
	}
	for w := range 3 {
		c.left.Add(1)
		workers = append(workers, func() error {
			defer c.left.Add(-1)
			return c.deliverer(w, fmt.Sprintf("r%s-t%d-w%d", c.round, turn, w))
		})
	}
	failed := make(chan error)
	for _, w := range workers {
		go func() { failed <- w() }()
	}
	for range workers {
		if err := <-failed; err != nil {
			return err
		}
	}
	return c.st.Close()
}

// busy reports whether mail is still being delivered; the other workers end
// with the last delivery.
func (c *crashChild) busy() bool { return c.left.Load() > 0 }

// prepare makes what is missing of accounts and mailboxes.
func (c *crashChild) prepare() error {
	for _, name := range []string{crashUser0, crashUser1} {
		item := crashItem{Account: name}
		c.say(&crashEvent{Worker: "main", Kind: crashAccount, Items: []crashItem{item}})
		if err := c.st.CreateAccount(c.ctx, name); err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
		a, err := c.st.Account(c.ctx, name, name)
		if err != nil {
			return err
		}
		mb, err := a.Mailbox(c.ctx, store.Inbox)
		if err != nil {
			return err
		}
		info, err := mb.Info(c.ctx)
		if err != nil {
			return err
		}
		item.Mailbox, item.Validity = store.Inbox, info.UIDValidity
		c.say(&crashEvent{Worker: "main", Kind: crashAccount, Done: true, Items: []crashItem{item}})
		if name == crashUser0 {
			c.user = a
		}
	}
	for _, name := range []string{crashLists, crashCopies, crashMoved} {
		if err := c.create("main", name); err != nil {
			return err
		}
	}
	return nil
}

func (c *crashChild) deliverer(w int, tokens string) error {
	for n := 0; n < c.steps; n++ {
		to := []crashItem{{Account: crashUser0, Mailbox: store.Inbox}}
		if n%4 == 1 {
			to = append(to, crashItem{Account: crashUser0, Mailbox: crashLists})
		}
		if n%8 == 2 {
			to = append(to, crashItem{Account: crashUser1, Mailbox: store.Inbox})
		}
		if err := c.place(fmt.Sprint("deliverer", w), fmt.Sprint(tokens, "-", n), to...); err != nil {
			return err
		}
	}
	return nil
}

func (c *crashChild) flagger() error {
	return c.repeat(func(n int) (int, error) { return c.flag("flagger", []string{store.Inbox, crashMoved}[n%2], 0.2, 5) })
}

func (c *crashChild) expunger() error {
	return c.repeat(func(n int) (int, error) {
		return c.expunge("expunger", []string{store.Inbox, store.Inbox, crashCopies}[n%3], 0.9, 60)
	})
}

func (c *crashChild) copier() error {
	return c.repeat(func(int) (int, error) { return c.copy("copier", 0.3, 4) })
}

func (c *crashChild) mover() error {
	return c.repeat(func(int) (int, error) { return c.move("mover", 0.3, 4) })
}

// repeat works until all mail is delivered, and waits where there was little
// to do.
func (c *crashChild) repeat(work func(n int) (int, error)) error {
	for n := 0; c.busy(); n++ {
		done, err := work(n)
		if err != nil {
			return err
		}
		if done < 3 {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// churner makes, fills, renames and deletes mailboxes of a few names.
func (c *crashChild) churner() error {
	const worker = "churner"
	for n := 0; c.busy(); n++ {
		from, to := fmt.Sprint("Churn", n%3), fmt.Sprint("Old", n%2)
		for _, name := range []string{from, to} { // a crash may have left them
			if err := c.remove(worker, name); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		if err := c.create(worker, from); err != nil {
			return err
		}
		if err := c.place(worker, fmt.Sprintf("r%s-c-%d-%d", c.round, time.Now().UnixNano(), n), crashItem{Account: crashUser0, Mailbox: from}); err != nil {
			return err
		}
		if err := c.rename(worker, from, to); err != nil {
			return err
		}
	}
	return nil
}

func (c *crashChild) spooler(sp store.Spool, tokens string) error {
	for n := 0; n < c.steps; n++ {
		if err := c.enqueue(sp, "spooler", fmt.Sprint(tokens, "-", n), n%2 != 0); err != nil {
			return err
		}
	}
	return nil
}

// settler ends what it leased: as sent, with a bounce, or not at all.
func (c *crashChild) settler(sp store.Spool) error {
	return c.repeat(func(n int) (int, error) {
		items, err := c.lease(sp, "settler", 3)
		if err != nil {
			return 0, err
		}
		for k, it := range items {
			if (n+k)%5 == 4 {
				continue // stays leased
			}
			if err := c.settle(sp, "settler", it, (n+k)%3 == 0); err != nil {
				return 0, err
			}
		}
		return len(items), nil
	})
}
