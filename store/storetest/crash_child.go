package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/store"
)

// What a child is told by its environment.
const (
	crashDirEnv   = "POSTA_CRASH_DIR"   // the store's folder
	crashRoundEnv = "POSTA_CRASH_ROUND" // part of all tokens
	crashStepsEnv = "POSTA_CRASH_STEPS" // deliveries of each worker between two openings
	crashTurnsEnv = "POSTA_CRASH_TURNS" // openings; 0: no end
	crashTimeEnv  = "POSTA_CRASH_TIME"  // milliseconds until the child kills itself; 0: never
)

// CrashChild turns a test binary into the child of Kill and PowerLoss if its
// environment says so, and then does not return. Call it first in TestMain;
// open opens the store in a folder that may not exist, or hold what a crash
// left, with options that make everything happen often.
func CrashChild(open func(dir string) (store.Store, error)) {
	dir := os.Getenv(crashDirEnv)
	if dir == "" {
		return
	}
	c := &crashChild{open: open, dir: dir, round: os.Getenv(crashRoundEnv), ctx: context.Background()}
	number := func(name string) int { n, _ := strconv.Atoi(os.Getenv(name)); return n }
	c.steps = number(crashStepsEnv)
	if ms := number(crashTimeEnv); ms > 0 {
		time.AfterFunc(time.Duration(ms)*time.Millisecond, c.end)
	}
	for turn := 0; turn < number(crashTurnsEnv) || number(crashTurnsEnv) == 0; turn++ {
		if err := c.turn(turn); err != nil {
			c.say(&crashEvent{Kind: crashError, Text: err.Error()})
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// crashChild does what a server does, all at once.
type crashChild struct {
	open  func(dir string) (store.Store, error)
	dir   string
	round string
	steps int
	ctx   context.Context

	mu   sync.Mutex // of the output
	st   store.Store
	user store.Account // the first
	left atomic.Int32  // workers that deliver
}

// say writes one line at once: what the parent has read to its end was said.
func (c *crashChild) say(e *crashEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	os.Stdout.Write(e.line())
}

// end kills the process as a power switch would, if nobody else did.
func (c *crashChild) end() {
	c.say(&crashEvent{Kind: crashEnd})
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		p.Kill()
	}
	select {}
}

// turn opens the store, works and closes it.
func (c *crashChild) turn(turn int) error {
	var err error
	if c.st, err = c.open(c.dir); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	c.say(&crashEvent{Kind: crashOpen})
	workers := []func() error{c.flagger, c.expunger, c.copier, c.mover, c.churner}
	if sp, ok := c.st.(store.Spooler); ok {
		workers = append(workers, func() error { return c.settler(sp.Spool()) })
		c.left.Add(1)
		workers = append(workers, func() error {
			defer c.left.Add(-1)
			return c.spooler(sp.Spool(), fmt.Sprintf("r%s-t%d-s", c.round, turn))
		})
	}
	for w := range 3 {
		c.left.Add(1)
		workers = append(workers, func() error {
			defer c.left.Add(-1)
			return c.deliverer(w, fmt.Sprintf("r%s-t%d-w%d", c.round, turn, w))
		})
	}
	failed := make(chan error)
	for _, w := range workers {
		go func() { failed <- w() }()
	}
	for range workers {
		if err := <-failed; err != nil {
			return err
		}
	}
	return c.st.Close()
}

// busy reports whether mail is still being delivered; the other workers end
// with the last delivery.
func (c *crashChild) busy() bool { return c.left.Load() > 0 }

// prepare makes what is missing of accounts and mailboxes.
func (c *crashChild) prepare() error {
	for _, name := range []string{crashUser0, crashUser1} {
		item := crashItem{Account: name}
		c.say(&crashEvent{Worker: "main", Kind: crashAccount, Items: []crashItem{item}})
		if err := c.st.CreateAccount(c.ctx, name); err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
		a, err := c.st.Account(c.ctx, name, name)
		if err != nil {
			return err
		}
		mb, err := a.Mailbox(c.ctx, store.Inbox)
		if err != nil {
			return err
		}
		info, err := mb.Info(c.ctx)
		if err != nil {
			return err
		}
		item.Mailbox, item.Validity = store.Inbox, info.UIDValidity
		c.say(&crashEvent{Worker: "main", Kind: crashAccount, Done: true, Items: []crashItem{item}})
		if name == crashUser0 {
			c.user = a
		}
	}
	for _, name := range []string{crashLists, crashCopies, crashMoved} {
		if err := c.create("main", name); err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	return nil
}

func (c *crashChild) create(worker, name string) error {
	item := crashItem{Account: crashUser0, Mailbox: name}
	c.say(&crashEvent{Worker: worker, Kind: crashCreate, Items: []crashItem{item}})
	info, err := c.user.Create(c.ctx, name, store.CreateOptions{})
	if err != nil {
		c.say(&crashEvent{Worker: worker, Kind: crashCreate, Done: true}) // nothing
		return err
	}
	item.Validity = info.UIDValidity
	c.say(&crashEvent{Worker: worker, Kind: crashCreate, Done: true, Items: []crashItem{item}})
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

func (c *crashChild) deliverer(w int, tokens string) error {
	for n := 0; n < c.steps; n++ {
		to := []crashItem{{Account: crashUser0, Mailbox: store.Inbox}}
		if n%4 == 1 {
			to = append(to, crashItem{Account: crashUser0, Mailbox: crashLists})
		}
		if n%8 == 2 {
			to = append(to, crashItem{Account: crashUser1, Mailbox: store.Inbox})
		}
		if err := c.place(fmt.Sprint("deliverer", w), fmt.Sprint(tokens, "-", n), to...); err != nil {
			return err
		}
	}
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
	if len(items) == 0 {
		time.Sleep(time.Millisecond) // somebody has to deliver first
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

func (c *crashChild) flagger() error {
	for n := 0; c.busy(); n++ {
		mb, set, items, err := c.pick([]string{store.Inbox, crashMoved}[n%2], 0.2, 5)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			continue
		}
		e := &crashEvent{Worker: "flagger", Kind: crashFlag, Items: items}
		c.say(e)
		f, err := mb.Flag(c.ctx, set, store.FlagUpdate{Flags: crashFlags})
		if err != nil {
			return err
		}
		e.Done, e.Items = true, only(items, f.Changed, f.ModSeq)
		c.say(e)
	}
	return nil
}

var crashFlags = []store.Flag{store.FlagFlagged, "kept"}

func (c *crashChild) expunger() error {
	for n := 0; c.busy(); n++ {
		mb, set, items, err := c.pick([]string{store.Inbox, store.Inbox, crashCopies}[n%3], 0.9, 60)
		if err != nil {
			return err
		}
		if len(items) < 3 {
			time.Sleep(time.Millisecond)
			continue
		}
		e := &crashEvent{Worker: "expunger", Kind: crashExpunge, Items: items}
		c.say(e)
		x, err := mb.Expunge(c.ctx, set)
		if err != nil {
			return err
		}
		e.Done, e.Items = true, only(items, x.UIDs, x.ModSeq)
		c.say(e)
	}
	return nil
}

func (c *crashChild) copier() error {
	return c.transfer("copier", crashCopy, store.Inbox, crashCopies, store.Mailbox.Copy)
}

func (c *crashChild) mover() error {
	return c.transfer("mover", crashMove, crashLists, crashMoved, store.Mailbox.Move)
}

func (c *crashChild) transfer(worker string, kind crashKind, from, to string,
	do func(store.Mailbox, context.Context, store.UIDSet, store.MailboxID) (store.Copied, error)) error {
	dest, err := c.user.Mailbox(c.ctx, to)
	if err != nil {
		return err
	}
	for c.busy() {
		mb, set, items, err := c.pick(from, 0.3, 4)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			continue
		}
		for i := range items {
			items[i].Dest = to
		}
		e := &crashEvent{Worker: worker, Kind: kind, Items: items}
		c.say(e)
		done, err := do(mb, c.ctx, set, dest.ID())
		if err != nil {
			return err
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
	}
	return nil
}

// churner makes, fills, renames and deletes mailboxes of a few names.
func (c *crashChild) churner() error {
	const worker = "churner"
	for n := 0; c.busy(); n++ {
		from, to := fmt.Sprint("Churn", n%3), fmt.Sprint("Old", n%2)
		for _, name := range []string{from, to} { // a crash may have left them
			if err := c.remove(worker, name); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		if err := c.create(worker, from); err != nil {
			return err
		}
		if err := c.place(worker, fmt.Sprintf("r%s-c-%d-%d", c.round, time.Now().UnixNano(), n), crashItem{Account: crashUser0, Mailbox: from}); err != nil {
			return err
		}
		e := &crashEvent{Worker: worker, Kind: crashRename, Items: []crashItem{{Account: crashUser0, Mailbox: from, Dest: to}}}
		c.say(e)
		if err := c.user.Rename(c.ctx, from, to); err != nil {
			return err
		}
		e.Done = true
		c.say(e)
	}
	return nil
}

func (c *crashChild) remove(worker, name string) error {
	e := &crashEvent{Worker: worker, Kind: crashDelete, Items: []crashItem{{Account: crashUser0, Mailbox: name}}}
	c.say(e)
	err := c.user.Delete(c.ctx, name)
	e.Done = true // also if there was none
	c.say(e)
	return err
}

func (c *crashChild) spooler(sp store.Spool, tokens string) error {
	for n := 0; n < c.steps; n++ {
		token := fmt.Sprint(tokens, "-", n)
		body, err := c.st.Stage(c.ctx, bytes.NewReader(crashMail(token)))
		if err != nil {
			return err
		}
		e := &crashEvent{Worker: "spooler", Kind: crashEnqueue, Items: []crashItem{{Token: token}, {Token: token}}}
		c.say(e)
		ids, err := sp.Enqueue(c.ctx, []store.SpoolItem{
			{Body: body, Prefix: crashPrefix(token), Envelope: []byte(token), Site: "a"},
			{Body: body, Prefix: crashPrefix(token), Envelope: []byte(token), Site: "b", Hold: n%2 != 0},
		})
		if err != nil {
			return err
		}
		for i, id := range ids {
			e.Items[i].ID = id
		}
		e.Done = true
		c.say(e)
		if err := body.Discard(); err != nil {
			return err
		}
	}
	return nil
}

// settler ends what it leased: as sent, with a bounce, or not at all.
func (c *crashChild) settler(sp store.Spool) error {
	const worker = "settler"
	for n := 0; c.busy(); n++ {
		items, err := sp.Lease(c.ctx, time.Now(), 3, time.Hour)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		lease := &crashEvent{Worker: worker, Kind: crashLease, Done: true}
		for _, it := range items {
			lease.Items = append(lease.Items, crashItem{ID: it.ID, Fence: it.Fence})
		}
		c.say(lease)
		for k, it := range items {
			if (n+k)%5 == 4 {
				continue // stays leased
			}
			if err := c.settle(sp, worker, it, (n+k)%3 == 0); err != nil {
				return err
			}
		}
	}
	return nil
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
