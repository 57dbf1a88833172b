package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/store"
)

func (o openAccount) Create(ctx context.Context, name string, opt store.CreateOptions) (info store.MailboxInfo, err error) {
	name, err = store.CanonicalName(name)
	if err != nil {
		return info, err
	}
	err = o.update(ctx, func(t *tx) error {
		if t.st.names[name] != 0 {
			return store.ErrExists
		}
		b, err := t.make(name, opt.SpecialUse)
		if err == nil {
			info = t.st.info(b.box)
		}
		return err
	})
	return info, err
}

// make makes a mailbox with its folder, and the missing ones above it.
func (t *tx) make(name, special string) (*boxTx, error) {
	if p := store.Parent(name); p != "" && t.st.names[p] == 0 {
		if _, err := t.make(p, ""); err != nil {
			return nil, err
		}
	}
	dir, err := t.freeFolder(name)
	if err != nil {
		return nil, err
	}
	b, err := t.create(name, dir, special, nil)
	if err != nil {
		return nil, err
	}
	from := filepath.Join(ownFolder, "box-"+t.a.s.namer.unique())
	t.temps = append(t.temps, t.a.path(from, "cur"), t.a.path(from, "new"), t.a.path(from, "tmp"), t.a.path(from, folderMark),
		t.a.path(from, identityName), t.a.path(from, keywordsName), t.a.path(from))
	for _, sub := range []string{"", "cur", "new", "tmp"} {
		if err := os.Mkdir(t.a.path(from, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(t.a.path(from, folderMark), nil, 0o600); err != nil {
		return nil, err
	}
	b.home = from
	t.ops = append(t.ops, op{kind: opDir, from: from, to: dir})
	return b, t.a.identify(from, t.st.guid, b.ID) // syncs the folder
}

// freeFolder is the folder for a new name. ErrExists if something is there
// that is no mailbox of ours.
func (t *tx) freeFolder(name string) (string, error) {
	dir, err := boxFolder(name, t.a.s.opt.UTF8)
	if err != nil {
		return "", err
	}
	for _, b := range t.st.boxes {
		if b.dir == dir {
			return "", fmt.Errorf("%w: folder %q", store.ErrExists, dir)
		}
	}
	for i := range t.ops { // it goes away, or is taken, in this commit
		if t.ops[i].to == dir {
			return "", fmt.Errorf("%w: folder %q", store.ErrExists, dir)
		}
		if t.ops[i].from == dir {
			return dir, nil
		}
	}
	if _, err := os.Lstat(t.a.path(dir)); err == nil {
		return "", fmt.Errorf("%w: folder %q", store.ErrExists, dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return dir, nil
}

func (o openAccount) Delete(ctx context.Context, name string) error {
	return o.update(ctx, func(t *tx) error {
		b, err := t.st.find(name)
		if err != nil {
			return err
		}
		if b.Name == store.Inbox {
			return fmt.Errorf("%w: INBOX cannot be deleted", store.ErrReadOnly)
		}
		t.ops = append(t.ops, op{kind: opDrop, from: b.dir, to: filepath.Join(ownFolder, "gone-"+strconv.FormatUint(uint64(b.ID), 10))})
		return t.drop(b)
	})
}

func (o openAccount) Rename(ctx context.Context, from, to string) error {
	to, err := store.CanonicalName(to)
	if err != nil {
		return err
	}
	return o.update(ctx, func(t *tx) error {
		b, err := t.st.find(from)
		if err != nil {
			return err
		}
		if t.st.names[to] != 0 {
			return store.ErrExists
		}
		if b.Name != store.Inbox {
			return t.renameTree(b, to)
		}
		// RFC 9051 §6.3.6: its messages move, what is below it stays.
		dest, err := t.make(to, "")
		if err != nil {
			return err
		}
		return t.transfer(ctx, b.ID, dest.ID, store.AllUIDs(), true, new(store.Copied))
	})
}

// renameTree renames a mailbox and what is below it.
func (t *tx) renameTree(b *box, to string) error {
	from := b.Name
	if store.Below(to, from) {
		return fmt.Errorf("%w: below itself", store.ErrInvalidName)
	}
	if p := store.Parent(to); p != "" && t.st.names[p] == 0 {
		if _, err := t.make(p, ""); err != nil {
			return err
		}
	}
	tree := t.st.sorted()
	tree = slices.DeleteFunc(tree, func(c *box) bool { return c.ID != b.ID && !store.Below(c.Name, from) })
	// Shorter names first: what a longer one is to be called may be one that is
	// given up.
	slices.SortStableFunc(tree, func(x, y *box) int { return len(x.Name) - len(y.Name) })
	for _, c := range tree {
		now, err := store.CanonicalName(to + c.Name[len(from):])
		if err != nil {
			return err
		}
		if t.st.names[now] != 0 {
			return fmt.Errorf("%w: %s", store.ErrExists, now)
		}
		dir, err := t.freeFolder(now)
		if err != nil {
			return err
		}
		ct, err := t.box(c.ID)
		if err != nil {
			return err
		}
		t.ops = append(t.ops, op{kind: opDir, from: c.dir, to: dir})
		if err := t.rename(ct, now, dir); err != nil {
			return err
		}
	}
	return nil
}

func (o openAccount) Subscribe(ctx context.Context, name string, on bool) error {
	name, err := store.CanonicalName(name)
	if err != nil {
		return err
	}
	return o.update(ctx, func(t *tx) error {
		if t.st.subs[name] == on {
			return nil
		}
		t.ops = append(t.ops, op{kind: opSubs})
		return t.subscribe(name, on)
	})
}

// subscribe sets a subscription in the index.
func (t *tx) subscribe(name string, on bool) error {
	if t.st.subs[name] == on {
		return nil
	}
	query := `INSERT INTO subscription VALUES (?)`
	if t.st.subs[name] = on; !on {
		delete(t.st.subs, name)
		query = `DELETE FROM subscription WHERE name = ?`
	}
	if _, err := t.a.w.ExecContext(t.ctx, query, name); err != nil {
		return err
	}
	return t.event(store.MailboxSubscribed, t.st.names[name], name, "")
}

// subsName is Dovecot's file of subscriptions, maxSubs what is read of it.
const (
	subsName = "subscriptions"
	maxSubs  = 4 << 20
)

// readSubs reads Dovecot's file: names as folders have them, one a line; in its
// second version a first line "V\t2", an empty one, and tabs between levels.
func (a *account) readSubs() ([]string, error) {
	data, err := readSmall(a.path(subsName), maxSubs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return parseSubs(string(data), a.s.opt.UTF8), err
}

func parseSubs(text string, utf8 bool) (names []string) {
	separator := "."
	if rest, ok := strings.CutPrefix(text, "V\t2\n\n"); ok {
		text, separator = rest, "\t"
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			continue
		}
		if strings.EqualFold(line, store.Inbox) {
			names = append(names, store.Inbox)
			continue
		}
		if separator == "\t" {
			line = strings.ReplaceAll(line, separator, ".")
		}
		if name, err := boxName("."+line, utf8); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// formatSubs is the second version.
func formatSubs(names []string, utf8 bool) []byte {
	b := []byte("V\t2\n\n")
	for _, name := range names {
		dir, err := boxFolder(name, utf8)
		if err != nil {
			continue // no folder can have it
		}
		if dir == "" {
			dir = "." + store.Inbox
		}
		b = append(b, strings.ReplaceAll(dir[1:], ".", "\t")...)
		b = append(b, '\n')
	}
	return b
}

// writeSubs writes the file from the index.
func (a *account) writeSubs(st *state) error {
	return replaceFile(a.path(subsName), formatSubs(st.subscribed(), a.s.opt.UTF8))
}
