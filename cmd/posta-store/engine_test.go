package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every command has a meaning for a Maildir too.
func TestMaildir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mail")
	with := func(command string, more ...string) result {
		return posta(t, append([]string{command, "-engine", "maildir", "-store", dir}, more...)...)
	}
	for _, args := range [][]string{{"check"}, {"repair"}, {"stat"}, {"export", "-account", "anna", "-mbox", t.TempDir()}, {"backup", "-to", t.TempDir()}} {
		r := with(args[0], args[1:]...)
		assert.Equal(t, exitFailure, r.code, args)
		assert.NoDirExists(t, dir, "reading makes nothing")
	}
	r := with("import", "-account", "anna", "-create", "-from", filled(t, 9), "-from-engine", "sqlite")
	require.Equal(t, exitOK, r.code, r.err)
	r = with("stat")
	assert.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "1 accounts, 9 messages")
	for _, command := range []string{"check", "repair"} {
		r = with(command)
		assert.Equal(t, exitOK, r.code, r.err)
	}
	out := t.TempDir()
	r = with("export", "-account", "anna", "-mbox", out)
	require.Equal(t, exitOK, r.code, r.err)
	r = with("import", "-account", "bert", "-create", "-mbox", out)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, with("stat").out, "2 accounts, 18 messages")

	backup, back := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "back")
	r = with("backup", "-to", backup, "-json")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Equal(t, exitFailure, with("backup", "-to", backup).code, "not empty")
	assert.Equal(t, exitUsage, posta(t, "restore", "-engine", "maildir", "-store", back, "-from", backup, "-exact").code)
	r = posta(t, "restore", "-engine", "maildir", "-store", back, "-from", backup)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, posta(t, "stat", "-engine", "maildir", "-store", back).out, "2 accounts, 18 messages")

	// A file that has been cut short is named, and not mended.
	files, err := filepath.Glob(filepath.Join(dir, "anna", ".Work", "new", "*"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	require.NoError(t, os.Truncate(files[0], 3))
	for _, command := range []string{"check", "repair"} {
		r = with(command, "-json")
		assert.Equal(t, exitProblems, r.code, r.err)
		all := r.events(t)
		require.Len(t, all, 2)
		assert.Equal(t, "Work", all[0]["mailbox"])
		assert.NotZero(t, all[0]["uid"])
		assert.EqualValues(t, 1, all[1]["problems"])
	}
	r = with("backup", "-to", filepath.Join(t.TempDir(), "damaged"))
	assert.Equal(t, exitProblems, r.code, r.out+r.err)
	// An index that is no database is made anew by opening, which says so.
	own := filepath.Join(dir, "bert", "posta")
	for _, name := range []string{"index.db-wal", "index.db-shm"} {
		os.Remove(filepath.Join(own, name))
	}
	require.NoError(t, os.WriteFile(filepath.Join(own, "index.db"), []byte(strings.Repeat("rubbish", 1000)), 0o600))
	r = with("stat", "-account", "bert")
	assert.Equal(t, exitOK, r.code)
	assert.Contains(t, r.err, "index is damaged")
	assert.Contains(t, r.out, "1 accounts, 9 messages")
}
