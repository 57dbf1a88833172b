package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"
)

// Limits of a search, kept by Search; beyond them it is ErrLimit.
const (
	MaxSearchDepth = 64   // nesting of Not and Or
	MaxSearchTerms = 1000 // Criteria and conditions in all
)

// searchDeep is how many messages are known in detail together.
const searchDeep = 32

// searchBatch is how many messages are looked at together.
const searchBatch = 256

// Search yields the rows of snap that match c, ascending. Snap is of mb; what
// happened to the mailbox since does not show, and messages that can no longer
// be read for being expunged match nothing.
//
// It is the one evaluator: engines may help it to be fast, but all answer as it
// does. A nil c matches every message. Columns are looked at first, then what was computed at staging, then
// headers, then bodies, and only as far as the answer is still open.
//
// Text is compared as i;unicode-casemap does (RFC 5051): without case, and with
// characters decomposed, so that "cafe" is found in "café". Header fields are
// decoded (RFC 2047, 2231 parameters are not); Text looks at all header fields
// of all parts, Body at those of embedded messages. Of bodies, the parts of the
// types text and message are read, decoded to UTF-8, in constant memory. A text
// is found within one field or one part, not across. Beyond the limits of
// message.Limits headers are not looked at.
//
// A Date that is missing or unreadable counts as the internal date.
//
// An error of one message comes with its row and does not end the search; one
// of the search as a whole (ErrLimit, a deleted mailbox, ctx) comes with no row
// and ends it. Nothing is locked while the caller has the word.
func Search(ctx context.Context, mb Mailbox, snap *Snapshot, c *Criteria) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if c == nil {
			c = &Criteria{}
		}
		s := &search{ctx: ctx, mb: mb, snap: snap}
		root, err := s.compile(c, 0)
		if err != nil {
			yield(Row{}, err)
			return
		}
		s.root = root
		s.run(c, yield)
	}
}

// Searcher is an optional ability of a Mailbox: an index that narrows a search
// down before any message is looked at.
type Searcher interface {
	// Candidates returns UIDs among which are those of all messages of snap
	// that match c; others may be there too, since Search looks at each. ok is
	// false where the index is of no help, or fails: then all are looked at.
	Candidates(ctx context.Context, snap *Snapshot, c *Criteria) (uids UIDSet, ok bool)
}

// verdict is what is known about a message and a criterion.
type verdict int8

const (
	open verdict = iota
	yes
	no
)

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// and is yes if all are, no if one is.
func (v verdict) and(w verdict) verdict {
	switch {
	case v == no || w == no:
		return no
	case v == open || w == open:
		return open
	}
	return yes
}

func (v verdict) not() verdict {
	switch v {
	case yes:
		return no
	case no:
		return yes
	}
	return open
}

// node is a compiled Criteria.
type node struct {
	c          *Criteria
	never      bool // asks for a keyword that the mailbox does not have
	flags, not FlagBits
	since, end int64    // bounds of the internal date; end exclusive
	saved      [2]int64 // likewise of the save date
	exact      [2]int64 // of the internal date to the second; both included
	dated      bool
	identified bool
	sent       [2]int64 // likewise of the Date field, as a day
	fields     []int    // numbers in search.fields
	texts      []int    // numbers in search.texts
	nots       []*node
	ors        [][2]*node
}

// fieldTerm and textTerm are conditions that need the message. What is known
// of the present one is in found.
type fieldTerm struct {
	name   string
	needle []byte
	found  verdict
}

type textTerm struct {
	needle []byte
	body   bool // not in the message's own header
	raw    bool // see rawNeedle
	found  verdict
}

// search is one run of Search.
type search struct {
	ctx    context.Context
	mb     Mailbox
	snap   *Snapshot
	root   *node
	fields []fieldTerm
	texts  []textTerm
	terms  int
	scan   scanner
	sent   int64     // day of the present message's Date field
	known  bool      // sent and ids are valid
	ids    [2]string // of the present message and its thread
	dated  bool      // sent is asked for

	details []Detail // of messages that are looked at in depth
	deep    []Row
}

const minDay, maxDay = -1 << 62, 1 << 62

// day numbers the calendar day of t, in t's own zone.
func day(t time.Time) int64 {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()
}

// compile prepares c and what is in it.
func (s *search) compile(c *Criteria, depth int) (*node, error) {
	if s.terms += 1 + len(c.UIDs) + len(c.Header) + len(c.Body) + len(c.Text) + len(c.EmailIDs) + len(c.ThreadIDs); depth > MaxSearchDepth || s.terms > MaxSearchTerms {
		return nil, fmt.Errorf("%w: search too complex", ErrLimit)
	}
	n := &node{c: c, since: minDay, end: maxDay, sent: [2]int64{minDay, maxDay},
		saved: [2]int64{minDay, maxDay}, exact: [2]int64{math.MinInt64, math.MaxInt64}, identified: c.EmailIDs != nil || c.ThreadIDs != nil}
	bits, ok := s.snap.Bits(c.Flags...)
	n.flags, n.never = bits, !ok
	n.not, _ = s.snap.Bits(c.NotFlags...)
	if !c.Since.IsZero() {
		n.since = day(c.Since)
	}
	if !c.Before.IsZero() {
		n.end = day(c.Before)
	}
	if !c.SentSince.IsZero() {
		s.dated, n.dated, n.sent[0] = true, true, day(c.SentSince)
	}
	if !c.SentBefore.IsZero() {
		s.dated, n.dated, n.sent[1] = true, true, day(c.SentBefore)
	}
	if !c.SavedSince.IsZero() {
		n.saved[0] = day(c.SavedSince)
	}
	if !c.SavedBefore.IsZero() {
		n.saved[1] = day(c.SavedBefore)
	}
	if t := c.NotBefore; !t.IsZero() {
		if n.exact[0] = t.Unix(); t.Nanosecond() > 0 {
			n.exact[0]++
		}
	}
	if !c.NotAfter.IsZero() {
		n.exact[1] = c.NotAfter.Unix()
	}
	for _, h := range c.Header {
		n.fields = append(n.fields, len(s.fields))
		s.fields = append(s.fields, fieldTerm{name: h.Name, needle: fold(nil, []byte(h.Text))})
	}
	for i, list := range [][]string{c.Text, c.Body} {
		for _, text := range list {
			if needle := fold(nil, []byte(text)); len(needle) > 0 {
				n.texts = append(n.texts, len(s.texts))
				s.texts = append(s.texts, textTerm{needle: needle, body: i == 1, raw: rawNeedle(needle)})
			}
		}
	}
	for i := range c.Not {
		sub, err := s.compile(&c.Not[i], depth+1)
		if err != nil {
			return nil, err
		}
		n.nots = append(n.nots, sub)
	}
	for i := range c.Or {
		a, err := s.compile(&c.Or[i][0], depth+1)
		if err != nil {
			return nil, err
		}
		b, err := s.compile(&c.Or[i][1], depth+1)
		if err != nil {
			return nil, err
		}
		n.ors = append(n.ors, [2]*node{a, b})
	}
	return n, nil
}

// columns judges by the row alone.
func (n *node) columns(r *Row) bool {
	c := n.c
	if n.never || r.Flags&n.flags != n.flags || r.Flags&n.not != 0 || r.ModSeq < c.ModSeq || r.Date < n.since || r.Date >= n.end {
		return false
	}
	if r.Saved < n.saved[0] || r.Saved >= n.saved[1] || r.Date < n.exact[0] || r.Date > n.exact[1] {
		return false
	}
	if c.Larger != nil && int64(r.Size) <= *c.Larger || c.Smaller != nil && int64(r.Size) >= *c.Smaller {
		return false
	}
	for _, set := range c.UIDs {
		if !set.Contains(r.UID) {
			return false
		}
	}
	return true
}

// judge says what is known so far of the message in r.
func (s *search) judge(n *node, r *Row) verdict {
	if !n.columns(r) {
		return no
	}
	v := yes
	if n.dated {
		if !s.known {
			v = open
		} else if s.sent < n.sent[0] || s.sent >= n.sent[1] {
			return no
		}
	}
	if n.identified {
		if !s.known {
			v = open
		} else if !listed(n.c.EmailIDs, s.ids[0]) || !listed(n.c.ThreadIDs, s.ids[1]) {
			return no
		}
	}
	for _, i := range n.fields {
		v = v.and(s.fields[i].found)
	}
	for _, i := range n.texts {
		v = v.and(s.texts[i].found)
	}
	for _, sub := range n.nots {
		if v == no {
			return no
		}
		v = v.and(s.judge(sub, r).not())
	}
	for _, pair := range n.ors {
		if v == no {
			return no
		}
		a := s.judge(pair[0], r)
		if a != yes { // or is not(not and not)
			a = a.not().and(s.judge(pair[1], r).not()).not()
		}
		v = v.and(a)
	}
	return v
}

// listed reports whether an id is on a list of which nil holds every id.
func listed(list []string, id string) bool {
	return list == nil || id != "" && slices.Contains(list, id)
}

// forget clears what is known of the message before.
func (s *search) forget() {
	s.known = false
	for i := range s.fields {
		s.fields[i].found = open
	}
	for i := range s.texts {
		s.texts[i].found = open
	}
}

// run goes through the candidates batch by batch.
func (s *search) run(c *Criteria, yield func(Row, error) bool) {
	rows := s.snap.All()
	sets := c.UIDs
	if x, ok := s.mb.(Searcher); ok {
		if set, ok := x.Candidates(s.ctx, s.snap, c); ok {
			sets = append(slices.Clone(sets), set)
		}
	}
	if len(sets) > 0 {
		set := sets[0]
		for _, more := range sets[1:] {
			set = set.Intersect(more)
		}
		rows = s.snap.Select(set)
	}
	var batch []Row // those that match or may match
	var verdicts []verdict
	looked := 0
	s.forget()
	for _, r := range rows {
		if looked%searchBatch == 0 && s.ctx.Err() != nil {
			break // flush will say
		}
		switch v := s.judge(s.root, &r); {
		case v == yes && len(batch) == 0: // nothing before it is open
			if !yield(r, nil) {
				return
			}
		case v != no:
			batch, verdicts = append(batch, r), append(verdicts, v)
		}
		if looked++; looked%searchBatch == 0 || len(batch) == searchBatch {
			if !s.flush(batch, verdicts, yield) {
				return
			}
			s.forget()
			batch, verdicts = batch[:0], verdicts[:0]
		}
	}
	s.flush(batch, verdicts, yield)
}

// flush yields a batch in order, reading those messages that are open. It
// reports whether to go on.
func (s *search) flush(batch []Row, verdicts []verdict, yield func(Row, error) bool) bool {
	if err := s.ctx.Err(); err != nil {
		yield(Row{}, err)
		return false
	}
	var unsure []Row
	for i, r := range batch {
		if verdicts[i] == open {
			unsure = append(unsure, r)
		}
	}
	next := 0 // in batch
	sure := func() bool {
		for ; next < len(batch) && verdicts[next] == yes; next++ {
			if !yield(batch[next], nil) {
				return false
			}
		}
		return true
	}
	for len(unsure) > 0 {
		part := unsure[:min(len(unsure), searchDeep)]
		unsure = unsure[len(part):]
		for d, err := range s.messages(part) {
			if !sure() {
				return false
			}
			match := err == nil && d.match
			next++
			switch {
			case err == nil:
				if match && !yield(d.row, nil) {
					return false
				}
			case s.ctx.Err() != nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound):
				yield(Row{}, err)
				return false
			case errors.Is(err, ErrExpunged):
			case !yield(d.row, err):
				return false
			}
		}
	}
	if !sure() {
		return false
	}
	if next < len(batch) {
		err := s.ctx.Err()
		if err == nil {
			err = errors.New("store: search: the engine left out details")
		}
		yield(Row{}, err)
		return false
	}
	return true
}
