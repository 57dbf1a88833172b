package imap

import (
	"errors"
	"slices"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// searchContext is a search whose results are kept up to date (RFC 5267 §4.3).
type searchContext struct {
	tag  string
	uid  bool
	crit store.Criteria
	snap *store.Snapshot // as of which it is
	uids store.UIDSet    // that match
	held int             // octets of the budget

	by    []wire.SortCriterion // of SORT; nil: of SEARCH, which has no order
	order []store.UID          // uids as they are sorted
}

// size is about how many octets a context keeps.
func (x *searchContext) size() int {
	return len(x.uids)*rangeSize + criteriaSize(&x.crit) + 4*cap(x.order)
}

// rangeSize is what a range of a set of UIDs takes, with room to grow.
const rangeSize = 16

// criteriaSize is about how many octets criteria take.
func criteriaSize(c *store.Criteria) int {
	n := 512
	for _, set := range c.UIDs {
		n += 24 + len(set)*rangeSize
	}
	for i := range c.Header {
		n += 32 + len(c.Header[i].Name) + len(c.Header[i].Text)
	}
	for _, list := range [...][]string{c.Body, c.Text, c.EmailIDs, c.ThreadIDs} {
		for _, s := range list {
			n += 16 + len(s)
		}
	}
	for _, list := range [...][]store.Flag{c.Flags, c.NotFlags} {
		for _, f := range list {
			n += 16 + len(f)
		}
	}
	for i := range c.Not {
		n += criteriaSize(&c.Not[i])
	}
	for i := range c.Or {
		n += criteriaSize(&c.Or[i][0]) + criteriaSize(&c.Or[i][1])
	}
	return n
}

// hold takes what a context keeps from the budget, instead of what it kept
// before; false, with nothing held, if there is not so much.
func (s *session) hold(x *searchContext) bool {
	s.srv.budget.Release(x.held)
	if x.held = x.size(); !s.srv.budget.Acquire(x.held) {
		x.held = 0
		return false
	}
	return true
}

// dropContexts forgets some contexts.
func (s *session) dropContexts(which func(*searchContext) bool) {
	s.contexts = slices.DeleteFunc(s.contexts, func(x *searchContext) bool {
		drop := which(x)
		if drop {
			s.srv.budget.Release(x.held)
		}
		return drop
	})
}

// noUpdate says that a result is not, or no longer, kept up to date (RFC 5267
// §4.3.1).
func (s *session) noUpdate(tag string) {
	code := wire.AppendString([]byte("NOUPDATE "), tag, false)
	s.untagged(no(string(code), "The result is not kept up to date"))
}

// follow begins to keep a result up to date, or says that it does not (RFC 5267
// §4.3.1). Without crit it cannot be; by is how it is sorted, if it is.
func (s *session) follow(found *searchResult, crit *store.Criteria, by []wire.SortCriterion) {
	c := found.search
	if c.Return&wire.ReturnUpdate == 0 {
		return
	}
	tag := string(s.tag)
	s.dropContexts(func(x *searchContext) bool { return x.tag == tag })
	// What numbers stand for changes, and so does what is unsteady.
	if crit == nil || s.unsteady || c.Numbers || c.Saved || by != nil && !s.can("CONTEXT=SORT") || len(s.contexts) >= s.srv.lim.contexts {
		s.noUpdate(tag)
		return
	}
	x := &searchContext{tag: tag, uid: found.uid, crit: *crit, snap: s.sel.told, uids: found.uids, by: by}
	if len(found.order) > 0 {
		x.order = make([]store.UID, len(found.order))
		for i := range found.order {
			x.order[i] = found.order[i].UID
		}
	}
	if !s.hold(x) {
		s.noUpdate(tag)
		return
	}
	s.contexts = append(s.contexts, x)
}

// cancelUpdate is CANCELUPDATE (RFC 5267 §4.3.5).
func (s *session) cancelUpdate(p *wire.Parser) reply {
	tags := p.CancelUpdate()
	if p.End() != nil {
		return syntax(p)
	}
	for _, t := range tags {
		if !slices.ContainsFunc(s.contexts, func(x *searchContext) bool { return x.tag == t }) {
			return bad("No search of this tag is kept up to date")
		}
	}
	s.dropContexts(func(x *searchContext) bool { return slices.Contains(tags, x.tag) })
	return ok("CANCELUPDATE completed")
}

// tellRemoved tells of results that are about to be expunged, before their
// numbers are gone.
func (s *session) tellRemoved(told *store.Snapshot, gone store.UIDSet) {
	for _, x := range s.contexts {
		s.tellOut(x, told, x.uids.Intersect(gone))
	}
}

// tellContexts tells which messages that have changed came to results or left them.
func (s *session) tellContexts() {
	full := false
	for _, x := range s.contexts {
		// An error ends it as far as it has been told; the next command tries again.
		if err := s.tellContext(x, s.sel.told); errors.Is(err, errFull) {
			s.srv.budget.Release(x.held)
			x.held, full = 0, true
		} else if err != nil {
			s.srv.log.Error("search cannot be kept up to date", "server", "imap", "peer", s.peer(), "account", s.accountName(), "err", err)
		}
	}
	if full {
		s.dropContexts(func(x *searchContext) bool {
			if x.held == 0 {
				s.noUpdate(x.tag)
			}
			return x.held == 0
		})
	}
}

// errFull: the budget has no more.
var errFull = errors.New("imap: no memory for results")

// tellContext brings a result up to date and tells how.
func (s *session) tellContext(x *searchContext, now *store.Snapshot) error {
	if x.snap == now {
		return nil
	}
	var changed store.UIDSet
	for _, r := range store.Diff(x.snap, now).Rows {
		changed.Add(r.UID)
	}
	match, err := s.matchAgain(x, now, changed)
	if err != nil {
		return err
	}
	was := x.uids.Intersect(changed)
	s.tellOut(x, now, was.Without(match))
	if err := s.tellIn(x, now, match.Without(was)); err != nil {
		return err
	}
	if x.snap = now; !changed.Empty() && !s.hold(x) {
		return errFull
	}
	return nil
}

// matchAgain gives those of the changed messages that match. Of one that cannot be
// read nothing new is said.
func (s *session) matchAgain(x *searchContext, now *store.Snapshot, changed store.UIDSet) (match store.UIDSet, err error) {
	if changed.Empty() {
		return nil, nil
	}
	crit := x.crit
	crit.UIDs = append(slices.Clip(crit.UIDs), changed)
	for row, err := range store.Search(s.ctx, s.sel.mb, now, &crit) {
		switch {
		case err == nil, row.UID != 0 && x.uids.Contains(row.UID):
			match.Add(row.UID)
		case row.UID == 0:
			return nil, err
		}
	}
	return match, nil
}

// nameByUID ends what is told by number, which UIDONLY forbids (RFC 9586 §3).
func (s *session) nameByUID() {
	s.dropContexts(func(x *searchContext) bool {
		if !x.uid {
			s.noUpdate(x.tag)
		}
		return !x.uid
	})
}

// tellOut sends REMOVEFROM for messages that leave a result (RFC 5267 §4.3.4).
func (s *session) tellOut(x *searchContext, snap *store.Snapshot, uids store.UIDSet) {
	if uids.Empty() {
		return
	}
	s.beginResult(x, "REMOVEFROM")
	if x.by == nil {
		s.tellUnordered(x, snap, uids)
	} else {
		s.tellTaken(x, snap, uids)
	}
	s.out.put(")\r\n")
	s.out.spill()
	x.uids = x.uids.Without(uids)
}

// tellIn sends ADDTO for messages that come to a result (RFC 5267 §4.3.3).
func (s *session) tellIn(x *searchContext, snap *store.Snapshot, uids store.UIDSet) error {
	if uids.Empty() {
		return nil
	}
	var places []newcomer
	if x.by != nil {
		var err error
		if places, err = s.place(x, snap, uids); err != nil {
			return err
		}
	}
	s.beginResult(x, "ADDTO")
	if x.by == nil {
		s.tellUnordered(x, snap, uids)
	} else {
		s.tellPlaced(x, snap, places)
	}
	s.out.put(")\r\n")
	s.out.spill()
	x.uids = x.uids.Union(uids)
	return nil
}

// beginResult begins what is told of a result.
func (s *session) beginResult(x *searchContext, what string) {
	s.out.put("* ESEARCH (TAG ")
	s.out.b = wire.AppendString(s.out.b, x.tag, false)
	s.out.put(")")
	if x.uid {
		s.out.put(" UID")
	}
	s.out.put(" ")
	s.out.put(what)
	s.out.put(" (")
}

// tellUnordered sends messages of a result of SEARCH, whose position is 0: it has
// no order (RFC 5267 §4.3.2).
func (s *session) tellUnordered(x *searchContext, snap *store.Snapshot, uids store.UIDSet) {
	s.out.put("0 ")
	s.resultSet(&searchResult{uid: x.uid, told: snap, uids: uids})
}
