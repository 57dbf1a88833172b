package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ACLPrefix begins the keys of the annotations that hold an access control
// list: one for each entry, the rights in canonical order under the identifier.
// The list of box 0 is that of the account's top: it counts for making
// mailboxes there, which inherit it.
const ACLPrefix = "acl/"

// Anyone is the identifier that stands for everybody (RFC 4314 §2).
const Anyone = "anyone"

// MaxACLIdentifier is the length of an identifier, the "-" of a negative one
// included: that of an account name and two characters more. Octets.
const MaxACLIdentifier = 257

// ACL is an access control list, in order of the identifiers, each once.
type ACL []ACLEntry

// ACLEntry says which rights an identifier is given: an account name, Anyone,
// "$" and the name of a group (auth.Identity.Groups), or, to take the rights
// away whatever else gives them, one of these after "-" (RFC 4314 §2). Protocols
// prepare what they are sent by SASLprep first (RFC 4314 §3).
//
// A user whose name begins with "$" or "-" or is "anyone" cannot be named.
type ACLEntry struct {
	Identifier string
	Rights     Rights
	// Damaged: what is stored is no set of rights. Such an entry gives
	// nothing, and takes everything if it is negative.
	Damaged bool
}

// Rights is what the list gives an actor who is not the owner, and who belongs
// to some groups: all that applies to him together, less what is taken from
// him. An empty actor has not logged in.
func (l ACL) Rights(actor string, groups ...string) Rights {
	var given, taken Rights
	for _, e := range l {
		id, negative := strings.CutPrefix(e.Identifier, "-")
		switch {
		case !applies(id, actor, groups):
		case negative && e.Damaged:
			return 0
		case negative:
			taken |= e.Rights
		case !e.Damaged:
			given |= e.Rights
		}
	}
	return given &^ taken
}

func applies(id, actor string, groups []string) bool {
	if group, ok := strings.CutPrefix(id, "$"); ok {
		return slices.Contains(groups, group)
	}
	return id == Anyone || id != "" && id == actor && id[0] != '-'
}

// identifiers are those that apply to an actor.
func identifiers(actor string, groups []string) []string {
	ids := []string{Anyone}
	if actor != "" && actor != Anyone && actor[0] != '-' && actor[0] != '$' {
		ids = append(ids, actor)
	}
	for _, g := range groups {
		ids = append(ids, "$"+g)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// ReadACL reads the list of a mailbox, or of the account's top, which is box 0.
// ErrNotFound if there is no such mailbox; ErrReadOnly if the account cannot be
// shared, or has come from a Guard and the actor lacks a. The owner, who has
// all rights always, need not be on it.
func ReadACL(ctx context.Context, acc Account, box MailboxID) (ACL, error) {
	notes, err := annotationsOf(acc)
	if err != nil {
		return nil, err
	}
	set, err := notes.Annotations(ctx, box, ACLPrefix)
	if err != nil {
		return nil, err
	}
	list := make(ACL, 0, len(set))
	for _, a := range set {
		r, err := ParseRights(string(a.Value))
		list = append(list, ACLEntry{Identifier: a.Key[len(ACLPrefix):], Rights: r, Damaged: err != nil})
	}
	slices.SortFunc(list, func(a, b ACLEntry) int { return cmp.Compare(a.Identifier, b.Identifier) })
	return list, nil
}

// WriteACL sets the rights of the identifiers named and leaves the others as
// they are, in one commit; an entry without rights is removed. Errors are those
// of ReadACL, ErrInvalid for an identifier that is empty, not UTF-8 or has
// control characters, and ErrLimit for one that is longer than
// MaxACLIdentifier or more than MaxAnnotations.
func WriteACL(ctx context.Context, acc Account, box MailboxID, entries ...ACLEntry) error {
	notes, err := annotationsOf(acc)
	if err != nil {
		return err
	}
	set := make([]Annotation, 0, len(entries))
	for _, e := range entries {
		if err := checkIdentifier(e.Identifier); err != nil {
			return err
		}
		a := Annotation{Key: ACLPrefix + e.Identifier}
		if r := e.Rights & AllRights; r != 0 {
			a.Value = []byte(r.String())
		}
		set = append(set, a)
	}
	_, err = notes.Annotate(ctx, box, set...)
	return err
}

func checkIdentifier(id string) error {
	name := strings.TrimPrefix(strings.TrimPrefix(id, "-"), "$")
	switch {
	case len(id) > MaxACLIdentifier:
		return fmt.Errorf("%w: identifier of %d octets", ErrLimit, len(id))
	case name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: identifier %.40q", ErrInvalid, id)
	}
	return nil
}

func annotationsOf(acc Account) (Annotations, error) {
	if notes, ok := acc.(Annotations); ok {
		return notes, nil
	}
	return nil, fmt.Errorf("%w: the account cannot be shared", ErrReadOnly)
}

// CreateMailbox is acc.Create with rights: what it makes, missing parents
// included, inherits those of the nearest parent that was there (RFC 4314 §4),
// or of the account's top. An error after that was done comes with the mailbox;
// it, or a crash in between, leaves one that only its owner sees.
func CreateMailbox(ctx context.Context, acc Account, name string, opt CreateOptions) (MailboxInfo, error) {
	if _, guarded := acc.(*sharedAccount); guarded {
		return acc.Create(ctx, name, opt)
	}
	return inheriting(ctx, acc, name, func() (MailboxInfo, error) {
		info, err := acc.Create(ctx, name, opt)
		if err != nil { // engines may leave something there
			info = MailboxInfo{}
		}
		return info, err
	})
}

// RenameMailbox is acc.Rename with rights: mailboxes keep theirs, and missing
// parents that are made inherit as in CreateMailbox.
func RenameMailbox(ctx context.Context, acc Account, from, to string) error {
	_, err := inheriting(ctx, acc, Parent(to), func() (MailboxInfo, error) {
		return MailboxInfo{}, acc.Rename(ctx, from, to)
	})
	return err
}

// inheriting does what makes the mailbox name and its missing parents, and
// gives those the rights of the nearest parent that there was.
func inheriting(ctx context.Context, acc Account, name string, do func() (MailboxInfo, error)) (MailboxInfo, error) {
	notes, ok := acc.(Annotations)
	name, err := CanonicalName(name)
	if _, guarded := acc.(*sharedAccount); guarded || !ok || err != nil {
		return do() // which does it itself, or says what is wrong with the name
	}
	before, err := acc.Mailboxes(ctx)
	if err != nil {
		return MailboxInfo{}, err
	}
	info, err := do()
	if err != nil {
		return info, err
	}
	parent, missing := nearest(before, name)
	set, err := notes.Annotations(ctx, parent.ID, ACLPrefix)
	if err != nil || len(set) == 0 || len(missing) == 0 {
		return info, err
	}
	after, err := acc.Mailboxes(ctx)
	if err != nil {
		return info, err
	}
	for _, fresh := range missing {
		if m, ok := findName(after, fresh); ok {
			if _, err := notes.Annotate(ctx, m.ID, set...); err != nil {
				return info, err
			}
		}
	}
	return info, nil
}

// nearest is the nearest mailbox at or above name among infos, the account's
// top if there is none, and the names between that are missing.
func nearest(infos []MailboxInfo, name string) (MailboxInfo, []string) {
	var missing []string
	for ; name != ""; name = Parent(name) {
		if m, ok := findName(infos, name); ok {
			return m, missing
		}
		missing = append(missing, name)
	}
	return MailboxInfo{}, missing
}

func findName(infos []MailboxInfo, name string) (MailboxInfo, bool) {
	i := slices.IndexFunc(infos, func(m MailboxInfo) bool { return m.Name == name })
	if i < 0 {
		return MailboxInfo{}, false
	}
	return infos[i], true
}
