package imap

import (
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// store is STORE (RFC 9051 §6.4.6).
func (s *session) store(p *wire.Parser) reply    { return s.storeFlags(p, "STORE", false) }
func (s *session) uidStore(p *wire.Parser) reply { return s.storeFlags(p, "UID STORE", true) }

var storeOps = map[wire.StoreOp]store.FlagOp{
	wire.StoreReplace: store.FlagsReplace, wire.StoreAdd: store.FlagsAdd, wire.StoreRemove: store.FlagsRemove,
}

func (s *session) storeFlags(p *wire.Parser, name string, uid bool) reply {
	c := p.Store()
	if p.End() != nil {
		return syntax(p)
	}
	if uid && s.storeLater(&c) {
		return pending
	}
	s.settle()
	spans, fault := s.resolve(c.Set, uid)
	if fault != (reply{}) {
		return fault
	}
	if c.Unchanged {
		s.enableCondStore() // RFC 7162 §3.1
	}
	v := s.sel
	if v.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	if len(spans) == 0 {
		return ok(name + " completed")
	}
	spans, lowest := s.limit(spans)
	return s.shortened(s.flag(&c, name, spans, uid), lowest)
}

// flag changes the flags of the messages in spans, of which there is one.
func (s *session) flag(c *wire.Store, name string, spans []span, uid bool) reply {
	update := store.FlagUpdate{Op: storeOps[c.Op], Flags: flagNames(c.Flags)}
	if c.Unchanged {
		since := store.ModSeq(c.UnchangedSince)
		update.UnchangedSince = &since
	}
	done, err := s.sel.mb.Flag(s.ctx, s.sel.uids(spans), update)
	if err != nil {
		return s.failed(err)
	}
	return s.flagged(&stored{failed: done.Failed, update: update, silent: c.Silent, uid: uid}, name, spans)
}

// flagged tells what STORE has done with the messages in spans.
func (s *session) flagged(st *stored, name string, spans []span) reply {
	cur, err := s.sel.mb.Snapshot(s.ctx)
	if err != nil {
		return s.failed(err)
	}
	s.announceKeywords(cur)
	st.cur = cur
	st.bits, _ = cur.Bits(st.update.Flags...)
	s.tellStored(st, spans)
	switch {
	case !st.failed.Empty(): // RFC 7162 §3.1.3
		return okCode("MODIFIED "+s.numberSet(st.failed, st.uid), name+" completed, but for messages changed meanwhile")
	case st.gone && !st.uid:
		return okCode("EXPUNGEISSUED", name+" completed, but for messages expunged meanwhile")
	}
	return ok(name + " completed")
}

// stored is what STORE has done, and what its client knows then.
type stored struct {
	cur    *store.Snapshot // the mailbox afterwards
	failed store.UIDSet
	update store.FlagUpdate
	bits   store.FlagBits // of update
	silent bool
	uid    bool
	// whole: cur has the messages that the client knows, and STORE was about
	// them all. It knows cur then, but for rows; otherwise rows are new to it.
	whole bool
	rows  []store.Row
	gone  bool // some are not there any more
}

// tellStored answers STORE from the mailbox as it is afterwards.
//
// With .SILENT the client takes its change for granted, some at once and some
// when the command ends, so that nothing about flags is told in between. A
// message that came out differently, because somebody else changed it as well
// or because not all flags may be changed, is told at the next command.
func (s *session) tellStored(st *stored, spans []span) {
	v := s.sel
	n := count(spans)
	st.whole = n == v.told.Len() && n == st.cur.Len() && v.told.UIDNext() == st.cur.UIDNext()
	for _, sp := range spans {
		for sp.from < sp.to {
			next := min(sp.from+storedBatch, sp.to)
			s.tellStoredSome(st, span{sp.from, next})
			sp.from = next
		}
	}
	if st.whole && len(st.rows) == 0 {
		v.told = st.cur
	} else if st.whole {
		v.note(store.Diff(v.told, st.cur).Rows, st.cur.Keywords())
	}
	v.note(st.rows, st.cur.Keywords())
	v.settle(st.cur)
	s.quiet = st.silent
}

// storedBatch is how many messages tellStored looks up at a time.
const storedBatch = 128

// tellStoredSome is tellStored for a run of messages.
func (s *session) tellStoredSome(st *stored, sp span) {
	var before, after [storedBatch]store.Row
	told := s.sel.told.AppendRows(before[:0], sp.from, sp.to)
	// UIDs become visible in order, so that there is none between those told.
	from, _ := st.cur.Find(told[0].UID)
	to, found := st.cur.Find(told[len(told)-1].UID)
	if found {
		to++
	}
	now := st.cur.AppendRows(after[:0], from, to)
	k := 0
	for i, old := range told {
		i += sp.from
		if k == len(now) || now[k].UID != old.UID {
			st.gone = true
			continue
		}
		row := now[k]
		k++
		assumed := st.update.Op.Apply(old.Flags, st.bits)
		switch {
		case len(st.failed) > 0 && st.failed.Contains(row.UID):
			row = old // told when the command ends, if it changed
		case !st.silent:
			s.tellFlags(i, row, st.cur, st.uid, true)
		case row.Flags != assumed:
			row.Flags, row.ModSeq = assumed, old.ModSeq
		case s.condStor && (row.ModSeq != old.ModSeq || st.update.UnchangedSince != nil):
			// The mod-sequence must be known all the same (RFC 7162 §3.1.3).
			s.tellFlags(i, row, st.cur, true, false)
		}
		if st.whole && row != now[k-1] || !st.whole && row != old {
			st.rows = append(st.rows, row)
		}
	}
}

// numberSet writes UIDs as a number set, or the message numbers they have.
func (s *session) numberSet(set store.UIDSet, uid bool) string {
	var b []byte
	var w wire.NumSetWriter
	if uid {
		for _, r := range set {
			b = w.AddRange(b, uint32(r.From), uint32(r.To))
		}
	} else {
		for from, to := range s.sel.told.Spans(set) {
			b = w.AddRange(b, uint32(from+1), uint32(to))
		}
	}
	return string(w.End(b))
}
