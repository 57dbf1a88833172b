package imap

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	lines "github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// sort is SORT (RFC 5256 §3).
func (s *session) sort(p *wire.Parser) reply    { return s.sortMailbox(p, "SORT", false) }
func (s *session) uidSort(p *wire.Parser) reply { return s.sortMailbox(p, "UID SORT", true) }

func (s *session) sortMailbox(p *wire.Parser, name string, uid bool) reply {
	c := p.Sort()
	if p.End() != nil {
		return syntax(p)
	}
	r := s.runSort(&c, name, uid)
	if r.status == "NO" && c.Return&wire.ReturnSave != 0 {
		_ = s.save(nil) // RFC 9051 §6.4.4.1
	}
	return r
}

func (s *session) runSort(c *wire.Sort, name string, uid bool) reply {
	t := sorter{session: s, memory: loan{budget: s.srv.budget}, columns: newColumns(c.By)}
	defer t.memory.repay()
	found := searchResult{search: &c.Search, uid: uid, told: s.sel.told}
	crit, fault := s.matching(&c.Search, func(row store.Row) bool {
		return t.add(row) && found.all(row)
	})
	if fault != (reply{}) {
		return fault
	}
	err := t.sort()
	switch {
	case err != nil:
		return s.failed(err)
	case t.full:
		return busy
	}
	found.order = t.rows
	if n := len(t.rows); n > 0 { // RFC 5267 §3: MIN and MAX are the ends of the order
		found.first, found.last = t.rows[0].UID, t.rows[n-1].UID
	}
	if c.Return&wire.ReturnSave != 0 && !s.save(found.save()) {
		return notSaved
	}
	s.follow(&found, &crit, c.By)
	s.out.begin()
	if c.Extended {
		s.extendedResult(&found)
	} else {
		s.sortResult(&found)
	}
	return ok(name + " completed")
}

// sortResult sends SORT (RFC 5256 §4).
func (s *session) sortResult(r *searchResult) {
	s.out.put("* SORT")
	for _, row := range r.order {
		s.out.b = append(s.out.b, ' ')
		s.out.b = strconv.AppendUint(s.out.b, uint64(r.number(row.UID)), 10)
		s.out.spill()
	}
	if r.search.ModSeq && r.count > 0 { // RFC 7162 §3.1.6
		s.number(" (MODSEQ ", uint64(r.modSeq), ")")
	}
	s.out.put("\r\n")
}

// busy is the reply where the budget has no memory for a command.
var busy = no("UNAVAILABLE", "Too much to do, try again later")

// maxSortText is how many octets of a text, as it is compared, decide.
const maxSortText = 1024

// sorter puts messages in order. Its memory grows with their number, and is
// of the budget.
type sorter struct {
	*session
	memory  loan
	columns []column
	rows    []store.Row  // by position, then in order
	full    bool         // the budget has no more
	unread  store.UIDSet // of which no details could be read
	scratch []byte
}

// column is what one criterion compares, for all messages: numbers, or texts
// one after another.
type column struct {
	wire.SortCriterion
	numbers []int64
	texts   []byte
	ends    []int // of the texts
}

func newColumns(by []wire.SortCriterion) []column {
	cols := make([]column, len(by))
	for i := range by {
		cols[i].SortCriterion = by[i]
	}
	return cols
}

// add takes a message; false if there is no memory for it.
func (t *sorter) add(row store.Row) bool {
	const perRow = 64 + 4
	t.full = t.full || !t.memory.take(perRow+8*len(t.columns))
	if !t.full {
		t.rows = append(t.rows, row)
	}
	return !t.full
}

// sort puts rows in order. What cannot be read of a message is as what it does
// not have.
func (t *sorter) sort() error {
	if t.full {
		return nil
	}
	if err := t.fill(t.rows); err != nil || t.full {
		return err
	}
	order := t.ranked(0)
	sorted := make([]store.Row, len(order))
	for i, at := range order {
		sorted[i] = t.rows[at]
	}
	t.rows = sorted
	return nil
}

// ranked gives the indexes of rows from the first on, whose columns are filled, in
// order.
func (t *sorter) ranked(first int32) []int32 {
	order := make([]int32, len(t.rows)-int(first))
	for i := range order {
		order[i] = first + int32(i)
	}
	slices.SortFunc(order, t.compare)
	return order
}

// compare compares the rows of two indexes.
func (t *sorter) compare(a, b int32) int {
	for i := range t.columns {
		if d := t.columns[i].compare(int(a), int(b)); d != 0 {
			return d
		}
	}
	// RFC 5256 §3: then by number, whatever is reversed.
	return cmp.Compare(t.rows[a].UID, t.rows[b].UID)
}

// fill reads what is compared of rows, which are the next.
func (t *sorter) fill(rows []store.Row) error {
	details := false
	for i := range t.columns {
		c := &t.columns[i]
		switch c.Key {
		case wire.SortArrival, wire.SortSize:
			for _, r := range rows {
				c.numbers = append(c.numbers, c.number(r, nil))
			}
		default:
			details = true
		}
	}
	if !details {
		return nil
	}
	return t.session.details(rows, func(row store.Row, d store.Detail) bool {
		if d.Outline == nil {
			t.unread.Add(row.UID)
		}
		for i := range t.columns {
			t.columns[i].read(t, row, d)
		}
		return !t.full
	})
}

// details gives the details of messages in order; where one cannot be read,
// and that is logged, without an outline. It ends early when each says so.
func (s *session) details(rows []store.Row, each func(store.Row, store.Detail) bool) error {
	i := 0
	for d, err := range s.sel.mb.Details(s.ctx, rows) {
		switch {
		case i == len(rows):
			return nil
		case err == nil, errors.Is(err, store.ErrExpunged):
		case s.ctx.Err() != nil, errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrNotFound):
			return err
		default:
			s.srv.log.Error("message cannot be sorted", "server", "imap", "peer", s.peer(), "account", s.accountName(), "uid", rows[i].UID, "err", err)
		}
		if err != nil {
			d = store.Detail{}
		}
		if !each(rows[i], d) {
			return nil
		}
		i++
	}
	if i < len(rows) {
		return errors.New("imap: the store left out details")
	}
	return nil
}

// number is what a criterion of numbers compares.
func (c *column) number(r store.Row, e *message.Envelope) int64 {
	switch c.Key {
	case wire.SortArrival:
		return r.Date
	case wire.SortSize:
		return int64(r.Size)
	}
	return sentDate(r, e)
}

// read takes over what the column compares of the next message.
func (c *column) read(t *sorter, r store.Row, d store.Detail) {
	var e *message.Envelope
	if d.Outline != nil {
		e = &d.Outline.Envelope
	}
	switch c.Key {
	case wire.SortArrival, wire.SortSize: // filled
	case wire.SortDate:
		c.numbers = append(c.numbers, c.number(r, e))
	default:
		if e != nil {
			t.scratch = store.Fold(t.scratch[:0], clip(c.text(e), maxSortText))
			text := clip(t.scratch, maxSortText)
			t.full = t.full || !t.memory.take(len(text))
			if !t.full {
				c.texts = append(c.texts, text...)
			}
		}
		c.ends = append(c.ends, len(c.texts))
	}
}

// text is what a criterion of texts compares (RFC 5256 §3, RFC 5957 §3).
func (c *column) text(e *message.Envelope) string {
	switch c.Key {
	case wire.SortSubject:
		base, _ := message.BaseSubject(e.Subject)
		return base
	case wire.SortFrom:
		return mailboxOf(e.From)
	case wire.SortTo:
		return mailboxOf(e.To)
	case wire.SortCc:
		return mailboxOf(e.Cc)
	case wire.SortDisplayFrom:
		return displayOf(e.From)
	case wire.SortDisplayTo:
		return displayOf(e.To)
	}
	return ""
}

func (c *column) compare(a, b int) int {
	var d int
	if c.ends == nil {
		d = cmp.Compare(c.numbers[a], c.numbers[b])
	} else {
		d = bytes.Compare(c.at(a), c.at(b))
	}
	if c.Reverse {
		return -d
	}
	return d
}

func (c *column) at(i int) []byte {
	from := 0
	if i > 0 {
		from = c.ends[i-1]
	}
	return c.texts[from:c.ends[i]]
}

func clip[T string | []byte](s T, n int) T { return s[:min(len(s), n)] }

// mailboxOf is addr-mailbox of the first address, which for a group is its name.
func mailboxOf(list []message.Address) string {
	switch {
	case len(list) == 0:
		return ""
	case list[0].IsGroupStart() && list[0].Name != "":
		return list[0].Name
	}
	return list[0].Mailbox
}

// displayOf is the sort value for display of the first address (RFC 5957 §3).
func displayOf(list []message.Address) string {
	switch {
	case len(list) == 0:
		return ""
	case list[0].Name != "":
		return list[0].Name
	case list[0].Host != "":
		return list[0].Mailbox + "@" + list[0].Host
	}
	return list[0].Mailbox
}

// sentDate is the sent date in seconds since 1970 UTC (RFC 5256 §2.2): of the
// Date field, without a zone that is invalid and at midnight if the time is; of
// the arrival if there is no date at all.
func sentDate(r store.Row, e *message.Envelope) int64 {
	if e == nil || e.Date == "" {
		return r.Date
	}
	t, err := message.ParseDate(e.Date)
	if err != nil {
		if t, err = datePart(e.Date); err != nil {
			return r.Date
		}
	}
	return t.Unix()
}

// datePart reads as much of a date-time as is valid: date and time, or the date.
func datePart(value string) (t time.Time, err error) {
	words := strings.Fields(clip(value, 200))
	for i, w := range words {
		if strings.Contains(w, ":") {
			if t, err = message.ParseDate(strings.Join(words[:i+1], " ")); err == nil {
				return t, nil
			}
			words = words[:i]
			break
		}
	}
	return message.ParseDate(strings.Join(words, " ") + " 00:00")
}

// loan is memory of a budget that one command holds.
type loan struct {
	budget     *lines.Budget
	used, held int
}

// take takes n octets more; false if they are not there.
func (l *loan) take(n int) bool {
	if l.used += n; l.used <= l.held {
		return true
	}
	more := max(l.used-l.held, l.held/4, 64<<10)
	if !l.budget.Acquire(more) {
		return false
	}
	l.held += more
	return true
}

// repay gives all back.
func (l *loan) repay() { l.budget.Release(l.held) }
