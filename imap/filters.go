package imap

import (
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// filterError: a filter that is not there or no search.
type filterError struct{ name string }

func (e filterError) Error() string { return "imap: undefined filter" }

// filter adds what a filter of the user's stands for (RFC 5466 §3.1): one of his
// own, or else one that all share. They are metadata of the account.
func (s *session) filter(v *view, c *store.Criteria, name string) error {
	notes, ok := s.acc.(store.Annotations)
	if s.filters++; s.filters > s.srv.lim.filters || !ok {
		return filterError{name}
	}
	for _, where := range [...]string{"/private", "/shared"} {
		key := where + "/filters/values/" + strings.ToLower(name)
		set, err := notes.Annotations(s.ctx, 0, key)
		if err != nil {
			return err
		}
		if len(set) == 0 || set[0].Key != key {
			continue
		}
		p := wire.NewParser(append([]byte{' '}, set[0].Value...), s.srv.lim.parse)
		f := p.Search()
		// Numbers of messages mean nothing for long.
		if p.End() != nil || f.Extended || f.Numbers || f.Saved || f.Charset != "" && f.Charset != "UTF-8" && f.Charset != "US-ASCII" {
			return filterError{name}
		}
		return s.criteria(v, c, f.Keys)
	}
	return filterError{name}
}
