package memory

import (
	"bytes"
	"context"
	"fmt"

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
	o := owner{s: s}
	defer o.release()
	for _, name := range order {
		group := groups[name]
		if err := s.placeGroup(ctx, &o, name, targets, group, placed); err != nil {
			for _, i := range group {
				placed[i] = store.Placed{Err: err}
			}
		}
	}
	return placed
}

// placeGroup files the targets of one account.
func (s *Store) placeGroup(ctx context.Context, o *owner, name string, targets []store.Target, group []int, placed []store.Placed) error {
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	a, err := s.find(name)
	if err != nil {
		return err
	}
	bodies := make([]*body, len(group))
	prefixes := int64(0)
	for n, i := range group {
		if err := targets[i].Check(); err != nil {
			return err
		}
		if bodies[n], err = o.own(ctx, targets[i].Body); err != nil {
			return err
		}
		prefixes += int64(len(targets[i].Prefix))
	}
	if err := s.reserve(prefixes); err != nil {
		return err
	}
	unused := prefixes
	defer func() { s.budget.release(unused) }()
	var fresh map[uint64]*content
	err = a.write(ctx, func(c *commit) error {
		p := placer{commit: c, used: map[string]int{}}
		for n, i := range group {
			if placed[i], err = p.place(&targets[i], bodies[n]); err != nil {
				return err
			}
		}
		fresh = c.fresh
		return nil
	})
	if err != nil {
		return err
	}
	for _, filed := range fresh {
		unused -= int64(len(filed.prefix))
	}
	return nil
}

// placer files targets in one commit.
type placer struct {
	*commit
	used map[string]int // tokens used in this commit, by number in c.tokens
}

func (p *placer) place(t *store.Target, b *body) (store.Placed, error) {
	if t.Token != "" {
		if first, ok := p.a.tokens[t.Token]; ok {
			first.Duplicate = true
			return first, nil
		}
		if n, ok := p.used[t.Token]; ok {
			first := p.tokens[n].placed
			first.Duplicate = true
			return first, nil
		}
	}
	mb, err := p.a.mailbox(t.Mailbox)
	if err != nil {
		return store.Placed{}, err
	}
	if t.Replaces != 0 {
		if err := p.replace(t.ReplacesIn, t.Replaces); err != nil {
			return store.Placed{}, err
		}
	}
	ch := p.box(mb)
	bits, table, err := store.InternFlags(ch.keywords, t.Flags)
	if err != nil {
		return store.Placed{}, err
	}
	ch.keywords = table
	date := t.Date
	if date.IsZero() {
		date = p.now
	}
	ref := p.a.s.refs.Add(1)
	filed := &content{prefix: bytes.Clone(t.Prefix), body: b, emailID: emailID(mb.snap.UIDValidity(), ref)}
	if p.fresh == nil {
		p.fresh = map[uint64]*content{}
	}
	p.fresh[ref] = filed
	uid, err := p.add(mb, store.Row{Size: uint32(filed.size()), Flags: bits, Date: date.Unix(), Ref: ref})
	if err != nil {
		return store.Placed{}, err
	}
	if t.UIDL != "" {
		if ch.uidls == nil {
			ch.uidls = map[store.UID]string{}
		}
		ch.uidls[uid] = t.UIDL
	}
	placed := store.Placed{Mailbox: mb.id, UIDValidity: mb.snap.UIDValidity(), UID: uid, ModSeq: p.modSeq}
	if t.Token != "" {
		p.used[t.Token] = len(p.tokens)
		p.tokens = append(p.tokens, tokenUse{t.Token, placed})
	}
	return placed, nil
}

// replace removes the message that another takes the place of (RFC 8508).
func (p *placer) replace(id store.MailboxID, uid store.UID) error {
	mb := p.a.byID[id]
	if mb == nil {
		return fmt.Errorf("%w: mailbox of the message to replace", store.ErrNotFound)
	}
	i, ok := mb.snap.Find(uid)
	if !ok || p.byBox[mb] != nil && p.byBox[mb].gone.Contains(uid) {
		return fmt.Errorf("%w: message to replace", store.ErrNotFound)
	}
	p.remove(mb, mb.snap.At(i))
	return nil
}
