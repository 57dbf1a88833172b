package imap

import (
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// expunge is EXPUNGE (RFC 9051 §6.4.3). Whatever there is goes: it has no limit
// (RFC 9738 §3.1).
func (s *session) expunge(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	return s.remove("EXPUNGE", store.AllUIDs())
}

// uidExpunge is UID EXPUNGE (RFC 9051 §6.4.9).
func (s *session) uidExpunge(p *wire.Parser) reply {
	set := p.UIDs()
	if p.End() != nil {
		return syntax(p)
	}
	spans, fault := s.resolve(set, true)
	if fault != (reply{}) {
		return fault
	}
	uids, lowest := s.limitDeleted(spans)
	return s.shortened(s.remove("UID EXPUNGE", uids), lowest)
}

// limitDeleted is which UIDs UID EXPUNGE may remove: there is a limit on those
// that are \Deleted (RFC 9738 §3.1).
func (s *session) limitDeleted(spans []span) (uids store.UIDSet, lowest store.UID) {
	uids = s.sel.uids(spans)
	limit := s.srv.lim.worked
	if limit == 0 || count(spans) <= limit {
		return uids, 0
	}
	cur, err := s.sel.mb.Snapshot(s.ctx)
	if err != nil {
		return uids, 0 // the operation itself will say
	}
	var deleted []store.UID
	for _, row := range cur.Select(uids) {
		if row.Flags&store.BitDeleted != 0 {
			deleted = append(deleted, row.UID)
		}
	}
	if len(deleted) <= limit {
		return uids, 0
	}
	deleted = deleted[len(deleted)-limit:]
	return store.UIDs(deleted...), deleted[0]
}

// remove expunges the messages of the set that are \Deleted, and tells of them.
func (s *session) remove(name string, uids store.UIDSet) reply {
	if s.sel.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	done, err := s.sel.mb.Expunge(s.ctx, uids, store.FlagDeleted)
	if err != nil {
		return s.failed(err)
	}
	s.ownRemoved(done.UIDs)
	if !s.sync(true) {
		return gone
	}
	if s.condStor && done.ModSeq != 0 { // RFC 7162 §3.2.7; never above what has been told (§3.2)
		return okCode(s.sel.highestCode(), name+" completed")
	}
	return ok(name + " completed")
}
