package maildir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/posta-mail/posta/internal/varint"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// openAccount is an account as its owner sees it.
type openAccount struct {
	s    *Store
	name string
	guid string
}

var (
	_ store.Account = openAccount{}
	_ store.Mailbox = mailbox{}
	_ store.UIDLs   = mailbox{}
)

// with runs f with the account open.
func (o openAccount) with(ctx context.Context, f func(*account) error) error {
	if err := o.s.gate.Enter(ctx); err != nil {
		return err
	}
	defer o.s.gate.Leave()
	a, err := o.s.pin(ctx, o.name)
	if err != nil {
		return err
	}
	defer o.s.unpin(a)
	st, err := a.current(ctx)
	if err != nil {
		return err
	}
	if st.guid != o.guid {
		return store.ErrNotFound // another account of that name, or one whose index was lost
	}
	return a.check(f(a))
}

// update runs f in a commit to the account as it is now.
func (o openAccount) update(ctx context.Context, f func(*tx) error) error {
	return o.with(ctx, func(a *account) error {
		if err := a.refreshRoot(ctx); err != nil {
			return err
		}
		return a.update(ctx, f)
	})
}

func (o openAccount) Name() string  { return o.name }
func (o openAccount) Actor() string { return o.name }

func (o openAccount) Mailboxes(ctx context.Context) (infos []store.MailboxInfo, err error) {
	err = o.with(ctx, func(a *account) error {
		st, err := a.refreshAll(ctx)
		if err != nil {
			return err
		}
		infos = make([]store.MailboxInfo, 0, len(st.boxes))
		for _, b := range st.sorted() {
			infos = append(infos, st.info(b))
		}
		return nil
	})
	return infos, err
}

// refreshAll brings the index up to all folders.
func (a *account) refreshAll(ctx context.Context) (*state, error) {
	if err := a.refreshRoot(ctx); err != nil {
		return nil, err
	}
	st, err := a.current(ctx)
	if err != nil {
		return nil, err
	}
	for id := range st.boxes {
		if err := a.refresh(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	return a.current(ctx)
}

func (o openAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	var mb mailbox
	err := o.with(ctx, func(a *account) error {
		if err := a.refreshRoot(ctx); err != nil {
			return err
		}
		st, err := a.current(ctx)
		if err != nil {
			return err
		}
		b, err := st.find(name)
		if err == nil {
			mb = mailbox{o, b.ID}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return mb, nil
}

// subscribed are the names subscribed to, in order.
func (s *state) subscribed() []string { return slices.Sorted(maps.Keys(s.subs)) }

func (o openAccount) Subscriptions(ctx context.Context) (names []string, err error) {
	err = o.with(ctx, func(a *account) error {
		st, err := a.current(ctx)
		if err == nil {
			names = st.subscribed()
		}
		return err
	})
	return names, err
}

func (o openAccount) Changes(ctx context.Context, since store.ModSeq) (c store.AccountChanges, err error) {
	err = o.with(ctx, func(a *account) error {
		if _, err := a.refreshAll(ctx); err != nil {
			return err
		}
		c, err = a.changes(context.WithoutCancel(ctx), since)
		return kindOf(err)
	})
	return c, err
}

// changes reads the events of an account.
func (a *account) changes(ctx context.Context, since store.ModSeq) (c store.AccountChanges, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	tx, err := a.r.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return c, err
	}
	defer tx.Rollback()
	var now, low store.ModSeq
	if err := tx.QueryRowContext(ctx, `SELECT modseq, low FROM state`).Scan(&now, &low); err != nil {
		return c, err
	}
	if since < low {
		return c, store.ErrHistoryGone
	}
	c = store.AccountChanges{Since: since, Through: max(now, since)}
	if since >= now {
		return c, nil
	}
	read := func(rows *sql.Rows) error {
		var e store.MailboxEvent
		err := rows.Scan(&e.Kind, &e.ModSeq, &e.Mailbox, &e.Name, &e.OldName)
		c.Events = append(c.Events, e)
		return err
	}
	err = errors.Join(
		each(ctx, tx, read, `SELECT kind, modseq, mailbox, name, oldname FROM event WHERE modseq > ? ORDER BY modseq, seq`, int64(since)),
		each(ctx, tx, read, `SELECT ?, changed, id, name, '' FROM mailbox WHERE changed > ? ORDER BY changed, id`, store.MailboxChanged, int64(since)))
	slices.SortStableFunc(c.Events, func(x, y store.MailboxEvent) int { // a mailbox is created before it changes
		switch {
		case x.ModSeq < y.ModSeq:
			return -1
		case x.ModSeq > y.ModSeq:
			return 1
		}
		return 0
	})
	return c, err
}

// mailbox is a handle to a mailbox.
type mailbox struct {
	o  openAccount
	id store.MailboxID
}

// with runs f with the account open and, if fresh, the mailbox as the folders
// have it.
func (m mailbox) with(ctx context.Context, fresh bool, f func(*account, *box) error) error {
	return m.o.with(ctx, func(a *account) error {
		if fresh {
			if err := a.refreshRoot(ctx); err != nil {
				return err
			}
			if err := a.refresh(ctx, m.id); err != nil {
				return err
			}
		}
		st, err := a.current(ctx)
		if err != nil {
			return err
		}
		b, err := st.box(m.id)
		if err != nil {
			return err
		}
		return f(a, b)
	})
}

func (m mailbox) ID() store.MailboxID { return m.id }

func (m mailbox) Info(ctx context.Context) (info store.MailboxInfo, err error) {
	err = m.with(ctx, true, func(a *account, b *box) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if info = b.MailboxInfo; a.st != nil {
			info.Subscribed = a.st.subs[b.Name]
		}
		return nil
	})
	return info, err
}

func (m mailbox) Snapshot(ctx context.Context) (s *store.Snapshot, err error) {
	err = m.with(ctx, true, func(a *account, _ *box) error {
		s, err = a.snapshot(ctx, m.id)
		return kindOf(err)
	})
	return s, err
}

func (m mailbox) Changes(ctx context.Context, since store.ModSeq) (c store.Changes, err error) {
	err = m.with(ctx, true, func(a *account, _ *box) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		c, err = readChanges(context.WithoutCancel(ctx), a.r, m.id, since, false)
		return kindOf(err)
	})
	if err != nil {
		return store.Changes{}, err
	}
	return c, nil
}

// UIDLs implements store.UIDLs.
func (m mailbox) UIDLs(ctx context.Context) (out map[store.UID]string, err error) {
	err = m.with(ctx, true, func(a *account, _ *box) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		out = map[store.UID]string{}
		return kindOf(each(context.WithoutCancel(ctx), a.r, func(rows *sql.Rows) error {
			var key int64
			var uidl string
			err := rows.Scan(&key, &uidl)
			out[store.UID(uint32(key))] = uidl
			return err
		}, `SELECT id, uidl FROM uidl WHERE id >= ? AND id < ?`, messageKey(m.id, 0), messageKey(m.id+1, 0)))
	})
	return out, err
}

// place is where a message is: its file, and whether that is in the graveyard.
type place struct {
	file
	dir   string
	grave bool
}

// find finds the file of a message by its row, among those that are there and
// those expunged not long ago.
func (a *account) find(ctx context.Context, b *box, row store.Row) (p place, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	pg, err := readPage(ctx, a.r, b.ID, pageNo(row.UID))
	if err != nil {
		return p, err
	}
	for i, r := range pg.rows {
		if r.UID == row.UID && r.Ref == row.Ref {
			return place{file: pg.files[i], dir: b.dir}, nil
		}
	}
	var at int64
	var data []byte
	err = a.r.QueryRowContext(ctx, `SELECT at, file FROM grave WHERE ref = ?`, int64(row.Ref)).Scan(&at, &data)
	if errors.Is(err, sql.ErrNoRows) || err == nil && time.Since(time.Unix(at, 0)) > a.s.opt.Grace+time.Second {
		return p, store.ErrExpunged
	}
	v := varint.Reader{Rest: data}
	if p = (place{file: readFile(&v), dir: b.dir, grave: true}); err == nil && v.Bad {
		err = fmt.Errorf("%w: expunged message", store.ErrCorrupt)
	}
	return p, err
}

// openRow opens a message by its row.
func (a *account) openRow(ctx context.Context, b *box, row store.Row) (store.Body, place, error) {
	p, err := a.find(ctx, b, row)
	if err != nil {
		return nil, p, kindOf(err)
	}
	for range 2 {
		if p.grave {
			fd, err := os.Open(a.path(gravePath(row.Ref)))
			if err == nil {
				body, err := openFile(fd, &p.file, int64(row.Size))
				return body, p, err
			}
			if !errors.Is(err, os.ErrNotExist) {
				return nil, p, kindOf(err)
			}
		}
		// One that is being expunged here may still be, or be no more, in
		// its place.
		body, err := a.openMessage(p.dir, &p.file, int64(row.Size))
		if !errors.Is(err, store.ErrExpunged) {
			return body, p, err
		}
		if p, err = a.find(ctx, b, row); err != nil {
			return nil, p, kindOf(err)
		}
	}
	return nil, p, store.ErrExpunged
}

func (m mailbox) Open(ctx context.Context, row store.Row) (body store.Body, err error) {
	err = m.with(ctx, false, func(a *account, b *box) error {
		body, _, err = a.openRow(ctx, b, row)
		return err
	})
	if err != nil {
		return nil, err
	}
	return body, nil
}

func (m mailbox) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		parsed := map[store.UID][]byte{}
		defer func() { m.keep(ctx, parsed) }()
		for _, row := range rows {
			var d store.Detail
			err := m.with(ctx, false, func(a *account, b *box) (err error) {
				d, err = a.detail(ctx, b, row, parsed)
				return err
			})
			d.Row = row
			if !yield(d, err) || err != nil && (ctx.Err() != nil || errors.Is(err, store.ErrUnavailable) && m.o.s.gate.Closed()) {
				return
			}
		}
	}
}

// maxParsed bounds the outlines that a call of Details keeps, in octets.
const maxParsed = 4 << 20

// detail gives what is known of a message. What had to be computed is added to
// parsed, for keeping.
func (a *account) detail(ctx context.Context, b *box, row store.Row, parsed map[store.UID][]byte) (d store.Detail, err error) {
	p, err := a.find(ctx, b, row)
	if err != nil {
		return d, kindOf(err)
	}
	d.EmailID = emailText(p.email)
	if !p.grave {
		var data []byte
		a.mu.Lock()
		err = a.r.QueryRowContext(context.WithoutCancel(ctx), `SELECT data FROM outline WHERE id = ?`, messageKey(b.ID, row.UID)).Scan(&data)
		a.mu.Unlock()
		if err == nil {
			o := new(message.Outline)
			if err = o.UnmarshalBinary(data); err == nil && o.Size == int64(row.Size) {
				d.Outline = o
				return d, nil
			}
		} else if !errors.Is(err, sql.ErrNoRows) {
			return d, kindOf(err)
		}
	}
	body, p, err := a.openRow(ctx, b, row)
	if err != nil {
		return d, err
	}
	defer body.Close()
	if d.Outline, err = store.Parse(body, body.Size()); err != nil {
		return d, kindOf(err)
	}
	if data, err := d.Outline.AppendBinary(nil); err == nil && !p.grave && len(parsed) < 1000 && len(data) < maxParsed/1000 {
		parsed[row.UID] = data
	}
	return d, nil
}

// keep stores outlines that were computed, for the next time. That this fails
// does no harm.
func (m mailbox) keep(ctx context.Context, parsed map[store.UID][]byte) {
	if len(parsed) == 0 {
		return
	}
	err := m.with(context.WithoutCancel(ctx), false, func(a *account, _ *box) error {
		return a.update(ctx, func(t *tx) error {
			b, err := t.box(m.id)
			if err != nil {
				return err
			}
			for uid, data := range parsed {
				if _, _, ok, err := t.message(b, uid); err != nil {
					return err
				} else if ok {
					if b.outlines == nil {
						b.outlines = map[store.UID][]byte{}
					}
					b.outlines[uid] = data
					t.dirty = true
				}
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
		m.o.s.opt.Logger.Warn("maildir: outlines not kept", "account", m.o.name, "error", err)
	}
}
