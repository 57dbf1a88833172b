package imap

import (
	"errors"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// others adds the mailboxes of other accounts that a pattern can match or that
// decide about what stands above them. Only accounts are opened that share
// something with the user.
func (l *listing) others() error {
	if !l.s.canShare() {
		return nil
	}
	for _, sp := range l.s.srv.spaces {
		accounts, all, first := l.wanted(sp)
		switch {
		case len(accounts) > 0 || !all:
		case sp.accounts != nil:
			accounts = sp.accounts
		default:
			if err := l.everybody(sp, first); err != nil {
				return err
			}
			continue
		}
		for i, name := range accounts {
			if max := l.s.srv.lim.accounts; i == max {
				break
			}
			if err := l.account(sp, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted says which accounts of a namespace must be looked into: those named,
// or all, or only the first that has anything, if only the level above them can
// be matched.
func (l *listing) wanted(sp space) (accounts []string, all, first bool) {
	if l.c.Select&wire.ListSpecialUse != 0 {
		return nil, false, false // none of theirs is told
	}
	if l.c.Select&wire.ListSubscribed != 0 {
		return l.subscribedIn(sp), false, false
	}
	first = l.c.Select&wire.ListRecursiveMatch == 0
	top := sp.level + string(store.Separator)
	for _, p := range l.patterns {
		rest, below := strings.CutPrefix(p.literal, top)
		account, _, whole := strings.Cut(rest, string(store.Separator))
		switch {
		case below && (whole || p.exact):
			accounts = append(accounts, account)
			continue
		case !below && !strings.HasPrefix(top, p.literal), p.exact && p.literal != sp.level:
			continue
		}
		all = true
		first = first && p.levels == 1
	}
	if all {
		return nil, true, first
	}
	return accounts, false, false
}

// subscribedIn is the accounts of a namespace in which something is subscribed:
// others cannot be in the answer.
func (l *listing) subscribedIn(sp space) (accounts []string) {
	names, err := l.s.acc.Subscriptions(l.s.ctx)
	if err != nil {
		return nil // which will be told when they are listed
	}
	for _, name := range names {
		if !store.Below(name, sp.level) {
			continue
		}
		account, _, _ := strings.Cut(name[len(sp.level)+1:], string(store.Separator))
		if n := len(accounts); n == 0 || accounts[n-1] != account {
			accounts = append(accounts, account)
		}
	}
	return accounts
}

// everybody adds the mailboxes that other users share.
func (l *listing) everybody(sp space, first bool) error {
	left := l.s.srv.lim.accounts
	for share, err := range l.s.guard.Shared(l.s.ctx) {
		switch {
		case err != nil && share.Account == "":
			return err
		case err != nil:
			l.s.srv.log.Warn("shared account cannot be read", "server", "imap", "account", share.Account, "err", err)
			continue
		case !l.s.srv.holds(sp, share.Account):
			continue
		}
		if left == 0 {
			return nil
		}
		left--
		acc, err := l.s.guard.Account(l.s.ctx, share.Account)
		if err != nil {
			continue // gone meanwhile
		}
		if l.add(sp, acc, share.Mailboxes) && first {
			return nil
		}
	}
	return nil
}

// account adds the mailboxes of one account, if the user may know of any.
func (l *listing) account(sp space, name string) error {
	if name == l.s.acc.Name() || !l.s.srv.holds(sp, name) {
		return nil
	}
	acc, err := l.s.guard.Account(l.s.ctx, name)
	if err == nil {
		var infos []store.MailboxInfo
		if infos, err = acc.Mailboxes(l.s.ctx); err == nil {
			l.add(sp, acc, infos)
			return nil
		}
	}
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalidName) {
		return nil
	}
	return err
}

// add adds the mailboxes of an account whose name can be part of theirs.
func (l *listing) add(sp space, acc store.Account, infos []store.MailboxInfo) bool {
	prefix := sp.level + string(store.Separator) + acc.Name()
	if c, err := store.CanonicalName(prefix); err != nil || c != prefix || strings.Count(prefix, string(store.Separator)) > 1 {
		return false
	}
	prefix += string(store.Separator)
	for i := range infos {
		n := l.node(prefix + infos[i].Name)
		n.place = place{acc: acc, local: infos[i].Name, name: n.name}
		n.info = &infos[i]
	}
	return len(infos) > 0
}
