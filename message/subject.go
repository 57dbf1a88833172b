package message

import "strings"

// BaseSubject is the subject without what replies and forwards add to it, as
// mail is sorted and threaded by (RFC 5256 §2.1): encoded words decoded, white
// space made single, "(fwd)" removed from the end, "Re:", "Fw:", "Fwd:" and
// labels in brackets from the beginning, "[fwd: …]" from around it. A label
// stays where nothing would be left. Case is kept.
//
// reply reports whether there was anything of a reply or forward; labels alone
// are none. Any value is a subject, the result is valid UTF-8, and the time it
// takes is linear in the value's length.
func BaseSubject(value string) (base string, reply bool) {
	s := singleSpaces(DecodeWords(value))
	for {
		var some bool
		s, some = trimTrailers(s)
		reply = reply || some
		s, some = trimLeaders(s)
		reply = reply || some
		inner, ok := trimForward(s)
		if !ok {
			return s, reply
		}
		s, reply = inner, true
	}
}

// singleSpaces turns each run of white space into one space.
func singleSpaces(s string) string {
	if !strings.Contains(s, "  ") && strings.IndexByte(s, '\t') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c == '\t' {
			c = ' '
		}
		if c != ' ' || len(b) == 0 || b[len(b)-1] != ' ' {
			b = append(b, c)
		}
	}
	return string(b)
}

// trimTrailers removes subj-trailer from the end as often as it is there.
func trimTrailers(s string) (rest string, forward bool) {
	const fwd = "(fwd)"
	for {
		s = strings.TrimRight(s, " ")
		if n := len(s) - len(fwd); n < 0 || !strings.EqualFold(s[n:], fwd) {
			return s, forward
		}
		s, forward = s[:len(s)-len(fwd)], true
	}
}

// trimLeaders removes subj-leader and subj-blob from the beginning as often as
// they are there. s does not end with a space.
func trimLeaders(s string) (rest string, reply bool) {
	for {
		s = strings.TrimLeft(s, " ")
		last, after := s, s // the last label and what follows, and what follows all
		for {
			next, ok := cutLabel(after)
			if !ok {
				break
			}
			last, after = after, next
		}
		if next, ok := cutReply(after); ok {
			s, reply = next, true
			continue
		}
		if after == "" { // labels are not removed where nothing is left
			return last, reply
		}
		return after, reply
	}
}

// cutLabel removes a subj-blob: text in brackets, and the space behind.
func cutLabel(s string) (rest string, ok bool) {
	if s == "" || s[0] != '[' {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] == '[' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}

// cutReply removes a subj-refwd without the labels before it.
func cutReply(s string) (rest string, ok bool) {
	n := 0
	switch {
	case hasPrefixFold(s, "re"), hasPrefixFold(s, "fw"):
		if n = 2; hasPrefixFold(s, "fwd") {
			n = 3
		}
	default:
		return s, false
	}
	rest, _ = cutLabel(strings.TrimLeft(s[n:], " "))
	if rest == "" || rest[0] != ':' {
		return s, false
	}
	return rest[1:], true
}

// trimForward removes subj-fwd-hdr and subj-fwd-trl from around s.
func trimForward(s string) (inner string, ok bool) {
	const fwd = "[fwd:"
	if !hasPrefixFold(s, fwd) || s[len(s)-1] != ']' {
		return s, false
	}
	return s[len(fwd) : len(s)-1], true
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
