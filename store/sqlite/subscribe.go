package sqlite

import (
	"context"

	"github.com/posta-mail/posta/store"
)

func (a *accountHandle) Subscribe(ctx context.Context, name string, on bool) error {
	name, err := store.CanonicalName(name)
	if err != nil {
		return err
	}
	return a.mutate(ctx, func(a *acctTx) error {
		if a.subscribed(name) == on {
			return nil
		}
		at := a.next()
		if subs := a.allSubs(); on {
			subs[name] = true
		} else {
			delete(subs, name)
		}
		a.t.subs = append(a.t.subs, subRow{a, name, on})
		id, _ := a.lookup(name)
		a.event(store.MailboxSubscribed, at, id, name, "")
		return nil
	})
}
