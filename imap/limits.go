package imap

import (
	"errors"
	"math"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

var errNoTLS = errors.New("imap: ImplicitTLS without TLSConfig")

// limits are the Server's limits with defaults in place.
type limits struct {
	message      int64
	command      int
	literals     int
	messages     int
	appended     int64
	pipelined    int
	bad          int
	inflate      int64
	searched     int
	contexts     int
	filters      int
	failures     int
	references   int
	conns        int
	connsPerAddr int
	perAccount   int
	entryBytes   int // of a value of metadata
	entries      int // of metadata, with one mailbox
	accounts     int // of others in one LIST; negative: any number
	budget       int64
	notified     int // mailboxes that NOTIFY observes
	worked       int // messages one command works on; 0: no bound
	saved        int // likewise
	idle         time.Duration
	keepAlive    time.Duration
	login        time.Duration
	read         time.Duration
	write        time.Duration
	parse        wire.Limits
}

// Limits before login.
const (
	guestCommand = 16 << 10 // SASL tokens come in the line
	guestLiteral = 4096
	guestBad     = 5
)

// maxDrain is how much of a refused command is read and thrown away, so that
// the session can go on; beyond it the session ends (RFC 7888 §4).
const maxDrain = 1 << 20

// maxNesting is the most that MaxNesting can be: each level takes some of the
// stack, which must not overflow.
const maxNesting = 100_000

// unbounded stands for no bound.
const unbounded = math.MaxInt

func (s *Server) limits() limits {
	l := limits{
		message:      bound(s.MaxMessageBytes, 64<<20, store.MaxMessageSize),
		command:      orDefault(s.MaxCommandBytes, 64<<10),
		literals:     bound(s.MaxLiterals, 128, unbounded),
		messages:     bound(s.MaxAppendMessages, 1000, unbounded),
		appended:     bound(s.MaxAppendBytes, 256<<20, math.MaxInt64),
		pipelined:    bound(s.MaxPipelined, 128, 1),
		contexts:     bound(s.MaxContexts, 10, unbounded),
		filters:      orDefault(s.MaxFilters, 20),
		searched:     bound(s.MaxSearchMailboxes, 1000, unbounded),
		inflate:      bound(int64(s.MaxInflateRatio), 100, 0),
		bad:          bound(s.MaxBadCommands, 50, unbounded),
		failures:     bound(s.MaxLoginFailures, 5, unbounded),
		references:   orDefault(s.MaxReferences, 100),
		conns:        bound(s.MaxConns, 20000, 0),
		connsPerAddr: bound(s.MaxConnsPerAddr, 500, 0),
		perAccount:   bound(s.MaxConnsPerAccount, 100, -1),
		entryBytes:   min(bound(s.MaxMetadataBytes, 16<<10, store.MaxAnnotationValue), store.MaxAnnotationValue),
		entries:      min(bound(s.MaxMetadataEntries, 100, store.MaxAnnotations), store.MaxAnnotations),
		accounts:     bound(s.Namespaces.MaxAccounts, 1000, -1),
		budget:       bound(s.MemoryBudget, 256<<20, 0),
		notified:     bound(s.MaxNotifyMailboxes, 2000, unbounded),
		worked:       max(s.MaxMessages, 0),
		idle:         bound(s.IdleTimeout, 31*time.Minute, 0),
		keepAlive:    bound(s.KeepAlive, 4*time.Minute, 0),
		login:        bound(s.LoginTimeout, 2*time.Minute, 0),
		read:         bound(s.ReadTimeout, 2*time.Minute, 0),
		write:        bound(s.WriteTimeout, 5*time.Minute, 0),
		parse: wire.Limits{
			Nesting:     min(orDefault(s.MaxNesting, 200), maxNesting),
			Ranges:      bound(s.MaxSetRanges, 50_000, unbounded),
			SearchTerms: bound(s.MaxSearchTerms, 1000, unbounded),
			FetchItems:  bound(s.MaxFetchItems, 200, unbounded),
		},
	}
	l.message = min(l.message, store.MaxMessageSize)
	if s.off["MESSAGELIMIT"] {
		l.worked = 0
	}
	if l.saved = max(s.MaxSaveMessages, 0); s.off["SAVELIMIT"] {
		l.saved = 0
	}
	if l.worked > 0 && (l.saved == 0 || l.saved > l.worked) {
		l.saved = l.worked // RFC 9738 §3: one limit is told for both
	}
	return l
}

// bound is v, def for zero, and none for a negative v.
func bound[T int | int64 | time.Duration](v, def, none T) T {
	switch {
	case v == 0:
		return def
	case v < 0:
		return none
	}
	return v
}

// orDefault is v, or def unless it is positive.
func orDefault(v, def int) int {
	if v <= 0 {
		return def
	}
	return v
}
