package imap

import (
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// search is SEARCH (RFC 9051 §6.4.4).
func (s *session) search(p *wire.Parser) reply    { return s.searchMailbox(p, "SEARCH", false) }
func (s *session) uidSearch(p *wire.Parser) reply { return s.searchMailbox(p, "UID SEARCH", true) }

func (s *session) searchMailbox(p *wire.Parser, name string, uid bool) reply {
	c := p.Search()
	if p.End() != nil {
		return syntax(p)
	}
	if c.Charset != "" && s.utf8Accept {
		return bad("No CHARSET with UTF8=ACCEPT") // RFC 9755 §3
	}
	r := s.runSearch(&c, name, uid)
	if r.status == "NO" && c.Return&wire.ReturnSave != 0 {
		_ = s.save(nil) // RFC 9051 §6.4.4.1
	}
	return r
}

func (s *session) runSearch(c *wire.Search, name string, uid bool) reply {
	found := searchResult{search: c, uid: uid, told: s.sel.told}
	crit, lowest, fault := s.prepare(c, false)
	if fault == (reply{}) {
		if c.OnlyEnds() {
			fault = s.ends(&crit, &found)
		} else {
			fault = s.eachMatch(s.sel, &crit, false, found.all)
		}
	}
	if fault != (reply{}) {
		return fault
	}
	if c.Return&wire.ReturnSave != 0 && !s.save(found.save()) {
		return notSaved
	}
	if lowest != 0 { // it is of a part
		s.follow(&found, nil, nil)
	} else {
		s.follow(&found, &crit, nil)
	}
	s.out.begin()
	if c.Extended || s.rev2 {
		s.extendedResult(&found)
	} else {
		s.plainResult(&found)
	}
	return s.shortened(ok(name+" completed"), lowest)
}

// searchable refuses what no mailbox can be asked for.
func (s *session) searchable(c *wire.Search) reply {
	switch c.Charset {
	case "", "US-ASCII", "UTF-8":
	default:
		return no("BADCHARSET (US-ASCII UTF-8)", "Unknown charset")
	}
	if c.Fuzzy && !s.can("SEARCH=FUZZY") {
		return bad("Unknown search key")
	}
	return reply{}
}

// matching gives the messages that match a search of all or nothing, ascending,
// until each wants no more; fault is why it cannot.
func (s *session) matching(c *wire.Search, each func(store.Row) bool) (crit store.Criteria, fault reply) {
	if crit, _, fault = s.prepare(c, true); fault == (reply{}) {
		fault = s.eachMatch(s.sel, &crit, false, each)
	}
	return crit, fault
}

// prepare makes criteria of a search; fault is why it cannot. lowest is as in
// limit; a search that is to be of all or nothing fails instead.
func (s *session) prepare(c *wire.Search, all bool) (crit store.Criteria, lowest store.UID, fault reply) {
	if fault := s.searchable(c); fault != (reply{}) {
		return crit, 0, fault
	}
	if c.Numbers && s.uidOnly { // RFC 9586 §3.5
		return crit, 0, reply{"BAD", "UIDREQUIRED", "Messages are named by UID only"}
	}
	s.keep = c.Numbers // RFC 7162 §3.2.10.2
	if fault := s.program(s.sel, &crit, c.Keys); fault != (reply{}) {
		return crit, 0, fault
	}
	if lowest = s.limitSearch(&crit); lowest != 0 && all { // RFC 9738 §4
		return crit, 0, no(s.limitCode(), "Too many messages")
	}
	if c.ModSeq {
		s.enableCondStore() // RFC 7162 §3.1.5
	}
	return crit, lowest, reply{}
}

// ends finds the first and the last message that match, and looks at no others.
func (s *session) ends(crit *store.Criteria, found *searchResult) (fault reply) {
	if found.search.Return&wire.ReturnMin != 0 {
		fault = s.eachMatch(s.sel, crit, false, func(row store.Row) bool { found.add(row); return false })
	}
	if found.search.Return&wire.ReturnMax == 0 || fault != (reply{}) {
		return fault
	}
	last := found.last
	return s.eachMatch(s.sel, crit, true, func(row store.Row) bool {
		if row.UID != last {
			found.add(row)
		}
		return false
	})
}

// eachMatch gives the messages of a mailbox that match, ascending or descending,
// until each wants no more.
func (s *session) eachMatch(v *view, crit *store.Criteria, down bool, each func(store.Row) bool) reply {
	for row, err := range s.searched(v.mb, v.told, crit, down) {
		switch {
		case err == nil:
			if !each(row) {
				return reply{}
			}
		case row.UID == 0: // the search as a whole
			return s.failed(err)
		default: // a message that is damaged must not end all searches for good
			s.srv.log.Error("message cannot be searched", "server", "imap", "peer", s.peer(), "account", s.accountName(), "uid", row.UID, "err", err)
		}
	}
	return reply{}
}
