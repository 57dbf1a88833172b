package imap

import (
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// expunge is EXPUNGE (RFC 9051 §6.4.3).
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
	return s.remove("UID EXPUNGE", s.sel.uids(spans))
}

// remove expunges the messages of the set that are \Deleted. The session tells
// of them when the command ends.
func (s *session) remove(name string, uids store.UIDSet) reply {
	if s.sel.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	gone, err := s.sel.mb.Expunge(s.ctx, uids, store.FlagDeleted)
	if err != nil {
		return s.failed(err)
	}
	if s.condStor && gone.ModSeq != 0 { // RFC 7162 §3.2.7
		return okCode("HIGHESTMODSEQ "+strconv.FormatUint(uint64(gone.ModSeq), 10), name+" completed")
	}
	return ok(name + " completed")
}
