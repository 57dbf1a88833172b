package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/posta-mail/posta/store"
)

// Files in a mailbox's folder: folderMark is Maildir++'s in all but INBOX,
// identityName ours, with the index and the mailbox it is of.
const (
	folderMark   = "maildirfolder"
	identityName = "posta-mailbox"
)

// found fills a new index from the folders; it has an INBOX when that is done.
// The account is locked.
func (a *account) found(ctx context.Context) error {
	graves := a.path(ownFolder, graveyard) // nobody knows them any more
	entries, err := os.ReadDir(graves)
	for _, e := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(graves, e.Name())))
	}
	if err != nil {
		return err
	}
	subs, err := a.readSubs()
	if err != nil {
		a.s.opt.Logger.Warn("maildir: subscriptions cannot be read", "account", a.name, "error", err)
	}
	err = a.commit(ctx, func(t *tx) error {
		for _, name := range subs {
			if err := t.subscribe(name, true); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.adopt(ctx, "", store.Inbox) // the rest are found like any new folder
}

// identity is what a mailbox's folder says that it is.
func (a *account) identity(dir string) (guid string, id store.MailboxID, known bool) {
	data, err := readSmall(a.path(dir, identityName), 200)
	if err != nil {
		return "", 0, false
	}
	fmt.Sscanf(string(data), "1 %s %d", &guid, &id) // what is unreadable is nobody's
	return guid, id, true
}

// identify writes a mailbox's identity into its folder.
func (a *account) identify(dir, guid string, id store.MailboxID) error {
	return replaceFile(a.path(dir, identityName), fmt.Appendf(nil, "1 %s %d\n", guid, id))
}

// adopt makes a mailbox of a folder that another program made, with all that is
// in it. One that Posta never had gets the UIDs that Dovecot gave.
func (a *account) adopt(ctx context.Context, dir, name string) error {
	var list *uidlist
	if _, _, known := a.identity(dir); !known {
		data, err := readSmall(a.path(dir, uidlistName), maxUIDList)
		if err == nil {
			list, err = parseUIDList(data)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.s.opt.Logger.Warn("maildir: no UIDs to take over", "account", a.name, "mailbox", name, "error", err)
		}
	}
	n := &nameIndex{byBase: map[string]*known{}, byUID: map[store.UID]string{}}
	diff, err := a.readFolders(&box{dir: dir, MailboxInfo: store.MailboxInfo{Name: name}}, n, both)
	if err != nil {
		return err
	}
	return a.commit(ctx, func(t *tx) error {
		b, err := t.create(name, dir, "", list)
		if err != nil {
			return err
		}
		if err := a.identify(dir, t.st.guid, b.ID); err != nil {
			return err
		}
		return t.reconcile(b.ID, n, diff, nil, list)
	})
}

// create makes a mailbox in the index.
func (t *tx) create(name, dir, special string, list *uidlist) (*boxTx, error) {
	least := uint32(0)
	if list != nil {
		least = list.validity // goes on above it
	}
	validity, err := t.a.s.nextValidity(t.ctx, least)
	if err != nil {
		return nil, err
	}
	if list != nil {
		validity = list.validity
	}
	b := &boxTx{home: dir, pages: map[uint32]*page{}, changed: map[uint32]bool{}, box: &box{dir: dir, MailboxInfo: store.MailboxInfo{
		ID: t.st.nextBox, Name: name, SpecialUse: special, UIDValidity: validity, UIDNext: 1, ModSeq: t.modSeq}}}
	t.st.nextBox++
	t.boxes[b.ID], t.st.boxes[b.ID], t.st.names[name] = b, b.box, b.ID
	return b, t.event(store.MailboxCreated, b.ID, name, "")
}

// rootFolders are the folders of mailboxes that are there, INBOX left out.
func (a *account) rootFolders() (map[string]bool, error) {
	d, err := os.Open(a.dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, ".") {
			continue
		}
		if e.IsDir() && len(name) > 1 && name[1] != '.' {
			out[name] = true
		} else if !e.Type().IsRegular() && !e.IsDir() {
			a.s.opt.Logger.Warn("maildir: what is no folder is left alone", "account", a.name, "name", name)
		}
	}
	return out, nil
}

// folders compares the folders that are there with the index.
func (a *account) compareRoot(st *state, there map[string]bool) (fresh []string, gone []*box) {
	known := map[string]bool{}
	for _, b := range st.boxes {
		known[b.dir] = true
		if b.dir != "" && !there[b.dir] {
			gone = append(gone, b)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(there)) {
		if known[dir] {
			continue
		}
		if info, err := os.Stat(a.path(dir, "cur")); err == nil && info.IsDir() {
			if _, err := boxName(dir, a.s.opt.UTF8); err == nil {
				fresh = append(fresh, dir)
			}
		}
	}
	return fresh, gone
}

// refreshRoot brings the index up to what mailboxes there are.
func (a *account) refreshRoot(ctx context.Context) error {
	info, err := a.gone()
	if err != nil {
		return kindOf(err)
	}
	at := info.ModTime().UnixNano()
	a.mu.Lock()
	same := a.rootAt == at
	a.mu.Unlock()
	if same {
		return nil
	}
	now := time.Now()
	there, err := a.rootFolders()
	if err != nil {
		return kindOf(err)
	}
	st, err := a.current(ctx)
	if err != nil {
		return err
	}
	if fresh, gone := a.compareRoot(st, there); len(fresh)+len(gone) > 0 {
		if err := a.lockAll(ctx); err != nil {
			return err
		}
		defer a.unlockAll()
		if err := a.syncRoot(ctx); err != nil {
			return kindOf(err)
		}
	}
	if settled(at, now) {
		a.mu.Lock()
		a.rootAt = at
		a.mu.Unlock()
	}
	return nil
}

// syncRoot is refreshRoot for who has locked the account.
func (a *account) syncRoot(ctx context.Context) error {
	there, err := a.rootFolders()
	if err != nil {
		return err
	}
	st, err := a.current(ctx)
	if err != nil {
		return err
	}
	fresh, gone := a.compareRoot(st, there)
	if len(gone) > 0 { // one that was being renamed while we read has another name now
		if there, err = a.rootFolders(); err != nil {
			return err
		}
		fresh, gone = a.compareRoot(st, there)
	}
	missing := map[store.MailboxID]*box{}
	for _, b := range gone {
		missing[b.ID] = b
	}
	for _, dir := range fresh {
		name, err := boxName(dir, a.s.opt.UTF8)
		if err != nil {
			continue
		}
		guid, id, _ := a.identity(dir)
		old := missing[id]
		if guid != st.guid {
			old = nil
		}
		delete(missing, id)
		if err := a.appeared(ctx, dir, name, old); err != nil {
			return err
		}
	}
	for _, b := range missing {
		if err := a.commit(ctx, func(t *tx) error { return t.drop(b) }); err != nil {
			return err
		}
	}
	return nil
}

// appeared takes in a folder that is new: of a mailbox that had another name,
// or of a new one.
func (a *account) appeared(ctx context.Context, dir, name string, old *box) error {
	st, err := a.current(ctx)
	if err != nil {
		return err
	}
	if id, taken := st.names[name]; taken && (old == nil || old.ID != id) {
		a.s.opt.Logger.Warn("maildir: folder of a mailbox that there is already", "account", a.name, "folder", dir, "mailbox", name)
		return nil
	}
	if old == nil {
		return a.adopt(ctx, dir, name)
	}
	return a.commit(ctx, func(t *tx) error {
		b, err := t.box(old.ID)
		if err != nil {
			return err
		}
		return t.rename(b, name, dir)
	})
}

// rename gives a mailbox another name in the index.
func (t *tx) rename(b *boxTx, name, dir string) error {
	from := b.Name
	if t.st.names[from] == b.ID {
		delete(t.st.names, from)
	}
	b.Name, b.dir = name, dir
	t.st.names[name] = b.ID
	return t.event(store.MailboxRenamed, b.ID, name, from)
}

// drop removes a mailbox from the index.
func (t *tx) drop(b *box) error {
	delete(t.st.boxes, b.ID)
	if t.st.names[b.Name] == b.ID {
		delete(t.st.names, b.Name)
	}
	for _, q := range []struct {
		query    string
		from, to int64
	}{
		{`DELETE FROM page WHERE id >= ? AND id < ?`, pageKey(b.ID, 0), pageKey(b.ID+1, 0)},
		{`DELETE FROM outline WHERE id >= ? AND id < ?`, messageKey(b.ID, 0), messageKey(b.ID+1, 0)},
		{`DELETE FROM uidl WHERE id >= ? AND id < ?`, messageKey(b.ID, 0), messageKey(b.ID+1, 0)},
		{`DELETE FROM tombstone WHERE mailbox >= ? AND mailbox < ?`, int64(b.ID), int64(b.ID) + 1},
		{`DELETE FROM mailbox WHERE id >= ? AND id < ?`, int64(b.ID), int64(b.ID) + 1},
	} {
		if _, err := t.a.w.ExecContext(t.ctx, q.query, q.from, q.to); err != nil {
			return err
		}
	}
	return t.event(store.MailboxDeleted, b.ID, b.Name, "")
}
