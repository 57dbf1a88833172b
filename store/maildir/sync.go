package maildir

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// known is what the index says of a file.
type known struct {
	uid    store.UID
	suffix string
	cur    bool
	mark   uint32 // of the last scan that saw it
}

// nameIndex has the files of a mailbox by their base, for comparing.
type nameIndex struct {
	modSeq store.ModSeq
	byBase map[string]*known
	byUID  map[store.UID]string
	mark   uint32
}

// load brings the names up to the index: all, or what has changed since.
func (n *nameIndex) load(ctx context.Context, c *sql.Conn, b *box, now store.ModSeq) error {
	if n.modSeq == now && n.byBase != nil {
		return nil
	}
	if n.byBase == nil || n.modSeq < b.low {
		n.byBase, n.byUID, n.modSeq = make(map[string]*known, b.Messages), make(map[store.UID]string, b.Messages), 0
	}
	gone, err := readTombs(ctx, c, b.ID, n.modSeq)
	if err != nil {
		return err
	}
	if n.modSeq > 0 {
		for _, r := range gone {
			for u := range (store.UIDSet{r}).All() {
				if base, ok := n.byUID[u]; ok {
					delete(n.byBase, base)
					delete(n.byUID, u)
				}
			}
		}
	}
	err = each(ctx, c, func(rows *sql.Rows) error {
		var key int64
		var data, files sql.RawBytes
		if err := rows.Scan(&key, &data, &files); err != nil {
			return err
		}
		p, err := decodePage(uint32(key)&(1<<pageBits-1), data, files)
		if err != nil {
			return err
		}
		for i := range p.files {
			f, uid := &p.files[i], p.rows[i].UID
			if k := n.byBase[f.base]; k != nil {
				k.uid, k.suffix, k.cur = uid, f.suffix, f.cur
			} else {
				n.byBase[f.base] = &known{uid: uid, suffix: f.suffix, cur: f.cur}
			}
			n.byUID[uid] = f.base
		}
		return nil
	}, `SELECT id, rows, files FROM page WHERE id >= ? AND id < ? AND modseq > ? ORDER BY id`, pageKey(b.ID, 0), pageKey(b.ID+1, 0), int64(n.modSeq))
	n.modSeq = now // a file may change its name only
	if err != nil {
		n.byBase = nil
	}
	return err
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

// missing are the messages that the last scan did not see where they were.
func (n *nameIndex) missing(read [2]bool) map[string]store.UID {
	var m map[string]store.UID
	for base, k := range n.byBase {
		if k.mark != n.mark && read[side(k.cur)] {
			if m == nil {
				m = map[string]store.UID{}
			}
			m[base] = k.uid
		}
	}
	return m
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

// reconcile brings the index up to the differences.
func (t *tx) reconcile(id store.MailboxID, n *nameIndex, diff *differences, gone map[string]store.UID, list *uidlist) error {
	t.foreign = true
	b, err := t.box(id)
	if err != nil {
		return err
	}
	keys, err := readKeywords(t.a.path(b.dir))
	if err != nil {
		return err
	}
	b.keys = &keys
	for _, uid := range gone {
		if err := t.remove(b, uid, true); err != nil {
			return err
		}
	}
	for base, f := range diff.moved {
		if err := t.moved(b, n.byBase[base].uid, f); err != nil {
			return err
		}
	}
	for _, m := range t.look(b, diff.fresh, list) {
		if list != nil && m.uid == 0 {
			b.UIDNext = max(b.UIDNext, list.next)
		}
		row := store.Row{UID: m.uid, Size: uint32(m.size), Date: m.date, Saved: time.Now().Unix()}
		system, names := flagsOf(letters(m.file.suffix), b.keys)
		row.Flags = system | b.intern(names)
		if list != nil {
			row.Saved = m.saved
		}
		if _, err := t.add(b, row, m.file); err != nil {
			return err
		}
	}
	if list != nil {
		b.UIDNext = max(b.UIDNext, list.next)
	}
	for i, at := range diff.at {
		if diff.complete(i) {
			b.seen[i] = at
		}
	}
	return nil
}

// intern gives the bits of keywords found in files. What does not fit into the
// mailbox's table is left out.
func (b *boxTx) intern(names []store.Flag) (bits store.FlagBits) {
	for _, f := range names {
		one, table, err := store.InternFlags(b.keywords, []store.Flag{f})
		if err == nil {
			b.keywords = table
			bits |= one
		}
	}
	return bits
}

// moved takes over a file's new name, and its flags.
func (t *tx) moved(b *boxTx, uid store.UID, f found) error {
	p, i, ok, err := t.message(b, uid)
	if err != nil || !ok {
		return err
	}
	old := p.files[i]
	p.files[i].suffix, p.files[i].cur = f.suffix, f.cur
	b.changed[pageNo(uid)] = true
	t.dirty = true
	before, beforeNames := flagsOf(letters(old.suffix), b.keys)
	after, afterNames := flagsOf(letters(f.suffix), b.keys)
	was, is := before|b.intern(beforeNames), after|b.intern(afterNames)
	// What has no letter stays as it is.
	if bits := p.rows[i].Flags&^(was&^is) | is; bits != p.rows[i].Flags {
		t.setFlags(b, p, i, bits)
	}
	return nil
}

// arrival is a file that has come.
type arrival struct {
	file
	fields
	uid   store.UID // from the uidlist, 0: the next one
	size  int64     // as read
	date  int64
	saved int64
}

// look finds out what there is to know of new files, and orders them: those of
// the uidlist first, then by the time of delivery that their names tell.
func (t *tx) look(b *boxTx, fresh map[string]found, list *uidlist) []arrival {
	var out []arrival
	for base, f := range fresh {
		m := arrival{file: file{base: base, suffix: f.suffix, cur: f.cur, email: emailID(base)}, fields: parseBase(base)}
		if list != nil {
			m.uid = list.uids[base]
		}
		if err := t.a.measure(b.dir, &m); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.a.s.opt.Logger.Warn("maildir: file left out", "account", t.a.name, "mailbox", b.Name, "file", base, "error", err)
			}
			continue
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(x, y arrival) int {
		if x.uid != y.uid {
			if x.uid == 0 || y.uid == 0 {
				return cmp.Compare(y.uid, x.uid)
			}
			return cmp.Compare(x.uid, y.uid)
		}
		return cmp.Or(cmp.Compare(x.when(), y.when()), cmp.Compare(x.micros, y.micros), cmp.Compare(x.base, y.base))
	})
	return out
}

// when is the second of delivery.
func (m *arrival) when() int64 {
	if m.seconds != 0 {
		return m.seconds
	}
	return m.date
}
