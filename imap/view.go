package imap

import (
	"errors"
	"slices"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// view is a selected mailbox as its client knows it. Message numbers are the
// positions in told, which therefore keeps messages that are gone until the
// client may be told so.
type view struct {
	box
	readOnly bool
	told     *store.Snapshot
	keywords int // how many of the mailbox's keywords the client knows
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

// uids is the set of the messages in spans.
func (v *view) uids(spans []span) store.UIDSet {
	var set store.UIDSet
	for _, sp := range spans {
		for _, r := range v.told.Range(sp.from, sp.to) {
			set.Add(r.UID)
		}
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

// resolve resolves the number set of a command.
func (s *session) resolve(set wire.NumSet, uid bool) ([]span, reply) {
	spans, err := s.sel.spans(set, uid, s.saved)
	if err != nil {
		return nil, bad("No such message number")
	}
	return spans, reply{}
}

// sync tells the client what has changed in the selected mailbox since it was
// told last. EXPUNGE is told only if it may be now; the messages then stay
// numbered and readable until it may. It reports whether the session goes on.
func (s *session) sync(expunge bool) bool {
	v := s.sel
	if v == nil {
		return true
	}
	cur, err := v.mb.Snapshot(s.ctx)
	if errors.Is(err, store.ErrNotFound) {
		// RFC 2180 §3.3: others are disconnected when a mailbox is deleted.
		s.bye("", "The selected mailbox has been deleted")
		return false
	}
	if err != nil {
		s.srv.log.Error("mailbox cannot be read", "server", "imap", "peer", s.peer(), "account", s.accountName(), "err", err)
		return true // the next command tries again
	}
	if cur != v.told {
		s.tell(cur, expunge)
	}
	return s.out.err == nil
}

// tell makes cur what the client knows, and told what it knew.
func (s *session) tell(cur *store.Snapshot, expunge bool) {
	v, told := s.sel, s.sel.told
	ch := store.Diff(told, cur)
	s.announceKeywords(cur)
	next, removed := cur, 0
	switch {
	case ch.Vanished.Empty():
	case expunge:
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

// tellExpunged sends EXPUNGE for messages that are gone and returns how many.
func (s *session) tellExpunged(told *store.Snapshot, gone store.UIDSet) int {
	n := 0
	s.out.begin()
	for i := range told.Select(gone) {
		s.out.b = append(s.out.b, "* "...)
		s.out.b = strconv.AppendInt(s.out.b, int64(i+1-n), 10)
		s.out.b = append(s.out.b, " EXPUNGE\r\n"...)
		s.out.spill()
		n++
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

// tellFlags sends a FETCH that nobody asked for, or STORE's answer: with UID
// where one must be in it (RFC 9051 §7.5.2), and with MODSEQ once CONDSTORE is
// enabled (RFC 7162 §3.2).
func (s *session) tellFlags(i int, row store.Row, snap *store.Snapshot, uid, flags bool) {
	s.out.begin()
	b := s.beginFetch(s.out.b, i, row.UID)
	if uid {
		b = append(b, "UID "...)
		b = strconv.AppendUint(b, uint64(row.UID), 10)
	}
	if flags {
		if uid {
			b = append(b, ' ')
		}
		b = append(b, "FLAGS "...)
		b = appendFlags(b, row.Flags, snap.Keywords())
	}
	if s.condStor {
		b = append(b, " MODSEQ ("...)
		b = strconv.AppendUint(b, uint64(row.ModSeq), 10)
		b = append(b, ')')
	}
	s.out.b = append(b, ")\r\n"...)
	s.out.spill()
}

var systemFlags = [...]store.Flag{store.FlagSeen, store.FlagAnswered, store.FlagFlagged, store.FlagDeleted, store.FlagDraft}

// appendFlags appends the flags of a row, in parentheses.
func appendFlags(b []byte, bits store.FlagBits, keywords []store.Flag) []byte {
	b = append(b, '(')
	start := len(b)
	for i, f := range systemFlags {
		if bits&(1<<i) != 0 {
			b = append(append(b, f...), ' ')
		}
	}
	for i, rest := 0, bits>>len(systemFlags); rest != 0 && i < len(keywords); i, rest = i+1, rest>>1 {
		if rest&1 != 0 {
			b = append(append(b, keywords[i]...), ' ')
		}
	}
	if len(b) > start {
		b = b[:len(b)-1]
	}
	return append(b, ')')
}

// announceKeywords sends FLAGS and PERMANENTFLAGS when the mailbox has keywords
// that the client has not been told of.
func (s *session) announceKeywords(snap *store.Snapshot) {
	if len(snap.Keywords()) > s.sel.keywords {
		s.tellKeywords(s.sel, snap)
	}
}

// tellKeywords sends FLAGS and PERMANENTFLAGS.
func (s *session) tellKeywords(v *view, snap *store.Snapshot) {
	keywords := snap.Keywords()
	v.keywords = len(keywords)
	all := ^store.FlagBits(0)
	s.out.put("* FLAGS ")
	s.out.b = appendFlags(s.out.b, all, keywords)
	s.out.put("\r\n* OK [PERMANENTFLAGS ")
	switch {
	case v.readOnly:
		s.out.put("()")
	default:
		s.out.b = appendFlags(s.out.b, all, keywords)
		if len(keywords) < store.MaxKeywords { // RFC 9051 §7.1: new ones may be made
			s.out.b = append(s.out.b[:len(s.out.b)-1], ` \*)`...)
		}
	}
	s.out.put("] Flags that can be changed\r\n")
}

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
