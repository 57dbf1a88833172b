package imap

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// node is a name in the hierarchy: a mailbox, or only the name of one that has
// others below it or is subscribed.
type node struct {
	place
	info       *store.MailboxInfo // nil: no such mailbox
	subscribed bool
	children   bool // mailboxes exist below
	selected   bool // by the selection options
	matched    bool // by a pattern
	below      bool // selected names are below
	hidden     bool // and one of them matches no pattern
}

// readable reports whether the messages may be looked at: of a mailbox that may
// only be found in a list, the store tells no more than that.
func (n *node) readable() bool { return n.info != nil && n.info.UIDNext != 0 }

// listing is what one LIST or LSUB looks at.
type listing struct {
	s        *session
	c        *wire.List
	patterns []listPattern
	all      []*node // in the order of their names, once collected
	byName   map[string]*node
	spare    []node // not yet used: one allocation for many
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
	l := s.newListing(&c)
	if err := l.collect(); err != nil {
		return s.failed(err)
	}
	l.mark()
	if c.Return&wire.ListStatus != 0 && c.Status&wire.StatusHighestModSeq != 0 {
		s.enableCondStore()
	}
	recursive := c.Select&wire.ListRecursiveMatch != 0
	for _, n := range l.all {
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
		if n.info == nil {
			continue
		}
		if c.Return&wire.ListMyRights != 0 { // RFC 8440 §3
			s.sendMyRights(n.place, n.info.ID)
		}
		if c.Return&wire.ListMetadata != 0 { // RFC 9590 §3
			s.sendMetadata(n.place, n.info.ID, c.Entries)
		}
		if c.Return&wire.ListStatus != 0 && n.readable() { // RFC 5819 §2
			s.sendStatus(n.place, *n.info, c.Status)
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
	l := s.newListing(&c)
	if err := l.collect(); err != nil {
		return s.failed(err)
	}
	l.mark()
	for _, n := range l.all {
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

// listPattern is a pattern with its reference.
type listPattern struct {
	*wire.Pattern
	literal string // up to the first wildcard
	exact   bool   // there is none
	levels  int    // of the names that it can match; 0: any number
}

// newListing compiles the patterns. One that is not well encoded matches
// nothing.
func (s *session) newListing(c *wire.List) *listing {
	l := &listing{s: s, c: c, byName: map[string]*node{}}
	for _, sent := range c.Patterns {
		text, err := wire.DecodeMailbox(c.Reference+sent, s.utf8())
		if err != nil {
			continue
		}
		text = norm.NFC.String(text)
		p := listPattern{Pattern: wire.NewPattern(text, store.Separator), literal: text}
		if i := strings.IndexAny(text, "*%"); i >= 0 {
			p.literal = text[:i]
		} else {
			p.exact = true
		}
		if strings.IndexByte(text, '*') < 0 {
			p.levels = strings.Count(text, string(store.Separator)) + 1
		}
		l.patterns = append(l.patterns, p)
	}
	return l
}

// node is the node of a name, made if there is none.
func (l *listing) node(name string) *node {
	n := l.byName[name]
	if n == nil {
		if len(l.spare) == 0 {
			l.spare = make([]node, 64)
		}
		n, l.spare = &l.spare[0], l.spare[1:]
		n.place = place{acc: l.s.acc, local: name, name: name}
		l.byName[name] = n
		l.all = append(l.all, n)
	}
	return n
}

// collect finds all names in order: mailboxes, the levels above them, and
// subscribed names if options ask for them.
func (l *listing) collect() error {
	s := l.s
	infos, err := s.acc.Mailboxes(s.ctx)
	if err != nil {
		return err
	}
	l.byName = make(map[string]*node, len(infos))
	l.all = make([]*node, 0, len(infos))
	l.spare = make([]node, len(infos))
	for i := range infos {
		if _, _, elsewhere, _ := s.elsewhere(infos[i].Name); elsewhere {
			continue // hidden by a namespace
		}
		n := l.node(infos[i].Name)
		n.info, n.subscribed = &infos[i], infos[i].Subscribed
	}
	if err := l.others(); err != nil {
		return err
	}
	l.levels(0)
	if (l.c.Select|l.c.Return)&wire.ListSubscribed != 0 {
		subscribed, err := s.acc.Subscriptions(s.ctx)
		if err != nil {
			return err
		}
		from := len(l.all)
		for _, name := range subscribed {
			if n := l.byName[name]; n != nil || l.c.Select&wire.ListSubscribed != 0 {
				l.node(name).subscribed = true
			}
		}
		l.levels(from)
	}
	slices.SortFunc(l.all, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return nil
}

// levels adds the levels above the names from a position on.
func (l *listing) levels(from int) {
	for _, n := range l.all[from:] {
		for up := store.Parent(n.name); up != ""; up = store.Parent(up) {
			above := l.node(up)
			if above.children && n.info != nil {
				break // and so for all above it
			}
			above.children = above.children || n.info != nil
		}
	}
}

// mark finds which names the options select and the patterns match, and which
// have selected ones below.
func (l *listing) mark() {
	for _, n := range l.all {
		n.selected = n.info != nil || n.children
		if l.c.Select&wire.ListSubscribed != 0 {
			n.selected = n.subscribed
		}
		if l.c.Select&wire.ListSpecialUse != 0 {
			n.selected = n.selected && l.s.specialUse(n) != ""
		}
		fold := 0
		if n.name == store.Inbox || store.Below(n.name, store.Inbox) {
			fold = len(store.Inbox) // RFC 9051 §5.1: INBOX in any case
		}
		for _, p := range l.patterns {
			if p.Match(n.name, fold) {
				n.matched = true
				break
			}
		}
	}
	for _, n := range l.all {
		if !n.selected {
			continue
		}
		for up := store.Parent(n.name); up != ""; up = store.Parent(up) {
			above := l.byName[up]
			above.below = true
			above.hidden = above.hidden || !n.matched
		}
	}
}

// specialUse is the special use of a mailbox: of the user's own only, so that
// no client takes somebody else's Drafts for its own.
func (s *session) specialUse(n *node) string {
	if n.info == nil || !s.own(n.place) {
		return ""
	}
	return n.info.SpecialUse
}

// attributes appends a mailbox's attributes (RFC 9051 §7.3.1).
func (s *session) attributes(n *node, c *wire.List) {
	b := s.out.b
	switch {
	case n.info == nil:
		// Old clients know only the second, which the first implies.
		b = append(b, `\NonExistent \Noselect `...)
	case !n.readable(): // RFC 5819 §2
		b = append(b, `\Noselect `...)
	}
	if n.children {
		b = append(b, `\HasChildren`...)
	} else {
		b = append(b, `\HasNoChildren`...)
	}
	if n.subscribed && (c.Select|c.Return)&wire.ListSubscribed != 0 {
		b = append(b, ` \Subscribed`...)
	}
	if use := s.specialUse(n); use != "" && !s.srv.off["SPECIAL-USE"] {
		b = append(append(b, ' '), use...)
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
