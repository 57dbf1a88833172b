package storetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posta-mail/posta/store"
)

// DiskOp is a kind of operation on files.
type DiskOp string

// The kinds. What makes a file or writes to it needs space; what removes or
// renames one does not. Syncs are those of files and of folders.
const (
	DiskRead   DiskOp = "read"
	DiskWrite  DiskOp = "write"
	DiskCreate DiskOp = "create"
	DiskChange DiskOp = "change" // renaming, removing, cutting
	DiskSync   DiskOp = "sync"
)

// Disk decides which operations of an engine fail. The engine, opened for a
// test, asks Fail before each. Safe for concurrent use.
type Disk struct {
	mu       sync.Mutex
	fault    diskFault
	nth      int // operation that fails, of those that can
	seen     int
	healed   bool
	dead     bool            // nothing works any more
	unsynced map[string]bool // files whose sync failed
	retried  string          // one of them that was synced again
}

// diskFault is a way to fail.
type diskFault struct {
	name string
	err  error
	hits func(op DiskOp) bool
	// sticks: all later ones fail, too, until the disk heals.
	sticks bool
}

var diskFaults = []diskFault{
	{"EIO once", syscall.EIO, func(DiskOp) bool { return true }, false},
	{"EIO from then on", syscall.EIO, func(DiskOp) bool { return true }, true},
	{"ENOSPC once", syscall.ENOSPC, needsSpace, false},
	{"ENOSPC from then on", syscall.ENOSPC, needsSpace, true},
	{"failed sync", syscall.EIO, func(op DiskOp) bool { return op == DiskSync }, false},
}

func needsSpace(op DiskOp) bool { return op == DiskWrite || op == DiskCreate }

// Fail returns the error with which the operation on the file has to fail,
// syscall.EIO or ENOSPC, or nil. A write that fails has written half.
func (d *Disk) Fail(op DiskOp, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case op == DiskCreate:
		delete(d.unsynced, name)
	case op == DiskSync && d.unsynced[name]:
		d.retried = name
	}
	if d.dead {
		return syscall.EIO
	}
	if d.healed || !d.fault.hits(op) {
		return nil
	}
	if d.seen++; d.seen != d.nth && !(d.fault.sticks && d.seen > d.nth) {
		return nil
	}
	if op == DiskSync {
		d.unsynced[name] = true
	}
	return d.fault.err
}

// FaultConfig tells Faults how to get at an engine that keeps its store in a
// folder.
type FaultConfig struct {
	// Open opens the store in a folder so that it asks d before everything it
	// does with files. Required.
	Open func(dir string, d *Disk) (store.Store, error)
	// Maintain does what the engine does from time to time, such as to reclaim
	// space. Nil: nothing.
	Maintain func(ctx context.Context, st store.Store) error
	// Check has the engine look for damage, and returns what it found. Nil:
	// what can be seen through the contract is all.
	Check func(ctx context.Context, st store.Store) error
	// Every fails only each n-th operation, for a shorter test. 0: what the
	// environment variable POSTA_FAULT_EVERY says, else 13, or 60 with -short.
	Every int
}

// Faults does all a store can do while one operation on files fails, the first
// in one run, the next in the following, until there is none left to fail; once
// with an input/output error and once with a full disk, for that operation
// alone and for all from then on, and once more for syncs. Calls work or return
// ErrUnavailable or ErrNoSpace; nothing is acknowledged that rests on a file
// whose sync failed and was tried again; and when the disk works the store
// opens, has all that was acknowledged, nothing by half, and no damage. Each
// run is made twice: the second ends as if the process were killed.
func Faults(t testing.TB, cfg FaultConfig) {
	every := fromEnv(cfg.Every, "POSTA_FAULT_EVERY", 13, 60)
	for _, fault := range diskFaults {
		if parent, ok := t.(*testing.T); ok {
			parent.Run(fault.name, func(t *testing.T) { fault.each(t, cfg, every) })
		} else {
			fault.each(t, cfg, every)
		}
	}
}

// each fails one operation after the other.
func (fault diskFault) each(t testing.TB, cfg FaultConfig, every int) {
	began, runs := time.Now(), 0
	for nth := 1; ; nth += every {
		last := 0
		for _, die := range []bool{false, true} {
			d := &Disk{fault: fault, nth: nth, unsynced: make(map[string]bool)}
			if err := failing(t.Context(), cfg, d, die); err != nil {
				t.Fatalf("%s, operation %d, killed %t: %v", fault.name, nth, die, err)
			}
			runs, last = runs+1, max(last, d.seen)
		}
		if last < nth {
			t.Logf("%d runs, of up to %d operations, in %v", runs, last, time.Since(began).Round(time.Millisecond))
			return
		}
	}
}

// faultRun is one run on a disk that fails.
type faultRun struct {
	cfg    FaultConfig
	ctx    context.Context
	dir    string
	disk   *Disk
	die    bool // before the store is closed
	ledger *crashLedger
	child  *crashChild
	broken error // promise
	step   int
}

// failing does everything once on a disk.
func failing(ctx context.Context, cfg FaultConfig, d *Disk, die bool) error {
	dir, err := os.MkdirTemp(memoryFolder(), "posta-faults-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := &faultRun{cfg: cfg, ctx: ctx, dir: filepath.Join(dir, "store"), disk: d, die: die, ledger: newCrashLedger()}
	f.child = &crashChild{ctx: f.ctx, say: f.hear}
	return f.run()
}

func (f *faultRun) run() error {
	err := f.session(f.first)
	if err == nil {
		err = f.session(f.second)
	}
	if err == nil {
		err = f.broken
	}
	if err != nil {
		return err
	}
	f.set(func(d *Disk) { d.healed, d.dead = true, false })
	st, err := f.cfg.Open(f.dir, f.disk)
	if err != nil {
		return fmt.Errorf("opening on a disk that works again: %w", err)
	}
	defer st.Close()
	return f.ledger.verify(f.ctx, st, f.cfg.Check, false)
}

// hear takes in what the child says, and holds every acknowledgement against
// the syncs that failed.
func (f *faultRun) hear(e *crashEvent) {
	if !e.Done { // what went before may have failed and stays open
		f.step++
	}
	if e.Worker = fmt.Sprint("step", f.step); e.Kind == crashLease {
		e.Worker = "" // begins nothing
	}
	err := f.ledger.hear(e)
	f.disk.mu.Lock()
	if err == nil && e.Done && len(e.Items) > 0 && f.disk.retried != "" {
		err = fmt.Errorf("%s acknowledged although the sync of %s failed and was tried again", e.Kind, f.disk.retried)
	}
	f.disk.mu.Unlock()
	if f.broken == nil {
		f.broken = err
	}
}

func (f *faultRun) set(change func(d *Disk)) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	change(f.disk)
}

// session opens the store, works and closes it. Whatever fails, work goes on.
func (f *faultRun) session(work func() []error) error {
	f.set(func(d *Disk) { d.retried, d.dead = "", false; clear(d.unsynced) })
	st, err := f.cfg.Open(f.dir, f.disk)
	if err != nil {
		return notNow("opening", err, true)
	}
	f.child.st = st
	for i, e := range work() {
		if err == nil {
			err = notNow(fmt.Sprintf("call %d", i+1), e, false)
		}
	}
	f.set(func(d *Disk) { d.dead = f.die })
	if e := notNow("closing", st.Close(), true); err == nil {
		err = e
	}
	return err
}

// notNow lets errors pass that say that the disk, or what failed before, is the
// reason. Opening and closing may give the system's error.
func notNow(doing string, err error, system bool) error {
	if err == nil || !isAny(err, store.ErrCorrupt) && (system || isAny(err, store.ErrUnavailable, store.ErrNoSpace, store.ErrNotFound)) {
		return nil
	}
	return fmt.Errorf("%s on a disk that fails: %w", doing, err)
}

func (f *faultRun) first() []error {
	c := f.child
	if err := c.prepare(); err != nil {
		return []error{err}
	}
	inbox, lists := crashItem{Account: crashUser0, Mailbox: store.Inbox}, crashItem{Account: crashUser0, Mailbox: crashLists}
	other := crashItem{Account: crashUser1, Mailbox: store.Inbox}
	errs := []error{
		c.place("", "first", inbox), c.place("", "second", inbox, lists), c.place("", "third", lists, other),
		c.place("", largeToken("f"), inbox), c.place("", "fourth", inbox),
	}
	one := func(_ int, err error) { errs = append(errs, err) }
	if sp, ok := c.st.(store.Spooler); ok {
		errs = append(errs, c.enqueue(sp.Spool(), "", "spooled", true), c.enqueue(sp.Spool(), "", largeToken("s"), false))
		items, err := c.lease(sp.Spool(), "", 10)
		errs = append(errs, err)
		for i, it := range items {
			errs = append(errs, c.settle(sp.Spool(), "", it, i == 0))
		}
	}
	one(c.copy("", 1, 100))
	one(c.move("", 1, 100))
	one(c.flag("", store.Inbox, 1, 100))
	one(c.expunge("", store.Inbox, 0.8, 100))
	errs = append(errs, c.create("", "Churn"), c.place("", "churned", crashItem{Account: crashUser0, Mailbox: "Churn"}), c.rename("", "Churn", "Old"))
	if f.cfg.Maintain != nil {
		errs = append(errs, f.cfg.Maintain(f.ctx, c.st))
	}
	return append(errs, c.place("", "fifth", inbox, lists))
}

func (f *faultRun) second() []error {
	c := f.child
	if err := c.prepare(); err != nil {
		return []error{err}
	}
	_, err := c.expunge("", crashCopies, 1, 100)
	errs := []error{err, c.place("", "sixth", crashItem{Account: crashUser0, Mailbox: store.Inbox})}
	if f.cfg.Maintain != nil {
		errs = append(errs, f.cfg.Maintain(f.ctx, c.st))
	}
	return append(errs, c.place("", "last", crashItem{Account: crashUser1, Mailbox: store.Inbox}))
}

// largeToken begins with prefix and names a large message.
func largeToken(prefix string) string {
	for i := 0; ; i++ {
		token := fmt.Sprint(prefix, i)
		if n := len(crashMail(token)); n >= crashLarge && n < crashHuge {
			return token
		}
	}
}
