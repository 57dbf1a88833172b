package imap

import (
	"iter"
	"slices"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

const (
	// progressEvery is how often a long command tells how far it is (RFC 9585 §4).
	progressEvery = 10 * time.Second
	// searchPiece is how many messages are looked at between two looks at the
	// clock.
	searchPiece = 512
)

// progress tells how far the command at hand is, if it is time to.
func (s *session) progress(last *time.Time, done, all int) {
	if time.Since(*last) < progressEvery || !s.can("INPROGRESS") {
		return
	}
	*last = time.Now()
	s.out.put("* OK [INPROGRESS (")
	s.out.b = wire.AppendString(s.out.b, string(s.tag), false)
	s.number(" ", uint64(done), "")
	s.number(" ", uint64(all), ")] Working\r\n")
	_ = s.out.flush()
}

// searched is store.Search piece by piece, so that a long one tells how far it is,
// and ends with its connection; or, down, its rows descending.
func (s *session) searched(mb store.Mailbox, snap *store.Snapshot, crit *store.Criteria, down bool) iter.Seq2[store.Row, error] {
	size := searchPiece
	if _, indexed := mb.(store.Searcher); indexed || !down && byColumns(crit) {
		size = max(snap.Len(), 1)
	}
	if !down && snap.Len() <= size {
		return store.Search(s.ctx, mb, snap, crit)
	}
	return func(yield func(store.Row, error) bool) {
		last := s.began
		for done := 0; done < snap.Len() && s.out.err == nil; {
			n := min(size, snap.Len()-done)
			from := done
			if down {
				from = snap.Len() - done - n
			}
			if !s.searchedPiece(mb, snap, crit, from, from+n, down, yield) {
				return
			}
			done += n
			s.progress(&last, done, snap.Len())
		}
	}
}

// byColumns reports whether a search needs no more of messages than their rows,
// and so takes no time that is worth telling of.
func byColumns(c *store.Criteria) bool {
	if len(c.Header)+len(c.Body)+len(c.Text) > 0 || c.EmailIDs != nil || c.ThreadIDs != nil || !c.SentSince.IsZero() || !c.SentBefore.IsZero() {
		return false
	}
	for i := range c.Not {
		if !byColumns(&c.Not[i]) {
			return false
		}
	}
	for i := range c.Or {
		if !byColumns(&c.Or[i][0]) || !byColumns(&c.Or[i][1]) {
			return false
		}
	}
	return true
}

// searchedPiece yields what matches of the rows from from up to to, and reports
// whether to go on.
func (s *session) searchedPiece(mb store.Mailbox, snap *store.Snapshot, crit *store.Criteria, from, to int, down bool, yield func(store.Row, error) bool) bool {
	piece := *crit
	piece.UIDs = append(slices.Clip(crit.UIDs), store.UIDSet{{From: snap.At(from).UID, To: snap.At(to - 1).UID}})
	var rows []store.Row
	for row, err := range store.Search(s.ctx, mb, snap, &piece) {
		switch {
		case err == nil && down:
			rows = append(rows, row)
		case !yield(row, err) || err != nil && row.UID == 0:
			return false
		}
	}
	for _, row := range slices.Backward(rows) {
		if !yield(row, nil) {
			return false
		}
	}
	return true
}

// indexed reports whether the store has an index of texts, by INBOX: it is one
// ability of all mailboxes.
func (s *session) indexed() bool {
	if s.acc == nil {
		return false
	}
	mb, err := s.acc.Mailbox(s.ctx, store.Inbox)
	if err != nil {
		return false
	}
	_, ok := mb.(store.Searcher)
	return ok
}
