package imap

import (
	"context"
	"errors"
	"sort"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// enableCondStore begins to tell mod-sequences (RFC 7162 §3.1). A mailbox that
// is open then has its highest one told.
func (s *session) enableCondStore() {
	if s.condStor {
		return
	}
	s.condStor = true
	if s.sel != nil {
		s.untagged(okCode("HIGHESTMODSEQ "+strconv.FormatUint(highestModSeq(s.sel.told), 10), "Highest"))
	}
}

// highestModSeq is never zero (RFC 7162 §3.1.2.1).
func highestModSeq(snap *store.Snapshot) uint64 { return max(uint64(snap.ModSeq()), 1) }

// tellHighest says up to where the client has been told everything, if a message
// that it was sent has a higher mod-sequence: it would take that for the highest
// one and miss the rest if the connection broke (RFC 7162 §3.2, §6). And it says
// so when that is over.
func (s *session) tellHighest() {
	v := s.sel
	if v == nil || !s.condStor {
		return
	}
	switch all := v.told.ModSeq(); {
	case v.sent > all:
		v.behind = max(v.behind, v.sent)
	case v.behind == 0 || v.behind > all:
		v.sent = 0
		return
	default:
		v.behind = 0
	}
	v.sent = 0
	s.untagged(okCode("HIGHESTMODSEQ "+strconv.FormatUint(highestModSeq(v.told), 10), "Everything until then has been told"))
}

// highestCode is the response code HIGHESTMODSEQ, when everything has been told.
func (v *view) highestCode() string {
	v.sent, v.behind = 0, 0
	return "HIGHESTMODSEQ " + strconv.FormatUint(highestModSeq(v.told), 10)
}

// appendModSeq appends a message's mod-sequence.
func (v *view) appendModSeq(b []byte, m store.ModSeq) []byte {
	v.sent = max(v.sent, m)
	b = append(b, "MODSEQ ("...)
	b = strconv.AppendUint(b, uint64(m), 10)
	return append(b, ')')
}

// resync is what SELECT tells a client that knew the mailbox before (RFC 7162
// §3.2.5).
type resync struct {
	known store.UIDSet
	since store.ModSeq
	gone  store.UIDSet
}

// resync finds out what has changed since the client was here last. Nothing, if
// it knew another mailbox of that name.
func (v *view) resync(ctx context.Context, q *wire.QResync) (r resync, err error) {
	if q == nil || q.UIDValidity != v.told.UIDValidity() {
		return r, nil
	}
	r.since, r.known = store.ModSeq(q.ModSeq), store.AllUIDs()
	if len(q.Known.Ranges) > 0 {
		r.known = v.uidSet(q.Known)
	}
	r.gone, err = v.vanished(ctx, r.since, r.known, v.matched(q))
	return r, err
}

// tellResync sends what has vanished and then what has changed.
func (s *session) tellResync(r resync) {
	s.tellVanished(vanishedEarlier, r.gone)
	if r.known.Empty() {
		return
	}
	for i, row := range s.sel.told.ChangedSince(r.since) {
		if r.known.Contains(row.UID) {
			s.tellFlags(i, row, s.sel.told, true, true)
		}
	}
}

// vanishedEarlier begins what tells of messages that the client may never have
// been told of (RFC 7162 §3.2.10).
const vanishedEarlier = "* VANISHED (EARLIER) "

// uidSet is the UIDs that a client names, where "*" is the last that was ever
// assigned.
func (v *view) uidSet(set wire.NumSet) store.UIDSet {
	ranges := make([]store.UIDRange, len(set.Ranges))
	last := uint32(max(v.told.UIDNext(), 2) - 1)
	for i, r := range set.Ranges {
		from, to := r.From, r.To
		if from == 0 {
			from = last
		}
		if to == 0 {
			to = last
		}
		ranges[i] = store.UIDRange{From: store.UID(from), To: store.UID(to)}
	}
	return store.UIDRanges(ranges...)
}

// fetchSet is uidSet for what may be "$" too.
func (v *view) fetchSet(set wire.NumSet, saved store.UIDSet) store.UIDSet {
	if set.Saved {
		return saved
	}
	return v.uidSet(set)
}

// vanished is which UIDs of a set, above some UID, have been expunged since a
// mod-sequence. Where the history is no longer kept they are all those that are
// not there, which may never have been (RFC 7162 §3.2.5.1).
func (v *view) vanished(ctx context.Context, since store.ModSeq, within store.UIDSet, above store.UID) (store.UIDSet, error) {
	last := v.told.UIDNext() - 1
	if since >= v.told.ModSeq() || above >= last {
		return nil, nil
	}
	within = within.Intersect(store.UIDSet{{From: above + 1, To: last}})
	if within.Empty() {
		return nil, nil
	}
	ch, err := v.mb.Changes(ctx, since)
	switch {
	case errors.Is(err, store.ErrHistoryGone):
		return missing(v.told, within), nil
	case err != nil:
		return nil, err
	}
	// Changes are those up to now: what went after the snapshot is still in it.
	return missing(v.told, ch.Vanished.Intersect(within)), nil
}

// missing is a set without the messages of a snapshot.
func missing(snap *store.Snapshot, set store.UIDSet) (out store.UIDSet) {
	for _, r := range set {
		next := uint64(r.From)
		for _, row := range snap.Select(store.UIDSet{r}) {
			if uint64(row.UID) > next {
				out.AddRange(store.UID(next), row.UID-1)
			}
			next = uint64(row.UID) + 1
		}
		if next <= uint64(r.To) {
			out.AddRange(store.UID(next), r.To)
		}
	}
	return out
}

// matched is the highest UID up to which nothing has been expunged since the
// client was here last, for what it says which numbers messages had (RFC 7162
// §3.2.5.2): that of the last message that still has its number. In a run of
// numbers and UIDs those of the mailbox run away upwards, once they do, which
// makes it a binary search.
func (v *view) matched(q *wire.QResync) (best store.UID) {
	numbers, uids := q.Numbers.Ranges, q.UIDs.Ranges
	var n, u, nEnd, uEnd uint64 // of the ranges at hand, ends not included
	for {
		if n == nEnd {
			if len(numbers) == 0 {
				return best
			}
			n, nEnd = bounds(numbers[0])
			numbers = numbers[1:]
		}
		if u == uEnd {
			if len(uids) == 0 {
				return best
			}
			u, uEnd = bounds(uids[0])
			uids = uids[1:]
		}
		k := min(nEnd-n, uEnd-u)
		if there := uint64(v.told.Len()) + 1; n < there {
			uid := func(j int) uint64 { return uint64(v.told.At(int(n) - 1 + j).UID) }
			j := sort.Search(int(min(k, there-n)), func(j int) bool { return uid(j) > u+uint64(j) }) - 1
			if j >= 0 && uid(j) == u+uint64(j) {
				best = max(best, store.UID(uid(j)))
			}
		}
		n, u = n+k, u+k
	}
}

func bounds(r wire.NumRange) (from, end uint64) {
	return uint64(min(r.From, r.To)), uint64(max(r.From, r.To)) + 1
}
