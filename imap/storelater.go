package imap

import (
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// storing is a UID STORE whose change is being committed. Only by UID can the
// client name the same messages before and after the replies to come, in which
// messages may go.
type storing struct {
	stored
	uids store.UIDSet
	wait func() (store.Flagged, error)
}

// storeLater begins a UID STORE that others wait behind, or that waits behind
// others of its kind, and reports true; false if it must be done when those before
// it are.
func (s *session) storeLater(c *wire.Store) bool {
	v := s.sel
	mb, able := v.mb.(store.FlagPipeliner)
	told, running := s.filings.flagging()
	switch {
	case !able, v.readOnly, c.Unchanged, c.Set.Saved, s.srv.lim.worked > 0:
		return false
	case c.Silent && s.condStor:
		// The client takes its change for the last one when it is answered. What
		// others did between, with a higher mod-sequence, may have been told with
		// the commands before, and would not be told again (RFC 7162 §3.2).
		return false
	case running && told == nil: // behind an APPEND, with whose messages it may have to do
		return false
	case !running && s.in.Buffered() == 0:
		return false
	case !running:
		told = v.told
	}
	known := view{told: told}
	spans, _ := known.spans(c.Set, true, nil)
	st := &storing{uids: known.uids(spans)}
	st.update = store.FlagUpdate{Op: storeOps[c.Op], Flags: flagNames(c.Flags)}
	st.silent, st.uid = c.Silent, true
	f := filing{name: "UID STORE", octets: int64(len(st.uids)) * rangeSize}
	return s.fileLater(&f, func() rest {
		st.wait = mb.FlagLater(s.ctx, st.uids, st.update)
		return st
	})
}

// flagging is what the client knew last if commands are to be answered and all of
// them are UID STORE; running reports whether any are to be answered.
func (q *filings) flagging() (told *store.Snapshot, running bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.uids, q.running
}

func (st *storing) finish(s *session) reply {
	done, err := st.wait()
	var r reply
	if spans := s.sel.spansOf(st.uids); err != nil {
		r = s.failed(err)
	} else if len(spans) == 0 {
		r = ok("UID STORE completed")
	} else {
		st.failed = done.Failed
		r = s.flagged(&st.stored, "UID STORE", spans)
	}
	quiet := s.quiet
	if s.quiet = false; !quiet {
		_ = s.catchUp(true) // what fails now is for the next command to tell
	}
	s.tellHighest()
	return r
}

func (st *storing) abandon(wait bool) {
	defer func() { _ = recover() }() // the first panic is told
	if wait {
		_, _ = st.wait()
	}
}
