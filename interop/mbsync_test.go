package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
			config := mbsyncConfig(t, s, dir, c.service, c.ssl)
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

// mbsyncConfig are the settings for Alice's account and a Maildir below a folder.
func mbsyncConfig(t *testing.T, s *server, dir, service, ssl string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "mail"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "state"), 0o700))
	return write(t, filepath.Join(dir, "mbsyncrc"), strings.NewReplacer("@DIR@", dir, "@PORT@", s.port(service), "@SSL@", ssl, "@CERT@", certFile(), "@PASSWORD@", alicePassword, "@USER@", alice).Replace(`
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
}

// TestMbsyncKilled ends mbsync in the middle of 2,000 messages each way: the next
// run brings the rest, and nothing twice.
func TestMbsyncKilled(t *testing.T) {
	t.Parallel()
	peer(t, "mbsync")
	s := startPlain(t)
	dir := t.TempDir()
	config := mbsyncConfig(t, s, dir, "imaps", "IMAPS")
	const n = 2000
	there := make([]string, n)
	for i := range there {
		there[i] = fmt.Sprintf("Subject: there %04d\r\n\r\n%s\r\n", i, strings.Repeat("x", i%3000))
	}
	s.append(t, alice, "INBOX", there...)
	box := filepath.Join(dir, "mail", "INBOX")
	for _, sub := range []string{"cur", "tmp", "new"} {
		require.NoError(t, os.MkdirAll(filepath.Join(box, sub), 0o700))
	}
	for i := range n {
		write(t, filepath.Join(box, "new", fmt.Sprintf("%d.%d.here", 1700000000+i, i)), fmt.Sprintf("Subject: here %04d\n\n%s\n", i, strings.Repeat("y", i%3000)))
	}
	inbox := func() (texts map[string]int) {
		texts = map[string]int{}
		_, all := s.mailbox(t, alice, "INBOX")
		for _, m := range all {
			texts[subject(string(m.raw))]++
		}
		return texts
	}
	local := func() (texts map[string]int) {
		texts = map[string]int{}
		for _, f := range maildirFiles(t, box, "Subject: ") {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			texts[subject(crlf(string(text)))]++
		}
		return texts
	}

	cmd := exec.CommandContext(t.Context(), "mbsync", "-c", config, "posta:INBOX")
	cmd.Env = append(os.Environ(), "HOME="+homeOf(t))
	require.NoError(t, cmd.Start())
	c := s.login(t, alice, nil)
	require.Eventually(t, func() bool {
		status, err := c.Status("INBOX", &imap.StatusOptions{NumMessages: true}).Wait()
		return err != nil || *status.NumMessages > n+n/4
	}, time.Minute, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	up, down := len(inbox())-n, len(local())-n
	t.Logf("killed after %d messages up, %d down", up, down)
	require.Less(t, up, n, "killed before the end")

	run(t, "", "mbsync", "-c", config, "posta:INBOX")
	out := run(t, "", "mbsync", "-c", config, "-V", "posta:INBOX")
	assert.NotRegexp(t, `(?i)(error|warning)`, out)
	for name, texts := range map[string]map[string]int{"account": inbox(), "Maildir": local()} {
		assert.Len(t, texts, 2*n, name)
		for subject, times := range texts {
			assert.Equal(t, 1, times, "%s: %s", name, subject)
		}
	}
}

// subject is the Subject of a message of a test.
func subject(text string) string {
	_, rest, _ := strings.Cut("\r\n"+text, "\r\nSubject: ")
	line, _, _ := strings.Cut(rest, "\r\n")
	return line
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
