package store

import "strings"

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
