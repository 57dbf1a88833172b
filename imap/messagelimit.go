package imap

import (
	"strconv"

	"github.com/posta-mail/posta/store"
)

// limit leaves of spans the messages with the highest UIDs, as many as one
// command may work on (RFC 9738 §3.1). lowest is the lowest UID left, and 0 if
// they all are.
func (s *session) limit(spans []span) (left []span, lowest store.UID) {
	over := count(spans) - s.srv.lim.worked
	if s.srv.lim.worked == 0 || over <= 0 {
		return spans, 0
	}
	for i, sp := range spans {
		if n := sp.to - sp.from; over >= n {
			over -= n
			continue
		}
		spans[i].from += over
		return spans[i:], s.sel.told.At(spans[i].from).UID
	}
	return nil, 0
}

// shortened adds to the reply of a command that limit has cut short how far it
// got. Where the reply has a code already that comes apart (RFC 9738 §3.1).
func (s *session) shortened(r reply, lowest store.UID) reply {
	if lowest == 0 || r.status == "BAD" || r == gone {
		return r
	}
	code := s.limitCode() + " " + strconv.FormatUint(uint64(lowest), 10)
	const text = "Done for the last messages only"
	if r.status == "OK" && r.code == "" {
		return okCode(code, text)
	}
	s.untagged(no(code, text))
	return r
}

func (s *session) limitCode() string { return "MESSAGELIMIT " + strconv.Itoa(s.srv.lim.worked) }

// tooMany is the reply to a command that works on all of its messages or on
// none; ok reports whether they are not too many.
func (s *session) tooMany(n int) (r reply, ok bool) {
	if limit := s.srv.lim.saved; limit > 0 && n > limit {
		return no("MESSAGELIMIT "+strconv.Itoa(limit), "Too many messages"), false
	}
	return reply{}, true
}

// limitSearch narrows a search to the messages that one command may look at
// (RFC 9738 §3.1): of those that it names by number or UID, or of all. lowest is
// as in limit.
func (s *session) limitSearch(c *store.Criteria) (lowest store.UID) {
	if n := s.srv.lim.worked; n == 0 || s.sel.told.Len() <= n {
		return 0
	}
	named := store.AllUIDs()
	for _, set := range c.UIDs {
		named = named.Intersect(set)
	}
	spans, lowest := s.limit(s.sel.spansOf(named))
	if lowest != 0 {
		c.UIDs = append(c.UIDs, s.sel.uids(spans))
	}
	return lowest
}
