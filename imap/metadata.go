package imap

import (
	"bytes"
	"errors"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

const (
	sharedEntries = "/shared/"
	// useEntry shows the special use of a mailbox (RFC 6154 §4).
	useEntry = "/private/specialuse"
)

// noted reports whether the user's account can keep entries.
func (s *session) noted() bool {
	_, ok := s.acc.(store.Annotations)
	return ok
}

// getMetadata is GETMETADATA (RFC 5464 §4.2).
func (s *session) getMetadata(p *wire.Parser) reply {
	c := p.GetMetadata()
	if p.End() != nil {
		return syntax(p)
	}
	at, id, err := s.annotated(c.Mailbox)
	if err != nil {
		return s.failed(err)
	}
	w := metadataWriter{s: s, name: at.name}
	longest := 0
	for _, entry := range c.Entries {
		found, err := s.entries(at, id, entry, c.Depth)
		if err != nil {
			return s.failed(err)
		}
		if len(found) == 0 && c.Depth == wire.DepthNone {
			w.put(store.Annotation{Key: entry})
		}
		for _, a := range found {
			if c.HasMaxSize && uint64(len(a.Value)) > c.MaxSize {
				longest = max(longest, len(a.Value))
				continue
			}
			w.put(a)
		}
	}
	w.end()
	if longest > 0 { // RFC 5464 §4.2.1
		return okCode("METADATA LONGENTRIES "+strconv.Itoa(longest), "GETMETADATA completed")
	}
	return ok("GETMETADATA completed")
}

// setMetadata is SETMETADATA (RFC 5464 §4.3): all entries or none.
func (s *session) setMetadata(p *wire.Parser) reply {
	c := p.SetMetadata()
	if p.End() != nil {
		return syntax(p)
	}
	at, id, err := s.annotated(c.Mailbox)
	if err != nil {
		return s.failed(err)
	}
	notes := at.acc.(store.Annotations)
	set := make([]store.Annotation, len(c.Values))
	more := 0
	for i, v := range c.Values {
		switch {
		case v.Entry == useEntry:
			return no("CANNOT", "The special use is given when the mailbox is created")
		case at.name == "" && strings.HasPrefix(v.Entry, sharedEntries):
			return no("NOPERM", "The server's entries cannot be changed")
		case len(v.Value) > s.srv.lim.entryBytes:
			return no("METADATA MAXSIZE "+strconv.Itoa(s.srv.lim.entryBytes), "Value too large")
		}
		set[i] = store.Annotation{Key: v.Entry, Value: v.Value}
		if v.Value != nil {
			more++
		}
	}
	if more > 0 {
		all, err := notes.Annotations(s.ctx, id, "/")
		if err != nil {
			return s.failed(err)
		}
		n := len(all)
		for _, a := range set {
			_, there := slices.BinarySearchFunc(all, a.Key, func(b store.Annotation, key string) int { return strings.Compare(b.Key, key) })
			switch {
			case !there && a.Value != nil:
				n++
			case there && a.Value == nil:
				n--
			}
		}
		if n > max(len(all), s.srv.lim.entries) {
			return no("METADATA TOOMANY", "Too many entries")
		}
	}
	_, err = notes.Annotate(s.ctx, id, set...)
	if errors.Is(err, store.ErrLimit) {
		return no("METADATA TOOMANY", "Too many entries")
	}
	if err != nil {
		return s.failed(err)
	}
	s.ownEntries(at, id, set)
	return ok("SETMETADATA completed")
}

// annotated finds what entries belong to: a mailbox by its name as sent, or,
// without name, the server, whose private entries are kept with the user's
// account.
func (s *session) annotated(sent string) (place, store.MailboxID, error) {
	if sent == "" {
		return place{acc: s.acc}, 0, nil
	}
	b, err := s.find(sent)
	if err != nil {
		return place{}, 0, err
	}
	if _, ok := b.acc.(store.Annotations); !ok {
		return place{}, 0, store.ErrReadOnly
	}
	return b.place, b.info.ID, nil
}

// entries returns an entry and, by depth, what is below it, in order.
func (s *session) entries(at place, id store.MailboxID, name string, depth int) ([]store.Annotation, error) {
	all, err := s.notes(at, id, name)
	if err != nil {
		return nil, err
	}
	var found []store.Annotation
	for _, a := range all {
		rest, below := strings.CutPrefix(a.Key, name+"/")
		switch {
		case a.Key == name,
			below && depth == wire.DepthInfinity,
			below && depth == wire.DepthOne && strings.IndexByte(rest, '/') < 0:
			found = append(found, a)
		}
	}
	return found, nil
}

// notes returns the entries that begin with a prefix, which is at least the top
// of one kind.
func (s *session) notes(at place, id store.MailboxID, prefix string) ([]store.Annotation, error) {
	if at.name == "" && strings.HasPrefix(prefix+"/", sharedEntries) {
		return s.srv.metadata, nil
	}
	all, err := at.acc.(store.Annotations).Annotations(s.ctx, id, prefix)
	if err != nil || id == 0 || !s.own(at) || !strings.HasPrefix(useEntry, prefix) {
		return all, err
	}
	mb, err := at.acc.Mailbox(s.ctx, at.local)
	if err != nil {
		return nil, err
	}
	info, err := mb.Info(s.ctx)
	if err != nil {
		return nil, err
	}
	if info.SpecialUse != "" {
		all = append(all, store.Annotation{Key: useEntry, Value: []byte(info.SpecialUse)})
		slices.SortFunc(all, func(a, b store.Annotation) int { return strings.Compare(a.Key, b.Key) })
	}
	return all, nil
}

// sendMetadata appends a METADATA response with the entries named. Nothing is
// told of a mailbox that is gone or whose entries the user may not see.
func (s *session) sendMetadata(at place, id store.MailboxID, names []string) {
	if _, ok := at.acc.(store.Annotations); !ok {
		return
	}
	w := metadataWriter{s: s, name: at.name}
	for _, name := range names {
		found, err := s.entries(at, id, name, wire.DepthNone)
		if err != nil {
			break
		}
		if len(found) == 0 {
			found = []store.Annotation{{Key: name}}
		}
		w.put(found[0])
	}
	w.end()
}

// metadataWriter writes a METADATA response (RFC 5464 §4.4.1), none without an
// entry.
type metadataWriter struct {
	s     *session
	name  string // of the mailbox; empty: the server
	began bool
}

func (w *metadataWriter) put(a store.Annotation) {
	o := &w.s.out
	if w.began {
		o.put(" ")
	} else {
		w.began = true
		o.put("* METADATA ")
		o.b = wire.AppendMailbox(o.b, w.name, w.s.utf8())
		o.put(" (")
	}
	o.b = wire.AppendAstring(o.b, a.Key, w.s.utf8())
	o.put(" ")
	switch {
	case a.Value == nil:
		o.put("NIL")
	case bytes.IndexByte(a.Value, 0) >= 0: // RFC 5464 §5: literal8
		o.b = wire.AppendLiteralHeader(o.b, uint64(len(a.Value)), true)
		o.b = append(o.b, a.Value...)
	default:
		o.b = wire.AppendString(o.b, string(a.Value), w.s.utf8())
	}
	o.spill()
}

func (w *metadataWriter) end() {
	if w.began {
		w.s.out.put(")\r\n")
	}
}

// tellMetadata appends an unsolicited METADATA response: the names of entries
// that have changed (RFC 5464 §4.4.2). name is the mailbox's, or empty for the
// server. Without entries nothing is told.
func (s *session) tellMetadata(name string, entries []string) {
	if len(entries) == 0 {
		return
	}
	s.out.put("* METADATA ")
	s.out.b = wire.AppendMailbox(s.out.b, name, s.utf8())
	for _, e := range entries {
		s.out.put(" ")
		s.out.b = wire.AppendAstring(s.out.b, e, s.utf8())
	}
	s.out.put("\r\n")
	s.out.spill()
}

// metadataMemory is what is remembered of entries, to find out which have
// changed: the store only tells that some have.
type metadataMemory map[string]uint64 // by name, a digest of the value

// metadataChanges compares the entries of a mailbox, or of the user's account
// with id 0, with what is remembered. It returns the names of those that have
// been set, changed or removed, in order, and what to remember instead. With nil
// in old nothing has changed.
func (s *session) metadataChanges(at place, id store.MailboxID, old metadataMemory) ([]string, metadataMemory, error) {
	notes, ok := at.acc.(store.Annotations)
	if !ok {
		return nil, nil, nil
	}
	all, err := notes.Annotations(s.ctx, id, "/")
	if err != nil {
		return nil, nil, err
	}
	now := make(metadataMemory, len(all))
	var changed []string
	for _, a := range all {
		h := maphash.Bytes(s.srv.seed, a.Value)
		now[a.Key] = h
		if was, there := old[a.Key]; old != nil && (!there || was != h) {
			changed = append(changed, a.Key)
		}
	}
	for key := range old {
		if _, there := now[key]; !there {
			changed = append(changed, key)
		}
	}
	slices.Sort(changed)
	return changed, now, nil
}

// remember notes entries that have been set, or removed.
func (s *session) remember(m metadataMemory, set []store.Annotation) {
	for _, a := range set {
		if a.Value == nil {
			delete(m, a.Key)
		} else {
			m[a.Key] = maphash.Bytes(s.srv.seed, a.Value)
		}
	}
}

// serverMetadata returns the entries of the server that all users see, in order.
func serverMetadata(entries map[string]string) []store.Annotation {
	var all []store.Annotation
	for name, value := range entries {
		if name = strings.ToLower(name); strings.HasPrefix(name, sharedEntries) {
			all = append(all, store.Annotation{Key: name, Value: []byte(value)})
		}
	}
	slices.SortFunc(all, func(a, b store.Annotation) int { return strings.Compare(a.Key, b.Key) })
	return all
}
