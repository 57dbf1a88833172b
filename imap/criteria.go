package imap

import (
	"errors"
	"slices"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// program turns the keys of a search of a mailbox into the store's criteria.
func (s *session) program(v *view, c *store.Criteria, keys []wire.SearchKey) reply {
	s.filters, s.unsteady = 0, false
	err := s.criteria(v, c, keys)
	var undefined filterError
	switch {
	case err == nil:
		return reply{}
	case errors.As(err, &undefined): // RFC 5466 §3.1
		return no("UNDEFINED-FILTER "+undefined.name, "No such filter, or it is no search")
	case errors.Is(err, errNumber):
		return bad("No such message number")
	}
	return s.failed(err)
}

// criteria turns keys, all of which must match, into the store's criteria.
// Message numbers become UIDs.
func (s *session) criteria(v *view, c *store.Criteria, keys []wire.SearchKey) error {
	for i := range keys {
		if err := s.criterion(v, c, &keys[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) criterion(v *view, c *store.Criteria, k *wire.SearchKey) error {
	switch k.Op {
	case wire.SearchAll:
	case wire.SearchNone:
		c.UIDs = append(c.UIDs, store.UIDSet{})
	case wire.SearchSet:
		spans, err := v.spans(k.Set, false, s.saved.set)
		if err != nil {
			return err
		}
		c.UIDs = append(c.UIDs, v.uids(spans))
	case wire.SearchUID:
		set, steady := v.searchSet(k.Set, s.saved.set)
		s.unsteady = s.unsteady || !steady
		c.UIDs = append(c.UIDs, set)
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
		if err := s.criteria(v, &not, k.Keys); err != nil {
			return err
		}
		c.Not = append(c.Not, not)
	case wire.SearchOr:
		or, err := s.alternatives(v, flattenOr(nil, k))
		if err != nil {
			return err
		}
		c.Or = append(c.Or, or)
	case wire.SearchAnd:
		return s.criteria(v, c, k.Keys)
	case wire.SearchOlder: // RFC 5032 §2
		s.unsteady = true
		if t := s.began.Add(-time.Duration(k.Number) * time.Second); c.NotAfter.IsZero() || t.Before(c.NotAfter) {
			c.NotAfter = t
		}
	case wire.SearchYounger:
		s.unsteady = true
		if t := s.began.Add(-time.Duration(k.Number) * time.Second); t.After(c.NotBefore) {
			c.NotBefore = t
		}
	case wire.SearchEmailID:
		c.EmailIDs = only(c.EmailIDs, k.Text)
	case wire.SearchThreadID:
		c.ThreadIDs = only(c.ThreadIDs, k.Text)
	case wire.SearchFilter:
		return s.filter(v, c, k.Text)
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
func (s *session) alternatives(v *view, list []*wire.SearchKey) (or [2]store.Criteria, err error) {
	half := len(list) / 2
	for i, part := range [][]*wire.SearchKey{list[:half], list[half:]} {
		if len(part) == 1 {
			if err := s.criterion(v, &or[i], part[0]); err != nil {
				return or, err
			}
			continue
		}
		below, err := s.alternatives(v, part)
		if err != nil {
			return or, err
		}
		or[i].Or = [][2]store.Criteria{below}
	}
	return or, nil
}

// only is a list of the id alone, and an empty one if another is asked for too.
func only(list []string, id string) []string {
	if list == nil || slices.Contains(list, id) {
		return []string{id}
	}
	return []string{}
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

// dateKeys are the search keys of days, and the bounds they narrow: since is in
// the range and before is not.
var dateKeys = [...]struct {
	before, on, since wire.SearchOp
	bounds            func(*store.Criteria) (since, before *time.Time)
}{
	{wire.SearchBefore, wire.SearchOn, wire.SearchSince, func(c *store.Criteria) (since, before *time.Time) { return &c.Since, &c.Before }},
	{wire.SearchSentBefore, wire.SearchSentOn, wire.SearchSentSince, func(c *store.Criteria) (since, before *time.Time) { return &c.SentSince, &c.SentBefore }},
	{wire.SearchSavedBefore, wire.SearchSavedOn, wire.SearchSavedSince, func(c *store.Criteria) (since, before *time.Time) { return &c.SavedSince, &c.SavedBefore }},
}

func dateCriterion(c *store.Criteria, k *wire.SearchKey) {
	for i := range dateKeys {
		d := &dateKeys[i]
		since, before := d.bounds(c)
		end := k.Date
		if k.Op == d.on {
			end = end.AddDate(0, 0, 1)
		}
		if (k.Op == d.since || k.Op == d.on) && (since.IsZero() || k.Date.After(*since)) {
			*since = k.Date
		}
		if (k.Op == d.before || k.Op == d.on) && (before.IsZero() || end.Before(*before)) {
			*before = end
		}
	}
}
