package imap

import (
	"errors"
	"iter"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// fetch is FETCH (RFC 9051 §6.4.5).
func (s *session) fetch(p *wire.Parser) reply    { return s.fetchItems(p, "FETCH", false) }
func (s *session) uidFetch(p *wire.Parser) reply { return s.fetchItems(p, "UID FETCH", true) }

// fetchBatch is how many messages are looked up at a time.
const fetchBatch = 256

// asked is what FETCH knows about a message beside its row.
type asked struct {
	number int  // its position
	fresh  bool // its flags have just been changed by this command
}

// fetcher answers one FETCH.
type fetcher struct {
	*session
	items   []wire.FetchItem
	details bool // some item needs the outline
	header  bool // some item needs to know where the header ends
	body    bool // some item needs the octets
	seen    bool // some item sets \Seen
	flags   bool // FLAGS was asked for
	uid     bool // UID was asked for
	modSeq  bool // MODSEQ was asked for
	since   store.ModSeq
	changed bool
	lowest  store.UID // see limit

	rows    []store.Row     // the batch
	asked   []asked         // about each of them
	gone    bool            // a message was expunged meanwhile
	cte     bool            // an encoding is unknown
	failure error           // the first other one
	scratch []byte          // headers being filtered
	lent    int             // octets of the budget in scratch
	found   message.Outline // what findHeader has found
}

func (s *session) fetchItems(p *wire.Parser, name string, uid bool) reply {
	c := p.Fetch()
	if p.End() != nil {
		return syntax(p)
	}
	spans, fault := s.resolve(c.Set, uid)
	if fault != (reply{}) {
		return fault
	}
	switch {
	case !c.Vanished:
	case !uid || !s.qresync: // RFC 7162 §3.2.6
		return bad("VANISHED is for UID FETCH, after ENABLE QRESYNC")
	default:
		gone, err := s.sel.vanished(s.ctx, store.ModSeq(c.ChangedSince), s.sel.fetchSet(c.Set, s.saved.set), 0)
		if err != nil {
			return s.failed(err)
		}
		s.tellVanished(vanishedEarlier, gone)
	}
	if size := c.Page.Size(); s.srv.lim.worked > 0 && size > uint64(s.srv.lim.worked) {
		return no(s.limitCode(), "Too many messages") // RFC 9738 §3.1
	}
	f := s.plan(&c, uid)
	defer f.release()
	if c.Page != (wire.Page{}) || f.changed && s.srv.lim.worked > 0 {
		spans = f.those(spans)
	}
	if c.Page != (wire.Page{}) {
		spans = page(spans, c.Page)
	}
	spans, f.lowest = s.limit(spans)
	for i, row := range f.each(spans) {
		f.rows = append(f.rows, row)
		f.asked = append(f.asked, asked{number: i})
		if len(f.rows) == fetchBatch && !f.answer() {
			return f.outcome(name)
		}
	}
	f.answer()
	return f.outcome(name)
}

// each yields the messages of spans, with CHANGEDSINCE those changed since.
func (f *fetcher) each(spans []span) iter.Seq2[int, store.Row] {
	return func(yield func(int, store.Row) bool) {
		told := f.sel.told
		if f.changed && count(spans) > changedLeast {
			k := 0
			for i, row := range told.ChangedSince(f.since) {
				for k < len(spans) && spans[k].to <= i {
					k++
				}
				if k == len(spans) || i >= spans[k].from && !yield(i, row) {
					return
				}
			}
			return
		}
		for _, sp := range spans {
			for i, row := range told.Range(sp.from, sp.to) {
				if (!f.changed || row.ModSeq > f.since) && !yield(i, row) {
					return
				}
			}
		}
	}
}

// changedLeast is from how many messages on the pages of a mailbox are asked
// for what has changed.
const changedLeast = 128

// those are the messages of spans that are asked for: with CHANGEDSINCE those
// changed since.
func (f *fetcher) those(spans []span) []span {
	if !f.changed {
		return spans
	}
	var some []span
	for i := range f.each(spans) {
		if n := len(some); n > 0 && some[n-1].to == i {
			some[n-1].to++
		} else {
			some = append(some, span{i, i + 1})
		}
	}
	return some
}

// page is the part of spans that is on a page (RFC 9394 §3.3).
func page(spans []span, p wire.Page) []span {
	from, to := p.Of(count(spans))
	var out []span
	for _, sp := range spans {
		n := sp.to - sp.from
		if a, b := max(from, 0), min(to, n); a < b {
			out = append(out, span{sp.from + a, sp.from + b})
		}
		from, to = from-n, to-n
	}
	return out
}

// count is the number of messages in spans.
func count(spans []span) (n int) {
	for _, sp := range spans {
		n += sp.to - sp.from
	}
	return n
}

// plan looks at what is asked for.
func (s *session) plan(c *wire.Fetch, uid bool) *fetcher {
	f := &fetcher{session: s, items: c.Items, changed: c.Changed, since: store.ModSeq(c.ChangedSince)}
	for i := range f.items {
		f.prepare(&f.items[i])
	}
	if f.modSeq || c.Changed {
		s.enableCondStore() // RFC 7162 §3.1
	}
	if c.Changed && !f.modSeq { // RFC 7162 §3.1.4.1
		f.modSeq = true
		f.items = append(f.items, wire.FetchItem{Attr: wire.FetchModSeq})
	}
	if uid && !f.uid && !s.uidOnly { // RFC 9051 §6.4.9; UIDFETCH begins with it
		f.uid = true
		f.items = append([]wire.FetchItem{{Attr: wire.FetchUID}}, f.items...)
	}
	f.seen = f.seen && !s.sel.readOnly
	return f
}

// prepare notes what an item needs.
func (f *fetcher) prepare(it *wire.FetchItem) {
	switch it.Attr {
	case wire.FetchUID:
		f.uid = true
	case wire.FetchFlags:
		f.flags = true
	case wire.FetchModSeq:
		f.modSeq = true
	case wire.FetchEnvelope, wire.FetchBody, wire.FetchBodyStructure, wire.FetchEmailID, wire.FetchThreadID:
		f.details = true
	case wire.FetchPreview:
		f.details, f.body = true, true
	case wire.FetchSection, wire.FetchBinary, wire.FetchBinarySize:
		f.body = true
		switch {
		case it.Attr != wire.FetchSection, len(it.Section.Path) > 0:
			f.details = true
		case it.Section.Text != wire.SectionAll:
			f.header = true
		}
		f.seen = f.seen || !it.Peek
	}
}

// answer sends the batch and reports whether to go on.
func (f *fetcher) answer() bool {
	defer func() { f.rows, f.asked = f.rows[:0], f.asked[:0] }()
	if len(f.rows) == 0 || f.out.err != nil || f.ctx.Err() != nil {
		return f.out.err == nil
	}
	if f.seen {
		f.markSeen()
	}
	switch {
	case f.details:
		f.answerDetails()
	case f.body:
		i := 0
		for body, err := range store.Bodies(f.ctx, f.sel.mb, f.rows) {
			if err != nil {
				f.note(err)
			} else {
				f.message(f.asked[i], f.rows[i], body, store.Detail{})
			}
			if i++; i == len(f.rows) || f.out.err != nil {
				break
			}
		}
	default:
		for i, row := range f.rows {
			f.message(f.asked[i], row, nil, store.Detail{})
		}
	}
	return f.out.err == nil
}

// answerDetails is answer for items that need details, and perhaps the octets.
func (f *fetcher) answerDetails() {
	body := func() (store.Body, error, bool) { return nil, nil, true }
	if f.body {
		next, stop := iter.Pull2(store.Bodies(f.ctx, f.sel.mb, f.rows))
		defer stop()
		body = next
	}
	i := 0
	for d, err := range f.sel.mb.Details(f.ctx, f.rows) {
		b, failed, ok := body()
		switch {
		case err != nil:
			f.note(err)
		case failed != nil:
			f.note(failed)
		case ok:
			f.message(f.asked[i], f.rows[i], b, d)
		}
		if i++; i == len(f.rows) || f.out.err != nil {
			return
		}
	}
}

// markSeen sets \Seen on the batch. The flags are part of the answers then (RFC
// 9051 §6.4.5).
func (f *fetcher) markSeen() {
	var unseen store.UIDSet
	for _, r := range f.rows {
		if r.Flags&store.BitSeen == 0 {
			unseen.Add(r.UID)
		}
	}
	if unseen.Empty() {
		return
	}
	v := f.sel
	_, err := v.mb.Flag(f.ctx, unseen, store.FlagUpdate{Op: store.FlagsAdd, Flags: []store.Flag{store.FlagSeen}})
	if errors.Is(err, store.ErrReadOnly) { // RFC 4314 §4: without the right "s" the flag stays
		f.seen = false
		return
	}
	if err != nil {
		f.note(err)
		return
	}
	cur, err := v.mb.Snapshot(f.ctx)
	if err != nil {
		f.note(err)
		return
	}
	f.announceKeywords(cur)
	noted := make([]store.Row, 0, unseen.Len())
	for i, r := range f.rows {
		if r.Flags&store.BitSeen != 0 {
			continue
		}
		if at, found := cur.Find(r.UID); found {
			f.rows[i], f.asked[i].fresh = cur.At(at), true
			noted = append(noted, f.rows[i])
		}
	}
	v.note(noted, cur.Keywords())
}

// note remembers why a message could not be answered.
func (f *fetcher) note(err error) {
	switch {
	case errors.Is(err, store.ErrExpunged):
		f.gone = true
	case f.failure == nil:
		f.failure = err
	}
}

// outcome is the reply to the whole command.
func (f *fetcher) outcome(name string) reply { return f.shortened(f.result(name), f.lowest) }

func (f *fetcher) result(name string) reply {
	switch {
	case f.out.err != nil:
		// The connection is lost, or a literal could not be completed: there
		// is nothing left to say.
		f.srv.log.Warn("FETCH interrupted", "server", "imap", "peer", f.peer(), "account", f.accountName(), "err", f.out.err)
		f.enter(stateLogout, nil)
		return gone
	case f.failure != nil:
		return f.failed(f.failure)
	case f.cte:
		return no("UNKNOWN-CTE", "A part is encoded in an unknown way") // RFC 3516 §4.3
	case f.gone: // RFC 5530
		return no("EXPUNGEISSUED", "Some messages have been expunged")
	}
	return ok(name + " completed")
}
