package imap

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

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

// errLevel: a name that stands above the accounts of others.
var errLevel = fmt.Errorf("%w: a level above mailboxes", store.ErrNotFound)

// name turns a mailbox name as sent into its canonical form.
func (s *session) name(sent string) (string, error) {
	n, err := wire.DecodeMailbox(sent, s.utf8())
	if err != nil {
		return "", err
	}
	return store.CanonicalName(n)
}

// locate finds the place of a mailbox by its name as sent, whether it exists or
// not. ErrNotFound if it would be in an account that the user must not know of.
func (s *session) locate(sent string) (place, error) {
	name, err := s.name(sent)
	if err != nil {
		return place{}, err
	}
	return s.placeOf(name)
}

// placeOf is locate for a canonical name.
func (s *session) placeOf(name string) (place, error) {
	account, local, elsewhere, known := s.elsewhere(name)
	switch {
	case !elsewhere:
		return place{acc: s.acc, local: name, name: name}, nil
	case local == "":
		return place{}, errLevel
	case !known:
		return place{}, store.ErrNotFound
	}
	acc, err := s.guard.Account(s.ctx, account)
	if err != nil {
		return place{}, err
	}
	return place{acc: acc, local: local, name: name[:len(name)-len(local)] + local}, nil
}

// own reports whether a place is in the user's own account.
func (s *session) own(p place) bool { return p.acc.Name() == s.acc.Name() }

// find finds a mailbox by its name as sent, without a look at its messages,
// which the user may not be allowed: info has its ID only.
func (s *session) find(sent string) (box, error) {
	p, err := s.locate(sent)
	if err != nil {
		return box{}, err
	}
	mb, err := p.acc.Mailbox(s.ctx, p.local)
	if err != nil {
		return box{}, err
	}
	return box{place: p, mb: mb, info: store.MailboxInfo{ID: mb.ID()}}, nil
}

// open opens a mailbox by its name as sent.
func (s *session) open(sent string) (box, error) {
	b, err := s.find(sent)
	if err != nil {
		return box{}, err
	}
	b.info, err = b.mb.Info(s.ctx)
	return b, err
}

// insertable opens a mailbox into which messages are to be filed; ErrReadOnly
// if they may not be (RFC 4314 §4).
func (s *session) insertable(at place) (store.Mailbox, error) {
	mb, err := at.acc.Mailbox(s.ctx, at.local)
	if err != nil || s.own(at) {
		return mb, err
	}
	rights, err := store.MyRights(s.ctx, at.acc, mb.ID())
	if err == nil && !rights.Has(store.RightInsert) {
		err = store.ErrReadOnly
	}
	return mb, err
}

// selected reports whether a mailbox is the one that is selected.
func (s *session) selected(acc store.Account, id store.MailboxID) bool {
	return s.sel != nil && s.sel.mb.ID() == id && s.sel.acc.Name() == acc.Name()
}

// appendMailboxID appends the object id of a mailbox (RFC 8474 §4). Numbers are
// unique within an account; those of others have its name's digest with them.
func (s *session) appendMailboxID(b []byte, acc store.Account, id store.MailboxID) []byte {
	b = strconv.AppendUint(append(b, 'F'), uint64(id), 10)
	if acc.Name() != s.acc.Name() {
		sum := sha256.Sum256([]byte(acc.Name()))
		b = hex.AppendEncode(append(b, '-'), sum[:10])
	}
	return b
}
