package imap

import (
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// savedResult is "$", the result of the last SEARCH RETURN (SAVE).
type savedResult struct {
	set  store.UIDSet
	held int // octets of the budget
}

// savedFree is how many ranges of "$" need no budget.
const savedFree = 256

// notSaved is the reply where the budget has no memory for "$" (RFC 9051
// §6.4.4.1).
var notSaved = no("NOTSAVED", "Too much to do, the result is not saved")

// save makes a set "$"; false, with nothing saved, if there is no memory for it.
func (s *session) save(set store.UIDSet) bool {
	s.srv.budget.Release(s.saved.held)
	s.saved = savedResult{}
	if n := len(set) * rangeSize; len(set) > savedFree {
		if !s.srv.budget.Acquire(n) {
			return false
		}
		s.saved.held = n
	}
	s.saved.set = set
	return true
}

// searchResult collects what a search has found, as a set of UIDs.
type searchResult struct {
	search *wire.Search
	box    *box // that is named with the result, of ESEARCH
	uid    bool
	told   *store.Snapshot

	uids        store.UIDSet
	count       int
	first, last store.UID
	modSeq      store.ModSeq // highest
	order       []store.Row  // of SORT; nil: ascending
}

func (r *searchResult) add(row store.Row) {
	if r.count == 0 || row.UID < r.first {
		r.first = row.UID
	}
	r.last = max(r.last, row.UID)
	r.count++
	r.uids.Add(row.UID)
	r.modSeq = max(r.modSeq, row.ModSeq)
}

// all is add for who wants all.
func (r *searchResult) all(row store.Row) bool {
	r.add(row)
	return true
}

// number is how a message is named in the answer.
func (r *searchResult) number(u store.UID) uint32 {
	if r.uid {
		return uint32(u)
	}
	i, _ := r.told.Find(u)
	return uint32(i + 1)
}

// some reports whether only some messages were asked for, by MIN, MAX and
// PARTIAL, and nothing that is of all.
func (r *searchResult) some() bool {
	const some, all = wire.ReturnMin | wire.ReturnMax | wire.ReturnPartial, wire.ReturnAll | wire.ReturnCount
	return r.search.Return&some != 0 && r.search.Return&all == 0 && r.count > 0
}

// save is what "$" becomes: everything, unless only some messages were asked for
// (RFC 9051 §6.4.4.1, RFC 9394 §3.2).
func (r *searchResult) save() store.UIDSet {
	if !r.some() {
		return r.uids
	}
	var set store.UIDSet
	if r.search.Return&wire.ReturnPartial != 0 {
		if page := r.page(); page.order == nil {
			set = page.uids
		} else {
			for _, row := range page.order {
				set.Add(row.UID)
			}
		}
	}
	if r.search.Return&wire.ReturnMin != 0 {
		set.Add(r.first)
	}
	if r.search.Return&wire.ReturnMax != 0 {
		set.Add(r.last)
	}
	return set
}

// highest is the MODSEQ of the answer: that of the messages named in it (RFC
// 7162 §3.1.6).
func (r *searchResult) highest() store.ModSeq {
	if !r.some() {
		return r.modSeq
	}
	var m store.ModSeq
	for _, row := range r.told.Select(r.save()) {
		m = max(m, row.ModSeq)
	}
	return m
}

// page is the part of the result that PARTIAL asks for (RFC 9394 §3.1); of SORT,
// by its order (RFC 5267 §4.4).
func (r *searchResult) page() searchResult {
	p := searchResult{uid: r.uid, told: r.told}
	from, to := r.search.Page.Of(r.count)
	if r.order != nil {
		p.order = r.order[from:to]
		p.count = to - from
		return p
	}
	for _, g := range r.uids {
		n := int(g.To-g.From) + 1
		if a, b := max(from, 0), min(to, n); a < b {
			p.uids.AddRange(g.From+store.UID(a), g.From+store.UID(b-1))
			p.count += b - a
		}
		from, to = from-n, to-n
	}
	return p
}

// plainResult sends SEARCH (RFC 3501 §7.2.5).
func (s *session) plainResult(r *searchResult) {
	s.out.put("* SEARCH")
	if r.uid {
		for _, g := range r.uids {
			s.numbers(uint32(g.From), uint32(g.To))
		}
	} else {
		for from, to := range r.told.Spans(r.uids) {
			s.numbers(uint32(from+1), uint32(to))
		}
	}
	if r.search.ModSeq && r.count > 0 { // RFC 7162 §3.1.6
		s.number(" (MODSEQ ", uint64(r.modSeq), ")")
	}
	s.out.put("\r\n")
}

// numbers sends the numbers from to to, a space before each. They are counted
// up in decimal, which takes a third of the time that converting each does.
func (s *session) numbers(from, to uint32) {
	var digits [12]byte
	first := len(digits) - len(strconv.AppendUint(digits[:0], uint64(from), 10)) - 1
	strconv.AppendUint(digits[:first+1], uint64(from), 10)
	digits[first] = ' '
	for n := to - from; ; n-- {
		s.out.b = append(s.out.b, digits[first:]...)
		s.out.spill()
		if n == 0 {
			return
		}
		i := len(digits) - 1
		for ; digits[i] == '9'; i-- {
			digits[i] = '0'
		}
		if digits[i] == ' ' {
			first--
			digits[first], digits[i] = ' ', '1'
			continue
		}
		digits[i]++
	}
}

// extendedResult sends ESEARCH (RFC 9051 §7.3.4).
func (s *session) extendedResult(r *searchResult) {
	ret := r.search.Return
	if !r.search.Extended {
		ret = wire.ReturnAll
	}
	if ret &^= wire.ReturnUpdate | wire.ReturnContext; ret == wire.ReturnSave {
		return // RFC 9051 §6.4.4.1: SAVE alone has no answer
	}
	s.out.put("* ESEARCH (TAG ")
	s.out.b = wire.AppendString(s.out.b, string(s.tag), false)
	if r.box != nil { // RFC 7377 §2.1
		s.out.put(" MAILBOX ")
		s.out.b = wire.AppendMailbox(s.out.b, r.box.name, s.utf8())
		s.number(" UIDVALIDITY ", uint64(r.told.UIDValidity()), "")
	}
	s.out.put(")")
	if r.uid {
		s.out.put(" UID")
	}
	if ret&wire.ReturnMin != 0 && r.count > 0 {
		s.number(" MIN ", uint64(r.number(r.first)), "")
	}
	if ret&wire.ReturnMax != 0 && r.count > 0 {
		s.number(" MAX ", uint64(r.number(r.last)), "")
	}
	if ret&wire.ReturnCount != 0 {
		s.number(" COUNT ", uint64(r.count), "")
	}
	if ret&wire.ReturnAll != 0 && r.count > 0 {
		s.out.put(" ALL ")
		s.resultSet(r)
	}
	if ret&wire.ReturnPartial != 0 {
		s.out.put(" PARTIAL (")
		s.out.b = r.search.Page.Append(s.out.b)
		s.out.put(" ")
		if p := r.page(); p.count > 0 {
			s.resultSet(&p)
		} else {
			s.out.put("NIL")
		}
		s.out.put(")")
	}
	if r.search.ModSeq && r.count > 0 {
		s.number(" MODSEQ ", uint64(r.highest()), "")
	}
	s.out.put("\r\n")
}

// resultSet sends all messages as a set; of SORT, in its order (RFC 5267 §3).
func (s *session) resultSet(r *searchResult) {
	var w wire.NumSetWriter
	switch {
	case r.order != nil:
		for _, row := range r.order {
			s.out.b = w.Add(s.out.b, r.number(row.UID))
			s.out.spill()
		}
	case r.uid:
		for _, u := range r.uids {
			s.out.b = w.AddRange(s.out.b, uint32(u.From), uint32(u.To))
			s.out.spill()
		}
	default:
		for from, to := range r.told.Spans(r.uids) {
			s.out.b = w.AddRange(s.out.b, uint32(from+1), uint32(to))
			s.out.spill()
		}
	}
	s.out.b = w.End(s.out.b)
}
