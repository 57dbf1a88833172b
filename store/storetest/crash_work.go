package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/posta-mail/posta/store"
)

// What follows are the things a child does, each told before and after. One
// that fails stays untold: whether it happened is not known.

func (c *crashChild) create(worker, name string) error {
	item := crashItem{Account: crashUser0, Mailbox: name}
	c.say(&crashEvent{Worker: worker, Kind: crashCreate, Items: []crashItem{item}})
	info, err := c.user.Create(c.ctx, name, store.CreateOptions{})
	kind := crashCreate
	if errors.Is(err, store.ErrExists) {
		var mb store.Mailbox
		if mb, err = c.user.Mailbox(c.ctx, name); err == nil {
			kind = crashExists
			info, err = mb.Info(c.ctx)
		}
	}
	if err != nil {
		return err
	}
	item.Validity = info.UIDValidity
	c.say(&crashEvent{Worker: worker, Kind: kind, Done: true, Items: []crashItem{item}})
	return nil
}

// place files the message of a token in mailboxes; those of one account are
// one commit.
func (c *crashChild) place(worker, token string, to ...crashItem) error {
	body, err := c.st.Stage(c.ctx, bytes.NewReader(crashMail(token)))
	if err != nil {
		return err
	}
	defer body.Discard()
	e := &crashEvent{Worker: worker, Kind: crashPlace, Items: to}
	var targets []store.Target
	for i := range to {
		to[i].Token = token
		targets = append(targets, store.Target{
			Account: to[i].Account, Mailbox: to[i].Mailbox, Body: body, Prefix: crashPrefix(token), Token: placeToken(&to[i]),
		})
	}
	c.say(e)
	for i, p := range c.st.Place(c.ctx, targets) {
		if p.Err != nil {
			return p.Err
		}
		to[i].UID, to[i].ModSeq, to[i].Validity = p.UID, p.ModSeq, p.UIDValidity
	}
	e.Done = true
	c.say(e)
	return body.Discard()
}

// placeToken makes a retry of one placement known.
func placeToken(i *crashItem) string { return i.Token + " " + i.Mailbox }

func (c *crashChild) remove(worker, name string) error {
	e := &crashEvent{Worker: worker, Kind: crashDelete, Items: []crashItem{{Account: crashUser0, Mailbox: name}}}
	c.say(e)
	err := c.user.Delete(c.ctx, name)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		e.Done = true
		c.say(e)
	}
	return err
}

func (c *crashChild) rename(worker, from, to string) error {
	e := &crashEvent{Worker: worker, Kind: crashRename, Items: []crashItem{{Account: crashUser0, Mailbox: from, Dest: to}}}
	c.say(e)
	if err := c.user.Rename(c.ctx, from, to); err != nil {
		return err
	}
	e.Done = true
	c.say(e)
	return nil
}

// pick names some messages of a mailbox, each with the given chance.
func (c *crashChild) pick(mailbox string, chance float64, most int) (mb store.Mailbox, set store.UIDSet, items []crashItem, err error) {
	if mb, err = c.user.Mailbox(c.ctx, mailbox); err != nil {
		return
	}
	snap, err := mb.Snapshot(c.ctx)
	if err != nil {
		return
	}
	for _, row := range snap.All() {
		if len(items) == most || rand.Float64() >= chance {
			continue
		}
		b, err := mb.Open(c.ctx, row)
		if errors.Is(err, store.ErrExpunged) {
			continue
		}
		if err != nil {
			return nil, nil, nil, err
		}
		token, err := readToken(b)
		b.Close()
		if err != nil {
			return nil, nil, nil, err
		}
		set.Add(row.UID)
		items = append(items, crashItem{Account: crashUser0, Mailbox: mailbox, UID: row.UID, Token: token})
	}
	return
}

// only keeps the items whose UIDs were concerned.
func only(items []crashItem, set store.UIDSet, at store.ModSeq) []crashItem {
	var out []crashItem
	for _, i := range items {
		if set.Contains(i.UID) {
			i.ModSeq = at
			out = append(out, i)
		}
	}
	return out
}

var crashFlags = []store.Flag{store.FlagFlagged, "kept"}

func (c *crashChild) flag(worker, mailbox string, chance float64, most int) (int, error) {
	mb, set, items, err := c.pick(mailbox, chance, most)
	if err != nil || len(items) == 0 {
		return 0, err
	}
	e := &crashEvent{Worker: worker, Kind: crashFlag, Items: items}
	c.say(e)
	f, err := mb.Flag(c.ctx, set, store.FlagUpdate{Flags: crashFlags})
	if err != nil {
		return 0, err
	}
	e.Done, e.Items = true, only(items, f.Changed, f.ModSeq)
	c.say(e)
	return len(items), nil
}

func (c *crashChild) expunge(worker, mailbox string, chance float64, most int) (int, error) {
	mb, set, items, err := c.pick(mailbox, chance, most)
	if err != nil || len(items) == 0 {
		return 0, err
	}
	e := &crashEvent{Worker: worker, Kind: crashExpunge, Items: items}
	c.say(e)
	x, err := mb.Expunge(c.ctx, set)
	if err != nil {
		return 0, err
	}
	e.Done, e.Items = true, only(items, x.UIDs, x.ModSeq)
	c.say(e)
	return len(items), nil
}

func (c *crashChild) copy(worker string, chance float64, most int) (int, error) {
	return c.transfer(worker, crashCopy, store.Inbox, crashCopies, chance, most, store.Mailbox.Copy)
}

func (c *crashChild) move(worker string, chance float64, most int) (int, error) {
	return c.transfer(worker, crashMove, crashLists, crashMoved, chance, most, store.Mailbox.Move)
}

func (c *crashChild) transfer(worker string, kind crashKind, from, to string, chance float64, most int,
	do func(store.Mailbox, context.Context, store.UIDSet, store.MailboxID) (store.Copied, error)) (int, error) {
	dest, err := c.user.Mailbox(c.ctx, to)
	if err != nil {
		return 0, err
	}
	mb, set, items, err := c.pick(from, chance, most)
	if err != nil || len(items) == 0 {
		return 0, err
	}
	for i := range items {
		items[i].Dest = to
	}
	e := &crashEvent{Worker: worker, Kind: kind, Items: items}
	c.say(e)
	done, err := do(mb, c.ctx, set, dest.ID())
	if err != nil {
		return 0, err
	}
	became := make(map[store.UID]store.UID)
	for i, uid := range done.From {
		became[uid] = done.To[i]
	}
	e.Done, e.Items = true, only(items, store.UIDs(done.From...), done.ModSeq)
	for i := range e.Items {
		e.Items[i].To = became[e.Items[i].UID]
	}
	c.say(e)
	return len(items), nil
}

// enqueue adds two items that share a body.
func (c *crashChild) enqueue(sp store.Spool, worker, token string, hold bool) error {
	body, err := c.st.Stage(c.ctx, bytes.NewReader(crashMail(token)))
	if err != nil {
		return err
	}
	defer body.Discard()
	e := &crashEvent{Worker: worker, Kind: crashEnqueue, Items: []crashItem{{Token: token}, {Token: token}}}
	c.say(e)
	ids, err := sp.Enqueue(c.ctx, []store.SpoolItem{
		{Body: body, Prefix: crashPrefix(token), Envelope: []byte(token), Site: "a"},
		{Body: body, Prefix: crashPrefix(token), Envelope: []byte(token), Site: "b", Hold: hold},
	})
	if err != nil {
		return err
	}
	for i, id := range ids {
		e.Items[i].ID = id
	}
	e.Done = true
	c.say(e)
	return body.Discard()
}

func (c *crashChild) lease(sp store.Spool, worker string, most int) ([]store.LeasedItem, error) {
	items, err := sp.Lease(c.ctx, time.Now(), most, time.Hour)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	e := &crashEvent{Worker: worker, Kind: crashLease, Done: true}
	for _, it := range items {
		e.Items = append(e.Items, crashItem{ID: it.ID, Fence: it.Fence})
	}
	c.say(e)
	return items, nil
}

// settle removes an item, and if bounce adds another in the same commit.
func (c *crashChild) settle(sp store.Spool, worker string, it store.LeasedItem, bounce bool) error {
	e := &crashEvent{Worker: worker, Kind: crashSettle, Items: []crashItem{{ID: it.ID}}}
	var add []store.SpoolItem
	if bounce {
		token := fmt.Sprintf("%s-b%d", it.Envelope, it.ID)
		body, err := c.st.Stage(c.ctx, bytes.NewReader(crashMail(token)))
		if err != nil {
			return err
		}
		defer body.Discard()
		add = []store.SpoolItem{{Body: body, Prefix: crashPrefix(token), Envelope: []byte(token), Hold: true}}
		e.Items[0].Token = token
	}
	c.say(e)
	ids, err := sp.Settle(c.ctx, it.ID, it.Fence, nil, add)
	if err != nil {
		return err
	}
	e.Done = true
	if bounce {
		e.Items = []crashItem{{ID: it.ID}, {ID: ids[0], Token: e.Items[0].Token}}
	}
	c.say(e)
	return nil
}
