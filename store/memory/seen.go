package memory

import (
	"sync"

	"github.com/posta-mail/posta/store"
)

// openMailbox is a mailbox as seen by an actor.
type openMailbox struct {
	*mailbox
	actor string // empty: the owner
}

var (
	_ store.Mailbox = openMailbox{}
	_ store.UIDLs   = openMailbox{}
)

// other is the actor, or empty if that is the owner.
func (a openAccount) other() string {
	if a.actor == a.name {
		return ""
	}
	return a.actor
}

func (a openAccount) handle(mb *mailbox) openMailbox { return openMailbox{mb, a.other()} }

// maxViews bounds how many actors' views of a mailbox are kept at hand.
const maxViews = 64

// views is a cache of merged snapshots by actor.
type views struct {
	mu sync.Mutex
	by map[string]*store.SeenView
}

func (v *views) of(actor string) *store.SeenView {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == nil || len(v.by) >= maxViews && v.by[actor] == nil {
		v.by = map[string]*store.SeenView{}
	}
	if v.by[actor] == nil {
		v.by[actor] = new(store.SeenView)
	}
	return v.by[actor]
}

// seenBy gives the \Seen flags that an actor has changed. The account is locked.
func (mb *mailbox) seenBy(actor string) *store.Snapshot {
	if s := mb.seen[actor]; s != nil {
		return s
	}
	return mb.unmarked
}

// view is what the actor sees of the mailbox, and how many messages he has not
// seen. The account is locked.
func (mb openMailbox) view() (*store.Snapshot, int) {
	if mb.actor == "" {
		return mb.snap, mb.unseen
	}
	return mb.views.of(mb.actor).Merge(mb.snap, mb.seenBy(mb.actor))
}

// setFlags changes the flags of a row of the actor's view.
func (mb openMailbox) setFlags(c *commit, r store.Row, now store.FlagBits) {
	ch := c.box(mb.mailbox)
	if mb.actor != "" {
		if (now^r.Flags)&store.BitSeen != 0 {
			ch.mark(c, mb.actor, r.UID, now&store.BitSeen)
		}
		i, _ := mb.snap.Find(r.UID)
		r = mb.snap.At(i)
		if now = now&^store.BitSeen | r.Flags&store.BitSeen; now == r.Flags {
			return
		}
	}
	r.Flags, r.ModSeq = now, c.modSeq
	ch.updated = append(ch.updated, r)
}

// mark notes an actor's own \Seen. UIDs ascend.
func (ch *change) mark(c *commit, actor string, uid store.UID, seen store.FlagBits) {
	if ch.seen == nil {
		ch.seen = map[string][]store.Row{}
	}
	ch.seen[actor] = append(ch.seen[actor], store.Row{UID: uid, Flags: seen, ModSeq: c.modSeq, Created: c.modSeq})
}

// carrySeen gives a copy the \Seen of the actor, or, if it moves, of all.
func (mb openMailbox) carrySeen(c *commit, from store.UID, to *mailbox, uid store.UID, move bool) {
	for actor, seen := range mb.seen {
		if !move && actor != mb.actor {
			continue
		}
		if i, ok := seen.Find(from); ok && seen.At(i).Flags != 0 {
			c.box(to).mark(c, actor, uid, store.BitSeen)
		}
	}
}

// applySeen makes the changes of private flags visible.
func (ch *change) applySeen(modSeq store.ModSeq) {
	mb := ch.mb
	for actor, s := range mb.seen {
		if len(ch.gone) > 0 {
			mb.seen[actor] = s.With(store.Changes{Vanished: ch.gone})
		}
	}
	for actor, rows := range ch.seen {
		if mb.seen == nil {
			mb.seen = map[string]*store.Snapshot{}
		}
		mb.seen[actor] = mb.seenBy(actor).With(store.Changes{Through: modSeq, Rows: rows})
	}
}
