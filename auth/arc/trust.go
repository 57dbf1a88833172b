package arc

import (
	"slices"
	"strings"

	"github.com/posta-mail/posta/auth/dkim"
)

// Trusted lists the domains whose seals are believed, as d= of ARC-Seal names
// them; a domain does not stand for those below it. The zero value trusts
// nobody.
//
// RFC 8617 leaves to each receiver whom to trust (§7.2). What is sound is this:
// an intact chain proves only that the newest sealer sent the message so, since
// everything below may come from anybody who made a chain of his own, or put a
// new message under an honest one. A trusted sealer is believed in what he says
// of the message that he received, also that its chain was intact. So belief
// goes from the newest set down to the first sealer who is not trusted, and no
// further: a listed sealer below such a one counts for nothing.
type Trusted []string

// Sets returns the sets that may be believed, from the oldest to the newest:
// those at the end of the chain whose seals are all of listed domains; none
// where the chain is not intact, where the newest message signature does not
// cover From, or where its key or seals are only being tested.
func (t Trusted) Sets(r *Result) []Set {
	if r == nil || r.Status != StatusPass || len(r.Sets) == 0 {
		return nil
	}
	newest := &r.Sets[len(r.Sets)-1].Message
	// Otherwise the message may be shown under another name than the one that
	// the results are about.
	if !slices.Contains(newest.SignedFields, "from") || newest.Testing {
		return nil
	}
	first := len(r.Sets)
	for first > 0 {
		s := &r.Sets[first-1].Seal
		if s.Testing || !t.has(s.Domain) {
			break
		}
		first--
	}
	return r.Sets[first:]
}

// Chain reports whether every set of a chain may be believed.
func (t Trusted) Chain(r *Result) bool {
	sets := t.Sets(r)
	return len(sets) > 0 && len(sets) == r.Instance
}

// DMARC returns the oldest set that may be believed and says that DMARC passed
// for the Author Domain of the message, or nil. It is what a receiver may go by
// where DMARC fails for him (RFC 8617 §7.2.1).
func (t Trusted) DMARC(r *Result, author string) *Set {
	author, ok := dkim.CanonicalDomain(author, 1)
	if !ok {
		return nil
	}
	sets := t.Sets(r)
	for i := range sets {
		if sets[i].Results == nil {
			continue
		}
		for _, res := range sets[i].Results.Find("dmarc") {
			from, ok := dkim.CanonicalDomain(res.Prop("header", "from"), 1)
			if ok && from == author && strings.EqualFold(res.Value, "pass") {
				return &sets[i]
			}
		}
	}
	return nil
}

func (t Trusted) has(domain string) bool {
	for _, name := range t {
		if strings.EqualFold(name, domain) {
			return true
		}
		if c, ok := dkim.CanonicalDomain(name, 1); ok && c == domain {
			return true
		}
	}
	return false
}
