package maildir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/posta-mail/posta/store"
)

// Place implements store.Store.
func (s *Store) Place(ctx context.Context, targets []store.Target) []store.Placed {
	placed := make([]store.Placed, len(targets))
	groups := map[string][]int{}
	var order []string
	for i, t := range targets {
		if groups[t.Account] == nil {
			order = append(order, t.Account)
		}
		groups[t.Account] = append(groups[t.Account], i)
	}
	for _, name := range order {
		group := groups[name]
		if err := s.placeGroup(ctx, name, targets, group, placed); err != nil {
			for _, i := range group {
				placed[i] = store.Placed{Err: err}
			}
		}
	}
	return placed
}

// placeGroup files the targets of one account.
func (s *Store) placeGroup(ctx context.Context, name string, targets []store.Target, group []int, placed []store.Placed) error {
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	a, err := s.pin(ctx, name)
	if err != nil {
		return err
	}
	defer s.unpin(a)
	return a.check(s.placeIn(ctx, a, targets, group, placed))
}

func (s *Store) placeIn(ctx context.Context, a *account, targets []store.Target, group []int, placed []store.Placed) error {
	for _, i := range group {
		if err := targets[i].Check(); err != nil {
			return err
		}
	}
	p := preparer{a: a, ctx: ctx, done: map[content]*prepared{}}
	defer p.clean()
	files := make([]*prepared, len(group))
	for n, i := range group {
		known, err := a.tokenKnown(ctx, targets[i].Token)
		if err == nil && !known {
			files[n], err = p.prepare(&targets[i])
		}
		if err != nil {
			return err
		}
	}
	if len(p.paths) > 0 {
		if err := syncDir(a.path("tmp")); err != nil {
			return err
		}
	}
	if err := a.refreshRoot(ctx); err != nil {
		return err
	}
	return a.update(ctx, func(t *tx) error {
		for n, i := range group {
			var err error
			if placed[i], err = t.place(&targets[i], files[n]); err != nil {
				return err
			}
		}
		return nil
	})
}

// tokenKnown reports whether a token has been used, before anything is
// written.
func (a *account) tokenKnown(ctx context.Context, token string) (bool, error) {
	if token == "" {
		return false, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var n int
	err := a.r.QueryRowContext(context.WithoutCancel(ctx), `SELECT count(*) FROM token WHERE token = ?`, token).Scan(&n)
	return n > 0, err
}

// content is what makes the files of two targets the same.
type content struct {
	body   store.Staged
	prefix string
	date   int64
}

// prepared is a message written and synced in tmp/ of the account.
type prepared struct {
	path          string // below the account's folder
	unique        string
	size, virtual int64
	date          int64
}

// preparer writes messages to tmp/.
type preparer struct {
	a     *account
	ctx   context.Context
	done  map[content]*prepared
	paths []string
}

// clean removes what was not moved to its place.
func (p *preparer) clean() {
	for _, path := range p.paths {
		os.Remove(p.a.path(path))
	}
}

func (p *preparer) prepare(t *store.Target) (*prepared, error) {
	if err := p.ctx.Err(); err != nil {
		return nil, err
	}
	date := t.Date
	if date.IsZero() {
		date = time.Now()
	}
	unique := p.a.s.namer.unique()
	m := &prepared{path: filepath.Join("tmp", unique), unique: unique, date: date.Unix()}
	key := content{prefix: string(t.Prefix), date: m.date}
	if reflect.ValueOf(t.Body).Comparable() {
		key.body = t.Body
	}
	if first := p.done[key]; first != nil && key.body != nil {
		// The same octets again: another name of the same file.
		if os.Link(p.a.path(first.path), p.a.path(m.path)) == nil {
			p.paths = append(p.paths, m.path)
			m.size, m.virtual = first.size, first.virtual
			return m, nil
		}
	}
	p.paths = append(p.paths, m.path)
	if err := p.write(m, t); err != nil {
		return nil, err
	}
	p.done[key] = m
	return m, nil
}

func (p *preparer) write(m *prepared, t *store.Target) error {
	c := store.Joined{Prefix: t.Prefix, Body: t.Body, Length: t.Body.Size()}
	var err error
	m.size, m.virtual, err = p.a.writeFile(p.ctx, m.path, io.NewSectionReader(c, 0, c.Size()), m.date)
	if err == nil && m.size != c.Size() {
		err = fmt.Errorf("maildir: copying body: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// writeFile writes a message and syncs it.
func (a *account) writeFile(ctx context.Context, path string, r io.Reader, date int64) (size, virtual int64, err error) {
	f, err := os.OpenFile(a.path(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, 0, err
	}
	var c bareCounter
	buf := copyBuffers.Get().(*[]byte)
	_, err = io.CopyBuffer(io.MultiWriter(f, &c), onlyReader{ctxReader{ctx, r}}, *buf)
	copyBuffers.Put(buf)
	if err == nil && date > 0 && date < 1<<33 { // others take the date from the file; not all file systems keep any
		at := time.Unix(date, 0)
		os.Chtimes(f.Name(), at, at)
	}
	if err == nil {
		err = f.Sync()
	}
	return c.size, c.size + c.bare, errors.Join(err, f.Close())
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// place files one message.
func (t *tx) place(target *store.Target, m *prepared) (store.Placed, error) {
	if first, known, err := t.token(target.Token); known || err != nil {
		return first, err
	}
	if m == nil { // the token was known, and is no longer
		return store.Placed{}, fmt.Errorf("%w: token expired", store.ErrUnavailable)
	}
	found, err := t.st.find(target.Mailbox)
	if err != nil {
		return store.Placed{}, err
	}
	if target.Replaces != 0 {
		if err := t.replace(target.ReplacesIn, target.Replaces); err != nil {
			return store.Placed{}, err
		}
	}
	b, err := t.box(found.ID)
	if err != nil {
		return store.Placed{}, err
	}
	bits, table, err := store.InternFlags(b.keywords, target.Flags)
	if err != nil {
		return store.Placed{}, err
	}
	if err := t.letters(b, store.FlagNames(bits, table)); err != nil {
		return store.Placed{}, err
	}
	b.keywords = table
	f := file{base: withSizes(m.unique, m.size, m.virtual), plain: true, ours: true, disk: m.size}
	f.email = emailID(f.base)
	t.flagged(b, &f, bits)
	row := store.Row{Size: uint32(m.size), Flags: bits, Date: m.date, Saved: time.Now().Unix()}
	uid, err := t.add(b, row, f)
	if err != nil {
		return store.Placed{}, err
	}
	t.ops = append(t.ops, op{kind: opFile, from: m.path, to: filepath.Join(b.dir, f.path())})
	if o := target.Body.Outline(); o != nil {
		if data, err := store.WithPrefix(o, target.Prefix).AppendBinary(nil); err == nil {
			if b.outlines == nil {
				b.outlines = map[store.UID][]byte{}
			}
			b.outlines[uid] = data
		}
	}
	if target.UIDL != "" {
		if b.uidls == nil {
			b.uidls = map[store.UID]string{}
		}
		b.uidls[uid] = target.UIDL
	}
	p := store.Placed{Mailbox: b.ID, UIDValidity: b.UIDValidity, UID: uid, ModSeq: t.modSeq}
	return p, t.useToken(target.Token, p)
}

// flagged gives a new file its name: one without flags is new.
func (t *tx) flagged(b *boxTx, f *file, bits store.FlagBits) {
	keys := b.keys
	if keys == nil {
		keys = new(keywordFile)
	}
	if l := lettersOf(bits, b.keywords, keys); l != "" {
		f.cur, f.suffix = true, changeLetters("", l, "")
	} else {
		f.cur, f.suffix = false, ""
	}
}

// token looks a token up.
func (t *tx) token(token string) (p store.Placed, known bool, err error) {
	if token == "" {
		return p, false, nil
	}
	err = t.a.w.QueryRowContext(t.ctx, `SELECT mailbox, uidvalidity, uid, modseq FROM token WHERE token = ?`, token).Scan(
		&p.Mailbox, &p.UIDValidity, &p.UID, &p.ModSeq)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Placed{}, false, nil
	}
	p.Duplicate = true
	return p, err == nil, err
}

func (t *tx) useToken(token string, p store.Placed) error {
	if token == "" {
		return nil
	}
	_, err := t.a.w.ExecContext(t.ctx, `INSERT INTO token VALUES (?, ?, ?, ?, ?, ?)`, token, time.Now().Unix(),
		int64(p.Mailbox), p.UIDValidity, p.UID, int64(p.ModSeq))
	return err
}

// replace removes the message that another takes the place of (RFC 8508).
func (t *tx) replace(id store.MailboxID, uid store.UID) error {
	b, err := t.box(id)
	if err != nil {
		return fmt.Errorf("%w: mailbox of the message to replace", store.ErrNotFound)
	}
	if _, _, ok, err := t.message(b, uid); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("%w: message to replace", store.ErrNotFound)
	}
	return t.remove(b, uid, false)
}
