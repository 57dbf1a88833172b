package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/posta-mail/posta/store"
)

// boxName names a mailbox; the first mailbox of an account stands for it.
type boxName struct{ account, mailbox string }

func (n boxName) String() string { return n.account + "/" + n.mailbox }

// crashView is all that a store shows after it was opened again.
type crashView struct {
	boxes map[boxName]*boxView
	items map[store.ItemID]itemView
}

type boxView struct {
	validity uint32
	next     store.UID
	modSeq   store.ModSeq
	rows     map[store.UID]rowView
}

type rowView struct {
	token   string
	modSeq  store.ModSeq
	flagged bool
}

type itemView struct {
	token string
	fence uint64
}

// look reads all of a store and checks what must hold of any.
func look(ctx context.Context, st store.Store) (*crashView, error) {
	v := &crashView{boxes: make(map[boxName]*boxView), items: make(map[store.ItemID]itemView)}
	for account, err := range st.Accounts(ctx) {
		if err != nil {
			return nil, fmt.Errorf("listing accounts: %w", err)
		}
		a, err := st.Account(ctx, account, account)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", account, err)
		}
		infos, err := a.Mailboxes(ctx)
		if err != nil {
			return nil, fmt.Errorf("mailboxes of %s: %w", account, err)
		}
		for _, info := range infos {
			name := boxName{account, info.Name}
			if v.boxes[name], err = lookBox(ctx, a, info); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		if v.boxes[boxName{account, store.Inbox}] == nil {
			return nil, fmt.Errorf("account %s has no INBOX", account)
		}
	}
	if sp, ok := st.(store.Spooler); ok {
		if err := v.lookSpool(ctx, sp.Spool()); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	}
	return v, nil
}

func lookBox(ctx context.Context, a store.Account, info store.MailboxInfo) (*boxView, error) {
	mb, err := a.Mailbox(ctx, info.Name)
	if err != nil {
		return nil, err
	}
	snap, err := mb.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if err := soundSnapshot(snap); err != nil {
		return nil, err
	}
	v := &boxView{validity: snap.UIDValidity(), next: snap.UIDNext(), modSeq: snap.ModSeq(), rows: make(map[store.UID]rowView)}
	flagged, known := snap.Bits(crashFlags...)
	count := store.MailboxInfo{}
	var rows []store.Row
	for _, row := range snap.All() {
		rows = append(rows, row)
		count.Messages++
		count.Size += int64(row.Size)
		if row.Flags&store.BitSeen == 0 {
			count.Unseen++
		}
		b, err := mb.Open(ctx, row)
		if err != nil {
			return nil, fmt.Errorf("UID %d: %w", row.UID, err)
		}
		token, err := wholeMail(b, int64(row.Size))
		b.Close()
		if err != nil {
			return nil, fmt.Errorf("UID %d: %w", row.UID, err)
		}
		v.rows[row.UID] = rowView{token, row.ModSeq, known && row.Flags&flagged == flagged}
	}
	if count.Messages != info.Messages || count.Size != info.Size || count.Unseen != info.Unseen ||
		info.UIDValidity != v.validity || info.UIDNext != v.next || info.ModSeq != v.modSeq {
		return nil, fmt.Errorf("described as %+v, but has %d messages, %d unseen, %d octets, %+v", info, count.Messages, count.Unseen, count.Size, v)
	}
	for d, err := range mb.Details(ctx, rows) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("details of UID %d: %w", d.Row.UID, err)
		case d.Outline.Size != int64(d.Row.Size):
			return nil, fmt.Errorf("outline of UID %d is of %d octets", d.Row.UID, d.Outline.Size)
		}
	}
	return v, nil
}

// wholeMail reads a message and compares it with what its token says.
func wholeMail(b store.Body, size int64) (string, error) {
	if b.Size() != size {
		return "", fmt.Errorf("%d octets of %d", b.Size(), size)
	}
	token, err := readToken(b)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.NewSectionReader(b, 0, size))
	if err != nil {
		return "", err
	}
	if !bytes.Equal(data, crashWhole(token)) {
		return "", fmt.Errorf("message %s was changed", token)
	}
	return token, nil
}

func (v *crashView) lookSpool(ctx context.Context, sp store.Spool) error {
	for after := store.ItemID(0); ; {
		page, err := sp.List(ctx, after, 500)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			after = e.ID
			b, err := sp.Open(ctx, e.ID)
			if err != nil {
				return fmt.Errorf("item %d: %w", e.ID, err)
			}
			token, err := wholeMail(b, e.Size)
			b.Close()
			if err == nil && token != string(e.Envelope) {
				err = fmt.Errorf("message %s in the envelope of %s", token, e.Envelope)
			}
			if err != nil {
				return fmt.Errorf("item %d: %w", e.ID, err)
			}
			v.items[e.ID] = itemView{token, uint64(e.Attempts)}
		}
	}
}

// retry places some messages again that were acknowledged, which are known,
// and a new one, which gets a UID never seen.
func (l *crashLedger) retry(ctx context.Context, st store.Store, most int) error {
	for name, b := range l.boxes {
		n := 0
		for uid, item := range b.placed {
			if n++; n > most {
				break
			}
			item.Account = name.account
			p, err := placeAgain(ctx, st, name.mailbox, &item)
			if err != nil {
				return err
			}
			if !p.Duplicate || p.UID != uid {
				return fmt.Errorf("%s: token of %s, UID %d, is forgotten: %+v", name, item.Token, uid, p)
			}
		}
	}
	name := boxName{crashUser0, store.Inbox}
	b := l.boxes[name]
	if b == nil {
		return nil
	}
	item := crashItem{Account: name.account, Mailbox: name.mailbox, Token: fmt.Sprint("fresh", time.Now().UnixNano())}
	p, err := placeAgain(ctx, st, name.mailbox, &item)
	if err != nil {
		return err
	}
	if p.Duplicate || b.there[p.UID] != "" || b.gone[p.UID] || p.UID < b.floor || p.ModSeq <= b.highest {
		return fmt.Errorf("%s: a new message got %+v; UIDNEXT was %d, mod-sequence %d", name, p, b.floor, b.highest)
	}
	return nil
}

// placeAgain does what a child did, in a mailbox that may have another name now.
func placeAgain(ctx context.Context, st store.Store, mailbox string, item *crashItem) (store.Placed, error) {
	body, err := st.Stage(ctx, bytes.NewReader(crashMail(item.Token)))
	if err != nil {
		return store.Placed{}, fmt.Errorf("staging after the crash: %w", err)
	}
	defer body.Discard()
	p := st.Place(ctx, []store.Target{{
		Account: item.Account, Mailbox: mailbox, Body: body, Prefix: crashPrefix(item.Token), Token: placeToken(item),
	}})[0]
	if p.Err != nil {
		return p, fmt.Errorf("placing after the crash: %w", p.Err)
	}
	return p, nil
}
