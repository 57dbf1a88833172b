package maildir

import (
	"log/slog"
	"time"
)

// Options are how a Store works. The zero value has the defaults.
type Options struct {
	// UTF8 has folders named in UTF-8; else they are in modified UTF-7, which
	// is Dovecot's default. All who open a store must agree.
	UTF8 bool
	// Grace is how long a message that was expunged here stays readable.
	// Default 5 minutes; negative: not at all. One that another program
	// removes is gone at once.
	Grace time.Duration
	// History is how many expunged ranges of UIDs each mailbox, and how many
	// mailbox events each account, remembers for Changes. Older ones are
	// answered with ErrHistoryGone. Default 10,000; negative: none.
	History int
	// Interval is how often a watched account is looked at for what other
	// processes do. Default 1 s; negative: never.
	Interval time.Duration
	// Accounts is how many accounts are kept open that nobody uses at the
	// moment, with their snapshots: 48 octets for each message of the
	// mailboxes used, and a few files. Default 100; negative: none.
	Accounts int
	// Logger gets what is odd in the folders. Default: nowhere.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Grace == 0 {
		o.Grace = 5 * time.Minute
	}
	if o.History == 0 {
		o.History = 10_000
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Accounts == 0 {
		o.Accounts = 100
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
