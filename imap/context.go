package imap

import (
	"slices"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// maxContexts bounds the searches of a session whose results are kept up to date.
const maxContexts = 10

// searchContext is a search whose results are kept up to date (RFC 5267 §4.3).
type searchContext struct {
	tag  string
	uid  bool
	crit store.Criteria
	snap *store.Snapshot // as of which it is
	uids store.UIDSet    // that match
}

// follow begins to keep a result up to date, or says that it does not (RFC 5267
// §4.3.1).
func (s *session) follow(c *wire.Search, uid bool, crit *store.Criteria, uids store.UIDSet) {
	if c.Return&wire.ReturnUpdate == 0 {
		return
	}
	tag := string(s.tag)
	i := slices.IndexFunc(s.contexts, func(x *searchContext) bool { return x.tag == tag })
	// What numbers stand for changes, and sorted results have positions.
	if crit == nil || c.Numbers || c.Saved || i < 0 && len(s.contexts) >= maxContexts {
		code := wire.AppendString([]byte("NOUPDATE "), tag, false)
		s.untagged(no(string(code), "The result is not kept up to date"))
		return
	}
	x := &searchContext{tag: tag, uid: uid, crit: *crit, snap: s.sel.told, uids: uids}
	if i >= 0 {
		s.contexts[i] = x
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
	s.contexts = slices.DeleteFunc(s.contexts, func(x *searchContext) bool { return slices.Contains(tags, x.tag) })
	return ok("CANCELUPDATE completed")
}

// tellRemoved tells of results that are about to be expunged, before their
// numbers are gone.
func (s *session) tellRemoved(told *store.Snapshot, gone store.UIDSet) {
	for _, x := range s.contexts {
		if out := x.uids.Intersect(gone); !out.Empty() {
			s.tellResult(x, " REMOVEFROM (0 ", told, out)
			x.uids = x.uids.Without(gone)
		}
	}
}

// tellContexts tells which messages that have changed came to results or left them.
func (s *session) tellContexts() {
	for _, x := range s.contexts {
		now := s.sel.told
		if x.snap == now {
			continue
		}
		var changed store.UIDSet
		for _, r := range store.Diff(x.snap, now).Rows {
			changed.Add(r.UID)
		}
		x.snap = now
		if changed.Empty() {
			continue
		}
		crit := x.crit
		crit.UIDs = append(slices.Clip(crit.UIDs), changed)
		var match store.UIDSet
		for row, err := range store.Search(s.ctx, s.sel.mb, now, &crit) {
			if err == nil {
				match.Add(row.UID)
			}
		}
		was := x.uids.Intersect(changed)
		if out := was.Without(match); !out.Empty() {
			s.tellResult(x, " REMOVEFROM (0 ", now, out)
		}
		if in := match.Without(was); !in.Empty() {
			s.tellResult(x, " ADDTO (0 ", now, in)
		}
		x.uids = x.uids.Without(changed).Union(match)
	}
}

// tellResult sends a change of a result. Its position is 0: results of SEARCH have
// no order (RFC 5267 §4.3.2).
func (s *session) tellResult(x *searchContext, what string, snap *store.Snapshot, uids store.UIDSet) {
	s.out.put("* ESEARCH (TAG ")
	s.out.b = wire.AppendString(s.out.b, x.tag, false)
	s.out.put(")")
	if x.uid {
		s.out.put(" UID")
	}
	s.out.put(what)
	s.resultSet(&searchResult{uid: x.uid, told: snap, uids: uids})
	s.out.put(")\r\n")
	s.out.spill()
}
