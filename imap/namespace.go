package imap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// Namespaces says under which names a user finds the mailboxes of other
// accounts (RFC 2342) that he has rights on (RFC 4314). There are such names
// only where the Store can share: where it is a [store.AnnotationFinder] and
// its accounts are [store.Annotations]. Mailboxes of his own that happen to
// begin like them are hidden. The zero value has the defaults.
//
// An account whose name is no level of a mailbox name, because it holds "/",
// "*" or "%", is not NFC or too long, cannot be reached.
type Namespaces struct {
	// OtherUsers is the first level of the names of other users' mailboxes,
	// which go on with the account: "Other Users/bob/Work". Empty: "Other
	// Users".
	OtherUsers string
	// Shared is the first level of the mailboxes of SharedAccounts. Empty:
	// "Shared".
	Shared string
	// SharedAccounts are accounts of no particular user, in any order. They
	// are found below Shared and not among the other users.
	SharedAccounts []string
	// MaxAccounts bounds the accounts of others that one LIST looks into, in
	// the order of their names; those beyond are reached by their full names
	// only. 0: 1,000; negative: no bound.
	MaxAccounts int
	// Off: everybody sees his own mailboxes only.
	Off bool
}

// space is one namespace of others' accounts.
type space struct {
	level    string
	accounts []string // those that are in it, sorted; nil: all but those of the other
}

// errNamespaces: Server.Namespaces cannot be used.
var errNamespaces = errors.New("imap: Namespaces: two different names of one level are needed")

// settle returns the namespaces with defaults in place: other users first.
func (n Namespaces) settle() ([]space, error) {
	if n.Off {
		return nil, nil
	}
	spaces := []space{{level: n.OtherUsers}, {level: n.Shared, accounts: slices.Sorted(slices.Values(n.SharedAccounts))}}
	for i, level := range []string{"Other Users", "Shared"} {
		if spaces[i].level == "" {
			spaces[i].level = level
		}
		c, err := store.CanonicalName(spaces[i].level)
		if err != nil || c != spaces[i].level || c == store.Inbox || strings.IndexByte(c, store.Separator) >= 0 {
			return nil, fmt.Errorf("%w: %q", errNamespaces, spaces[i].level)
		}
	}
	if spaces[0].level == spaces[1].level {
		return nil, errNamespaces
	}
	if len(n.SharedAccounts) == 0 {
		spaces = spaces[:1]
	}
	return spaces, nil
}

// holds reports whether an account belongs to a namespace.
func (s *Server) holds(sp space, account string) bool {
	if sp.accounts != nil {
		_, found := slices.BinarySearch(sp.accounts, account)
		return found
	}
	for _, other := range s.spaces {
		if other.accounts != nil && s.holds(other, account) {
			return false
		}
	}
	return true
}

// canShare reports whether the user may meet mailboxes of other accounts.
func (s *session) canShare() bool {
	if len(s.srv.spaces) == 0 || s.acc == nil {
		return false
	}
	_, notes := s.acc.(store.Annotations)
	_, finder := s.srv.Store.(store.AnnotationFinder)
	return notes && finder
}

// elsewhere splits the canonical name of a mailbox that is not in the user's
// own account. account and local are empty for the levels above. known is
// whether there can be such a name.
func (s *session) elsewhere(name string) (account, local string, elsewhere, known bool) {
	if !s.canShare() {
		return "", "", false, false
	}
	for _, sp := range s.srv.spaces {
		if name == sp.level {
			return "", "", true, false
		}
		if !store.Below(name, sp.level) {
			continue
		}
		account, local, _ = strings.Cut(name[len(sp.level)+1:], string(store.Separator))
		if local != "" {
			local, _ = store.CanonicalName(local) // "inbox" here too
		}
		return account, local, true, account != s.acc.Name() && s.srv.holds(sp, account)
	}
	return "", "", false, false
}

// namespace is NAMESPACE (RFC 9051 §6.3.10): the personal one has no prefix.
func (s *session) namespace(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	s.out.put("* NAMESPACE ((\"\" \"/\"))")
	for i := range 2 {
		if !s.canShare() || i >= len(s.srv.spaces) {
			s.out.put(" NIL")
			continue
		}
		s.out.put(" ((")
		s.out.b = wire.AppendMailbox(s.out.b, s.srv.spaces[i].level+string(store.Separator), s.utf8())
		s.out.put(" \"/\"))")
	}
	s.out.put("\r\n")
	return ok("NAMESPACE completed")
}
