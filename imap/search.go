package imap

import (
	"time"

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
		s.saved = nil // RFC 9051 §6.4.4.1
	}
	return r
}

func (s *session) runSearch(c *wire.Search, name string, uid bool) reply {
	found := searchResult{search: c, uid: uid, told: s.sel.told}
	lowest, fault := s.matching(c, false, found.add)
	if fault != (reply{}) {
		return fault
	}
	if c.Return&wire.ReturnSave != 0 {
		s.saved = found.save()
	}
	s.out.begin()
	if c.Extended || s.rev2 {
		s.extendedResult(&found)
	} else {
		s.plainResult(&found)
	}
	return s.shortened(ok(name+" completed"), lowest)
}

// matching gives the messages that match a search, ascending; fault is why it
// cannot. lowest is as in limit; a search that is to be of all or nothing fails
// instead.
func (s *session) matching(c *wire.Search, all bool, each func(store.Row)) (lowest store.UID, fault reply) {
	switch c.Charset {
	case "", "US-ASCII", "UTF-8":
	default:
		return 0, no("BADCHARSET (US-ASCII UTF-8)", "Unknown charset")
	}
	if c.Numbers && s.uidOnly { // RFC 9586 §3.5
		return 0, reply{"BAD", "UIDREQUIRED", "Messages are named by UID only"}
	}
	s.keep = c.Numbers // RFC 7162 §3.2.10.2
	var crit store.Criteria
	if err := s.criteria(&crit, c.Keys); err != nil {
		return 0, bad("No such message number")
	}
	if lowest = s.limitSearch(&crit); lowest != 0 && all { // RFC 9738 §4
		return 0, no(s.limitCode(), "Too many messages")
	}
	if c.ModSeq {
		s.enableCondStore() // RFC 7162 §3.1.5
	}
	for row, err := range store.Search(s.ctx, s.sel.mb, s.sel.told, &crit) {
		switch {
		case err == nil:
			each(row)
		case row.UID == 0: // the search as a whole
			return 0, s.failed(err)
		default: // a message that is damaged must not end all searches for good
			s.srv.log.Error("message cannot be searched", "server", "imap", "peer", s.peer(), "account", s.accountName(), "uid", row.UID, "err", err)
		}
	}
	return lowest, reply{}
}

// criteria turns keys, all of which must match, into the store's criteria.
// Message numbers become UIDs.
func (s *session) criteria(c *store.Criteria, keys []wire.SearchKey) error {
	for i := range keys {
		if err := s.criterion(c, &keys[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) criterion(c *store.Criteria, k *wire.SearchKey) error {
	switch k.Op {
	case wire.SearchAll:
	case wire.SearchNone:
		c.UIDs = append(c.UIDs, store.UIDSet{})
	case wire.SearchSet, wire.SearchUID:
		spans, err := s.sel.spans(k.Set, k.Op == wire.SearchUID, s.saved)
		if err != nil {
			return err
		}
		c.UIDs = append(c.UIDs, s.sel.uids(spans))
	case wire.SearchFlag:
		c.Flags = append(c.Flags, store.Flag(k.Text))
	case wire.SearchNotFlag:
		c.NotFlags = append(c.NotFlags, store.Flag(k.Text))
	case wire.SearchHeader:
		c.Header = append(c.Header, store.HeaderCriterion{Name: k.Text, Text: k.Value})
	case wire.SearchBody:
		c.Body = append(c.Body, k.Value)
	case wire.SearchText:
		c.Text = append(c.Text, k.Value)
	case wire.SearchLarger, wire.SearchSmaller:
		sizeCriterion(c, k)
	case wire.SearchModSeq:
		c.ModSeq = max(c.ModSeq, store.ModSeq(k.Number))
	case wire.SearchNot:
		var not store.Criteria
		if err := s.criteria(&not, k.Keys); err != nil {
			return err
		}
		c.Not = append(c.Not, not)
	case wire.SearchOr:
		or, err := s.alternatives(flattenOr(nil, k))
		if err != nil {
			return err
		}
		c.Or = append(c.Or, or)
	case wire.SearchAnd:
		return s.criteria(c, k.Keys)
	default:
		dateCriterion(c, k)
	}
	return nil
}

// flattenOr lists the alternatives of nested ORs, which clients chain to any
// length.
func flattenOr(list []*wire.SearchKey, k *wire.SearchKey) []*wire.SearchKey {
	if k.Op != wire.SearchOr {
		return append(list, k)
	}
	return flattenOr(flattenOr(list, &k.Keys[0]), &k.Keys[1])
}

// alternatives builds a balanced tree of at least two alternatives.
func (s *session) alternatives(list []*wire.SearchKey) (or [2]store.Criteria, err error) {
	half := len(list) / 2
	for i, part := range [][]*wire.SearchKey{list[:half], list[half:]} {
		if len(part) == 1 {
			if err := s.criterion(&or[i], part[0]); err != nil {
				return or, err
			}
			continue
		}
		below, err := s.alternatives(part)
		if err != nil {
			return or, err
		}
		or[i].Or = [][2]store.Criteria{below}
	}
	return or, nil
}

func sizeCriterion(c *store.Criteria, k *wire.SearchKey) {
	n := int64(k.Number)
	if k.Op == wire.SearchLarger {
		if c.Larger == nil || n > *c.Larger {
			c.Larger = &n
		}
	} else if c.Smaller == nil || n < *c.Smaller {
		c.Smaller = &n
	}
}

// dateCriterion narrows the days, since being included and before not.
func dateCriterion(c *store.Criteria, k *wire.SearchKey) {
	since := func(bound *time.Time, d time.Time) {
		if bound.IsZero() || d.After(*bound) {
			*bound = d
		}
	}
	before := func(bound *time.Time, d time.Time) {
		if bound.IsZero() || d.Before(*bound) {
			*bound = d
		}
	}
	next := k.Date.AddDate(0, 0, 1)
	switch k.Op {
	case wire.SearchBefore:
		before(&c.Before, k.Date)
	case wire.SearchOn:
		since(&c.Since, k.Date)
		before(&c.Before, next)
	case wire.SearchSince:
		since(&c.Since, k.Date)
	case wire.SearchSentBefore:
		before(&c.SentBefore, k.Date)
	case wire.SearchSentOn:
		since(&c.SentSince, k.Date)
		before(&c.SentBefore, next)
	case wire.SearchSentSince:
		since(&c.SentSince, k.Date)
	}
}
