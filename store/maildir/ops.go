package maildir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/internal/varint"
	"github.com/posta-mail/posta/store"
)

// Kinds of operations on files. Each may be done again: what is done already,
// or was undone by another program, is left alone.
const (
	opFile  = 'f' // a prepared file goes from tmp/ to its place
	opBury  = 'b' // a message's file goes to the graveyard
	opFlags = 'l' // letters change: of dir, base, suffix, cur; added; removed
	opDir   = 'd' // a mailbox's folder is renamed
	opDrop  = 'x' // a mailbox's folder is removed
	opSubs  = 's' // the file of subscriptions is written
)

// op is one operation; which fields count depends on its kind. Paths are below
// the account's folder.
type op struct {
	kind        byte
	dir         string // of the mailbox
	file        file
	from, to    string
	add, remove string
}

type ops []op

func (o *ops) bury(dir string, f *file, ref uint64) {
	*o = append(*o, op{kind: opBury, dir: dir, file: *f, to: gravePath(ref)})
}

func gravePath(ref uint64) string {
	return filepath.Join(ownFolder, graveyard, strconv.FormatUint(ref, 36))
}

func (o ops) encode() []byte {
	var b []byte
	for i := range o {
		b = append(b, o[i].kind)
		b = o[i].file.append(b)
		for _, s := range [...]string{o[i].dir, o[i].from, o[i].to, o[i].add, o[i].remove} {
			b = varint.AppendString(b, s)
		}
	}
	return b
}

func decodeOps(b []byte) (ops, error) {
	var o ops
	v := varint.Reader{Rest: b}
	for len(v.Rest) > 0 {
		p := op{kind: v.Rest[0]}
		v.Rest = v.Rest[1:]
		p.file = readFile(&v)
		for _, s := range [...]*string{&p.dir, &p.from, &p.to, &p.add, &p.remove} {
			*s = v.String()
		}
		o = append(o, p)
	}
	if v.Bad {
		return nil, fmt.Errorf("%w: operations on files", store.ErrCorrupt)
	}
	return o, nil
}

// redo does what a crash left undone. The account is locked.
func (a *account) redo(ctx context.Context) error {
	var pending ops
	err := each(ctx, a.w, func(rows *sql.Rows) error {
		var data []byte
		if err := rows.Scan(&data); err != nil {
			return err
		}
		o, err := decodeOps(data)
		pending = append(pending, o...)
		return err
	}, `SELECT data FROM op ORDER BY id`)
	if err != nil || len(pending) == 0 {
		return err
	}
	a.s.opt.Logger.Info("maildir: finishing what was interrupted", "account", a.name, "operations", len(pending))
	st, err := loadState(ctx, a.w)
	if err != nil {
		return err
	}
	return a.perform(ctx, st, pending)
}

// perform does operations that have been committed, makes them durable, and
// notes that in the index and, for the mailboxes concerned, in st, which is not
// published yet.
func (a *account) perform(ctx context.Context, st *state, o ops) error {
	if len(o) == 0 {
		return nil
	}
	p := performer{a: a, st: st, touched: map[string]bool{}}
	for i := range o {
		if err := p.do(&o[i]); err != nil {
			return err
		}
	}
	for dir := range p.touched {
		if err := syncDir(a.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return a.settle(ctx, st, p.touched)
}

// settle ends a performance. That it is lost in a crash does no harm, so it is
// not synced.
func (a *account) settle(ctx context.Context, st *state, touched map[string]bool) error {
	if _, err := a.w.ExecContext(ctx, "PRAGMA synchronous = NORMAL"); err != nil {
		return err
	}
	defer a.w.ExecContext(ctx, "PRAGMA synchronous = FULL")
	if _, err := a.w.ExecContext(ctx, "BEGIN IMMEDIATE; DELETE FROM op"); err != nil {
		a.w.ExecContext(ctx, "ROLLBACK")
		return err
	}
	var err error
	for id, b := range st.boxes {
		n := *b
		for i, sub := range subFolders {
			if touched[filepath.Join(b.dir, sub)] {
				n.own[i] = changeTime(a.path(b.dir, sub))
			}
		}
		if n.own != b.own {
			_, e := a.w.ExecContext(ctx, `UPDATE mailbox SET own_new = ?, own_cur = ? WHERE id = ?`, n.own[0], n.own[1], int64(id))
			err = errors.Join(err, e)
			st.boxes[id] = &n
		}
	}
	if err != nil {
		a.w.ExecContext(ctx, "ROLLBACK")
		return err
	}
	_, err = a.w.ExecContext(ctx, "COMMIT")
	return err
}

// subFolders are those of a mailbox that hold messages.
var subFolders = [2]string{"new", "cur"}

// changeTime is when names in a folder changed last, 0 if that is unknown.
func changeTime(dir string) int64 {
	info, err := os.Stat(dir)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// performer does operations.
type performer struct {
	a       *account
	st      *state
	touched map[string]bool // folders, below the account's
}

func (p *performer) do(o *op) error {
	switch o.kind {
	case opFile:
		err := p.rename(o.from, o.to)
		delete(p.touched, filepath.Dir(o.from)) // that it is gone from tmp/ need not last
		return err
	case opBury:
		return p.bury(o)
	case opFlags:
		return p.flags(o)
	case opDir:
		return p.rename(o.from, o.to)
	case opDrop:
		return p.drop(o)
	case opSubs:
		return p.a.writeSubs(p.st)
	}
	return fmt.Errorf("%w: operation %q", store.ErrCorrupt, o.kind)
}

// rename moves a file or folder, unless that is done or it is gone. It never
// takes the place of another: what then stays where it was is found there by
// the next look at the folder.
func (p *performer) rename(from, to string) error {
	src, dst := p.a.path(from), p.a.path(to)
	if _, err := os.Lstat(dst); err == nil {
		if _, err := os.Lstat(src); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		p.a.s.opt.Logger.Warn("maildir: a name is taken", "account", p.a.name, "from", from, "to", to)
		return nil
	}
	if err := os.Rename(src, dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p.touched[filepath.Dir(from)], p.touched[filepath.Dir(to)] = true, true
	return nil
}

// locate finds a file that another program may have renamed: its path below
// the account's folder, empty if it is gone.
func (a *account) locate(dir string, f *file) (string, error) {
	path := filepath.Join(dir, f.path())
	if _, err := os.Lstat(a.path(path)); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, sub := range [...]string{"new", "cur", "new", "cur"} { // twice: it may be on its way
		found := ""
		err := readNames(a.path(dir, sub), func(name string, _ fs.DirEntry) bool {
			if base, _ := splitName(name); base == f.base {
				found = name
			}
			return found == ""
		})
		if found != "" {
			return filepath.Join(dir, sub, found), nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

func (p *performer) bury(o *op) error {
	from, err := p.a.locate(o.dir, &o.file)
	if err != nil || from == "" {
		return err
	}
	p.touched[filepath.Dir(from)] = true
	if p.a.s.opt.Grace < 0 {
		err = os.Remove(p.a.path(from))
	} else {
		err = os.Rename(p.a.path(from), p.a.path(o.to))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (p *performer) flags(o *op) error {
	for range 3 { // another program may rename it meanwhile
		from, err := p.a.locate(o.dir, &o.file)
		if err != nil || from == "" {
			return err
		}
		_, suffix := splitName(filepath.Base(from))
		to := filepath.Join(o.dir, "cur", o.file.base+changeLetters(suffix, o.add, o.remove))
		if from == to {
			return nil
		}
		if _, err := os.Lstat(p.a.path(to)); err == nil {
			p.a.s.opt.Logger.Warn("maildir: a name is taken", "account", p.a.name, "from", from, "to", to)
			return nil
		}
		err = os.Rename(p.a.path(from), p.a.path(to))
		if err == nil {
			p.touched[filepath.Dir(from)], p.touched[filepath.Dir(to)] = true, true
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// drop removes a mailbox's folder: out of the way at once, and then for good.
func (p *performer) drop(o *op) error {
	if err := p.rename(o.from, o.to); err != nil {
		return err
	}
	delete(p.touched, filepath.Dir(o.to)) // its names need not last
	if err := os.RemoveAll(p.a.path(o.to)); err != nil {
		p.a.s.opt.Logger.Warn("maildir: deleted mailbox cannot be removed", "account", p.a.name, "folder", o.to, "error", err)
	}
	return nil
}

// readNames calls f for the names in a folder until it returns false. Hidden
// ones are left out.
func readNames(dir string, f func(name string, e fs.DirEntry) bool) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if !f(e.Name(), e) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
