package sqlite

import (
	"context"
	"fmt"
	"slices"

	"github.com/posta-mail/posta/store"
)

// mutate submits a change of an account that exists.
func (a *accountHandle) mutate(ctx context.Context, plan func(a *acctTx) error) error {
	if err := a.s.enter(); err != nil {
		return err
	}
	defer a.s.leave()
	return a.s.do(ctx, func(t *tx) error {
		at, err := t.existing(a.name)
		if err != nil {
			return err
		}
		return plan(at)
	})
}

func (a *accountHandle) Create(ctx context.Context, name string, opt store.CreateOptions) (store.MailboxInfo, error) {
	name, err := store.CanonicalName(name)
	if err != nil {
		return store.MailboxInfo{}, err
	}
	res := new(store.MailboxInfo)
	err = a.mutate(ctx, func(a *acctTx) error {
		if _, ok := a.lookup(name); ok {
			return fmt.Errorf("%w: mailbox", store.ErrExists)
		}
		if err := a.admit(store.Usage{Mailboxes: 1 + int64(len(a.missingParents(name)))}); err != nil {
			return err
		}
		at := a.next()
		a.addParents(name, at)
		b := a.addBox(name, opt.SpecialUse, at)
		*res = b.m.MailboxInfo
		res.Subscribed = a.subscribed(name)
		return nil
	})
	if err != nil {
		return store.MailboxInfo{}, err
	}
	return *res, nil
}

// missingParents are the mailboxes above a name that are missing, lowest first.
func (a *acctTx) missingParents(name string) (missing []string) {
	for p := store.Parent(name); p != ""; p = store.Parent(p) {
		if _, ok := a.lookup(p); !ok {
			missing = append(missing, p)
		}
	}
	return missing
}

// addParents makes the mailboxes above a name that are missing.
func (a *acctTx) addParents(name string, at store.ModSeq) {
	for _, p := range slices.Backward(a.missingParents(name)) {
		a.addBox(p, "", at)
	}
}

func (a *acctTx) subscribed(name string) bool {
	if a.subs == nil && a.e.a != nil && !a.created {
		return a.e.a.subs[name]
	}
	return a.subs[name]
}
