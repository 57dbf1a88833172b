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

// TestMbsync keeps a Maildir and an account the same, both ways.
func TestMbsync(t *testing.T) {
	t.Parallel()
	peer(t, "mbsync")
	for _, c := range []struct{ name, service, ssl string }{{"IMAPS", "imaps", "IMAPS"}, {"STARTTLS", "imap", "STARTTLS"}} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			dir := t.TempDir()
			config := write(t, filepath.Join(dir, "mbsyncrc"), strings.NewReplacer("@DIR@", dir, "@PORT@", s.port(c.service), "@SSL@", c.ssl, "@CERT@", certFile(), "@PASSWORD@", alicePassword, "@USER@", alice).Replace(`
IMAPAccount posta
Host localhost
Port @PORT@
User @USER@
Pass "@PASSWORD@"
SSLType @SSL@
CertificateFile @CERT@
AuthMechs PLAIN

IMAPStore far
Account posta

MaildirStore near
Path @DIR@/mail/
Inbox @DIR@/mail/INBOX
SubFolders Verbatim

Channel posta
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
CopyArrivalDate yes
SyncState @DIR@/state/
`))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "mail"), 0o700))
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "state"), 0o700))
			sync := func() { t.Helper(); run(t, "", "mbsync", "-c", config, "-V", "posta") }
			box := filepath.Join(dir, "mail", "INBOX")

			first, second := message(bob, alice, "mbsync first", "number one"), message(bob, alice, "mbsync second", "number two")
			s.append(t, alice, "INBOX", first, second)
			sync()
			one, two := maildirFile(t, box, "mbsync first"), maildirFile(t, box, "mbsync second")
			got, err := os.ReadFile(one)
			require.NoError(t, err)
			assert.Contains(t, crlf(string(got)), "\r\n\r\nnumber one\r\n")
			for _, folder := range []string{"Drafts", "Sent", "Junk", "Trash"} {
				assert.DirExists(t, filepath.Join(dir, "mail", folder), "folders are pulled")
			}

			// Here: one is read and answered, two is deleted, a third is written.
			require.NoError(t, os.Rename(one, filepath.Join(box, "cur", strings.SplitN(filepath.Base(one), ":", 2)[0]+":2,RS")))
			require.NoError(t, os.Rename(two, filepath.Join(box, "cur", strings.SplitN(filepath.Base(two), ":", 2)[0]+":2,T")))
			third := strings.ReplaceAll(message(alice, bob, "mbsync third", "number three"), "\r\n", "\n")
			write(t, filepath.Join(box, "new", "1.third.here"), third)
			sync()
			_, all := s.mailbox(t, alice, "INBOX")
			require.Len(t, all, 2)
			assert.Equal(t, first, string(all[0].raw))
			assert.ElementsMatch(t, []imap.Flag{imap.FlagSeen, imap.FlagAnswered}, all[0].flags)
			assert.Contains(t, string(all[1].raw), "Subject: mbsync third\r\n")
			assert.Contains(t, string(all[1].raw), "\r\n\r\nnumber three\r\n")

			// There: flags change, and one is expunged.
			change(t, s, alice, all[0].uid, imap.FlagDeleted)
			change(t, s, alice, all[1].uid, imap.FlagFlagged)
			c := s.login(t, alice, nil)
			_, err = c.Select("INBOX", nil).Wait()
			require.NoError(t, err)
			require.NoError(t, c.UIDExpunge(imap.UIDSetNum(all[0].uid)).Close())
			sync()
			assert.Empty(t, maildirFiles(t, box, "mbsync first"), "expunged there, gone here")
			assert.Contains(t, maildirFile(t, box, "mbsync third"), "F")

			// Nothing is left to do.
			out := run(t, "", "mbsync", "-c", config, "-V", "posta")
			assert.NotRegexp(t, `(?i)(error|warning)`, out)
			_, all = s.mailbox(t, alice, "INBOX")
			require.Len(t, all, 1)
		})
	}
}

// change adds a flag.
func change(t *testing.T, s *server, user string, uid imap.UID, flag imap.Flag) {
	t.Helper()
	c := s.login(t, user, nil)
	defer c.Close()
	_, err := c.Select("INBOX", nil).Wait()
	require.NoError(t, err)
	require.NoError(t, c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{flag}}, nil).Close())
}

// maildirFiles are the files of a Maildir that contain text.
func maildirFiles(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		require.NoError(t, err)
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), text) {
				found = append(found, f)
			}
		}
	}
	return found
}

// maildirFile is the only one.
func maildirFile(t *testing.T, dir, text string) string {
	t.Helper()
	found := maildirFiles(t, dir, text)
	require.Len(t, found, 1, "files with %q in %s", text, dir)
	return found[0]
}
