package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
)

// Guard is a store as seen by an actor: his own account as it is, and of other
// accounts what their rights give him (RFC 4314, see ACL). It is the one place
// that enforces rights; servers open accounts and place messages through it.
//
// What an actor may not do is ErrReadOnly, and ErrNotFound where he must not
// learn that there is something. Rights are read at each call: what is taken
// away counts from then on, for mailboxes that are open too. Store and Actor
// are required. A Guard is a value, safe for concurrent use.
type Guard struct {
	Store Store
	// Actor is the account of the user who is acting (auth.Identity.Account).
	Actor string
	// Groups are those that he belongs to (auth.Identity.Groups).
	Groups []string
}

// Account opens an account. Of another's, only the mailboxes are there that
// the actor may look up or open, and ErrNotFound is all he learns if there are
// none. Such an account has Annotations, with rights for who may administer
// them, what all share under "/shared/", and "/private/" entries of each actor's
// own (RFC 5464 §3.3). Its subscriptions are its owner's: there are none for
// others, who subscribe to shared mailboxes in their own account, under the
// names by which they know them.
func (g Guard) Account(ctx context.Context, name string) (Account, error) {
	if g.owns(name) {
		return g.Store.Account(ctx, name, g.Actor)
	}
	a, err := g.share(ctx, name)
	if err != nil {
		return nil, err
	}
	infos, err := a.inner.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	for _, box := range append([]MailboxInfo{{}}, infos...) { // the top first
		switch _, err := a.check(ctx, box.ID, opOpen); {
		case err == nil:
			return a, nil
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return nil, ErrNotFound
}

// share opens somebody else's account, even if there is nothing in it for the
// actor.
func (g Guard) share(ctx context.Context, name string) (*sharedAccount, error) {
	inner, err := g.Store.Account(ctx, name, g.Actor)
	if err != nil && !errors.Is(err, ErrReadOnly) {
		return nil, err
	}
	notes, ok := inner.(Annotations)
	if !ok {
		return nil, ErrNotFound // an engine that cannot share
	}
	return &sharedAccount{inner: inner, notes: notes, guard: g}, nil
}

func (g Guard) owns(account string) bool { return account == g.Actor && account != "" }

// Stage is the Store's.
func (g Guard) Stage(ctx context.Context, r io.Reader) (Staged, error) { return g.Store.Stage(ctx, r) }

// Place is the Store's, for targets into which the actor may insert, with the
// flags that he may set; \Seen is set for him, not for the owner, in a commit
// of its own. What is replaced he must be able to expunge.
func (g Guard) Place(ctx context.Context, targets []Target) []Placed {
	return g.PlaceLater(ctx, targets)()
}

// PlaceLater is Place as the Pipeliner does it.
func (g Guard) PlaceLater(ctx context.Context, targets []Target) (wait func() []Placed) {
	if !slices.ContainsFunc(targets, func(t Target) bool { return !g.owns(t.Account) }) {
		return PlaceLater(ctx, g.Store, targets)
	}
	p := guardedPlace{refused: map[string]error{}}
	for i := range targets {
		t := targets[i]
		if err := g.admit(ctx, &t, &p, i); err != nil && p.refused[t.Account] == nil {
			p.refused[t.Account] = err // for all of the account: they are one commit
		}
		p.targets = append(p.targets, t)
	}
	sent := make([]Target, 0, len(targets))
	for _, t := range p.targets {
		if p.refused[t.Account] == nil {
			sent = append(sent, t)
		}
	}
	inner := func() []Placed { return nil }
	if len(sent) > 0 {
		inner = PlaceLater(ctx, g.Store, sent)
	}
	return func() []Placed {
		filed := inner()
		out := make([]Placed, len(p.targets))
		for i, t := range p.targets {
			if err := p.refused[t.Account]; err != nil {
				out[i].Err = err
			} else {
				out[i], filed = filed[0], filed[1:]
			}
		}
		p.markSeen(ctx, out)
		return out
	}
}

// guardedPlace is what a Place through a Guard remembers.
type guardedPlace struct {
	targets []Target
	refused map[string]error // by account
	seen    []seenTarget
}

// seenTarget is a target that the actor has seen.
type seenTarget struct {
	number int
	box    Mailbox // of the engine
}

// admit checks a target and takes away the flags that are not permitted (RFC
// 4314 §4).
func (g Guard) admit(ctx context.Context, t *Target, p *guardedPlace, number int) error {
	if g.owns(t.Account) || p.refused[t.Account] != nil {
		return nil
	}
	a, err := g.share(ctx, t.Account)
	if err != nil {
		return err
	}
	box, err := a.inner.Mailbox(ctx, t.Mailbox)
	if err != nil {
		return err
	}
	r, err := a.check(ctx, box.ID(), opInsert)
	if err != nil {
		return err
	}
	if t.ReplacesIn != 0 {
		if _, err := a.check(ctx, t.ReplacesIn, opMove); err != nil {
			return err
		}
	}
	t.Flags = r.flags(t.Flags)
	if i := slices.IndexFunc(t.Flags, func(f Flag) bool { return rightFor(f) == RightSeen }); i >= 0 {
		t.Flags = slices.Delete(slices.Clone(t.Flags), i, i+1)
		p.seen = append(p.seen, seenTarget{number, box})
	}
	return nil
}

// markSeen sets the actor's own \Seen. The messages are filed: what goes wrong
// here must not make the caller file them again.
func (p *guardedPlace) markSeen(ctx context.Context, placed []Placed) {
	for _, s := range p.seen {
		if r := placed[s.number]; r.Err == nil && !r.Duplicate {
			_, _ = s.box.Flag(context.WithoutCancel(ctx), UIDs(r.UID), FlagUpdate{Op: FlagsAdd, Flags: []Flag{FlagSeen}})
		}
	}
}

// Share is an account that others share with an actor.
type Share struct {
	Account   string
	Mailboxes []MailboxInfo // those he finds in a list
}

// Shared lists, in order, the accounts of others with a mailbox that the actor
// may look up. An account that cannot be looked at comes with its error and
// does not end the iteration, which may be stopped. It is fast where the store
// is an AnnotationFinder and looks at every account elsewhere.
func (g Guard) Shared(ctx context.Context) iter.Seq2[Share, error] {
	return func(yield func(Share, error) bool) {
		for name, err := range g.candidates(ctx) {
			if err != nil {
				yield(Share{}, err)
				return
			}
			if g.owns(name) {
				continue
			}
			s := Share{Account: name}
			acc, err := g.Account(ctx, name)
			if err == nil {
				s.Mailboxes, err = acc.Mailboxes(ctx)
			}
			if errors.Is(err, ErrNotFound) || err == nil && len(s.Mailboxes) == 0 {
				continue
			}
			if !yield(s, err) || ctx.Err() != nil {
				return
			}
		}
	}
}

// candidates lists, in order, the accounts that may share something.
func (g Guard) candidates(ctx context.Context) iter.Seq2[string, error] {
	finder, ok := g.Store.(AnnotationFinder)
	if !ok {
		return g.Store.Accounts(ctx)
	}
	var lists []iter.Seq2[string, error]
	for _, id := range identifiers(g.Actor, g.Groups) {
		lists = append(lists, finder.Annotated(ctx, ACLPrefix+id))
	}
	return mergeNames(lists)
}

// mergeNames joins lists that are in order into one, each name once, without
// holding more than one of each.
func mergeNames(lists []iter.Seq2[string, error]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		type head struct {
			name string
			err  error
			ok   bool
			next func() (string, error, bool)
		}
		heads := make([]head, len(lists))
		for i, l := range lists {
			next, stop := iter.Pull2(l)
			defer stop()
			heads[i].next = next
			heads[i].name, heads[i].err, heads[i].ok = next()
		}
		for {
			least := -1
			for i, h := range heads {
				if h.ok && h.err != nil {
					yield("", h.err)
					return
				}
				if h.ok && (least < 0 || h.name < heads[least].name) {
					least = i
				}
			}
			if least < 0 || !yield(heads[least].name, nil) {
				return
			}
			name := heads[least].name
			for i := range heads {
				for h := &heads[i]; h.ok && h.err == nil && h.name <= name; {
					h.name, h.err, h.ok = h.next()
				}
			}
		}
	}
}

// Righted is an optional ability of an Account in which not everything is
// permitted: to say what is.
type Righted interface {
	// MyRights is what the actor may do with a mailbox, or with the account's
	// top, which is box 0. ErrNotFound if he must not know of it (RFC 4314
	// §3.5).
	MyRights(ctx context.Context, box MailboxID) (Rights, error)
}

// MyRights is acc's, or all: of an account that a Guard opened for who does not
// own it what its ACL gives him, and of a ReadOnlyStore's to look up and read.
func MyRights(ctx context.Context, acc Account, box MailboxID) (Rights, error) {
	if a, ok := acc.(Righted); ok {
		return a.MyRights(ctx, box)
	}
	return AllRights, nil
}
