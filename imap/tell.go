package imap

import (
	"errors"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// sync tells the client what has changed in the selected mailbox since it was
// told last. EXPUNGE is told only if it may be now; the messages then stay
// numbered and readable until it may. It reports whether the session goes on.
func (s *session) sync(expunge bool) bool {
	switch err := s.catchUp(expunge); {
	case errors.Is(err, store.ErrNotFound):
		// RFC 2180 §3.3: others are disconnected when a mailbox is deleted.
		s.bye("", "The selected mailbox has been deleted")
		return false
	case errors.Is(err, store.ErrReadOnly): // RFC 4314 §4: the right "r" has been taken away
		s.bye("NOPERM", "The selected mailbox may not be read any more")
		return false
	case err != nil:
		s.srv.log.Error("mailbox cannot be read", "server", "imap", "peer", s.peer(), "account", s.accountName(), "err", err)
		return true // the next command tries again
	}
	return s.out.err == nil
}

// catchUp is sync without the consequences: it touches out and the view only.
func (s *session) catchUp(expunge bool) error {
	v := s.sel
	if v == nil {
		return nil
	}
	cur, err := v.mb.Snapshot(s.ctx)
	if err == nil && cur != v.told {
		s.tell(cur, expunge)
	}
	if err == nil && len(s.contexts) > 0 {
		s.tellContexts()
	}
	return err
}

// tell makes cur what the client knows, and told what it knew.
func (s *session) tell(cur *store.Snapshot, expunge bool) {
	if s.withheld() {
		s.tellOwn(cur, expunge)
		return
	}
	v, told := s.sel, s.sel.told
	ch := store.Diff(told, cur)
	s.announceKeywords(cur)
	next, removed := cur, 0
	switch {
	case ch.Vanished.Empty():
	case expunge:
		s.tellRemoved(told, ch.Vanished)
		removed = s.tellExpunged(told, ch.Vanished)
	default:
		// RFC 7162 §3.2: the mod-sequence stays below that of the expunge.
		next = told.With(store.Changes{Rows: ch.Rows, Keywords: ch.Keywords, UIDNext: ch.UIDNext})
	}
	v.told = next
	if next.Len() > told.Len()-removed {
		s.out.begin()
		s.out.b = append(s.out.b, "* "...)
		s.out.b = strconv.AppendInt(s.out.b, int64(next.Len()), 10)
		s.out.b = append(s.out.b, " EXISTS\r\n"...)
		s.fetchNew(ch.Rows, told)
	}
	if !s.tells(wire.NotifyFlags) {
		return
	}
	for _, row := range ch.Rows {
		i, known := told.Find(row.UID)
		if !known {
			continue
		}
		old := told.At(i)
		if old.Flags == row.Flags && (!s.condStor || old.ModSeq == row.ModSeq) {
			continue
		}
		if i, known = next.Find(row.UID); known {
			s.tellFlags(i, row, next, true, true)
		}
	}
}

// tellExpunged tells of messages that are gone and returns how many.
func (s *session) tellExpunged(told *store.Snapshot, gone store.UIDSet) int {
	if s.qresync || s.uidOnly { // RFC 7162 §3.2.10, RFC 9586 §3.6
		s.tellVanished("* VANISHED ", gone)
		return gone.Len()
	}
	n := 0
	s.out.begin()
	for from, to := range told.Spans(gone) {
		for number := from + 1 - n; from < to; from++ { // the next one moves up
			s.out.b = append(s.out.b, "* "...)
			s.out.b = strconv.AppendInt(s.out.b, int64(number), 10)
			s.out.b = append(s.out.b, " EXPUNGE\r\n"...)
			s.out.spill()
			n++
		}
	}
	return n
}

// beginFetch appends the begin of a response about the message at position i.
func (s *session) beginFetch(b []byte, i int, uid store.UID) []byte {
	b = append(b, "* "...)
	if s.uidOnly { // RFC 9586 §3.3
		b = strconv.AppendUint(b, uint64(uid), 10)
		return append(b, " UIDFETCH ("...)
	}
	b = strconv.AppendInt(b, int64(i+1), 10)
	return append(b, " FETCH ("...)
}

// vanishedLine is about how long a VANISHED response gets before there is
// another one, in octets.
const vanishedLine = 8 << 10

// tellVanished sends as many VANISHED responses as the set needs.
func (s *session) tellVanished(begin string, gone store.UIDSet) {
	for len(gone) > 0 {
		s.out.put(begin)
		start := len(s.out.b)
		var w wire.NumSetWriter
		for len(gone) > 0 && len(s.out.b) < start+vanishedLine {
			s.out.b = w.AddRange(s.out.b, uint32(gone[0].From), uint32(gone[0].To))
			gone = gone[1:]
		}
		s.out.b = append(w.End(s.out.b), "\r\n"...)
		s.out.spill()
	}
}

// tellFlags sends a FETCH that nobody asked for, or STORE's answer. UID is in it
// if wanted or where it must be, and MODSEQ once CONDSTORE is enabled.
func (s *session) tellFlags(i int, row store.Row, snap *store.Snapshot, uid, flags bool) {
	s.out.begin()
	b := s.beginFetch(s.out.b, i, row.UID)
	if (uid || s.needsUID()) && !s.uidOnly {
		b = append(b, "UID "...)
		b = strconv.AppendUint(b, uint64(row.UID), 10)
		b = append(b, ' ')
	}
	if flags {
		b = append(b, "FLAGS "...)
		b = appendFlags(b, row.Flags, snap.Keywords())
		b = append(b, ' ')
	}
	if s.condStor { // RFC 7162 §3.2
		b = append(s.sel.appendModSeq(b, row.ModSeq), ' ')
	}
	s.out.b = append(b[:len(b)-1], ")\r\n"...)
	s.out.spill()
}

// needsUID reports whether UID must be in every FETCH that tells of a change:
// in IMAP4rev2 (RFC 9051 §7.5.2), and where there is QRESYNC once CONDSTORE is
// enabled (RFC 7162 §3.2.4).
func (s *session) needsUID() bool { return s.rev2 || s.condStor && s.can("QRESYNC") }
