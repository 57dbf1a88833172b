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
	uids := v.uids(spans)
	if uids.Empty() {
		return ok(name + " completed")
	}
	update := store.FlagUpdate{Op: storeOps[c.Op], Flags: flagNames(c.Flags)}
	if c.Unchanged {
		since := store.ModSeq(c.UnchangedSince)
		update.UnchangedSince = &since
	}
	done, err := v.mb.Flag(s.ctx, uids, update)
	if err != nil {
		return s.failed(err)
	}
	cur, err := v.mb.Snapshot(s.ctx)
	if err != nil {
		return s.failed(err)
	}
	s.announceKeywords(cur)
	gone := s.tellStored(cur, uids, done.Failed, update, c.Silent, uid)
	switch {
	case !done.Failed.Empty(): // RFC 7162 §3.1.3
		return okCode("MODIFIED "+s.numberSet(done.Failed, uid), name+" completed, but for messages changed meanwhile")
	case gone && !uid:
		return okCode("EXPUNGEISSUED", name+" completed, but for messages expunged meanwhile")
	}
	return ok(name + " completed")
}

// tellStored answers STORE from the mailbox as it is afterwards, and reports
// whether some of the messages are gone.
//
// With .SILENT the client takes its change for granted, some at once and some
// when the command ends, so that nothing about flags is told in between. A
// message that came out differently, because somebody else changed it as well,
// is told at the next command.
func (s *session) tellStored(cur *store.Snapshot, uids, failed store.UIDSet, update store.FlagUpdate, silent, uid bool) (gone bool) {
	v := s.sel
	bits, _ := cur.Bits(update.Flags...)
	rows := make([]store.Row, 0, min(uids.Len(), cur.Len()))
	for _, row := range cur.Select(uids) {
		rows = append(rows, row)
	}
	noted, k := rows[:0], 0
	for i, old := range v.told.Select(uids) {
		if k == len(rows) || rows[k].UID != old.UID {
			gone = true
			continue
		}
		row := rows[k]
		k++
		assumed := update.Op.Apply(old.Flags, bits)
		switch {
		case failed.Contains(row.UID):
			continue // told when the command ends, if it changed
		case !silent:
			s.tellFlags(i, row, cur, uid || s.rev2, true)
		case row.Flags != assumed:
			row.Flags, row.ModSeq = assumed, old.ModSeq
		case s.condStor && row.ModSeq != old.ModSeq:
			// The mod-sequence must be known all the same (RFC 7162 §3.1.3).
			s.tellFlags(i, row, cur, true, false)
		}
		noted = append(noted, row)
	}
	v.note(noted, cur.Keywords())
	s.quiet = silent
	return gone
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
		for i := range s.sel.told.Select(set) {
			b = w.Add(b, uint32(i+1))
		}
	}
	return string(w.End(b))
}
