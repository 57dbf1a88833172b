package store

import (
	"fmt"
	"slices"
	"strings"
)

var systemFlags = [systemBits]Flag{FlagSeen, FlagAnswered, FlagFlagged, FlagDeleted, FlagDraft}

// FlagBit is the bit of a flag under a mailbox's keyword table, 0 if the
// table does not have it.
func FlagBit(f Flag, keywords []Flag) FlagBits {
	table := keywords
	shift := systemBits
	if strings.HasPrefix(string(f), `\`) {
		table, shift = systemFlags[:], 0
	}
	for i, k := range table {
		if strings.EqualFold(string(k), string(f)) {
			return 1 << (shift + i)
		}
	}
	return 0
}

// FlagNames names the flags of a set, system flags first.
func FlagNames(bits FlagBits, keywords []Flag) []Flag {
	var names []Flag
	for i, f := range systemFlags {
		if bits&(1<<i) != 0 {
			names = append(names, f)
		}
	}
	for i, f := range keywords {
		if bits&(1<<(systemBits+i)) != 0 {
			names = append(names, f)
		}
	}
	return names
}

// ValidKeyword reports whether f may be a keyword: an atom of at most 255
// octets (RFC 9051 §9, flag-keyword).
func ValidKeyword(f Flag) bool {
	if f == "" || len(f) > 255 {
		return false
	}
	for i := range len(f) {
		if c := f[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// InternFlags gives the bits of flags under a mailbox's keyword table, and the
// table with the keywords added that it lacked. The table passed in is never
// modified. Of two spellings the first is kept. ErrLimit: more than
// MaxKeywords; ErrInvalid: an unknown system flag or a malformed keyword.
func InternFlags(table []Flag, flags []Flag) (FlagBits, []Flag, error) {
	var bits FlagBits
	out := table[:len(table):len(table)]
	for _, f := range flags {
		b := FlagBit(f, out)
		if b == 0 {
			if !ValidKeyword(f) {
				return 0, table, fmt.Errorf("%w: flag %.40q", ErrInvalid, f)
			}
			if len(out) >= MaxKeywords {
				return 0, table, fmt.Errorf("%w: %d keywords", ErrLimit, MaxKeywords)
			}
			b = 1 << (systemBits + len(out))
			out = append(out, f)
		}
		bits |= b
	}
	return bits, out, nil
}

// TranslateFlags turns bits under one mailbox's table into bits under
// another's, for copies; the errors are InternFlags's.
func TranslateFlags(bits FlagBits, from, to []Flag) (FlagBits, []Flag, error) {
	if bits>>systemBits == 0 || slices.Equal(from, to) {
		return bits, to, nil
	}
	return InternFlags(to, FlagNames(bits, from))
}

// Bits gives the bits of the flags that an update names, and the mailbox's table
// after it, for engines. What a removal names and no message has is no keyword of
// the mailbox because of that. ErrInvalid for a malformed flag or an unknown
// operation, ErrLimit beyond MaxKeywords.
func (u FlagUpdate) Bits(table []Flag) (FlagBits, []Flag, error) {
	if u.Op > FlagsReplace {
		return 0, nil, fmt.Errorf("%w: flag operation %d", ErrInvalid, u.Op)
	}
	if u.Op != FlagsRemove {
		return InternFlags(table, u.Flags)
	}
	var bits FlagBits
	for _, f := range u.Flags {
		b := FlagBit(f, table)
		if b == 0 && !ValidKeyword(f) {
			return 0, nil, fmt.Errorf("%w: flag %.40q", ErrInvalid, f)
		}
		bits |= b
	}
	return bits, table, nil
}

// Apply is the set after the operation.
func (op FlagOp) Apply(old, bits FlagBits) FlagBits {
	switch op {
	case FlagsAdd:
		return old | bits
	case FlagsRemove:
		return old &^ bits
	default:
		return bits
	}
}
