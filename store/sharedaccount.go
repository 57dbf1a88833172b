package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// sharedAccount is an account as somebody else may use it. It never hands out
// what it got from the engine without a check.
type sharedAccount struct {
	inner Account
	notes Annotations // the engine's
	guard Guard
}

var (
	_ Account     = (*sharedAccount)(nil)
	_ Annotations = (*sharedAccount)(nil)
	_ Righted     = (*sharedAccount)(nil)
)

// check reads the actor's rights on a mailbox and decides about an operation.
func (a *sharedAccount) check(ctx context.Context, box MailboxID, op operation) (Rights, error) {
	list, err := ReadACL(ctx, a.inner, box)
	if err != nil {
		return 0, err
	}
	r := list.Rights(a.guard.Actor, a.guard.Groups...)
	if err := r.permit(op); err != nil {
		return 0, err
	}
	return r, nil
}

func (a *sharedAccount) Name() string  { return a.inner.Name() }
func (a *sharedAccount) Actor() string { return a.inner.Actor() }

func (a *sharedAccount) MyRights(ctx context.Context, box MailboxID) (Rights, error) {
	return a.check(ctx, box, opOpen)
}

func (a *sharedAccount) Mailboxes(ctx context.Context) ([]MailboxInfo, error) {
	all, err := a.inner.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	var infos []MailboxInfo
	for _, info := range all {
		switch r, err := a.check(ctx, info.ID, opList); {
		case err == nil:
			infos = append(infos, visible(info, r))
		case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrReadOnly):
			return nil, err
		}
	}
	return infos, nil
}

// visible is what an actor with rights r may know of a mailbox: its counts only
// if he may read it, and not whether its owner has subscribed to it.
func visible(info MailboxInfo, r Rights) MailboxInfo {
	if r.permit(opRead) != nil {
		return MailboxInfo{ID: info.ID, Name: info.Name, SpecialUse: info.SpecialUse, UIDValidity: info.UIDValidity}
	}
	info.Subscribed = false
	return info
}

func (a *sharedAccount) Mailbox(ctx context.Context, name string) (Mailbox, error) {
	mb, err := a.inner.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := a.check(ctx, mb.ID(), opOpen); err != nil {
		return nil, err
	}
	return &sharedMailbox{inner: mb, acc: a}, nil
}

// byID is the engine's mailbox of an id.
func (a *sharedAccount) byID(ctx context.Context, id MailboxID) (Mailbox, error) {
	infos, err := a.inner.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(infos, func(m MailboxInfo) bool { return m.ID == id })
	if i < 0 {
		return nil, ErrNotFound
	}
	return a.inner.Mailbox(ctx, infos[i].Name)
}

func (a *sharedAccount) Create(ctx context.Context, name string, opt CreateOptions) (MailboxInfo, error) {
	if err := a.checkParent(ctx, name); err != nil {
		return MailboxInfo{}, err
	}
	info, err := CreateMailbox(ctx, a.inner, name, opt)
	info.Subscribed = false
	return info, err
}

// checkParent makes sure that the actor may make name: by the nearest parent
// there is, or the account's top (RFC 4314 §4).
func (a *sharedAccount) checkParent(ctx context.Context, name string) error {
	name, err := CanonicalName(name)
	if err != nil {
		return err
	}
	infos, err := a.inner.Mailboxes(ctx)
	if err != nil {
		return err
	}
	parent, _ := nearest(infos, Parent(name))
	_, err = a.check(ctx, parent.ID, opCreate)
	if parent.ID == 0 && errors.Is(err, ErrNotFound) {
		return denied() // the account is known
	}
	return err
}

func (a *sharedAccount) Rename(ctx context.Context, from, to string) error {
	if err := a.checkNamed(ctx, from, opRename); err != nil {
		return err
	}
	if err := a.checkParent(ctx, to); err != nil {
		return err
	}
	return RenameMailbox(ctx, a.inner, from, to)
}

func (a *sharedAccount) Delete(ctx context.Context, name string) error {
	if err := a.checkNamed(ctx, name, opDelete); err != nil {
		return err
	}
	return a.inner.Delete(ctx, name)
}

func (a *sharedAccount) checkNamed(ctx context.Context, name string, op operation) error {
	mb, err := a.inner.Mailbox(ctx, name)
	if err != nil {
		return err
	}
	_, err = a.check(ctx, mb.ID(), op)
	return err
}

func (a *sharedAccount) Subscribe(context.Context, string, bool) error {
	return fmt.Errorf("%w: the subscriptions are the owner's", ErrReadOnly)
}

func (a *sharedAccount) Subscriptions(context.Context) ([]string, error) { return nil, nil }

// Changes leaves out what the actor does not see. What went out of his sight,
// and what he never saw but has been deleted, comes as MailboxDeleted without a
// name: the engine does not remember what the rights were.
func (a *sharedAccount) Changes(ctx context.Context, since ModSeq) (AccountChanges, error) {
	c, err := a.inner.Changes(ctx, since)
	if err != nil {
		return c, err
	}
	rights := map[MailboxID]Rights{}
	var events []MailboxEvent
	for _, e := range c.Events {
		r, ok := rights[e.Mailbox]
		if !ok && e.Mailbox != 0 {
			if r, err = a.check(ctx, e.Mailbox, opOpen); err != nil && !errors.Is(err, ErrNotFound) {
				return AccountChanges{}, err
			}
			rights[e.Mailbox] = r
		}
		if e, ok := visibleEvent(e, r); ok {
			events = append(events, e)
		}
	}
	c.Events = events
	return c, nil
}

func visibleEvent(e MailboxEvent, r Rights) (MailboxEvent, bool) {
	switch e.Kind {
	case MailboxDeleted:
		return MailboxEvent{Kind: MailboxDeleted, ModSeq: e.ModSeq, Mailbox: e.Mailbox}, true
	case MailboxChanged:
		return e, r.permit(opRead) == nil
	case MailboxSubscribed:
		return e, false
	case MailboxAnnotated:
		if e.Mailbox != 0 && r.permit(opList) != nil {
			return MailboxEvent{Kind: MailboxDeleted, ModSeq: e.ModSeq, Mailbox: e.Mailbox}, true
		}
		return e, true
	}
	return e, r.permit(opList) == nil
}

func (a *sharedAccount) Watch(ctx context.Context) <-chan struct{} { return a.inner.Watch(ctx) }

// Where others keep what they keep with a mailbox. No account name has a
// control character, so that no actor's keys begin like another's.
const (
	sharedKeys  = "/shared/"
	privateKeys = "/private/"
	actorKeys   = "actor/" // and the actor, a tab, and the key as he knows it
)

func (a *sharedAccount) own(key string) string { return actorKeys + a.guard.Actor + "\t" + key }

// Annotations gives the list of rights to who may administer it, and what is
// shared and his own to who may use metadata.
func (a *sharedAccount) Annotations(ctx context.Context, box MailboxID, prefix string) ([]Annotation, error) {
	r, err := a.check(ctx, box, opOpen)
	if err != nil {
		return nil, err
	}
	acl, metadata := r.permit(opACL), r.permit(opMetadata)
	switch {
	case strings.HasPrefix(prefix, ACLPrefix) && acl != nil:
		return nil, acl
	case acl != nil && metadata != nil, metadata != nil && strings.HasPrefix(prefix, "/"):
		return nil, metadata
	}
	all, err := a.notes.Annotations(ctx, box, prefix)
	if err != nil {
		return nil, err
	}
	var out []Annotation
	for _, n := range all {
		if strings.HasPrefix(n.Key, ACLPrefix) && acl == nil || strings.HasPrefix(n.Key, sharedKeys) && metadata == nil {
			out = append(out, n)
		}
	}
	private := prefix
	if strings.HasPrefix(privateKeys, prefix) {
		private = privateKeys
	}
	if metadata == nil && strings.HasPrefix(private, privateKeys) {
		mine, err := a.notes.Annotations(ctx, box, a.own(private))
		if err != nil {
			return nil, err
		}
		for _, n := range mine {
			n.Key = n.Key[len(a.own("")):]
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(x, y Annotation) int { return cmp.Compare(x.Key, y.Key) })
	return out, nil
}

func (a *sharedAccount) Annotate(ctx context.Context, box MailboxID, set ...Annotation) (ModSeq, error) {
	if err := CheckAnnotations(set); err != nil {
		return 0, err
	}
	r, err := a.check(ctx, box, opOpen)
	if err != nil {
		return 0, err
	}
	set = slices.Clone(set)
	for i, n := range set {
		op := opMetadata
		switch {
		case strings.HasPrefix(n.Key, ACLPrefix):
			op = opACL
		case strings.HasPrefix(n.Key, privateKeys):
			set[i].Key = a.own(n.Key)
		case !strings.HasPrefix(n.Key, sharedKeys):
			return 0, fmt.Errorf("%w: annotation %.40q is the owner's", ErrReadOnly, n.Key)
		}
		if err := r.permit(op); err != nil {
			return 0, err
		}
	}
	return a.notes.Annotate(ctx, box, set...)
}
