package main

import (
	"context"
	"errors"
	"flag"

	"github.com/posta-mail/posta/store"
)

func statFlags(fs *flag.FlagSet, c *config) {
	fs.StringVar(&c.account, "account", "", "only this account")
}

// stat lists what is there.
func stat(ctx context.Context, c *config) (err error) {
	st, err := c.engineOf(c.engine).read(c, c.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	accounts, messages, size := 0, 0, int64(0)
	for name, err := range st.Accounts(ctx) {
		if err != nil {
			return err
		}
		if c.account != "" && name != c.account {
			continue
		}
		accounts++
		m, s, err := c.statAccount(ctx, st, name)
		if err != nil {
			return err
		}
		messages, size = messages+m, size+s
	}
	if c.account != "" && accounts == 0 {
		return store.ErrNotFound
	}
	c.out.say(event{"event": "done", "accounts": accounts, "messages": messages, "octets": size},
		"%d accounts, %d messages, %s", accounts, messages, octets(size))
	return nil
}

func (c *config) statAccount(ctx context.Context, st store.Store, name string) (messages int, size int64, err error) {
	a, err := st.Account(ctx, name, name)
	if err != nil {
		return 0, 0, err
	}
	boxes, err := a.Mailboxes(ctx)
	if err != nil {
		return 0, 0, err
	}
	c.out.say(event{"event": "account", "account": name, "mailboxes": len(boxes)}, "%s", name)
	for _, b := range boxes {
		messages, size = messages+b.Messages, size+b.Size
		e := event{
			"event": "mailbox", "account": name, "mailbox": b.Name, "messages": b.Messages, "unseen": b.Unseen, "deleted": b.Deleted,
			"octets": b.Size, "uidvalidity": b.UIDValidity, "uidnext": b.UIDNext, "modseq": b.ModSeq, "subscribed": b.Subscribed,
		}
		if b.SpecialUse != "" {
			e["special_use"] = b.SpecialUse
		}
		c.out.say(e, "  %-40s %9d messages %9d unseen %12s", b.Name, b.Messages, b.Unseen, octets(b.Size))
	}
	if q, ok := st.(store.Quotas); ok {
		quota, err := q.Quota(ctx, name)
		if err != nil {
			return 0, 0, err
		}
		if l := quota.Limit; l != (store.Usage{}) {
			c.out.say(event{"event": "quota", "account": name, "used": quota.Used, "limit": l},
				"  quota: %s of %s, %d of %d messages, %d of %d mailboxes (0: no limit)",
				octets(quota.Used.Octets), octets(l.Octets), quota.Used.Messages, l.Messages, quota.Used.Mailboxes, l.Mailboxes)
		}
	}
	return messages, size, nil
}
