package imap

import (
	"strconv"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// quotas is the store's ability to limit accounts, nil without it.
func (s *session) quotas() store.Quotas {
	q, _ := s.srv.Store.(store.Quotas)
	return q
}

// limited reports whether there are quotas.
func (s *session) limited() bool { return s.quotas() != nil }

// A quota root is an account: the user's own is "", another's is the name above
// its mailboxes (RFC 9208 §3.2).

// getQuota is GETQUOTA (RFC 9208 §4.1.1).
func (s *session) getQuota(p *wire.Parser) reply {
	root := p.Mailbox()
	if p.End() != nil {
		return syntax(p)
	}
	account := s.acc.Name()
	if root != "" {
		acc, err := s.rootAccount(root)
		if err != nil {
			return s.noRoot(err)
		}
		account = acc.Name()
	}
	q, err := s.quotas().Quota(s.ctx, account)
	if err != nil {
		return s.failed(err)
	}
	if q.Limit == (store.Usage{}) {
		return no("NONEXISTENT", "No such quota root")
	}
	s.sendQuota(root, q, true)
	return ok("GETQUOTA completed")
}

// rootAccount opens the account of somebody else's quota root, if the user may
// read a mailbox there.
func (s *session) rootAccount(root string) (store.Account, error) {
	name, err := s.name(root)
	if err != nil {
		return nil, err
	}
	p, err := s.placeOf(name + string(store.Separator) + store.Inbox)
	if err != nil {
		return nil, err
	}
	if s.own(p) || p.local != store.Inbox { // not the name above mailboxes
		return nil, store.ErrNotFound
	}
	infos, err := p.acc.Mailboxes(s.ctx)
	if err != nil {
		return nil, err
	}
	for i := range infos {
		if (&node{info: &infos[i]}).readable() {
			return p.acc, nil
		}
	}
	return nil, store.ErrNotFound
}

func (s *session) noRoot(err error) reply {
	if r := s.failed(err); r.code != "NONEXISTENT" && r.code != "CANNOT" {
		return r
	}
	return no("NONEXISTENT", "No such quota root")
}

// getQuotaRoot is GETQUOTAROOT (RFC 9208 §4.1.2). An account without limits is
// no quota root.
func (s *session) getQuotaRoot(p *wire.Parser) reply {
	sent := p.Mailbox()
	if p.End() != nil {
		return syntax(p)
	}
	at, root, readable, err := s.quotaRoot(sent)
	if err != nil {
		return s.failed(err)
	}
	q, err := s.quotas().Quota(s.ctx, at.acc.Name())
	if err != nil {
		return s.failed(err)
	}
	limited := q.Limit != (store.Usage{})
	s.out.put("* QUOTAROOT ")
	s.out.b = wire.AppendMailbox(s.out.b, at.name, s.utf8())
	if limited {
		s.out.put(" ")
		s.out.b = wire.AppendMailbox(s.out.b, root, s.utf8())
	}
	s.out.put("\r\n")
	if limited {
		s.sendQuota(root, q, readable)
	}
	return ok("GETQUOTAROOT completed")
}

// quotaRoot finds the quota root of a mailbox, which need not exist in the
// user's own account (RFC 9208 §4.1.2), and whether he may read it.
func (s *session) quotaRoot(sent string) (at place, root string, readable bool, err error) {
	if at, err = s.locate(sent); err != nil || s.own(at) {
		return at, "", true, err
	}
	mb, err := at.acc.Mailbox(s.ctx, at.local)
	if err != nil {
		return at, "", false, err
	}
	rights, err := store.MyRights(s.ctx, at.acc, mb.ID())
	root = strings.TrimSuffix(at.name, string(store.Separator)+at.local)
	return at, root, rights.Has(store.RightRead), err
}

// sendQuota appends a QUOTA response with the resources that are limited:
// storage in units of 1024 octets, the use rounded up and the limit down. Who
// may not read the mailbox only learns of the number of mailboxes (RFC 9208
// §6).
func (s *session) sendQuota(root string, q store.Quota, readable bool) {
	s.out.put("* QUOTA ")
	s.out.b = wire.AppendMailbox(s.out.b, root, s.utf8())
	s.out.put(" (")
	sep := ""
	for _, r := range [...]struct {
		name        string
		used, limit int64
		unit        int64
		open        bool
	}{
		{"STORAGE", q.Used.Octets, q.Limit.Octets, 1024, readable},
		{"MESSAGE", q.Used.Messages, q.Limit.Messages, 1, readable},
		{"MAILBOX", q.Used.Mailboxes, q.Limit.Mailboxes, 1, true},
	} {
		if r.limit == 0 || !r.open {
			continue
		}
		s.out.put(sep + r.name + " ")
		used := max(r.used, 0)
		s.out.b = strconv.AppendInt(s.out.b, used/r.unit+min(used%r.unit, 1), 10)
		s.out.put(" ")
		s.out.b = strconv.AppendInt(s.out.b, max(r.limit, 0)/r.unit, 10)
		sep = " "
	}
	s.out.put(")\r\n")
}

// setQuota is SETQUOTA (RFC 9208 §4.1.3): limits are the administrator's, who
// sets them by other means.
func (s *session) setQuota(p *wire.Parser) reply {
	p.SetQuota()
	if p.End() != nil {
		return syntax(p)
	}
	return no("NOPERM", "Limits are set by the administrator")
}
