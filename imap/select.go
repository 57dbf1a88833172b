package imap

import (
	"errors"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// selectMailbox is SELECT (RFC 9051 §6.3.2).
func (s *session) selectMailbox(p *wire.Parser) reply { return s.openMailbox(p, false) }

// examine is EXAMINE (RFC 9051 §6.3.3).
func (s *session) examine(p *wire.Parser) reply { return s.openMailbox(p, true) }

func (s *session) openMailbox(p *wire.Parser, readOnly bool) reply {
	c := p.Select()
	if p.End() != nil {
		return syntax(p)
	}
	if c.QResync != nil {
		switch {
		case !s.qresync: // RFC 7162 §3.2.5
			return bad("ENABLE QRESYNC comes first")
		case s.uidOnly && c.QResync.Matched: // RFC 9586 §3.7
			return reply{"BAD", "UIDREQUIRED", "Messages are named by UID only"}
		}
	}
	// From here on nothing is selected, even if this fails (RFC 9051 §6.3.2).
	// What is left to tell of the old mailbox is not told: a rev1 client, which
	// does not know CLOSED, would take it for the new one's.
	if s.sel != nil {
		s.enter(stateUser, nil)
		s.untagged(okCode("CLOSED", "Previous mailbox is closed"))
	}
	if c.CondStore {
		s.enableCondStore()
	}
	box, err := s.open(c.Mailbox)
	if err != nil {
		return s.failed(err)
	}
	snap, err := box.mb.Snapshot(s.ctx)
	if err != nil {
		return s.failed(err)
	}
	rights, err := store.MyRights(s.ctx, box.acc, box.info.ID)
	if err != nil {
		return s.failed(err)
	}
	v := &view{box: box, rights: rights, told: snap, readOnly: readOnly || !rights.Writable() && !rights.Has(store.RightSeen)}
	earlier, err := v.resync(s.ctx, c.QResync)
	if err != nil {
		return s.failed(err)
	}
	s.tellMailbox(v)
	s.enter(stateSelected, v)
	s.tellResync(earlier)
	s.quiet = true // what has just been told is told
	switch {
	case readOnly:
		return okCode("READ-ONLY", "EXAMINE completed")
	case !rights.Writable(): // RFC 4314 §5.2; \Seen may be set all the same
		return okCode("READ-ONLY", "SELECT completed")
	}
	return okCode("READ-WRITE", "SELECT completed")
}

// tellMailbox sends what SELECT tells of a mailbox.
func (s *session) tellMailbox(v *view) {
	snap := v.told
	s.tellKeywords(v, snap)
	s.number("* ", uint64(snap.Len()), " EXISTS\r\n")
	if !s.rev2 {
		s.out.put("* 0 RECENT\r\n") // RFC 3501; no message is ever \Recent
		if n := s.firstUnseen(v); n > 0 {
			s.number("* OK [UNSEEN ", uint64(n), "] First unseen\r\n")
		}
	}
	s.number("* OK [UIDVALIDITY ", uint64(snap.UIDValidity()), "] UIDs are valid\r\n")
	s.number("* OK [UIDNEXT ", uint64(snap.UIDNext()), "] Next UID\r\n")
	s.number("* OK [HIGHESTMODSEQ ", highestModSeq(snap), "] Highest\r\n")
	if s.can("URLAUTH") && s.own(v.place) { // RFC 4467 §8
		s.out.put("* OK [URLMECH " + urlMechanism + "] URLs can be authorized\r\n")
	}
	if !s.srv.off["OBJECTID"] { // RFC 8474 §4.2
		s.out.put("* OK [MAILBOXID (")
		s.out.b = s.appendMailboxID(s.out.b, v.acc, v.mb.ID())
		s.out.put(")] Identifier\r\n")
	}
	if s.rev2 {
		s.out.put("* LIST () \"/\" ")
		s.out.b = wire.AppendMailbox(s.out.b, v.name, s.utf8())
		s.out.put("\r\n")
	}
}

// number appends a line with a number in it.
func (s *session) number(before string, n uint64, after string) {
	s.out.put(before)
	s.out.b = strconv.AppendUint(s.out.b, n, 10)
	s.out.b = append(s.out.b, after...)
}

// firstUnseen is the number of the first message without \Seen, 0 without one
// and where numbers must not be told (RFC 9586 §3).
func (s *session) firstUnseen(v *view) int {
	if s.uidOnly || v.info.Unseen == 0 && v.info.ModSeq >= v.told.ModSeq() {
		return 0
	}
	if i := v.told.FirstWithout(store.BitSeen); i < v.told.Len() {
		return i + 1
	}
	return 0
}

// close is CLOSE (RFC 9051 §6.4.1): what is marked \Deleted goes, and nothing
// is told of it.
func (s *session) close(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	v := s.sel
	s.enter(stateUser, nil)
	if !v.readOnly {
		_, err := v.mb.Expunge(s.ctx, store.AllUIDs(), store.FlagDeleted)
		// Without the right to expunge nothing is (RFC 4314 §4).
		if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrReadOnly) {
			return s.failed(err)
		}
	}
	return ok("CLOSE completed")
}

// unselect is UNSELECT (RFC 9051 §6.4.2).
func (s *session) unselect(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	s.enter(stateUser, nil)
	return ok("UNSELECT completed")
}
