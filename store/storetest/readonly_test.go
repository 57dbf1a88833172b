package storetest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// closed refuses every change of the store below, unless it is leaky.
type closed struct {
	store.Store
	leak string
}

type closedAccount struct {
	store.Account
	s closed
}

type closedMailbox struct {
	store.Mailbox
	s closed
}

func (s closed) refuse(call string) error {
	if s.leak == call {
		return nil
	}
	return store.ErrReadOnly
}

func (s closed) Place(ctx context.Context, t []store.Target) []store.Placed {
	if s.leak == "Place" {
		return s.Store.Place(ctx, t)
	}
	p := make([]store.Placed, len(t))
	for i := range p {
		p[i].Err = store.ErrReadOnly
	}
	return p
}
func (s closed) CreateAccount(context.Context, string) error { return s.refuse("CreateAccount") }
func (s closed) DeleteAccount(context.Context, string) error { return s.refuse("DeleteAccount") }
func (s closed) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return closedAccount{a, s}, err
}
func (a closedAccount) Mailboxes(ctx context.Context) ([]store.MailboxInfo, error) {
	infos, err := a.Account.Mailboxes(ctx)
	if a.s.leak == "order" {
		slices.Reverse(infos)
	}
	return infos, err
}
func (a closedAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return closedMailbox{mb, a.s}, err
}
func (a closedAccount) Create(context.Context, string, store.CreateOptions) (store.MailboxInfo, error) {
	return store.MailboxInfo{}, a.s.refuse("Create")
}
func (a closedAccount) Rename(ctx context.Context, from, to string) error {
	return a.s.refuse("Rename")
}
func (a closedAccount) Delete(context.Context, string) error { return a.s.refuse("Delete") }
func (a closedAccount) Subscribe(context.Context, string, bool) error {
	return a.s.refuse("Subscribe")
}
func (b closedMailbox) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	c, err := b.Mailbox.Changes(ctx, since)
	if b.s.leak == "changes" && len(c.Rows) > 1 {
		c.Rows = c.Rows[1:]
	}
	return c, err
}
func (b closedMailbox) Open(ctx context.Context, r store.Row) (store.Body, error) {
	body, err := b.Mailbox.Open(ctx, r)
	if b.s.leak == "open" && err == nil {
		body = shortBody{body}
	}
	return body, err
}
func (b closedMailbox) Flag(ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
	if b.s.leak == "half" { // does it and says no
		b.Mailbox.Flag(ctx, set, u)
	}
	return store.Flagged{}, b.s.refuse("Flag")
}
func (b closedMailbox) Expunge(context.Context, store.UIDSet, ...store.Flag) (store.Expunged, error) {
	return store.Expunged{}, b.s.refuse("Expunge")
}
func (b closedMailbox) Copy(context.Context, store.UIDSet, store.MailboxID) (store.Copied, error) {
	return store.Copied{}, b.s.refuse("Copy")
}
func (b closedMailbox) Move(context.Context, store.UIDSet, store.MailboxID) (store.Copied, error) {
	return store.Copied{}, b.s.refuse("Move")
}

func closedConfig(leak string) ReadOnlyConfig {
	return ReadOnlyConfig{Patience: 2 * time.Second, New: func(t testing.TB) store.Store {
		st := memory.New()
		for _, name := range []string{"anna", "bob", "carol"} {
			require.NoError(t, st.CreateAccount(t.Context(), name))
			a, err := st.Account(t.Context(), name, name)
			require.NoError(t, err)
			for _, box := range []string{"Archive/2025", "Sent"} {
				_, err := a.Create(t.Context(), box, store.CreateOptions{})
				require.NoError(t, err)
			}
			require.NoError(t, a.Subscribe(t.Context(), "Sent", true))
			for i := range 12 {
				s, err := st.Stage(t.Context(), strings.NewReader(mail(i)))
				require.NoError(t, err)
				box := []string{store.Inbox, store.Inbox, "Sent"}[i%3]
				var flags []store.Flag
				if i%4 == 0 {
					flags = []store.Flag{store.FlagSeen, "Work"}
				}
				p := st.Place(t.Context(), []store.Target{{Account: name, Mailbox: box, Body: s, Flags: flags, Date: time.Unix(int64(1e9+i*40_000), 0)}})
				require.NoError(t, p[0].Err)
			}
		}
		return closed{st, leak}
	}}
}

func TestRunReadOnly(t *testing.T) { RunReadOnly(t, closedConfig("")) }

// Every way of not being read-only, or of reading wrongly, is noticed.
func TestReadOnlyMutants(t *testing.T) {
	for leak, seenBy := range map[string]string{
		"CreateAccount": "Mutations", "DeleteAccount": "Mutations", "Place": "Mutations", "Create": "Mutations", "Rename": "Mutations",
		"Delete": "Mutations", "Subscribe": "Mutations", "Flag": "Mutations", "Expunge": "Mutations", "Copy": "Mutations",
		"Move": "Mutations", "half": "Mutations", "order": "Mailboxes", "changes": "Changes", "open": "Open",
	} {
		t.Run(leak, func(t *testing.T) {
			cfg := closedConfig(leak)
			i := slices.IndexFunc(readOnlyChecks, func(c check) bool { return c.name == seenBy })
			first := (&recorder{TB: t}).run(readOnlyChecks[i], Config{New: cfg.New, Patience: cfg.Patience})
			require.NotEmpty(t, first, "%s did not notice", seenBy)
			t.Log(firstLines(first))
		})
	}
}
