package imap

import (
	"errors"
	"math"
	"slices"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// view is a selected mailbox as its client knows it. Message numbers are the
// positions in told, which therefore keeps messages that are gone until the
// client may be told so.
type view struct {
	box
	rights   store.Rights
	readOnly bool // by EXAMINE, or because nothing may be changed
	told     *store.Snapshot
	removed  store.UIDSet // by this session, while NOTIFY leaves the mailbox out
	filed    store.UIDSet // by this session, while NOTIFY wants items of new messages
	keywords int          // how many of the mailbox's keywords the client knows

	// The highest mod-sequence that the client has been sent with a message since
	// the last reply, and the one up to which it could not be told everything
	// then; 0 for none.
	sent, behind store.ModSeq
}

// span is a run of messages by position, to not included.
type span struct{ from, to int }

// errNumber: a message number that does not exist.
var errNumber = errors.New("imap: no such message number")

// spans resolves a number set: sorted, not overlapping, within the mailbox,
// whatever numbers the set names.
func (v *view) spans(set wire.NumSet, uid bool, saved store.UIDSet) ([]span, error) {
	if set.Saved {
		return v.spansOf(saved), nil
	}
	out := make([]span, 0, len(set.Ranges))
	for _, r := range set.Ranges {
		var sp span
		if uid {
			sp = v.uidSpan(r)
		} else {
			var err error
			if sp, err = v.numberSpan(r); err != nil {
				return nil, err
			}
		}
		if sp.from < sp.to {
			out = append(out, sp)
		}
	}
	return mergeSpans(out), nil
}

// numberSpan resolves a range of message numbers. Numbers beyond the last
// message are an error (RFC 9051 §9, seq-number), but "n:*" always includes
// the last message.
func (v *view) numberSpan(r wire.NumRange) (span, error) {
	n := uint32(v.told.Len())
	star := r.From == 0 || r.To == 0
	from, to := r.From, r.To
	if from == 0 {
		from = n
	}
	if to == 0 {
		to = n
	}
	if from > to {
		from, to = to, from
	}
	if n == 0 || !star && to > n {
		return span{}, errNumber
	}
	return span{int(min(from, n)) - 1, int(min(to, n))}, nil
}

// uidSpan resolves a range of UIDs: those that do not exist are ignored.
func (v *view) uidSpan(r wire.NumRange) span {
	n := v.told.Len()
	if n == 0 {
		return span{}
	}
	last := uint32(v.told.At(n - 1).UID)
	from, to := r.From, r.To
	if from == 0 {
		from = last
	}
	if to == 0 {
		to = last
	}
	if from > to {
		from, to = to, from
	}
	var sp span
	sp.from, _ = v.told.Find(store.UID(from))
	end, found := v.told.Find(store.UID(to))
	if found {
		end++
	}
	sp.to = end
	return sp
}

// searchSet is the UIDs that a search names, those that are still to come too:
// they may be asked for by CONTEXT. steady reports whether it names the same ones
// after messages have come and gone, which "*" may not.
func (v *view) searchSet(set wire.NumSet, saved store.UIDSet) (uids store.UIDSet, steady bool) {
	if set.Saved {
		return v.uids(v.spansOf(saved)), false
	}
	steady = true
	last := store.UID(0)
	if n := v.told.Len(); n > 0 {
		last = v.told.At(n - 1).UID
	}
	ranges := make([]store.UIDRange, 0, len(set.Ranges))
	for _, r := range set.Ranges {
		from, to := store.UID(r.From), store.UID(r.To)
		if from == 0 {
			from, to = to, from
		}
		switch {
		case to != 0:
		case from != 0 && from <= last:
			to = math.MaxUint32
		case last == 0: // there is no last message
			steady = false
			continue
		default: // the last message alone
			from, to, steady = last, last, false
		}
		ranges = append(ranges, store.UIDRange{From: from, To: to})
	}
	return store.UIDRanges(ranges...), steady
}

func (v *view) spansOf(set store.UIDSet) []span {
	out := make([]span, 0, len(set))
	for _, r := range set {
		if sp := v.uidSpan(wire.NumRange{From: uint32(r.From), To: uint32(r.To)}); sp.from < sp.to {
			out = append(out, sp)
		}
	}
	return mergeSpans(out)
}

func mergeSpans(s []span) []span {
	slices.SortFunc(s, func(a, b span) int { return a.from - b.from })
	out := s[:0]
	for _, sp := range s {
		if n := len(out); n > 0 && sp.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, sp.to)
			continue
		}
		out = append(out, sp)
	}
	return out
}

// uids is a set that names the messages in spans and no others that the mailbox
// has: one range for each span, as no UID comes to be between two others.
func (v *view) uids(spans []span) store.UIDSet {
	set := make(store.UIDSet, 0, len(spans))
	for _, sp := range spans {
		set.AddRange(v.told.At(sp.from).UID, v.told.At(sp.to-1).UID)
	}
	return set
}

// note takes rows over into what the client knows, after it has been told.
// Messages that are gone stay.
func (v *view) note(rows []store.Row, keywords []store.Flag) {
	if len(rows) > 0 {
		v.told = v.told.With(store.Changes{Rows: rows, Keywords: keywords})
	}
}

// settle makes cur what the client knows if that is what it has been told.
func (v *view) settle(cur *store.Snapshot) {
	if cur == v.told || cur.UIDNext() != v.told.UIDNext() || cur.Len() != v.told.Len() {
		return
	}
	if d := store.Diff(v.told, cur); len(d.Rows) == 0 && d.Vanished.Empty() {
		v.told = cur
	}
}

// resolve resolves the number set of a command.
func (s *session) resolve(set wire.NumSet, uid bool) ([]span, reply) {
	spans, err := s.sel.spans(set, uid, s.saved.set)
	if err != nil {
		return nil, bad("No such message number")
	}
	return spans, reply{}
}
