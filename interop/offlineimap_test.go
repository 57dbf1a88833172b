package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOfflineIMAP keeps a Maildir and an account the same, both ways.
func TestOfflineIMAP(t *testing.T) {
	t.Parallel()
	peer(t, "offlineimap")
	s := start(t)
	dir := t.TempDir()
	config := write(t, filepath.Join(dir, "rc"), strings.NewReplacer("@DIR@", dir, "@PORT@", s.port("imaps"), "@CERT@", certFile(), "@PASSWORD@", carolPassword, "@USER@", carol).Replace(`
[general]
accounts = posta
metadata = @DIR@/state
maxsyncaccounts = 1
ui = basic

[Account posta]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = @DIR@/mail

[Repository far]
type = IMAP
remotehost = localhost
remoteport = @PORT@
ssl = yes
sslcacertfile = @CERT@
remoteuser = @USER@
remotepass = @PASSWORD@
maxconnections = 2
utf8foldernames = no
`))
	sync := func() { t.Helper(); run(t, "", "offlineimap", "-c", config, "-o") }
	box := filepath.Join(dir, "mail", "INBOX")
	first, second := message(bob, carol, "offline first", "number one"), message(bob, carol, "offline second", "number two")
	s.append(t, carol, "INBOX", first, second)
	sync()
	one, two := maildirFile(t, box, "offline first"), maildirFile(t, box, "offline second")
	for _, folder := range []string{"Drafts", "Sent", "Junk", "Trash"} {
		assert.DirExists(t, filepath.Join(dir, "mail", folder), "folders are pulled")
	}

	// Here: one is read, two is removed, a third is written.
	require.NoError(t, os.MkdirAll(filepath.Join(box, "cur"), 0o700))
	require.NoError(t, os.Rename(one, filepath.Join(box, "cur", strings.SplitN(filepath.Base(one), ":", 2)[0]+":2,S")))
	require.NoError(t, os.Remove(two))
	write(t, filepath.Join(box, "new", "1.third.here"), strings.ReplaceAll(message(carol, bob, "offline third", "number three"), "\r\n", "\n"))
	sync()
	_, all := s.mailbox(t, carol, "INBOX")
	require.Len(t, all, 2)
	assert.Equal(t, first, string(all[0].raw))
	assert.ElementsMatch(t, []imap.Flag{imap.FlagSeen}, all[0].flags)
	assert.Contains(t, string(all[1].raw), "Subject: offline third\r\n")

	// There: a flag changes.
	change(t, s, carol, all[1].uid, imap.FlagFlagged)
	sync()
	assert.Contains(t, filepath.Base(maildirFile(t, box, "offline third")), "F")
	sync()
	_, all = s.mailbox(t, carol, "INBOX")
	require.Len(t, all, 2, "nothing is left to do")
}
