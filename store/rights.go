package store

import (
	"fmt"
	"strings"
)

// Rights is a set of rights on a mailbox (RFC 4314 §2.1). The zero value is no
// right at all.
type Rights uint16

// The rights. What each is needed for is in operations.go.
const (
	RightLookup  Rights = 1 << iota // l: it is listed
	RightRead                       // r: its messages may be read
	RightSeen                       // s: \Seen may be set and cleared
	RightWrite                      // w: so may flags other than \Seen and \Deleted
	RightInsert                     // i: messages may be added
	RightPost                       // p: mail may be sent to its address; for delivery to ask, not enforced by Guard
	RightCreate                     // k: mailboxes may be made below it
	RightDelete                     // x: it may be deleted and renamed
	RightMark                       // t: \Deleted may be set and cleared
	RightExpunge                    // e: messages may be expunged
	RightAdmin                      // a: its rights may be read and changed

	// AllRights is every right: the owner's.
	AllRights Rights = 1<<len(rightLetters) - 1

	rightFlags = RightSeen | RightWrite | RightMark
)

// rightLetters are the letters of the rights in canonical order.
const rightLetters = "lrswipkxtea"

// Rights of RFC 2086 that stand for several (RFC 4314 §2.1.1, the first of the
// two readings given there).
const (
	rightsC = RightCreate | RightDelete
	rightsD = RightMark | RightExpunge
)

// ParseRights reads rights as a client sends them: letters in any order, with
// the obsolete c for kx and d for te. ErrInvalid for anything else, upper case
// included (RFC 4314 §3.1).
func ParseRights(s string) (Rights, error) {
	var r Rights
	for _, c := range s {
		switch i := strings.IndexRune(rightLetters, c); {
		case i >= 0:
			r |= 1 << i
		case c == 'c':
			r |= rightsC
		case c == 'd':
			r |= rightsD
		default:
			return 0, fmt.Errorf("%w: right %q", ErrInvalid, c)
		}
	}
	return r, nil
}

// Modify is r after a modification as SETACL has it: rights to be added after
// "+", to be taken away after "-", or in place of the old ones (RFC 4314 §3.1).
// ErrInvalid as in ParseRights.
func (r Rights) Modify(mod string) (Rights, error) {
	sign, letters := "", mod
	if mod != "" && (mod[0] == '+' || mod[0] == '-') {
		sign, letters = mod[:1], mod[1:]
	}
	set, err := ParseRights(letters)
	switch {
	case err != nil:
		return r, err
	case sign == "+":
		return r | set, nil
	case sign == "-":
		return r &^ set, nil
	}
	return set, nil
}

// String is the rights in canonical order, as they are stored.
func (r Rights) String() string {
	var b []byte
	for i := range len(rightLetters) {
		if r&(1<<i) != 0 {
			b = append(b, rightLetters[i])
		}
	}
	return string(b)
}

// Protocol is String followed by the obsolete c and d where r has one of the
// rights that they stand for, as every answer to a client must have them (RFC
// 4314 §2.1.1).
func (r Rights) Protocol() string {
	s := r.String()
	if r&rightsC != 0 {
		s += "c"
	}
	if r&rightsD != 0 {
		s += "d"
	}
	return s
}

// Has reports whether r has all of the rights in set.
func (r Rights) Has(set Rights) bool { return r&set == set }

// HasAny reports whether r has one of the rights in set.
func (r Rights) HasAny(set Rights) bool { return r&set != 0 }

// MaySet reports whether r permits to set and clear a flag: \Seen needs s,
// \Deleted t, every other flag w (RFC 4314 §4). It is what FLAGS and
// PERMANENTFLAGS must tell.
func (r Rights) MaySet(f Flag) bool { return r.Has(rightFor(f)) }

// Writable reports whether a mailbox is READ-WRITE when it is selected: with
// i, e, or the right to a flag that is shared (RFC 4314 §5.2). \Seen is not.
func (r Rights) Writable() bool {
	return r.HasAny(RightInsert | RightExpunge | RightWrite | RightMark)
}

func rightFor(f Flag) Rights {
	switch {
	case strings.EqualFold(string(f), string(FlagSeen)):
		return RightSeen
	case strings.EqualFold(string(f), string(FlagDeleted)):
		return RightMark
	}
	return RightWrite
}

// flags is those of flags that r permits to set.
func (r Rights) flags(flags []Flag) []Flag {
	if r.Has(rightFlags) {
		return flags
	}
	var out []Flag
	for _, f := range flags {
		if r.MaySet(f) {
			out = append(out, f)
		}
	}
	return out
}

// ListRights tells which rights an identifier can be given on a mailbox of an
// account, as LISTRIGHTS answers it (RFC 4314 §3.7): those that it always has,
// and the groups of rights that come together. None are tied here. The owner
// always has all, so that nobody locks himself out (RFC 4314 §2).
func ListRights(owner, identifier string) (always string, optional []string) {
	switch identifier {
	case owner:
		return AllRights.Protocol(), nil
	case "-" + owner:
		return "", nil
	}
	for i := range len(rightLetters) {
		optional = append(optional, rightLetters[i:i+1])
	}
	return "", append(optional, "c", "d")
}
