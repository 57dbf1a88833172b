package imap_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// fillingStore files in bob's account left times more.
type fillingStore struct {
	*memory.Store
	left atomic.Int64
}

func (s *fillingStore) Place(ctx context.Context, targets []store.Target) []store.Placed {
	if targets[0].Account == "bob" && s.left.Add(-1) < 0 {
		out := make([]store.Placed, len(targets))
		for i := range out {
			out[i].Err = store.ErrOverQuota
		}
		return out
	}
	return s.Store.Place(ctx, targets)
}

func (s *fillingStore) PlaceLater(ctx context.Context, targets []store.Target) func() []store.Placed {
	return func() []store.Placed { return s.Place(ctx, targets) }
}

// TestCopyAcross fails in the middle of what is copied and moved to another
// account, in batches of 64 messages.
func TestCopyAcross(t *testing.T) {
	var fs *fillingStore
	w := newWorld(t, func(s *imap.Server) {
		fs = &fillingStore{Store: s.Store.(*memory.Store)}
		fs.left.Store(1 << 30)
		s.Store = fs
	})
	w.fill("anna", store.Inbox, 100)
	bob, anna := w.login("bob"), w.login("anna")
	bob.ok("SETACL INBOX anna lrswite")
	anna.ok("SELECT INBOX")

	fs.left.Store(1)
	_, end := anna.do(`COPY 1:100 "Other Users/bob/INBOX"`)
	require.Equal(t, "NO [OVERQUOTA] Over quota", end)
	require.Equal(t, []string{`* STATUS "INBOX" (MESSAGES 0 UIDNEXT 65)`}, bob.ok("STATUS INBOX (MESSAGES UIDNEXT)"), "nothing of it stays")

	fs.left.Store(1)
	lines, end := anna.do(`MOVE 1:100 "Other Users/bob/INBOX"`)
	require.Equal(t, "NO [OVERQUOTA] Over quota", end)
	require.Len(t, lines, 1+64)
	require.Regexp(t, `^\* OK \[COPYUID \d+ 1:64 65:128\] Moved$`, lines[0])
	require.Equal(t, "* 1 EXPUNGE", lines[64])
	require.Equal(t, []string{`* STATUS "INBOX" (MESSAGES 64)`}, bob.ok("STATUS INBOX (MESSAGES)"))

	fs.left.Store(1)
	lines = anna.ok(`MOVE 1:36 "Other Users/bob/INBOX"`)
	require.Regexp(t, `^\* OK \[COPYUID \d+ 65:100 129:164\] Moved$`, lines[0])
	require.Equal(t, []string{`* STATUS "INBOX" (MESSAGES 100)`}, bob.ok("STATUS INBOX (MESSAGES)"))
}
