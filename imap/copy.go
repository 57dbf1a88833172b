package imap

import (
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// copy is COPY (RFC 9051 §6.4.7), move MOVE (§6.4.8).
func (s *session) copy(p *wire.Parser) reply    { return s.transfer(p, "COPY", false) }
func (s *session) uidCopy(p *wire.Parser) reply { return s.transfer(p, "UID COPY", true) }
func (s *session) move(p *wire.Parser) reply    { return s.transfer(p, "MOVE", false) }
func (s *session) uidMove(p *wire.Parser) reply { return s.transfer(p, "UID MOVE", true) }

func (s *session) transfer(p *wire.Parser, name string, uid bool) reply {
	c := p.Copy()
	if p.End() != nil {
		return syntax(p)
	}
	moving := name == "MOVE" || name == "UID MOVE"
	v := s.sel
	spans, fault := s.resolve(c.Set, uid)
	if fault != (reply{}) {
		return fault
	}
	if moving && v.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	dest, err := s.find(c.Mailbox)
	if err != nil {
		return s.failedTo(err)
	}
	uids := v.uids(spans)
	if uids.Empty() {
		return ok(name + " completed, nothing to do") // RFC 9051 §6.4.9: by UID
	}
	if !uid && s.anyGone(uids) { // all or none
		return no("EXPUNGEISSUED", "Some messages have been expunged")
	}
	do := v.mb.Copy
	if moving {
		do = v.mb.Move
	}
	done, err := do(s.ctx, uids, dest.info.ID)
	if err != nil {
		return s.failedTo(err)
	}
	if len(done.From) == 0 {
		return ok(name + " completed, nothing to do")
	}
	code := string(appendCopyUID(nil, done))
	if moving {
		// RFC 9051 §6.4.8: before the EXPUNGE responses.
		s.untagged(okCode(code, "Moved"))
		return ok(name + " completed")
	}
	return okCode(code, name+" completed")
}

// anyGone reports whether a message has been expunged that the client has not
// been told of.
func (s *session) anyGone(uids store.UIDSet) bool {
	cur, err := s.sel.mb.Snapshot(s.ctx)
	if err != nil {
		return false // the operation itself will say
	}
	n := 0
	for range cur.Select(uids) {
		n++
	}
	return n < uids.Len()
}

// appendCopyUID appends COPYUID (RFC 4315 §3): both sets in the same order.
func appendCopyUID(b []byte, done store.Copied) []byte {
	b = append(b, "COPYUID "...)
	b = strconv.AppendUint(b, uint64(done.UIDValidity), 10)
	for _, uids := range [][]store.UID{done.From, done.To} {
		b = append(b, ' ')
		var w wire.NumSetWriter
		for _, u := range uids {
			b = w.Add(b, uint32(u))
		}
		b = w.End(b)
	}
	return b
}
