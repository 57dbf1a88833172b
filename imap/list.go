package imap

import (
	"slices"

	"golang.org/x/text/unicode/norm"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// node is a name in the hierarchy: a mailbox, or only the name of one that has
// others below it or is subscribed.
type node struct {
	name       string
	info       *store.MailboxInfo // nil: no such mailbox
	subscribed bool
	children   bool // mailboxes exist below
	selected   bool // by the selection options
	matched    bool // by a pattern
	below      bool // selected names are below
	hidden     bool // and one of them matches no pattern
}

// list is LIST (RFC 9051 §6.3.9).
func (s *session) list(p *wire.Parser) reply {
	c := p.List()
	if p.End() != nil {
		return syntax(p)
	}
	if !c.Extended && c.Patterns[0] == "" { // RFC 9051 §6.3.9: asks for the separator
		s.out.put("* LIST (\\Noselect) \"/\" \"\"\r\n")
		return ok("LIST completed")
	}
	nodes, err := s.nodes(c.Select | c.Return)
	if err != nil {
		return s.failed(err)
	}
	s.mark(nodes, &c)
	if c.Return&wire.ListStatus != 0 && c.Status&wire.StatusHighestModSeq != 0 {
		s.enableCondStore()
	}
	for _, n := range nodes {
		recursive := c.Select&wire.ListRecursiveMatch != 0
		if !n.matched || !n.selected && !(recursive && n.hidden) {
			continue
		}
		s.out.put("* LIST (")
		s.attributes(n, &c)
		s.out.put(") \"/\" ")
		s.out.b = wire.AppendMailbox(s.out.b, n.name, s.utf8())
		if recursive && n.below {
			s.childInfo(c.Select)
		}
		s.out.put("\r\n")
		if c.Return&wire.ListStatus != 0 && n.info != nil { // RFC 5819 §2
			s.sendStatus(n.name, *n.info, c.Status)
		}
		s.out.spill()
	}
	return ok("LIST completed")
}

// lsub is LSUB (RFC 3501 §6.3.9).
func (s *session) lsub(p *wire.Parser) reply {
	c := p.Lsub()
	if p.End() != nil {
		return syntax(p)
	}
	if c.Patterns[0] == "" {
		s.out.put("* LSUB (\\Noselect) \"/\" \"\"\r\n")
		return ok("LSUB completed")
	}
	c.Select = wire.ListSubscribed
	nodes, err := s.nodes(c.Select)
	if err != nil {
		return s.failed(err)
	}
	s.mark(nodes, &c)
	for _, n := range nodes {
		// With "%" a name that is not subscribed stands for those below it
		// that the pattern does not reach.
		if !n.matched || !n.selected && !n.hidden {
			continue
		}
		if n.selected {
			s.out.put("* LSUB () \"/\" ")
		} else {
			s.out.put("* LSUB (\\Noselect) \"/\" ")
		}
		s.out.b = wire.AppendMailbox(s.out.b, n.name, s.utf8())
		s.out.put("\r\n")
		s.out.spill()
	}
	return ok("LSUB completed")
}

// nodes lists all names in order: mailboxes, the levels above them, and
// subscribed names if options ask for them.
func (s *session) nodes(options wire.ListOption) ([]*node, error) {
	infos, err := s.acc.Mailboxes(s.ctx)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*node, len(infos))
	all := make([]*node, 0, len(infos))
	get := func(name string) *node {
		n := byName[name]
		if n == nil {
			n = &node{name: name}
			byName[name] = n
			all = append(all, n)
		}
		return n
	}
	for i := range infos {
		n := get(infos[i].Name)
		n.info, n.subscribed = &infos[i], infos[i].Subscribed
	}
	if options&wire.ListSubscribed != 0 {
		subscribed, err := s.acc.Subscriptions(s.ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range subscribed {
			get(name).subscribed = true
		}
	}
	for _, n := range slices.Clone(all) {
		for up := store.Parent(n.name); up != ""; up = store.Parent(up) {
			above := get(up)
			above.children = above.children || n.info != nil
		}
	}
	slices.SortFunc(all, func(a, b *node) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all, nil
}

// mark finds which names the options select and the patterns match, and which
// have selected ones below.
func (s *session) mark(nodes []*node, c *wire.List) {
	var patterns []*wire.Pattern
	for _, sent := range c.Patterns {
		text, err := wire.DecodeMailbox(c.Reference+sent, s.utf8())
		if err != nil {
			continue // matches nothing
		}
		patterns = append(patterns, wire.NewPattern(norm.NFC.String(text), store.Separator))
	}
	byName := make(map[string]*node, len(nodes))
	for _, n := range nodes {
		byName[n.name] = n
		n.selected = n.info != nil || n.children
		if c.Select&wire.ListSubscribed != 0 {
			n.selected = n.subscribed
		}
		if c.Select&wire.ListSpecialUse != 0 {
			n.selected = n.selected && n.info != nil && n.info.SpecialUse != ""
		}
		fold := 0
		if n.name == store.Inbox || store.Below(n.name, store.Inbox) {
			fold = len(store.Inbox) // RFC 9051 §5.1: INBOX in any case
		}
		for _, p := range patterns {
			if p.Match(n.name, fold) {
				n.matched = true
				break
			}
		}
	}
	for _, n := range nodes {
		if !n.selected {
			continue
		}
		for up := store.Parent(n.name); up != ""; up = store.Parent(up) {
			above := byName[up]
			above.below = true
			above.hidden = above.hidden || !n.matched
		}
	}
}

// attributes appends a mailbox's attributes (RFC 9051 §7.3.1).
func (s *session) attributes(n *node, c *wire.List) {
	b := s.out.b
	if n.info == nil {
		// Old clients know only the second, which the first implies.
		b = append(b, `\NonExistent \Noselect `...)
	}
	if n.children {
		b = append(b, `\HasChildren`...)
	} else {
		b = append(b, `\HasNoChildren`...)
	}
	if n.subscribed && (c.Select|c.Return)&wire.ListSubscribed != 0 {
		b = append(b, ` \Subscribed`...)
	}
	if n.info != nil && n.info.SpecialUse != "" {
		b = append(append(b, ' '), n.info.SpecialUse...)
	}
	s.out.b = b
}

// childInfo appends CHILDINFO (RFC 9051 §6.3.9.6).
func (s *session) childInfo(sel wire.ListOption) {
	sep := " (\"CHILDINFO\" ("
	for _, o := range []struct {
		bit  wire.ListOption
		name string
	}{{wire.ListSubscribed, "\"SUBSCRIBED\""}, {wire.ListSpecialUse, "\"SPECIAL-USE\""}} {
		if sel&o.bit != 0 {
			s.out.put(sep)
			s.out.put(o.name)
			sep = " "
		}
	}
	s.out.put("))")
}
