package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/store"
)

// Account is an account of a store, as its owner sees it: Source and Sink.
// \Seen flags that other actors have of their own are not copied.
//
// As a Sink it is given back what was filed already by the store's tokens,
// which engines remember for a day or two, beyond Options.Checkpoint, which
// has no such limit but may be some seconds behind at a crash.
type Account struct {
	Store store.Store
	Name  string
	// Create makes a Sink create the account if there is none.
	Create bool
	// Label tells the store from others that have an account of this name,
	// in Identity; its path, for instance. It may be empty.
	Label string
}

// Identity implements Source and Sink.
func (a Account) Identity() string {
	return "account:" + a.Label + ":" + a.Name
}

// open opens the account for its owner.
func (a Account) open(ctx context.Context) (store.Account, error) {
	return a.Store.Account(ctx, a.Name, a.Name)
}

// Folders implements Source.
func (a Account) Folders(ctx context.Context) ([]Folder, error) {
	acct, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	boxes, err := acct.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	var folders []Folder
	for _, b := range boxes {
		folders = append(folders, Folder{Name: b.Name, SpecialUse: b.SpecialUse, Subscribed: b.Subscribed, Messages: b.Messages, Octets: b.Size})
	}
	return folders, nil
}

// Messages implements Source. What is expunged meanwhile is left out.
func (a Account) Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		acct, err := a.open(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		mb, err := acct.Mailbox(ctx, f.key())
		if err != nil {
			yield(nil, err)
			return
		}
		snap, err := mb.Snapshot(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		var uidls map[store.UID]string
		if u, ok := mb.(store.UIDLs); ok {
			if uidls, err = u.UIDLs(ctx); err != nil {
				yield(nil, err)
				return
			}
		}
		first, _ := snap.Find(behind(after, snap.UIDValidity()))
		for _, row := range snap.Range(first, snap.Len()) {
			id := fmt.Sprintf("%d:%d", snap.UIDValidity(), row.UID)
			m := &Message{
				ID: id, Position: id, Flags: snap.Flags(row.Flags), Date: row.InternalDate(), UIDL: uidls[row.UID], Size: int64(row.Size),
			}
			if !a.message(ctx, mb, row, m, yield) {
				return
			}
		}
	}
}

// behind is the UID at which to go on behind a position: "UIDVALIDITY:UID". In
// a mailbox with another UIDVALIDITY nothing has been seen yet.
func behind(position string, validity uint32) store.UID {
	v, u, _ := strings.Cut(position, ":")
	uv, err1 := strconv.ParseUint(v, 10, 32)
	uid, err2 := strconv.ParseUint(u, 10, 32)
	if err1 != nil || err2 != nil || uint32(uv) != validity {
		return 1
	}
	return store.UID(uid) + 1
}

// message opens and yields one message; false if that was the last.
func (a Account) message(ctx context.Context, mb store.Mailbox, row store.Row, m *Message, yield func(*Message, error) bool) bool {
	body, err := mb.Open(ctx, row)
	switch {
	case errors.Is(err, store.ErrExpunged):
		return true
	case errors.Is(err, store.ErrCorrupt):
		return yield(m, fmt.Errorf("%w: %w", ErrBroken, err))
	case err != nil:
		yield(nil, err)
		return false
	}
	defer body.Close()
	m.Body = damaged{io.NewSectionReader(body, 0, body.Size())}
	return yield(m, nil)
}

// damaged makes errors of a store that concern one message ErrBroken.
type damaged struct{ r io.Reader }

func (d damaged) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrExpunged) {
		err = fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return n, err
}
