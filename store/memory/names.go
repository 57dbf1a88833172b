package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/posta-mail/posta/store"
)

func (a openAccount) Create(ctx context.Context, name string, opt store.CreateOptions) (info store.MailboxInfo, err error) {
	name, err = store.CanonicalName(name)
	if err != nil {
		return info, err
	}
	var mb *mailbox
	err = a.write(ctx, func(c *commit) error {
		if a.byName[name] != nil {
			return store.ErrExists
		}
		mb = c.create(name, opt.SpecialUse)
		info = a.handle(mb).info()
		return nil
	})
	return info, err
}

func (a openAccount) Delete(ctx context.Context, name string) error {
	return a.write(ctx, func(c *commit) error {
		mb, err := a.mailbox(name)
		if err != nil {
			return err
		}
		if mb.name == store.Inbox {
			return fmt.Errorf("%w: INBOX cannot be deleted", store.ErrReadOnly)
		}
		c.drop(mb)
		return nil
	})
}

func (a openAccount) Subscribe(ctx context.Context, name string, on bool) error {
	name, err := store.CanonicalName(name)
	if err != nil {
		return err
	}
	return a.write(ctx, func(c *commit) error {
		if a.subs[name] == on {
			return nil
		}
		c.subs = map[string]bool{name: on}
		var id store.MailboxID
		if mb := a.byName[name]; mb != nil {
			id = mb.id
		}
		c.event(store.MailboxSubscribed, id, name, "")
		return nil
	})
}

func (a openAccount) Rename(ctx context.Context, from, to string) error {
	to, err := store.CanonicalName(to)
	if err != nil {
		return err
	}
	return a.write(ctx, func(c *commit) error {
		mb, err := a.mailbox(from)
		if err != nil {
			return err
		}
		if a.byName[to] != nil {
			return store.ErrExists
		}
		if mb.name == store.Inbox {
			// RFC 9051 §6.3.6: its messages move, what is below it stays.
			return a.handle(mb).transfer(c, c.create(to, ""), store.AllUIDs(), true, new(store.Copied))
		}
		return c.rename(mb, to)
	})
}

// rename renames a mailbox and what is below it.
func (c *commit) rename(mb *mailbox, to string) error {
	from := mb.name
	if store.Below(to, from) {
		return fmt.Errorf("%w: below itself", store.ErrInvalidName)
	}
	if p := store.Parent(to); p != "" && c.find(p) == nil {
		c.create(p, "")
	}
	// Shorter names first: what a longer one is to be called may be one that is
	// given up.
	names := slices.SortedFunc(maps.Keys(c.a.byName), func(x, y string) int { return cmp.Or(len(x)-len(y), cmp.Compare(x, y)) })
	for _, name := range names {
		child := c.a.byName[name]
		if child != mb && !store.Below(name, from) {
			continue
		}
		now, err := store.CanonicalName(to + name[len(from):])
		if err != nil {
			return err
		}
		if c.find(now) != nil {
			return fmt.Errorf("%w: %s", store.ErrExists, now)
		}
		c.setName(name, nil)
		c.setName(now, child)
		c.event(store.MailboxRenamed, child.id, now, name)
	}
	return nil
}
