package imap

import (
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// place is where a mailbox of some name is, or would be made: in which account,
// and what it is called there.
type place struct {
	acc   store.Account
	local string // canonical, as the account has it
	name  string // canonical, as this session calls it
}

// box is a mailbox that has been opened.
type box struct {
	place
	mb   store.Mailbox
	info store.MailboxInfo // as of the opening
}

// name turns a mailbox name as sent into its canonical form.
func (s *session) name(sent string) (string, error) {
	n, err := wire.DecodeMailbox(sent, s.utf8())
	if err != nil {
		return "", err
	}
	return store.CanonicalName(n)
}

// locate finds the place of a mailbox by its name as sent, whether it exists or
// not.
func (s *session) locate(sent string) (place, error) {
	name, err := s.name(sent)
	if err != nil {
		return place{}, err
	}
	return place{acc: s.acc, local: name, name: name}, nil
}

// open opens a mailbox by its name as sent.
func (s *session) open(sent string) (box, error) {
	p, err := s.locate(sent)
	if err != nil {
		return box{}, err
	}
	mb, err := p.acc.Mailbox(s.ctx, p.local)
	if err != nil {
		return box{}, err
	}
	info, err := mb.Info(s.ctx)
	return box{place: p, mb: mb, info: info}, err
}
