package imap

import (
	"errors"
	"slices"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// multiSearch is ESEARCH (RFC 7377).
func (s *session) multiSearch(p *wire.Parser) reply {
	c := p.MultiSearch()
	if p.End() != nil {
		return syntax(p)
	}
	if c.Charset != "" && s.utf8Accept {
		return bad("No CHARSET with UTF8=ACCEPT") // RFC 9755 §3
	}
	r := s.runMultiSearch(&c)
	if r.status == "NO" && c.Return&wire.ReturnSave != 0 {
		_ = s.save(nil) // RFC 9051 §6.4.4.1
	}
	return r
}

func (s *session) runMultiSearch(c *wire.MultiSearch) reply {
	if c.Selected() && s.sel == nil {
		return bad("Select a mailbox first")
	}
	if c.Numbers && s.uidOnly { // RFC 9586 §3.5
		return reply{"BAD", "UIDREQUIRED", "Messages are named by UID only"}
	}
	s.keep = c.Numbers // RFC 7162 §3.2.10.2
	if fault := s.searchable(&c.Search); fault != (reply{}) {
		return fault
	}
	if c.ModSeq {
		s.enableCondStore() // RFC 7162 §3.1.5
	}
	views, err := s.sources(c)
	if err != nil {
		return s.failed(err)
	}
	messages := 0
	for _, v := range views {
		messages += v.told.Len()
	}
	if limit := s.srv.lim.worked; limit > 0 && messages > limit { // all or nothing: UIDs of several mailboxes have no order
		return no(s.limitCode(), "Too many messages")
	}
	s.follow(&searchResult{search: &c.Search}, nil, nil)
	for _, v := range views {
		found := searchResult{search: &c.Search, box: &v.box, uid: true, told: v.told}
		var crit store.Criteria
		if fault := s.program(v, &crit, c.Keys); fault != (reply{}) {
			return fault
		}
		if fault := s.eachMatch(v, &crit, false, found.all); fault != (reply{}) {
			return fault
		}
		if c.Return&wire.ReturnSave != 0 && !s.save(found.save()) {
			return notSaved
		}
		if found.count > 0 { // RFC 7377 §2.1: nothing is said of the others
			s.extendedResult(&found)
			s.out.spill()
		}
	}
	return ok("ESEARCH completed")
}

// sources are the mailboxes to be searched, each once, by name. What does not exist
// and what may not be read is left out (RFC 7377 §2.2).
func (s *session) sources(c *wire.MultiSearch) ([]*view, error) {
	sources := c.Sources
	if len(sources) == 0 {
		sources = []wire.SearchSource{{Filter: wire.NotifySelected}}
	}
	var views []*view
	seen := make(map[string]bool)
	add := func(name string) error {
		if seen[name] {
			return nil
		}
		if seen[name] = true; len(seen) > s.srv.lim.searched {
			return store.ErrLimit
		}
		v, err := s.viewOf(name)
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrReadOnly), errors.Is(err, store.ErrInvalidName):
			return nil
		case err != nil:
			return err
		}
		views = append(views, v)
		return nil
	}
	for i := range sources {
		names, err := s.sourceNames(&sources[i])
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := add(name); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(views, func(a, b *view) int { return strings.Compare(a.name, b.name) })
	return views, nil
}

// viewOf is a mailbox as it is now, or as the client knows it if it is selected.
func (s *session) viewOf(name string) (*view, error) {
	at, err := s.placeOf(name)
	if err != nil {
		return nil, err
	}
	mb, err := at.acc.Mailbox(s.ctx, at.local)
	if err != nil {
		return nil, err
	}
	if s.selected(at.acc, mb.ID()) {
		s.sel.place = at // it may have been renamed
		return s.sel, nil
	}
	snap, err := mb.Snapshot(s.ctx)
	if err != nil {
		return nil, err
	}
	return &view{box: box{place: at, mb: mb}, told: snap}, nil
}

// sourceNames are the names that a source stands for, as this session calls them.
func (s *session) sourceNames(src *wire.SearchSource) (names []string, err error) {
	switch src.Filter {
	case wire.NotifySelected:
		if s.sel == nil {
			return nil, nil
		}
		info, err := s.sel.mb.Info(s.ctx) // with the name that it has now
		return []string{strings.TrimSuffix(s.sel.name, s.sel.local) + info.Name}, err
	case wire.NotifySubscribed:
		return s.acc.Subscriptions(s.ctx)
	case wire.NotifyInboxes, wire.NotifyPersonal: // RFC 5465 §6.3: any may be one to which messages are delivered
		infos, err := s.acc.Mailboxes(s.ctx)
		for _, m := range infos {
			names = append(names, m.Name)
		}
		return names, err
	}
	for _, sent := range src.Names {
		name, err := s.name(sent)
		if err != nil {
			continue
		}
		names = append(names, name)
		if src.Filter != wire.NotifySubtree {
			continue
		}
		at, err := s.placeOf(name)
		if err != nil {
			continue
		}
		infos, err := at.acc.Mailboxes(s.ctx)
		if err != nil {
			return nil, err
		}
		above := strings.TrimSuffix(at.name, at.local)
		for _, m := range infos {
			if store.Below(m.Name, at.local) && (!src.One || store.Parent(m.Name) == at.local) {
				names = append(names, above+m.Name)
			}
		}
	}
	return names, nil
}
