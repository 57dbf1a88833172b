package mda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// testStore has some accounts at example.org; anna has folders.
func testStore(t testing.TB) *memory.Store {
	t.Helper()
	st := memory.New()
	t.Cleanup(func() { _ = st.Close() })
	for _, name := range []string{"anna", "otto", "eva", "u+x"} {
		require.NoError(t, st.CreateAccount(t.Context(), name+"@example.org"))
	}
	anna, err := st.Account(t.Context(), "anna@example.org", "anna@example.org")
	require.NoError(t, err)
	for _, box := range [][2]string{{"Lists"}, {"Lists/Go"}, {"Sent", `\Sent`}, {"Drafts", `\Drafts`}, {"Archive", `\Archive`}} {
		_, err = anna.Create(t.Context(), box[0], store.CreateOptions{SpecialUse: box[1]})
		require.NoError(t, err)
	}
	return st
}

func path(t testing.TB, addr string) smtp.Path {
	t.Helper()
	p, err := smtp.ParsePath("<" + addr + ">")
	require.NoError(t, err)
	return p
}

func paths(t testing.TB, addrs ...string) []smtp.Path {
	t.Helper()
	var out []smtp.Path
	for _, a := range addrs {
		out = append(out, path(t, a))
	}
	return out
}

func stage(t testing.TB, st store.Store, text string) store.Staged {
	t.Helper()
	s, err := st.Stage(t.Context(), strings.NewReader(text))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Discard() })
	return s
}

const letter = "Subject: hello\r\n\r\nHi.\r\n"

// mail is what a mailbox holds.
func mail(t testing.TB, st store.Store, account, mailbox string) []string {
	t.Helper()
	acc, err := st.Account(t.Context(), account, account)
	require.NoError(t, err)
	mb, err := acc.Mailbox(t.Context(), mailbox)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	require.NoError(t, err)
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	var out []string
	for _, row := range snap.All() {
		body, err := mb.Open(t.Context(), row)
		require.NoError(t, err)
		b, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
		require.NoError(t, err)
		require.NoError(t, body.Close())
		out = append(out, string(b))
	}
	return out
}

// boxes counts the messages of an account's mailboxes that have any.
func boxes(t testing.TB, st store.Store, account string) map[string]int {
	t.Helper()
	return boxesContext(t.Context(), t, st, account)
}

func boxesContext(ctx context.Context, t testing.TB, st store.Store, account string) map[string]int {
	t.Helper()
	acc, err := st.Account(ctx, account, account)
	require.NoError(t, err)
	infos, err := acc.Mailboxes(ctx)
	require.NoError(t, err)
	out := map[string]int{}
	for _, i := range infos {
		if i.Messages > 0 {
			out[i.Name] = i.Messages
		}
	}
	return out
}

// code is the reply that a result stands for.
func code(err error) string {
	if err == nil {
		return "ok"
	}
	var e *smtp.Error
	if !errors.As(err, &e) {
		return "no smtp.Error: " + err.Error()
	}
	return fmt.Sprintf("%d %v", e.Code, e.Enhanced)
}

func codes(errs []error) []string {
	var out []string
	for _, err := range errs {
		out = append(out, code(err))
	}
	return out
}

// submitter notes what is sent elsewhere.
type submitter struct {
	mu   sync.Mutex
	sent []submitted
	err  error
}

type submitted struct {
	id, from, to string
	text         string
}

func (s *submitter) Submit(_ context.Context, id string, from smtp.Path, to []smtp.Path, prefix []byte, body store.Staged) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	b, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return err
	}
	var all []string
	for _, p := range to {
		all = append(all, p.String())
	}
	s.sent = append(s.sent, submitted{id, from.String(), strings.Join(all, " "), string(prefix) + string(b)})
	return nil
}

// failingStore fails where it is told to.
type failingStore struct {
	store.Store
	mu      sync.Mutex
	place   map[string]error // by account
	account map[string]error // by name
	stage   error
}

func (s *failingStore) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	if s.stage != nil {
		return nil, s.stage
	}
	return s.Store.Stage(ctx, r)
}

func (s *failingStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.account[name]; err != nil {
		return nil, fmt.Errorf("open /var/secret: %w", err)
	}
	return s.Store.Account(ctx, name, actor)
}

func (s *failingStore) Place(ctx context.Context, targets []store.Target) []store.Placed {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]store.Placed, len(targets))
	for i := range targets {
		if err := s.place[targets[i].Account]; err != nil {
			out[i].Err = fmt.Errorf("write /var/secret: %w", err)
			continue
		}
		out[i] = s.Store.Place(ctx, targets[i:i+1])[0]
	}
	return out
}
