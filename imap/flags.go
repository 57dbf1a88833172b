package imap

import "github.com/posta-mail/posta/store"

// allFlags are all flags that there may be.
var allFlags = ^store.FlagBits(0)

var systemFlags = [...]store.Flag{store.FlagSeen, store.FlagAnswered, store.FlagFlagged, store.FlagDeleted, store.FlagDraft}

// appendFlags appends the flags of a row, in parentheses.
func appendFlags(b []byte, bits store.FlagBits, keywords []store.Flag) []byte {
	b = append(b, '(')
	start := len(b)
	for i, f := range systemFlags {
		if bits&(1<<i) != 0 {
			b = append(append(b, f...), ' ')
		}
	}
	for i, rest := 0, bits>>len(systemFlags); rest != 0 && i < len(keywords); i, rest = i+1, rest>>1 {
		if rest&1 != 0 {
			b = append(append(b, keywords[i]...), ' ')
		}
	}
	if len(b) > start {
		b = b[:len(b)-1]
	}
	return append(b, ')')
}

// announceKeywords sends FLAGS and PERMANENTFLAGS when the mailbox has keywords
// that the client has not been told of.
func (s *session) announceKeywords(snap *store.Snapshot) {
	if len(snap.Keywords()) > s.sel.keywords {
		s.tellKeywords(s.sel, snap)
	}
}

// tellKeywords sends FLAGS and PERMANENTFLAGS.
func (s *session) tellKeywords(v *view, snap *store.Snapshot) {
	keywords := snap.Keywords()
	v.keywords = len(keywords)
	s.out.put("* FLAGS ")
	s.out.b = appendFlags(s.out.b, allFlags, keywords)
	s.out.put("\r\n* OK [PERMANENTFLAGS ")
	switch {
	case v.readOnly:
		s.out.put("()")
	default:
		s.out.b = appendFlags(s.out.b, v.settable(), keywords)
		if len(keywords) < store.MaxKeywords && v.rights.Has(store.RightWrite) { // RFC 9051 §7.1: new ones may be made
			s.out.b = append(s.out.b[:len(s.out.b)-1], ` \*)`...) // with RightWrite some flag is there
		}
	}
	s.out.put("] Flags that can be changed\r\n")
}

// settable are the flags that may be set and cleared (RFC 4314 §5.2).
func (v *view) settable() (bits store.FlagBits) {
	for i, f := range systemFlags {
		if v.rights.MaySet(f) {
			bits |= 1 << i
		}
	}
	if v.rights.Has(store.RightWrite) {
		bits |= allFlags << len(systemFlags)
	}
	return bits
}
