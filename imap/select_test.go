package imap_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
)

// busyStore runs something when the history of a mailbox is asked for.
type busyStore struct {
	store.Store
	meanwhile func()
}

func (s busyStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return busyAccount{a, s.meanwhile}, err
}

type busyAccount struct {
	store.Account
	meanwhile func()
}

func (a busyAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return busyMailbox{mb, a.meanwhile}, err
}

type busyMailbox struct {
	store.Mailbox
	meanwhile func()
}

func (m busyMailbox) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	m.meanwhile()
	return m.Mailbox.Changes(ctx, since)
}

// TestSelectMeanwhile changes the mailbox while SELECT resynchronises: what it
// tells is of one moment, and the rest comes with the next command.
func TestSelectMeanwhile(t *testing.T) {
	var w *world
	var once sync.Once
	w = newWorld(t, func(s *imap.Server) {
		st := s.Store
		s.Store = busyStore{st, func() {
			once.Do(func() {
				w.deliver("anna", store.Inbox, simple(9), w.since)
				acc, err := st.Account(context.Background(), "anna", "anna")
				require.NoError(t, err)
				mb, err := acc.Mailbox(context.Background(), store.Inbox)
				require.NoError(t, err)
				_, err = mb.Expunge(context.Background(), store.UIDs(2))
				require.NoError(t, err)
				_, err = mb.Flag(context.Background(), store.UIDs(1), store.FlagUpdate{Flags: []store.Flag{store.FlagFlagged}})
				require.NoError(t, err)
			})
		}}
	})
	w.fill("anna", store.Inbox, 3)
	c := w.login("anna")
	lines := strings.Join(c.ok("SELECT INBOX"), "\n")
	_, rest, _ := strings.Cut(lines, "[UIDVALIDITY ")
	validity, _, _ := strings.Cut(rest, "]")
	c.ok("UNSELECT")
	c.ok("ENABLE QRESYNC")
	lines = strings.Join(c.ok("SELECT INBOX (QRESYNC ("+validity+" 1))"), "\n")
	require.Equal(t, 1, strings.Count(lines, "EXISTS"), lines)
	require.Contains(t, lines, "* 3 EXISTS")
	require.NotContains(t, lines, "VANISHED")
	require.Contains(t, lines, "* 1 FETCH (UID 1 FLAGS () MODSEQ (2))\n* 2 FETCH (UID 2 FLAGS () MODSEQ (3))\n* 3 FETCH (UID 3 FLAGS () MODSEQ (4))")
	require.Equal(t, []string{"* VANISHED 2", "* 3 EXISTS", `* 1 FETCH (UID 1 FLAGS (\Flagged) MODSEQ (7))`}, c.ok("NOOP"))
}
