package store

import (
	"context"
	"fmt"
	"iter"
	"unicode/utf8"
)

// Limits of annotations, kept by CheckAnnotations and the engines.
const (
	MaxAnnotationKey   = 512      // octets
	MaxAnnotationValue = 64 << 10 // octets
	MaxAnnotations     = 1000     // of one mailbox, and of the account itself
)

// Annotations is an optional ability of an Account: small values kept with a
// mailbox or with the account itself, which is box 0. IMAP metadata (RFC 5464)
// and rights (RFC 4314, see ACL) are kept there, and whatever a program wants
// to remember about a mailbox. An annotation goes with its mailbox when that is
// deleted and stays with it when it is renamed.
//
// Keys of IMAP metadata are the entry names in lower case, "/shared/…" and, the
// account owner's, "/private/…"; those of rights begin with ACLPrefix, and those
// that a Guard keeps for other actors with "actor/". A program's own begin
// otherwise, best with its name.
//
// An account that has this ability can be shared; see Store.Account for what an
// actor who is not the owner sees.
type Annotations interface {
	// Annotations returns those whose key begins with prefix, in key order.
	Annotations(ctx context.Context, box MailboxID, prefix string) ([]Annotation, error)
	// Annotate sets, and where Value is nil removes, annotations: all or
	// none, in one commit, told by a MailboxAnnotated event. It returns that
	// commit's mod-sequence, 0 if nothing changed. ErrLimit beyond the limits
	// above, ErrInvalid for a malformed or repeated key.
	Annotate(ctx context.Context, box MailboxID, set ...Annotation) (ModSeq, error)
}

// Annotation is a value under a key: UTF-8 without NUL, compared octet by octet.
type Annotation struct {
	Key   string
	Value []byte // nil: none; empty is a value
}

// AnnotationFinder is an optional ability of a Store: who has an annotation.
type AnnotationFinder interface {
	// Annotated lists, in order, the accounts that have an annotation of this
	// key on some mailbox or on themselves. The iterator may be stopped.
	Annotated(ctx context.Context, key string) iter.Seq2[string, error]
}

// CheckAnnotations reports what is wrong with a call of Annotate whatever the
// engine, which calls it first.
func CheckAnnotations(set []Annotation) error {
	seen := make(map[string]bool, len(set))
	for _, a := range set {
		switch {
		case a.Key == "" || !utf8.ValidString(a.Key) || containsNUL(a.Key):
			return fmt.Errorf("%w: annotation key", ErrInvalid)
		case seen[a.Key]:
			return fmt.Errorf("%w: annotation %q twice", ErrInvalid, a.Key)
		case len(a.Key) > MaxAnnotationKey:
			return fmt.Errorf("%w: annotation key of %d octets", ErrLimit, len(a.Key))
		case len(a.Value) > MaxAnnotationValue:
			return fmt.Errorf("%w: annotation of %d octets", ErrLimit, len(a.Value))
		}
		seen[a.Key] = true
	}
	return nil
}

func containsNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}
