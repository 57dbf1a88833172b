package sqlite

import (
	"context"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// Place implements store.Store.
func (s *Store) Place(ctx context.Context, targets []store.Target) []store.Placed {
	return s.PlaceLater(ctx, targets)()
}

// PlaceLater implements store.Pipeliner: one request for each account, all of
// them handed to the committer together, which files them in the order of the
// calls. A store that is closed meanwhile files them first.
func (s *Store) PlaceLater(ctx context.Context, targets []store.Target) (wait func() []store.Placed) {
	results := make([]store.Placed, len(targets))
	if err := s.enter(); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return func() []store.Placed { return results }
	}
	defer s.leave()
	var groups []*placeGroup
	byName := make(map[string]*placeGroup)
	for i := range targets {
		name := targets[i].Account
		g := byName[name]
		if g == nil {
			g = &placeGroup{s: s, account: name}
			byName[name] = g
			groups = append(groups, g)
		}
		g.index = append(g.index, i)
	}
	var reqs []*request
	var sent []*placeGroup
	for _, g := range groups {
		if g.err = g.prepare(ctx, targets); g.err != nil {
			g.release()
			continue
		}
		reqs = append(reqs, &request{plan: g.plan, bytes: g.bytes, release: g.release})
		sent = append(sent, g)
	}
	s.send(ctx, reqs)
	return func() []store.Placed {
		for i, err := range await(ctx, reqs) {
			sent[i].err = err
		}
		for _, g := range groups {
			for k, i := range g.index {
				if g.err != nil {
					results[i].Err = g.err
				} else {
					results[i] = g.placed[k]
				}
			}
		}
		return results
	}
}

// placeGroup are the targets of one account: one atomic commit.
type placeGroup struct {
	s       *Store
	account string
	index   []int // into the targets
	items   []placeItem
	bytes   int64
	err     error
	placed  []store.Placed // set by plan
}

// maxOutline is the size in octets up to which an outline is kept with each
// placement. A larger one, of a message made to have it, is computed again when
// it is asked for.
const maxOutline = 32 << 10

type placeItem struct {
	*store.Target
	mailbox string
	p       placing
}

// prepare does what needs no commit: checks, copies of foreign bodies, the
// outlines.
func (g *placeGroup) prepare(ctx context.Context, targets []store.Target) error {
	g.items = make([]placeItem, 0, len(g.index))
	for _, i := range g.index {
		t := &targets[i]
		if err := t.Check(); err != nil {
			return err
		}
		name, err := store.CanonicalName(t.Mailbox)
		if err != nil {
			return errNoMailbox // such a mailbox cannot be
		}
		body, err := g.s.adopt(ctx, t.Body)
		if err != nil {
			return err
		}
		if err := g.s.verify(ctx, body, t.Account); err != nil {
			body.release()
			return err
		}
		// Copied: after a lost outcome the caller may reuse what is his.
		own := *t
		g.items = append(g.items, placeItem{Target: &own, mailbox: name, p: placing{body: body}})
		it := &g.items[len(g.items)-1]
		it.p.prefix = append([]byte(nil), t.Prefix...)
		it.p.flags = append([]store.Flag(nil), t.Flags...)
		if it.p.outline, err = store.WithPrefix(body.outline, t.Prefix).AppendBinary(nil); err != nil {
			return fmt.Errorf("%w: outline: %w", store.ErrInvalid, err)
		}
		if len(it.p.outline) > maxOutline {
			it.p.outline = nil
		}
		it.p.saved, it.p.uidl = g.s.now().Unix(), t.UIDL
		it.p.date = it.p.saved
		if !t.Date.IsZero() {
			it.p.date = t.Date.Unix()
		}
		g.bytes += int64(len(it.p.outline)+len(it.p.prefix)) + 2*recOverhead
		if _, written := body.located(); !written {
			g.bytes += body.size
		}
	}
	return nil
}

func (g *placeGroup) release() {
	for i := range g.items {
		g.items[i].p.body.release()
	}
}

// plan files all targets, or none.
func (g *placeGroup) plan(t *tx) error {
	a, err := t.existing(g.account)
	if err != nil {
		return err
	}
	placed := make([]store.Placed, len(g.items))
	steps, err := g.check(t, a, placed)
	if err != nil {
		return err
	}
	if len(steps) > 0 {
		g.file(t, a, steps, placed)
	}
	for i := range g.items { // duplicates of each other
		if placed[i].Duplicate && placed[i].UID == 0 {
			p, _, _ := t.duplicate(a, g.items[i].Token)
			p.Duplicate = true
			placed[i] = p
		}
	}
	g.placed = placed
	return nil
}

// placeStep is one target that passed all checks.
type placeStep struct {
	i        int // into the items
	box      *boxTx
	bits     store.FlagBits
	replaces *boxTx
	old      store.Row
}

// check finds out what is to be done, and whether all of it can be.
func (g *placeGroup) check(t *tx, a *acctTx, placed []store.Placed) ([]placeStep, error) {
	var steps []placeStep
	tokens := make(map[string]bool)
	counts := make(map[*boxTx]int)
	tables := make(map[*boxTx][]store.Flag)
	replaced := make(map[store.MailboxID]store.UIDSet)
	var add store.Usage
	for i := range g.items {
		it := &g.items[i]
		p, dup, err := t.duplicate(a, it.Token)
		if err != nil {
			return nil, err
		}
		if dup || it.Token != "" && tokens[it.Token] {
			placed[i] = p // the zero value for one of this group
			placed[i].Duplicate = true
			continue
		}
		tokens[it.Token] = true
		b, err := a.named(it.mailbox)
		if err != nil {
			return nil, err
		}
		step := placeStep{i: i, box: b}
		if _, ok := tables[b]; !ok {
			tables[b] = b.m.keywords
		}
		if step.bits, tables[b], err = store.InternFlags(tables[b], it.p.flags); err != nil {
			return nil, err
		}
		counts[b]++
		if err := b.room(counts[b]); err != nil {
			return nil, err
		}
		if it.Replaces != 0 {
			if step.replaces, step.old, err = replacedRow(a, it.Target); err != nil {
				return nil, err
			}
			set := replaced[it.ReplacesIn]
			if set.Contains(it.Replaces) {
				return nil, fmt.Errorf("%w: message replaced twice", store.ErrInvalid)
			}
			set.Add(it.Replaces)
			replaced[it.ReplacesIn] = set
			// It counts by its difference (RFC 8508 §3.4).
			add.Octets -= int64(step.old.Size)
			add.Messages--
		}
		add.Octets += it.p.size()
		add.Messages++
		steps = append(steps, step)
	}
	if err := a.admit(add); err != nil {
		return nil, err
	}
	for b, table := range tables {
		b.m.keywords = table // grows only; nothing fails from here
	}
	return steps, nil
}

// replacedRow finds the message that a target replaces (RFC 8508 §3.1).
func replacedRow(a *acctTx, target *store.Target) (*boxTx, store.Row, error) {
	b, err := a.box(target.ReplacesIn)
	if err != nil {
		return nil, store.Row{}, err
	}
	snap, err := b.snapshot()
	if err == nil {
		err = b.loadMarks()
	}
	if err != nil {
		return nil, store.Row{}, err
	}
	i, ok := snap.Find(target.Replaces)
	if !ok {
		return nil, store.Row{}, fmt.Errorf("%w: message to be replaced", store.ErrNotFound)
	}
	return b, snap.At(i), nil
}

// file makes the messages part of the batch.
func (g *placeGroup) file(t *tx, a *acctTx, steps []placeStep, placed []store.Placed) {
	at := a.next()
	for _, step := range steps {
		it, b := &g.items[step.i], step.box
		p := it.p // a copy: the plan may run again
		p.owner, p.account, p.mailbox, p.uid, p.uidValidity = a, g.account, b.m.Name, b.m.UIDNext, b.m.UIDValidity
		row := store.Row{Size: uint32(p.size()), Flags: step.bits, Date: p.date, Saved: p.saved, Ref: t.reference(&p)}
		uid := b.add(at, row)
		placed[step.i] = store.Placed{Mailbox: b.m.ID, UIDValidity: b.m.UIDValidity, UID: uid, ModSeq: at}
		t.remember(a, it.Token, placed[step.i])
		if p.uidl != "" {
			b.m.uidls = true
			t.uidls = append(t.uidls, uidlRow{b, uid, p.uidl})
		}
	}
	for _, step := range steps {
		if step.replaces != nil {
			step.replaces.remove(at, []store.Row{step.old})
		}
	}
}
