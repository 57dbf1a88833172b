package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/storetest"
)

// writeLogs makes a log by log/slog, and one that is not JSON.
func writeLogs(t testing.TB) (app, web string) {
	t.Helper()
	dir := t.TempDir()
	app, web = filepath.Join(dir, "app.log"), filepath.Join(dir, "Web Zugriffe.txt")
	f, err := os.Create(app)
	require.NoError(t, err)
	defer f.Close()
	log := slog.New(slog.NewJSONHandler(f, nil))
	log.Info("started", "port", 8080)
	log.Error("no such café\r\nBcc: everybody", "stack", "one\ntwo\x00")
	log.Warn(strings.Repeat("long ", 1000))
	require.NoError(t, os.WriteFile(web, []byte("GET / 200\n\n"+strings.Repeat("x", 3*maxLine)+"\nGET /half"), 0o600))
	return app, web
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestConformance(t *testing.T) {
	storetest.RunReadOnly(t, storetest.ReadOnlyConfig{New: func(t testing.TB) store.Store {
		app, web := writeLogs(t)
		return store.ReadOnly(openLogs("me", []string{app, web, "/nowhere/at/all.log", web}))
	}})
}

// state is the UIDVALIDITY of a log, the number of its messages and its next UID.
func state(t *testing.T, path string) (uint32, int, store.UID) {
	t.Helper()
	snap, err := (&logFile{id: 1, path: path}).Snapshot(t.Context())
	require.NoError(t, err)
	return snap.UIDValidity(), snap.Len(), snap.UIDNext()
}

func TestUIDsAreStable(t *testing.T) {
	_, path := writeLogs(t)
	l := &logFile{id: 1, path: path}
	snap, err := l.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, snap.Len(), "a line without its end is none")
	again, err := l.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, snap, again)

	appendTo(t, path, " 404\n")
	grown, err := l.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, snap.UIDValidity(), grown.UIDValidity())
	c := store.Diff(snap, grown)
	require.Len(t, c.Rows, 1)
	require.EqualValues(t, 4, c.Rows[0].UID)
	require.Empty(t, c.Vanished)
	validity, n, next := state(t, path)
	require.Equal(t, []any{grown.UIDValidity(), 4, store.UID(5)}, []any{validity, n, next}, "another process sees the same")

	// Rotated: what is new has a higher UIDVALIDITY.
	require.NoError(t, os.WriteFile(path, []byte(`{"time":"2026-11-22T10:00:00.5Z","level":"INFO","msg":"new"}`+"\n"), 0o600))
	rotated, err := l.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, rotated.Len())
	require.Greater(t, rotated.UIDValidity(), grown.UIDValidity())
	require.Greater(t, rotated.ModSeq(), grown.ModSeq())
	require.EqualValues(t, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Unix(), rotated.UIDValidity())
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	empty, err := l.Snapshot(t.Context())
	require.NoError(t, err)
	require.Zero(t, empty.Len())
	require.Greater(t, empty.UIDValidity(), rotated.UIDValidity())
}

// client speaks to a server line by line.
type client struct {
	testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr net.Addr) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return &client{t, c, bufio.NewReader(c)}
}

// until sends a line, if there is one, and reads to a line that begins with end.
func (c *client) until(end, line string, args ...any) string {
	c.Helper()
	if line != "" {
		fmt.Fprintf(c, line+"\r\n", args...)
	}
	var b strings.Builder
	for {
		s, err := c.r.ReadString('\n')
		require.NoError(c, err, b.String())
		b.WriteString(s)
		if strings.HasPrefix(s, end) {
			return b.String()
		}
	}
}

func TestReadWithMailClients(t *testing.T) {
	app, web := writeLogs(t)
	users := password.Memory()
	require.NoError(t, users.Set(password.User{Name: "me"}, "secret"))
	var on [2]net.Listener
	for i := range on {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		on[i] = l
	}
	ctx, cancel := context.WithCancel(t.Context())
	st := store.ReadOnly(openLogs("me", []string{app, web}))
	done := make(chan error, 1)
	go func() { done <- serve(ctx, st, users, on[0], on[1], 10*time.Millisecond) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
		assert.NoError(t, st.Close())
	})

	c := dial(t, on[0].Addr())
	c.until("* OK", "")
	c.until("a OK", "a LOGIN me secret")
	assert.Contains(t, c.until("b OK", `b LIST "" *`), `"Web Zugriffe"`)
	assert.Contains(t, c.until("c OK", "c SELECT INBOX"), "c OK [READ-ONLY]")
	got := c.until("d OK", "d FETCH 2 (FLAGS ENVELOPE BODY[])")
	assert.Contains(t, got, `FLAGS (\Flagged)`)
	assert.Contains(t, got, "\r\nSubject: =?utf-8?q?ERROR_no_such_caf=C3=A9=0D=0ABcc:_everybody?=\r\nMessage-ID: ", "a log cannot write headers")
	assert.Contains(t, got, "\r\n\r\nno such caf=C3=A9\r\nBcc: everybody\r\n\r\nstack: one\r\ntwo=00\r\n")
	assert.Contains(t, c.until("e OK", "e SEARCH CHARSET UTF-8 TEXT {5+}\r\ncafé"), "* SEARCH 2")
	assert.Contains(t, c.until("f ", `f STORE 1 +FLAGS (\Deleted)`), "f NO")
	c.until("+ ", "g IDLE")
	appendTo(t, app, `{"time":"2026-11-22T10:00:00Z","level":"INFO","msg":"stopped"}`+"\n")
	c.until("* 4 EXISTS", "")
	c.until("g OK", "DONE")

	p := dial(t, on[1].Addr())
	p.until("+OK", "")
	p.until("+OK", "USER me")
	p.until("+OK", "PASS secret")
	assert.Contains(t, p.until("+OK", "STAT"), "+OK 4 ")
	assert.Contains(t, p.until(".\r\n", "RETR 1"), "\r\n\r\nstarted\r\n\r\nport: 8080\r\n.\r\n")
	p.until("+OK", "QUIT")
}
