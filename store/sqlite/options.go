package sqlite

import (
	"log/slog"
	"time"

	"github.com/posta-mail/posta/internal/faultfs"
)

// Options configure a store. The zero value is good for a server.
type Options struct {
	// StageMemory bounds the octets of all staged bodies kept in memory;
	// bodies above 256 KiB and those beyond the bound wait in files. Default
	// 64 MiB; negative: none in memory.
	StageMemory int64
	// SnapshotMemory bounds the octets of mailbox snapshots kept for the next
	// reader, about 20 a message; snapshots in use are not counted.
	// Default 128 MiB; negative: none are kept.
	SnapshotMemory int64
	// OutlineMemory bounds the octets of messages' structures and envelopes kept
	// for the next reader, about 1.5 KiB a message. Default 32 MiB; negative:
	// none are kept.
	OutlineMemory int64
	// Accounts is how many accounts' lists of mailboxes stay in memory.
	// Default 4096; negative: only those in use.
	Accounts int
	// SegmentSize is the size in octets at which a new segment file is begun.
	// Default 128 MiB; at least 64 KiB.
	SegmentSize int64
	// WALSize is the size in octets of the write-ahead log at which it is
	// copied into the database and truncated. Default 16 MiB.
	WALSize int64
	// Grace is how long an expunged message stays readable, at least.
	// Default one hour; negative: until the next sweep.
	Grace time.Duration
	// History is how long expunges and mailbox events are remembered for
	// Changes. Default 90 days.
	History time.Duration
	// Tokens is how long placement tokens are remembered. Default two days,
	// at least one.
	Tokens time.Duration
	// SweepEvery is the time between two passes that remove what Grace,
	// History and Tokens let go. Default 10 minutes; negative: never, call
	// Sweep.
	SweepEvery time.Duration
	// ReadOnly opens a folder for reading only, a backup above all: it needs
	// no lock and writes nothing, and every mutation is store.ErrReadOnly.
	// Nothing is cut or upgraded: a database of an older version is read
	// from a copy in os.TempDir. Of a store that another process serves,
	// each account is shown as of when it was first looked at.
	ReadOnly bool
	// Dedupe says which bodies of equal content are kept once. It may be
	// changed from opening to opening. Default: none.
	Dedupe Dedupe
	// Logger receives what an operator should know: recovery at opening,
	// failures that stop writing. Nil discards it.
	Logger *slog.Logger

	fs    faultfs.FS               // tests
	clock func() time.Time         // tests
	dsn   func(dsn string) string  // tests
	fault func(point string) error // tests: "migrate", "begin", "flush", "commit", "used"
}

func (o Options) withDefaults() Options {
	def := func(p *int64, v int64) {
		switch {
		case *p == 0:
			*p = v
		case *p < 0:
			*p = 0
		}
	}
	defTime := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.StageMemory, 64<<20)
	def(&o.SnapshotMemory, 128<<20)
	def(&o.OutlineMemory, 32<<20)
	if o.Accounts == 0 {
		o.Accounts = 4096
	}
	def(&o.SegmentSize, 128<<20)
	o.SegmentSize = max(o.SegmentSize, 64<<10)
	def(&o.WALSize, 16<<20)
	defTime(&o.Grace, time.Hour)
	o.Grace = max(o.Grace, 0)
	defTime(&o.History, 90*24*time.Hour)
	defTime(&o.Tokens, 48*time.Hour)
	o.Tokens = max(o.Tokens, 24*time.Hour)
	defTime(&o.SweepEvery, 10*time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = faultfs.OS{}
	}
	if o.clock == nil {
		o.clock = time.Now
	}
	if o.dsn == nil {
		o.dsn = func(dsn string) string { return dsn }
	}
	if o.fault == nil {
		o.fault = func(string) error { return nil }
	}
	return o
}
