package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/posta-mail/posta/store"
)

// update runs f in a commit, the mailbox being as the folders have it.
func (m mailbox) update(ctx context.Context, f func(*tx, *boxTx, *store.Snapshot) error) error {
	return m.with(ctx, true, func(a *account, _ *box) error {
		if err := a.lockAll(ctx); err != nil {
			return err
		}
		defer a.unlockAll()
		if err := a.syncBox(ctx, m.id); err != nil {
			return err
		}
		return kindOf(a.commit(ctx, func(t *tx) error {
			snap, err := a.snapshot(ctx, m.id)
			if err != nil {
				return err
			}
			b, err := t.box(m.id)
			if err != nil {
				return err
			}
			return f(t, b, snap)
		}))
	})
}

func (m mailbox) Flag(ctx context.Context, uids store.UIDSet, update store.FlagUpdate) (out store.Flagged, err error) {
	err = m.update(ctx, func(t *tx, b *boxTx, snap *store.Snapshot) error {
		bits, table, err := update.Bits(b.keywords)
		if err != nil {
			return err
		}
		for _, r := range snap.Select(uids) {
			if update.UnchangedSince != nil && r.ModSeq > *update.UnchangedSince {
				out.Failed.Add(r.UID)
				continue
			}
			now := update.Op.Apply(r.Flags, bits)
			if now == r.Flags {
				continue
			}
			if out.Changed.Empty() {
				b.keywords = table
				if err := t.letters(b, store.FlagNames(bits|r.Flags, table)); err != nil {
					return err
				}
			}
			if err := t.flag(b, r, now); err != nil {
				return err
			}
			out.Changed.Add(r.UID)
		}
		if len(out.Changed) > 0 {
			out.ModSeq = t.modSeq
		}
		return nil
	})
	if err != nil {
		return store.Flagged{}, err
	}
	return out, nil
}

// flag changes the flags of a message and the letters of its file.
func (t *tx) flag(b *boxTx, r store.Row, now store.FlagBits) error {
	p, i, ok, err := t.message(b, r.UID)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("%w: no UID %d in the index", store.ErrCorrupt, r.UID))
	}
	add := lettersOf(now&^r.Flags, b.keywords, b.keys)
	remove := lettersOf(r.Flags&^now, b.keywords, b.keys)
	t.setFlags(b, p, i, now)
	if add == "" && remove == "" { // keywords without letters
		return nil
	}
	f := &p.files[i]
	t.ops = append(t.ops, op{kind: opFlags, dir: b.dir, file: *f, add: add, remove: remove})
	f.cur, f.suffix = true, changeLetters(f.suffix, add, remove)
	return nil
}

func (m mailbox) Expunge(ctx context.Context, uids store.UIDSet, with ...store.Flag) (out store.Expunged, err error) {
	err = m.update(ctx, func(t *tx, b *boxTx, snap *store.Snapshot) error {
		bits, known := snap.Bits(with...)
		if !known {
			return nil // no message has them all
		}
		for _, r := range snap.Select(uids) {
			if r.Flags&bits == bits {
				if err := t.remove(b, r.UID, false); err != nil {
					return err
				}
				out.UIDs.Add(r.UID)
				out.ModSeq = t.modSeq
			}
		}
		return nil
	})
	if err != nil {
		return store.Expunged{}, err
	}
	return out, nil
}

func (m mailbox) Copy(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	return m.transfer(ctx, uids, dest, false)
}

func (m mailbox) Move(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	return m.transfer(ctx, uids, dest, true)
}

func (m mailbox) transfer(ctx context.Context, uids store.UIDSet, dest store.MailboxID, move bool) (out store.Copied, err error) {
	err = m.update(ctx, func(t *tx, b *boxTx, _ *store.Snapshot) error {
		return t.transfer(ctx, b.ID, dest, uids, move, &out)
	})
	if err != nil {
		return store.Copied{}, err
	}
	return out, nil
}

// transfer copies messages, and removes them if they move.
func (t *tx) transfer(ctx context.Context, source, dest store.MailboxID, uids store.UIDSet, move bool, out *store.Copied) error {
	to, err := t.box(dest)
	if err != nil {
		return err
	}
	from, err := t.box(source)
	if err != nil {
		return err
	}
	out.UIDValidity = to.UIDValidity
	snap, err := t.a.snapshot(ctx, source)
	if err != nil {
		return err
	}
	for _, r := range snap.Select(uids) {
		if err := ctx.Err(); err != nil {
			return err
		}
		uid, err := t.copy(from, to, r)
		if errors.Is(err, errVanished) {
			continue // another program removed it just now
		}
		if err != nil {
			return err
		}
		if move {
			if err := t.remove(from, r.UID, false); err != nil {
				return err
			}
		}
		out.From, out.To, out.ModSeq = append(out.From, r.UID), append(out.To, uid), t.modSeq
	}
	if len(t.temps) > 0 {
		return syncDir(t.a.path("tmp"))
	}
	return nil
}

// errVanished is a message whose file another program removed.
var errVanished = errors.New("maildir: file is gone")

// copy files a message of one mailbox in another.
func (t *tx) copy(from, to *boxTx, r store.Row) (store.UID, error) {
	p, i, ok, err := t.message(from, r.UID)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, errVanished
	}
	old := p.files[i]
	bits, table, err := store.TranslateFlags(r.Flags, from.keywords, to.keywords)
	if err != nil {
		return 0, err
	}
	if err := t.letters(to, store.FlagNames(bits, table)); err != nil {
		return 0, err
	}
	to.keywords = table
	unique := t.a.s.namer.unique()
	temp := filepath.Join("tmp", unique)
	f := old
	if err := t.duplicate(from.dir, &f, temp, r); err != nil {
		return 0, err
	}
	virtual := parseBase(old.base).virtual
	if virtual < f.disk {
		virtual = int64(r.Size)
	}
	f.base = withSizes(unique, f.disk, virtual)
	t.flagged(to, &f, bits)
	uid, err := t.add(to, store.Row{Size: r.Size, Flags: bits, Date: r.Date, Saved: time.Now().Unix()}, f)
	if err != nil {
		return 0, err
	}
	t.ops = append(t.ops, op{kind: opFile, from: temp, to: filepath.Join(to.dir, f.path())})
	_, err = t.a.w.ExecContext(t.ctx, `INSERT OR REPLACE INTO outline SELECT ?, data FROM outline WHERE id = ?`,
		messageKey(to.ID, uid), messageKey(from.ID, r.UID))
	return uid, err
}

// duplicate gives a message's file another name in tmp/, or copies it where
// that cannot be.
func (t *tx) duplicate(dir string, f *file, temp string, r store.Row) error {
	path, err := t.a.locate(dir, f)
	if err != nil {
		return err
	}
	if path == "" {
		return errVanished
	}
	if !f.ours {
		if err := syncFile(t.a.path(path)); err != nil {
			return err
		}
		f.ours = true
	}
	err = os.Link(t.a.path(path), t.a.path(temp))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		var src *os.File
		if src, err = openRegular(t.a.path(path)); err != nil {
			return err
		}
		defer src.Close()
		_, _, err = t.a.writeFile(t.ctx, temp, src, r.Date)
	}
	t.temps = append(t.temps, t.a.path(temp))
	return err
}

// syncFile makes sure that what others wrote is durable.
func syncFile(name string) error {
	f, err := openRegular(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
