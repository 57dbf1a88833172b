package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

// filled makes a store with mail for anna.
func filled(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	st, err := sqlite.Open(dir)
	require.NoError(t, err)
	fill(t, st, n)
	require.NoError(t, st.Close())
	return dir
}

func fill(t *testing.T, st *sqlite.Store, n int) {
	t.Helper()
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	a, err := st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	_, err = a.Create(t.Context(), "Work", store.CreateOptions{})
	require.NoError(t, err)
	for i := range n {
		body, err := st.Stage(t.Context(), strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\nText %d\r\n", i, i)))
		require.NoError(t, err)
		p := st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: []string{store.Inbox, "Work"}[i%2], Body: body, Date: time.Unix(1700000000, 0)}})
		require.NoError(t, p[0].Err)
		require.NoError(t, body.Discard())
	}
}

type result struct {
	code     int
	out, err string
}

func posta(t *testing.T, args ...string) result {
	t.Helper()
	return postaContext(t.Context(), args...)
}

func postaContext(ctx context.Context, args ...string) result {
	var out, err bytes.Buffer
	code := run(ctx, args, &out, &err)
	return result{code, out.String(), err.String()}
}

// events reads the lines of JSON; the last is the outcome.
func (r result) events(t *testing.T) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(r.out) {
		var e map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &e), line)
		all = append(all, e)
	}
	require.NotEmpty(t, all)
	return all
}

func TestUsage(t *testing.T) {
	dir := filled(t, 1)
	for _, args := range [][]string{
		{}, {"nonsense"}, {"check"}, {"check", "-store", dir, "more"}, {"check", "-store", dir, "-what"}, {"check", "-store", dir, "-engine", "x"},
		{"backup", "-store", dir}, {"restore", "-store", dir}, {"export", "-store", dir}, {"export", "-store", dir, "-account", "anna"},
		{"import", "-store", dir, "-account", "anna"}, {"import", "-store", dir, "-account", "anna", "-mbox", "x", "-from", "y"},
		{"import", "-store", dir, "-account", "anna", "-mbox", "x", "-mbox-format", "y"},
	} {
		r := posta(t, args...)
		assert.Equal(t, exitUsage, r.code, args)
		assert.Empty(t, r.out, args)
		assert.NotEmpty(t, r.err, args)
	}
	r := posta(t, "help")
	assert.Equal(t, exitOK, r.code)
	for _, c := range commands() {
		assert.Contains(t, r.err, c.name+" ")
		r := posta(t, c.name, "-h")
		assert.Equal(t, exitOK, r.code)
		assert.Contains(t, r.err, "-json")
	}
}

func TestNoStore(t *testing.T) {
	for _, args := range [][]string{{"check"}, {"stat"}, {"export", "-account", "anna", "-mbox", t.TempDir()}, {"backup", "-to", filepath.Join(t.TempDir(), "b")}} {
		dir := filepath.Join(t.TempDir(), "missing")
		r := posta(t, append(args, "-store", dir, "-json")...)
		assert.Equal(t, exitFailure, r.code, args)
		assert.Equal(t, "error", r.events(t)[0]["event"])
		assert.NoDirExists(t, dir, "reading makes nothing")
	}
}

func TestStat(t *testing.T) {
	dir := filled(t, 5)
	r := posta(t, "stat", "-store", dir)
	assert.Equal(t, exitOK, r.code, r.err)
	assert.Regexp(t, `(?m)^  INBOX +3 messages +3 unseen +\d+ B$`, r.out)
	assert.Contains(t, r.out, "1 accounts, 5 messages")
	all := posta(t, "stat", "-store", dir, "-json", "-account", "anna").events(t)
	require.Len(t, all, 4)
	assert.Equal(t, "Work", all[2]["mailbox"])
	assert.EqualValues(t, 2, all[2]["messages"])
	assert.EqualValues(t, 5, all[3]["messages"])
	assert.Equal(t, exitFailure, posta(t, "stat", "-store", dir, "-account", "bert").code)
}

// damage overwrites a message.
func damage(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte(text)) {
			return err
		}
		return os.WriteFile(name, bytes.ReplaceAll(b, []byte(text), []byte(strings.Repeat("!", len(text)))), 0o600)
	})
	require.NoError(t, err)
}

func TestCheck(t *testing.T) {
	dir := filled(t, 5)
	r := posta(t, "check", "-store", dir)
	assert.Equal(t, exitOK, r.code, r.err)
	assert.Equal(t, "no problems\n", r.out)
	damage(t, dir, "Text 3")
	r = posta(t, "check", "-store", dir, "-json")
	assert.Equal(t, exitProblems, r.code, r.err)
	all := r.events(t)
	assert.Equal(t, "problem", all[0]["event"])
	last := all[len(all)-1]
	assert.Equal(t, "done", last["event"])
	assert.EqualValues(t, len(all)-1, last["problems"])
	r = posta(t, "check", "-store", dir)
	assert.Equal(t, exitProblems, r.code)
	r = posta(t, "repair", "-store", dir)
	assert.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "(mended)\n")
	assert.Contains(t, r.out, "1 problems mended\n")
	r = posta(t, "check", "-store", dir)
	assert.Equal(t, exitOK, r.code)
	assert.Equal(t, "no problems\n", r.out)
}

func TestBackupAndRestore(t *testing.T) {
	dir := filled(t, 50)
	backup, back := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "back")
	r := posta(t, "backup", "-store", dir, "-to", backup, "-json")
	require.Equal(t, exitOK, r.code, r.err)
	all := r.events(t)
	assert.Equal(t, "done", all[len(all)-1]["event"])
	r = posta(t, "restore", "-store", back, "-from", backup)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, posta(t, "stat", "-store", back).out, "50 messages")
	r = posta(t, "restore", "-store", back, "-from", backup)
	assert.Equal(t, exitFailure, r.code, "not empty")
	r = posta(t, "restore", "-store", back+"2", "-from", backup, "-exact")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Equal(t, posta(t, "stat", "-store", dir, "-json").out, posta(t, "stat", "-store", back+"2", "-json").out, "every number")

	damage(t, dir, "Text 3\r")
	r = posta(t, "backup", "-store", dir, "-to", filepath.Join(t.TempDir(), "damaged"))
	assert.Equal(t, exitProblems, r.code, r.out+r.err)
}

// What only reads works while another has the store open; the rest says why
// not.
func TestInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	st, err := sqlite.Open(dir)
	require.NoError(t, err)
	defer st.Close()
	fill(t, st, 4)
	out := t.TempDir()
	for _, args := range [][]string{{"check"}, {"stat"}, {"export", "-account", "anna", "-mbox", out}, {"backup", "-to", filepath.Join(t.TempDir(), "b")}} {
		r := posta(t, append(args, "-store", dir)...)
		assert.Equal(t, exitOK, r.code, "%s: %s", args, r.err)
	}
	for _, args := range [][]string{{"import", "-account", "anna", "-mbox", out}, {"repair"}} {
		r := posta(t, append(args, "-store", dir)...)
		assert.Equal(t, exitFailure, r.code, args)
		assert.Contains(t, r.err, "in use: stop the server first")
	}
}

func TestExportAndImport(t *testing.T) {
	dir, out := filled(t, 9), t.TempDir()
	state := filepath.Join(t.TempDir(), "state")
	r := posta(t, "export", "-store", dir, "-account", "anna", "-mbox", out, "-checkpoint", state)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "done: 2 mailboxes, 9 messages")
	assert.FileExists(t, filepath.Join(out, "Work.mbox"))
	r = posta(t, "export", "-store", dir, "-account", "anna", "-mbox", out, "-checkpoint", state)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, " 0 messages, 0 B; 9 earlier")

	other := filepath.Join(t.TempDir(), "other")
	r = posta(t, "import", "-store", other, "-account", "anna", "-mbox", out)
	assert.Equal(t, exitFailure, r.code, "no such account")
	require.NoError(t, os.WriteFile(filepath.Join(out, "notes.txt"), []byte("no mbox"), 0o600))
	r = posta(t, "import", "-store", other, "-account", "anna", "-create", "-mbox", out, "-json")
	assert.Equal(t, exitProblems, r.code, r.err)
	var kinds []any
	for _, e := range r.events(t) {
		if e["event"] != "progress" {
			kinds = append(kinds, e["event"])
		}
	}
	assert.Equal(t, []any{"skipped", "done"}, kinds)
	assert.Contains(t, posta(t, "stat", "-store", other).out, "9 messages")

	dirs := t.TempDir()
	r = posta(t, "export", "-store", dir, "-account", "anna", "-maildir", dirs)
	require.Equal(t, exitOK, r.code, r.err)
	r = posta(t, "import", "-store", other, "-account", "carl", "-create", "-maildir", dirs)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, posta(t, "stat", "-store", other, "-account", "carl").out, "9 messages")

	// One file into one mailbox, and from a store.
	r = posta(t, "import", "-store", other, "-account", "anna", "-mbox", filepath.Join(out, "Work.mbox"), "-mailbox", "More")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Regexp(t, `More +4 messages`, posta(t, "stat", "-store", other).out)
	r = posta(t, "import", "-store", other, "-account", "bert", "-create", "-from", dir, "-from-account", "anna", "-mailbox", "inbox")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Regexp(t, `INBOX +5 messages`, posta(t, "stat", "-store", other, "-account", "bert").out)
}

func TestInterrupted(t *testing.T) {
	dir := filled(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"check"}, {"backup", "-to", filepath.Join(t.TempDir(), "b")}, {"export", "-account", "anna", "-mbox", t.TempDir()}} {
		r := postaContext(ctx, append(args, "-store", dir)...)
		assert.Equal(t, exitFailure, r.code, args)
		assert.Contains(t, r.err, "interrupted", args)
	}
}

func TestProgressLine(t *testing.T) {
	var out, err bytes.Buffer
	tell := newTeller(false, &out, &err)
	tell.progress(event{}, "not a terminal")
	assert.Empty(t, err.String())
	tell.terminal = true
	tell.progress(event{}, "first and long\n")
	tell.told = time.Time{}
	tell.progress(event{}, "second")
	tell.progress(event{}, "too soon")
	tell.say(event{}, "done")
	assert.Equal(t, "\rfirst and long?\rsecond         \r      \r", err.String())
	assert.Equal(t, "done\n", out.String())
	assert.Equal(t, []string{"12 B", "1.5 KiB", "2.0 TiB"}, []string{octets(12), octets(1536), octets(2 << 40)})
}
