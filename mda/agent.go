package mda

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// Agent files messages into the mailboxes of a store. Set its fields before
// the first call and not after; its methods are safe for concurrent use. A
// zero Agent knows nobody.
type Agent struct {
	// Store holds the accounts.
	Store store.Store
	// Directory finds the account of an address. Nil: an account of the
	// store that has the address as its name.
	Directory Directory
	// Aliases maps an address to the addresses that get its mail instead:
	// local@domain in lower case with the domain as A-label, or "@domain" for
	// a whole domain's catch-all. Targets may be aliases themselves, or
	// addresses elsewhere, which need a Submitter; the alias's own address
	// among them means the account of that name. At most 10 aliases deep and
	// 1,000 addresses.
	Aliases map[string][]string
	// Postmaster is the address that gets the mail for <Postmaster> without a
	// domain, and with any domain where neither alias nor account takes it
	// (RFC 5321 §4.5.1). Empty: such mail is refused.
	Postmaster string
	// Separator stands between user and detail; "+" if empty, off if "-".
	Separator string
	// Submitter takes what an alias sends elsewhere. Nil: a recipient with
	// such an alias is refused.
	Submitter Submitter
	// Hostname is the name in the Received field of messages that come by
	// LMTP; "localhost" if empty.
	Hostname string
	Logger   *slog.Logger
}

// Directory finds accounts.
type Directory interface {
	// AccountOf returns the account that receives mail for address, which is
	// local@domain without quotes, the domain in lower case. ok is false if
	// there is none. An error is a temporary failure.
	AccountOf(ctx context.Context, address string) (account string, ok bool, err error)
}

// Submitter sends a message on its way to other systems: redirects now,
// vacation notices and rejects of Sieve. It has taken durable responsibility when it
// returns nil. The id makes a repeated call for the same message recognisable.
type Submitter interface {
	Submit(ctx context.Context, id string, from smtp.Path, to []smtp.Path, prefix []byte, body store.Staged) error
}

// Delivery is a message to be filed.
type Delivery struct {
	// ID names the message. A second delivery with the same ID files
	// nothing again, so that a retry after a crash makes no duplicate. At
	// most 64 octets; empty: every delivery is new.
	ID string
	// From is the reverse-path, for Return-Path.
	From smtp.Path
	// Prefix are header lines that go between Return-Path and the message:
	// Received, Authentication-Results.
	Prefix []byte
	Body   store.Staged
	// Junk files into the mailbox for junk (RFC 6154 §2) instead of INBOX.
	Junk bool
	Date time.Time // internal date; zero: now
}

func (a *Agent) log() *slog.Logger {
	if a.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Logger
}

// Stage takes a message in before its delivery; see store.Store.
func (a *Agent) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	if a.Store == nil {
		return nil, store.ErrUnavailable
	}
	return a.Store.Stage(ctx, r)
}
