package imap

import (
	"context"
	"crypto/rand"
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
	t := transfer{session: s, name: name, moving: name == "MOVE" || name == "UID MOVE"}
	spans, fault := s.resolve(c.Set, uid)
	if fault != (reply{}) {
		return fault
	}
	if t.moving && s.sel.readOnly {
		return no("READ-ONLY", "Mailbox is read-only")
	}
	var err error
	if t.dest, err = s.find(c.Mailbox); err != nil {
		return s.failedTo(err)
	}
	var lowest store.UID
	if t.moving {
		spans, lowest = s.limit(spans)
	} else if refusal, ok := s.tooMany(count(spans)); !ok {
		return refusal // RFC 9738 §3.1: all or nothing
	}
	if len(spans) == 0 {
		return ok(name + " completed, nothing to do") // RFC 9051 §6.4.9: by UID
	}
	uids := s.sel.uids(spans)
	if !uid && s.anyGone(uids, count(spans)) { // all or none
		return no("EXPUNGEISSUED", "Some messages have been expunged")
	}
	return s.shortened(t.run(uids), lowest)
}

// transfer is one COPY or MOVE.
type transfer struct {
	*session
	name   string
	moving bool
	dest   box
}

func (t *transfer) run(uids store.UIDSet) reply {
	done, err := t.do(uids)
	t.ownFiled(t.dest.acc, t.dest.info.ID, done.To...)
	if t.moving {
		t.ownRemoved(store.UIDs(done.From...))
	}
	var r reply
	switch {
	case err == nil && len(done.From) == 0:
		return ok(t.name + " completed, nothing to do")
	case err == nil:
		r = ok(t.name + " completed")
	default:
		r = t.failedTo(err)
		if !t.moving || len(done.From) == 0 {
			return r
		}
		// RFC 6851 §3.3: some have been moved all the same.
	}
	code := ""
	// RFC 4315 §3: nothing is told of a mailbox that may not be selected.
	if rights, err := store.MyRights(t.ctx, t.dest.acc, t.dest.info.ID); err == nil && rights.Has(store.RightRead) && t.can("UIDPLUS") {
		code = string(appendCopyUID(nil, done))
	}
	switch {
	case code == "":
	case t.moving:
		// RFC 9051 §6.4.8: before the EXPUNGE responses.
		t.untagged(okCode(code, "Moved"))
	default:
		r.code = code
	}
	if t.moving && t.condStor && err == nil {
		if !t.sync(true) {
			return gone
		}
		// RFC 7162 §3.2.9
		r.code = t.sel.highestCode()
	}
	return r
}

// do copies or moves, by the mailbox itself within an account and one by one
// otherwise.
func (t *transfer) do(uids store.UIDSet) (store.Copied, error) {
	v := t.sel
	if v.acc.Name() == t.dest.acc.Name() {
		if t.moving {
			return v.mb.Move(t.ctx, uids, t.dest.info.ID)
		}
		return v.mb.Copy(t.ctx, uids, t.dest.info.ID)
	}
	across := store.Across{From: v.acc, Source: v.mb, Filer: t.guard, To: t.dest.acc, Mailbox: t.dest.local, Operation: rand.Text()}
	if t.moving {
		return t.moveAcross(across, uids)
	}
	done, err := across.Copy(t.ctx, uids)
	if err != nil && len(done.To) > 0 {
		// RFC 9051 §6.4.7: the destination is as before.
		if _, undo := t.dest.mb.Expunge(context.WithoutCancel(t.ctx), store.UIDs(done.To...)); undo != nil {
			t.srv.log.Warn("part of a COPY stays", "server", "imap", "peer", t.peer(), "account", t.accountName(), "err", undo)
		}
	}
	return done, err
}

// moveAcross moves to another account. What the user may not take away is not
// copied.
func (t *transfer) moveAcross(across store.Across, uids store.UIDSet) (store.Copied, error) {
	if !t.sel.rights.Has(store.RightMark | store.RightExpunge) { // RFC 6851 §4.2
		return store.Copied{}, store.ErrReadOnly
	}
	return across.Move(t.ctx, uids)
}

// anyGone reports whether one of n messages has been expunged that the client
// has not been told of.
func (s *session) anyGone(uids store.UIDSet, n int) bool {
	cur, err := s.sel.mb.Snapshot(s.ctx)
	if err != nil {
		return false // the operation itself will say
	}
	if cur == s.sel.told {
		return false
	}
	for from, to := range cur.Spans(uids) {
		n -= to - from
	}
	return n > 0
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
