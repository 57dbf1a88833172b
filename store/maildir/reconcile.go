package maildir

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/posta-mail/posta/store"
)

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
