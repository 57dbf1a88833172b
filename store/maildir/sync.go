package maildir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/posta-mail/posta/store"
)

// How coarse times of folders are: a change within that time after another
// does not show. File systems that keep whole seconds are known by them.
const (
	fineTick   = 20 * time.Millisecond
	coarseTick = 2 * time.Second
)

// A folder where nothing unexpected shows is read again after pauses of
// scanShare times what that takes; otherwise after hurryShare times.
const (
	scanShare  = 20
	hurryShare = 2
)

// maxScans bounds how often a folder is read until it holds still.
const maxScans = 4

// dirState is what this process knows of new/ and cur/ of a mailbox beyond the
// index. It is guarded by the account's mu.
type dirState struct {
	seen    [2]int64 // like box.seen, where that is not in the index yet
	scanned [2]int64 // the time that the last scan began with
	ended   [2]time.Time
	cost    [2]time.Duration
	names   *nameIndex // under the account's lock
}

// tick is how coarse a time is.
func tick(at int64) time.Duration {
	if at%int64(time.Second) == 0 {
		return coarseTick
	}
	return fineTick
}

// settled reports whether any later change will show in another time.
func settled(at int64, now time.Time) bool { return now.UnixNano()-at > int64(tick(at)) }

// times are those of new/ and cur/. ErrNotFound: there is no such mailbox.
func (a *account) times(b *box) (t [2]int64, err error) {
	for i, sub := range subFolders {
		info, err := os.Stat(a.path(b.dir, sub))
		if errors.Is(err, fs.ErrNotExist) {
			return t, nil // a new folder without its parts, or a deleted one
		}
		if err != nil {
			return t, kindOf(err)
		}
		t[i] = info.ModTime().UnixNano()
	}
	return t, nil
}

// both is what is read of a mailbox where everything is.
var both = [2]bool{true, true}

// stale reports which of the mailbox's folders have to be read.
func (a *account) stale(b *box, at [2]int64, now time.Time) (read [2]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.dirs[b.ID]
	if d == nil {
		d = &dirState{}
		a.dirs[b.ID] = d
	}
	for i := range at {
		if at[i] == 0 || at[i] == b.seen[i] || at[i] == d.seen[i] {
			continue
		}
		wait := hurryShare * d.cost[i]
		if at[i] == b.own[i] || at[i] == d.scanned[i] {
			wait = max(scanShare*d.cost[i], tick(at[i]))
		}
		read[i] = now.Sub(d.ended[i]) >= wait
	}
	return read
}

// refresh brings the index up to what is in a mailbox's folders.
func (a *account) refresh(ctx context.Context, id store.MailboxID) error {
	st, err := a.current(ctx)
	if err != nil {
		return err
	}
	b, err := st.box(id)
	if err != nil {
		return err
	}
	at, err := a.times(b)
	if err != nil || a.stale(b, at, time.Now()) == [2]bool{} && a.keysStamp(b) == b.seenKeys {
		return err
	}
	if err := a.lockAll(ctx); err != nil {
		return err
	}
	defer a.unlockAll()
	return a.syncBox(ctx, id)
}

// syncBox is refresh for who has locked the account.
func (a *account) syncBox(ctx context.Context, id store.MailboxID) error {
	st, err := a.current(ctx)
	if err != nil {
		return err
	}
	b, err := st.box(id)
	if err != nil {
		return err
	}
	if a.keysStamp(b) != b.seenKeys {
		if err := a.rekey(ctx, id); err != nil {
			return kindOf(err)
		}
		if st, err = a.current(ctx); err != nil {
			return err
		}
		if b, err = st.box(id); err != nil {
			return err
		}
	}
	at, err := a.times(b)
	if err != nil {
		return err
	}
	read := a.stale(b, at, time.Now())
	if read == [2]bool{} {
		return nil
	}
	a.mu.Lock()
	d := a.dirs[id]
	a.mu.Unlock()
	return kindOf(a.scan(ctx, b, d, st.modSeq, read))
}

// found is a file that the index does not have like that.
type found struct {
	base, suffix string
	cur          bool
}

// differences are what a scan found.
type differences struct {
	began time.Time
	read  [2]bool // what was read
	cost  [2]time.Duration
	at    [2]int64 // times of the folders when it began
	still bool     // nothing changed while it went on
	fresh map[string]found
	moved map[string]found
	twice []found // bases that are there twice

	unsure bool // whether messages are gone
}

// readFolders reads folders and marks what is there.
func (a *account) readFolders(b *box, n *nameIndex, read [2]bool) (*differences, error) {
	d := &differences{began: time.Now(), read: read, fresh: map[string]found{}, moved: map[string]found{}}
	n.mark++
	var err error
	if d.at, err = a.times(b); err != nil {
		return nil, err
	}
	odd := 0
	for i, sub := range subFolders { // new first: messages move from there to cur
		if !read[i] {
			continue
		}
		began := time.Now()
		err := readNames(a.path(b.dir, sub), func(name string, e fs.DirEntry) bool {
			if !e.Type().IsRegular() || len(name) > maxName {
				odd++
				return true
			}
			base, suffix := splitName(name)
			f := found{base, suffix, i == 1}
			k := n.byBase[base]
			_, again := d.fresh[base]
			switch {
			case again || k != nil && k.mark == n.mark:
				d.twice = append(d.twice, f)
			case k == nil:
				d.fresh[base] = f
			default:
				if k.mark = n.mark; k.suffix != suffix || k.cur != f.cur {
					d.moved[base] = f
				}
			}
			return true
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		d.cost[i] = time.Since(began)
	}
	if odd > 0 {
		a.s.opt.Logger.Warn("maildir: what is no message file is left alone", "account", a.name, "mailbox", b.Name, "count", odd)
	}
	after, err := a.times(b)
	if err != nil {
		return nil, err
	}
	d.still = true
	for i := range after {
		d.still = d.still && (!read[i] || after[i] == d.at[i] && settled(d.at[i], d.began))
	}
	return d, nil
}

// scan compares the folders of a mailbox with the index and commits what
// differs. The account is locked, and at mod-sequence now.
func (a *account) scan(ctx context.Context, b *box, d *dirState, now store.ModSeq, read [2]bool) error {
	ictx := context.WithoutCancel(ctx)
	if d.names == nil {
		d.names = &nameIndex{}
	}
	n := d.names
	if err := n.load(ictx, a.w, b, now); err != nil {
		return err
	}
	var diff *differences
	var gone map[string]store.UID
	for try := range maxScans {
		var err error
		if diff, err = a.readFolders(b, n, read); err != nil {
			return err
		}
		// A file that is renamed while a folder is read may be in neither
		// half. Only one missed while nothing moved is gone.
		gone = n.missing(read)
		if len(gone) == 0 && len(diff.twice) == 0 || diff.still && read == both {
			break
		}
		read = both
		if try == maxScans-1 {
			gone, diff.twice, diff.unsure = nil, nil, true // the next scan will tell
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(until(diff)):
		}
	}
	a.separate(b, diff.twice)
	var err error
	if len(diff.fresh)+len(diff.moved)+len(gone) > 0 {
		err = a.commit(ctx, func(t *tx) error { return t.reconcile(b.ID, n, diff, gone, nil) })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		return err
	}
	for i, at := range diff.at {
		if !diff.read[i] {
			continue
		}
		d.ended[i], d.scanned[i], d.cost[i] = time.Now(), at, min(diff.cost[i], time.Minute)
		if diff.complete(i) {
			d.seen[i] = at
		}
	}
	return nil
}

// until is how long to wait before folders are read again.
func until(d *differences) time.Duration {
	if d.still {
		return 0
	}
	return fineTick + time.Millisecond // until the folders' times are past
}

// complete reports whether all that was in a folder up to its time is known.
func (d *differences) complete(i int) bool {
	return d.read[i] && settled(d.at[i], d.began) && len(d.twice) == 0 && !d.unsure
}

// separate gives a file that shares its base with another one of its own.
func (a *account) separate(b *box, twice []found) {
	for _, f := range twice {
		from := a.path(b.dir, subFolders[side(f.cur)], f.base+f.suffix)
		to := a.path(b.dir, subFolders[side(f.cur)], a.s.namer.unique()+f.suffix)
		err := os.Rename(from, to)
		a.s.opt.Logger.Warn("maildir: two files of one name", "account", a.name, "mailbox", b.Name, "file", filepath.Base(from), "renamed", filepath.Base(to), "error", err)
	}
}

func side(cur bool) int {
	if cur {
		return 1
	}
	return 0
}
