package storetest

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"runtime"
	"slices"

	"github.com/posta-mail/posta/store"
)

// usageOf is what placing adds.
func usageOf(targets []store.Target) (u store.Usage) {
	for _, t := range targets {
		u.Octets += int64(len(t.Prefix)) + t.Body.Size()
		u.Messages++
	}
	return u
}

// outside keeps the limits of octets and messages outside of the engine's
// commits, where set and quota are hooks, and admit asks.
func setOutside(s *faultyStore, ctx context.Context, account string, limit store.Usage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits[account] = limit
	return s.Store.SetQuota(ctx, account, store.Usage{Mailboxes: limit.Mailboxes})
}

func quotaOutside(s *faultyStore, account string, q store.Quota) store.Quota {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.Limit = s.limits[account]
	return q
}

// lifted does something without the account's limits.
func (s *faultyStore) lifted(ctx context.Context, account string, do func() error) error {
	q, err := s.Store.Quota(ctx, account)
	if err != nil {
		return err
	}
	if err := s.Store.SetQuota(ctx, account, store.Usage{}); err != nil {
		return err
	}
	return errors.Join(do(), s.Store.SetQuota(ctx, account, q.Limit))
}

func refuseAll(targets []store.Target, err error) []store.Placed {
	return slices.Repeat([]store.Placed{{Err: err}}, len(targets))
}

// withSeen is a change of \Seen.
func withSeen(u store.FlagUpdate) bool {
	return slices.Contains(u.Flags, store.FlagSeen) || u.Op == store.FlagsReplace
}

// faulty are wrong engines, each with one check that must see it.
var faulty = map[string]struct {
	seenBy string
	faults
}{
	"quota looked at before the commit": {"Quota/writers", faults{setQuota: setOutside, quota: quotaOutside,
		place: func(s *faultyStore, ctx context.Context, t []store.Target) []store.Placed {
			q, err := s.Quota(ctx, t[0].Account)
			if err == nil {
				err = q.Admit(usageOf(t))
			}
			if err != nil {
				return refuseAll(t, err)
			}
			runtime.Gosched()
			return s.Store.Place(ctx, t)
		}}},
	"quota held by each copy alone": {"Quota/mixed-writers", faults{
		copy: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (c store.Copied, err error) {
			err = b.a.s.lifted(ctx, b.a.Name(), func() error { c, err = b.Mailbox.Copy(ctx, set, to); return err })
			return c, err
		}}},
	"replacement counted in full": {"Quota/replace", faults{
		place: func(s *faultyStore, ctx context.Context, t []store.Target) []store.Placed {
			q, err := s.Quota(ctx, t[0].Account)
			if err == nil {
				err = q.Admit(usageOf(t))
			}
			if err != nil {
				return refuseAll(t, err)
			}
			return s.Store.Place(ctx, t)
		}}},
	"a group filed as far as it fits": {"Quota/group", faults{
		place: func(s *faultyStore, ctx context.Context, t []store.Target) []store.Placed {
			return oneByOne(s.Store, ctx, t)
		}}},
	"copies do not count": {"Quota/copy-move", faults{
		copy: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (c store.Copied, err error) {
			err = b.a.s.lifted(ctx, b.a.Name(), func() error { c, err = b.Mailbox.Copy(ctx, set, to); return err })
			return c, err
		}}},
	"moves count": {"Quota/copy-move", faults{
		move: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			q, err := b.a.s.Quota(ctx, b.a.Name())
			s, e := b.Mailbox.Snapshot(ctx)
			if err = cmp.Or(err, e); err != nil {
				return store.Copied{}, err
			}
			add := store.Usage{}
			for _, r := range s.Select(set) {
				add.Octets += int64(r.Size)
			}
			if err := q.Admit(add); err != nil {
				return store.Copied{}, err
			}
			return b.Mailbox.Move(ctx, set, to)
		}}},
	"parents do not count": {"Quota/mailboxes", faults{
		create: func(a faultyAccount, ctx context.Context, name string) (i store.MailboxInfo, err error) {
			if p := store.Parent(name); p != "" {
				a.s.lifted(ctx, a.Name(), func() error { _, err := a.Account.Create(ctx, p, store.CreateOptions{}); return err })
			}
			return a.Account.Create(ctx, name, store.CreateOptions{})
		}}},
	"nothing works above the limit": {"Quota/above", faults{
		flag: func(b faultyMailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			q, err := b.a.s.Quota(ctx, b.a.Name())
			if l := q.Limit.Octets; err == nil && l != 0 && q.Used.Octets > l {
				err = store.ErrOverQuota
			}
			if err != nil {
				return store.Flagged{}, err
			}
			return b.Mailbox.Flag(ctx, set, u)
		}}},
	"use counted without copies": {"Quota/used", faults{
		quota: func(_ *faultyStore, _ string, q store.Quota) store.Quota {
			q.Used.Octets = min(q.Used.Octets, 200)
			return q
		}}},
	"later placements not counted": {"Quota/later", faults{setQuota: setOutside, quota: quotaOutside,
		later: func(s *faultyStore, ctx context.Context, t []store.Target) func() []store.Placed {
			q, err := s.Quota(ctx, t[0].Account)
			if err == nil {
				q.Used = store.Usage{} // as of the last time nothing was under way
				err = q.Admit(usageOf(t))
			}
			if err != nil {
				return func() []store.Placed { return refuseAll(t, err) }
			}
			return s.Store.PlaceLater(ctx, t)
		}}},

	"annotations lost on rename": {"Annotation/rename-delete", faults{
		rename: func(a faultyAccount, ctx context.Context, from, to string) error {
			mb, err := a.Account.Mailbox(ctx, from)
			if err != nil {
				return err
			}
			if err := a.Account.Rename(ctx, from, to); err != nil {
				return err
			}
			list, err := a.notes().Annotations(ctx, mb.ID(), "")
			for i := range list {
				list[i].Value = nil
			}
			_, e := a.notes().Annotate(ctx, mb.ID(), list...)
			return cmp.Or(err, e)
		}}},
	"annotations kept by name": {"Annotation/rename-delete", faults{
		delete: func(a faultyAccount, ctx context.Context, name string) error {
			mb, err := a.Account.Mailbox(ctx, name)
			if err != nil {
				return err
			}
			list, _ := a.notes().Annotations(ctx, mb.ID(), "")
			a.s.mu.Lock()
			a.s.notes[name] = list
			a.s.mu.Unlock()
			return a.Account.Delete(ctx, name)
		},
		create: func(a faultyAccount, ctx context.Context, name string) (store.MailboxInfo, error) {
			i, err := a.Account.Create(ctx, name, store.CreateOptions{})
			if err == nil {
				a.s.mu.Lock()
				list := a.s.notes[name]
				a.s.mu.Unlock()
				_, err = a.notes().Annotate(ctx, i.ID, list...)
			}
			return i, err
		}}},
	"annotations not told": {"Annotation/events", faults{
		events: func(_ faultyAccount, c store.AccountChanges) store.AccountChanges {
			c.Events = slices.DeleteFunc(c.Events, func(e store.MailboxEvent) bool { return e.Kind == store.MailboxAnnotated })
			return c
		}}},
	"annotations set one by one": {"Annotation/limit", faults{
		annotate: func(a faultyAccount, ctx context.Context, box store.MailboxID, set []store.Annotation) (at store.ModSeq, err error) {
			for _, n := range set {
				one, err := a.notes().Annotate(ctx, box, n)
				if err != nil {
					return 0, err
				}
				at = max(at, one)
			}
			return at, nil
		}}},
	"empty annotation taken for none": {"Annotation/values", faults{
		annotate: func(a faultyAccount, ctx context.Context, box store.MailboxID, set []store.Annotation) (store.ModSeq, error) {
			set = slices.Clone(set)
			for i := range set {
				if len(set[i].Value) == 0 {
					set[i].Value = nil
				}
			}
			return a.notes().Annotate(ctx, box, set...)
		}}},
	"annotations read, then written back": {"Annotation/concurrent", faults{
		annotate: func(a faultyAccount, ctx context.Context, box store.MailboxID, set []store.Annotation) (store.ModSeq, error) {
			all, err := a.notes().Annotations(ctx, box, "")
			if err != nil {
				return 0, err
			}
			runtime.Gosched()
			now, _ := a.notes().Annotations(ctx, box, "")
			for _, n := range now { // what came meanwhile goes
				if !slices.ContainsFunc(all, func(m store.Annotation) bool { return m.Key == n.Key }) {
					all = append(all, store.Annotation{Key: n.Key})
				}
			}
			for _, n := range set {
				all = slices.DeleteFunc(all, func(m store.Annotation) bool { return m.Key == n.Key })
			}
			return a.notes().Annotate(ctx, box, append(all, set...)...)
		}}},
	"found once for each mailbox": {"Annotation/finder", faults{
		annotated: func(all iter.Seq2[string, error]) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				for name, err := range all {
					if !yield(name, err) || err == nil && !yield(name, err) {
						return
					}
				}
			}
		}}},

	"one \\Seen for all": {"Seen/apart", faults{
		account: func(s *faultyStore, ctx context.Context, name, _ string) (store.Account, error) {
			return s.Store.Account(ctx, name, name)
		}}},
	"private \\Seen leaks to the owner": {"Seen/apart", faults{
		flag: func(b faultyMailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			f, err := b.Mailbox.Flag(ctx, set, u)
			if err == nil && !b.a.owned() && withSeen(u) {
				_, err = b.as(ctx, b.a.Name()).Flag(ctx, f.Changed, store.FlagUpdate{Op: u.Op, Flags: []store.Flag{store.FlagSeen}})
			}
			return f, err
		}}},
	"private \\Seen without a mod-sequence": {"Seen/mod-sequence", faults{
		row: func(b faultyMailbox, r store.Row) store.Row {
			s, err := b.as(context.Background(), b.a.Name()).Snapshot(context.Background())
			if err == nil {
				if i, ok := s.Find(r.UID); ok {
					r.ModSeq = s.At(i).ModSeq
				}
			}
			return r
		}}},
	"private \\Seen not among the changes": {"Model/actors", faults{
		changes: func(b faultyMailbox, ctx context.Context, since store.ModSeq) (store.Changes, error) {
			c, err := b.Mailbox.Changes(ctx, since)
			s, e := b.as(ctx, b.a.Name()).Snapshot(ctx)
			if err == nil && e == nil {
				c.Rows = slices.DeleteFunc(c.Rows, func(r store.Row) bool {
					i, ok := s.Find(r.UID)
					return ok && s.At(i).ModSeq <= since
				})
			}
			return c, err
		}}},
	"private \\Seen changes the rows of all": {"Seen/mod-sequence", faults{
		flag: func(b faultyMailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			f, err := b.Mailbox.Flag(ctx, set, u)
			if err == nil && !b.a.owned() && withSeen(u) {
				for _, op := range []store.FlagOp{store.FlagsAdd, store.FlagsRemove} {
					g, e := b.Mailbox.Flag(ctx, f.Changed, store.FlagUpdate{Op: op, Flags: []store.Flag{"touched"}})
					f.ModSeq, err = max(f.ModSeq, g.ModSeq), cmp.Or(err, e)
				}
			}
			return f, err
		}}},
	"private \\Seen not told to its actor": {"Seen/mod-sequence", faults{
		events: func(a faultyAccount, c store.AccountChanges) store.AccountChanges {
			owner, err := a.s.Store.Account(context.Background(), a.Name(), a.Name())
			if err == nil {
				if of, err := owner.Changes(context.Background(), c.Since); err == nil {
					c.Events = of.Events
				}
			}
			return c
		}}},
	"UnchangedSince asks the owner's rows": {"Seen/unchanged-since", faults{
		flag: func(b faultyMailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			if u.UnchangedSince == nil || b.a.owned() {
				return b.Mailbox.Flag(ctx, set, u)
			}
			s, err := b.as(ctx, b.a.Name()).Snapshot(ctx)
			if err != nil {
				return store.Flagged{}, err
			}
			var pass, failed store.UIDSet
			for _, r := range s.Select(set) {
				if r.ModSeq > *u.UnchangedSince {
					failed.Add(r.UID)
				} else {
					pass.Add(r.UID)
				}
			}
			u.UnchangedSince = nil
			f, err := b.Mailbox.Flag(ctx, pass, u)
			f.Failed = failed
			return f, err
		}}},
	"unseen counted for the owner": {"Seen/apart", faults{
		info: func(b faultyMailbox, i store.MailboxInfo) store.MailboxInfo {
			if of, err := b.as(context.Background(), b.a.Name()).Info(context.Background()); err == nil {
				i.Unseen = of.Unseen
			}
			return i
		}}},
	"unseen listed for the owner": {"Seen/apart", faults{
		mailboxes: func(a faultyAccount, ctx context.Context) ([]store.MailboxInfo, error) {
			owner, err := a.s.Store.Account(ctx, a.Name(), a.Name())
			if err != nil {
				return nil, err
			}
			return owner.Mailboxes(ctx)
		}}},
	"expunge by the owner's \\Seen": {"Seen/apart", faults{
		expunge: func(b faultyMailbox, ctx context.Context, set store.UIDSet, with []store.Flag) (store.Expunged, error) {
			return b.as(ctx, b.a.Name()).Expunge(ctx, set, with...)
		}}},
	"copies show the owner's \\Seen to all": {"Seen/copy-move", faults{
		copy: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			return b.as(ctx, b.a.Name()).Copy(ctx, set, to)
		}}},
	"copies lose the actor's \\Seen": {"Seen/copy-move", faults{
		copy: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			c, err := b.Mailbox.Copy(ctx, set, to)
			if err == nil && len(c.To) > 0 && !b.a.owned() {
				_, err = b.a.s.box(ctx, b.a.Name(), b.a.Actor(), to).Flag(ctx, store.UIDs(c.To...), store.FlagUpdate{Op: store.FlagsRemove, Flags: []store.Flag{store.FlagSeen}})
			}
			return c, err
		}}},
	"moves lose others' \\Seen": {"Model/actors", faults{
		move: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			c, err := b.Mailbox.Copy(ctx, set, to)
			if err == nil {
				_, err = b.Mailbox.Expunge(ctx, store.UIDs(c.From...))
			}
			return c, err
		}}},

	"UIDL inherited by copies": {"UIDL/not-inherited", faults{
		copy: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			m, err := b.UIDLs(ctx)
			c, e := b.Mailbox.Copy(ctx, set, to)
			b.a.s.mu.Lock()
			defer b.a.s.mu.Unlock()
			for i, uid := range c.From {
				b.a.s.ids[at{to, c.To[i]}] = m[uid]
			}
			return c, cmp.Or(err, e)
		},
		uidls: func(b faultyMailbox, m map[store.UID]string) map[store.UID]string {
			b.a.s.mu.Lock()
			defer b.a.s.mu.Unlock()
			for k, id := range b.a.s.ids {
				if k.box == b.ID() && id != "" {
					m = cloned(m)
					m[k.uid] = id
				}
			}
			return m
		}}},
	"UIDL kept after expunge": {"UIDL/not-inherited", faults{
		uidls: func(b faultyMailbox, m map[store.UID]string) map[store.UID]string {
			b.a.s.mu.Lock()
			defer b.a.s.mu.Unlock()
			for uid, id := range m {
				b.a.s.ids[at{b.ID(), uid}] = id
			}
			for k, id := range b.a.s.ids {
				if k.box == b.ID() {
					m = cloned(m)
					m[k.uid] = id
				}
			}
			return m
		}}},
	"UIDL ignored": {"UIDL/place", faults{
		place: func(s *faultyStore, ctx context.Context, t []store.Target) []store.Placed {
			t = slices.Clone(t)
			for i := range t {
				t[i].UIDL = ""
			}
			return s.Store.Place(ctx, t)
		}}},

	"later placements out of order": {"Pipeline/order", faults{
		later: func(s *faultyStore, ctx context.Context, t []store.Target) func() []store.Placed {
			done := make(chan []store.Placed, 1)
			go func() { runtime.Gosched(); done <- s.Store.Place(ctx, t) }()
			return func() []store.Placed { return <-done }
		}}},
	"later placements begin when waited for": {"Pipeline/order", faults{
		later: func(s *faultyStore, ctx context.Context, t []store.Target) func() []store.Placed {
			return func() []store.Placed { return s.Store.Place(ctx, t) }
		}}},
	"later placements share one context": {"Pipeline/context", faults{
		later: func(s *faultyStore, ctx context.Context, t []store.Target) func() []store.Placed {
			s.mu.Lock()
			defer s.mu.Unlock()
			if ctx.Err() == nil && s.limits["ended"].Octets == 1 && s.limits["twice"].Octets < 1 {
				s.limits["twice"] = store.Usage{Octets: 1}
				return func() []store.Placed { return refuseAll(t, context.Canceled) }
			}
			if ctx.Err() == nil {
				s.limits["ended"] = store.Usage{Octets: s.limits["ended"].Octets + 1}
			}
			return s.Store.PlaceLater(ctx, t)
		}}},
	"one failure for all that is under way": {"Pipeline/results", faults{
		later: func(s *faultyStore, ctx context.Context, t []store.Target) func() []store.Placed {
			p := s.Store.Place(ctx, t)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(p) > 0 && p[0].Err != nil {
				s.limits["failed"] = store.Usage{Octets: 1}
			} else if s.limits["failed"].Octets == 1 {
				p = refuseAll(t, store.ErrUnavailable)
			}
			return func() []store.Placed { return p }
		}}},
	"acknowledged, then filed": {"Concurrent/visibility", faults{
		place: func(s *faultyStore, ctx context.Context, t []store.Target) []store.Placed {
			s.mu.Lock()
			defer s.mu.Unlock()
			mb := s.box(ctx, t[0].Account, t[0].Account, 1)
			i, err := mb.Info(ctx)
			if err != nil {
				return refuseAll(t, err)
			}
			var told []store.Placed
			for n := range t {
				told = append(told, store.Placed{Mailbox: i.ID, UIDValidity: i.UIDValidity, UID: i.UIDNext + store.UID(n), ModSeq: i.ModSeq + 1})
			}
			go func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.Store.Place(context.WithoutCancel(ctx), t)
			}()
			return told
		}}},

	"saved means internal date": {"Saved/place", faults{
		row: func(_ faultyMailbox, r store.Row) store.Row { r.Saved = r.Date; return r }}},
	"copies keep the save date": {"Saved/copy-move", faults{
		copy: func(b faultyMailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			s, err := b.Snapshot(ctx)
			c, e := b.Mailbox.Copy(ctx, set, to)
			b.a.s.mu.Lock()
			defer b.a.s.mu.Unlock()
			for i, uid := range c.From {
				if k, ok := s.Find(uid); ok {
					b.a.s.saved[at{to, c.To[i]}] = s.At(k).Saved
				}
			}
			return c, cmp.Or(err, e)
		},
		row: func(b faultyMailbox, r store.Row) store.Row {
			b.a.s.mu.Lock()
			defer b.a.s.mu.Unlock()
			if saved, ok := b.a.s.saved[at{b.ID(), r.UID}]; ok {
				r.Saved = saved
			}
			return r
		}}},
	"save date in flag changes": {"Saved/place", faults{
		row: func(_ faultyMailbox, r store.Row) store.Row {
			if r.ModSeq != r.Created {
				r.Saved++
			}
			return r
		}}},
	"size of what is deleted never shrinks": {"Mailbox/deleted-size", faults{
		info: func(b faultyMailbox, i store.MailboxInfo) store.MailboxInfo {
			b.a.s.mu.Lock()
			defer b.a.s.mu.Unlock()
			k := at{i.ID, 0}
			b.a.s.saved[k] = max(b.a.s.saved[k], i.DeletedSize)
			i.DeletedSize = b.a.s.saved[k]
			return i
		}}},
	"history that is gone passed over": {"Changes/replay", faults{
		changes: func(b faultyMailbox, ctx context.Context, since store.ModSeq) (store.Changes, error) {
			i, err := b.Mailbox.Info(ctx)
			if err != nil {
				return store.Changes{}, err
			}
			c, err := b.Mailbox.Changes(ctx, max(since, i.ModSeq-min(i.ModSeq, 9)))
			c.Since = since
			return c, err
		}}},
}

func cloned(m map[store.UID]string) map[store.UID]string {
	if m == nil {
		return map[store.UID]string{}
	}
	return maps.Clone(m)
}
