package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
)

// asNobody runs a test again as the user nobody if we are root, for whom
// Dovecot does nothing; it reports whether that is done.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return false
	}
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(nobody.Gid)
	require.NoError(t, err)
	dir, err := os.MkdirTemp(workDir, strings.ToLower(t.Name()))
	require.NoError(t, err)
	exe, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	bin := filepath.Join(dir, "interop.test")
	require.NoError(t, os.WriteFile(bin, exe, 0o700))
	for _, name := range []string{dir, bin} {
		require.NoError(t, os.Chown(name, uid, gid))
	}
	cmd := exec.CommandContext(t.Context(), bin, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "USER=nobody")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	out, err := cmd.CombinedOutput()
	t.Logf("as nobody:\n%s", out)
	require.NoError(t, err)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return true
}

// shared is a Maildir that Posta has open and others use.
type shared struct {
	*testing.T
	dir   string // of the account
	conf  string // Dovecot's
	st    *maildir.Store
	a     store.Account
	inbox store.Mailbox
}

func newShared(t *testing.T) *shared {
	t.Helper()
	root := t.TempDir()
	st, err := maildir.Open(filepath.Join(root, "mail"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, st.Close()) })
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	s := &shared{T: t, dir: filepath.Join(root, "mail", "anna"), st: st}
	s.a, err = st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	s.inbox = s.box(store.Inbox)
	s.conf = write(t, filepath.Join(root, "dovecot.conf"), strings.NewReplacer("@DIR@", root, "@UID@", strconv.Itoa(os.Getuid()), "@GID@", strconv.Itoa(os.Getgid())).Replace(`
base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = /dev/stderr
mail_location = maildir:@DIR@/mail/anna
mail_home = @DIR@/home
mail_uid = @UID@
mail_gid = @GID@
first_valid_uid = 1
ssl = no
namespace inbox {
  inbox = yes
  separator = /
}
`))
	return s
}

func (s *shared) box(name string) store.Mailbox {
	s.Helper()
	mb, err := s.a.Mailbox(s.Context(), name)
	require.NoError(s, err)
	return mb
}

// imap has Dovecot obey commands, which must all succeed, and returns what it
// said. The folder's user has logged in.
func (s *shared) imap(commands ...string) string {
	s.Helper()
	out, err := s.tryIMAP(commands...)
	require.NoError(s, err)
	return out
}

func (s *shared) tryIMAP(commands ...string) (string, error) {
	var in strings.Builder
	for i, c := range append(commands, "LOGOUT") {
		fmt.Fprintf(&in, "t%d %s\r\n", i, c)
	}
	cmd := exec.CommandContext(s.Context(), "/usr/lib/dovecot/imap", "-c", s.conf)
	cmd.Env = append(os.Environ(), "USER=anna", "HOME="+filepath.Dir(s.conf))
	// Dovecot leaves when its input ends, even in the middle of an answer.
	pr, pw, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer pr.Close()
	defer pw.Close()
	go io.WriteString(pw, in.String())
	cmd.Stdin = pr
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, out.String(), errs.String())
	}
	for i, c := range commands {
		if !strings.Contains(out.String(), fmt.Sprintf("\r\nt%d OK", i)) {
			return "", fmt.Errorf("%s\n%s%s", c, out.String(), errs.String())
		}
	}
	if strings.Contains(errs.String(), "Error") || strings.Contains(errs.String(), "Warning") {
		return "", fmt.Errorf("Dovecot complains: %s", errs.String())
	}
	return out.String(), nil
}

// appendLine is an APPEND of a message with a non-synchronizing literal.
func appendLine(box, flags, text string) string {
	return fmt.Sprintf("APPEND %s (%s) {%d+}\r\n%s", box, flags, len(text), text)
}

func (s *shared) place(box, text string, flags ...store.Flag) {
	s.Helper()
	body, err := s.st.Stage(s.Context(), strings.NewReader(text))
	require.NoError(s, err)
	defer body.Discard()
	p := s.st.Place(s.Context(), []store.Target{{Account: "anna", Mailbox: box, Body: body, Flags: flags}})
	require.NoError(s, p[0].Err)
}

var (
	subjectLine  = regexp.MustCompile(`(?m)^Subject: (.*?)\r?$`)
	fetchedFlags = regexp.MustCompile(`FETCH \(FLAGS \(([^)]*)\)`)
)

// line says what a message is: its subject, size and flags.
func line(text string, flags []string) string {
	flags = slices.DeleteFunc(flags, func(f string) bool { return f == `\Recent` || f == "" })
	slices.Sort(flags)
	return fmt.Sprint(subjectLine.FindStringSubmatch(text)[1], " ", len(text), " ", flags)
}

// ours are the messages of a mailbox as Posta has them.
func (s *shared) ours(name string) (out []string) {
	s.Helper()
	mb := s.box(name)
	snap, err := mb.Snapshot(s.Context())
	require.NoError(s, err)
	for _, row := range snap.All() {
		b, err := mb.Open(s.Context(), row)
		if errors.Is(err, store.ErrExpunged) { // Dovecot was faster
			return []string{"expunged"}
		}
		require.NoError(s, err)
		data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		require.NoError(s, err)
		require.NoError(s, b.Close())
		var flags []string
		for _, f := range snap.Flags(row.Flags) {
			flags = append(flags, string(f))
		}
		out = append(out, line(string(data), flags))
	}
	slices.Sort(out)
	return out
}

// theirs are the messages of a mailbox as Dovecot has them.
func (s *shared) theirs(name string) (out []string) {
	s.Helper()
	text, err := s.tryIMAP("SELECT "+name, "FETCH 1:* (FLAGS BODY.PEEK[])")
	if err != nil { // it may meet a message that has gone just now, once
		s.Logf("Dovecot: …%s", err.Error()[max(0, len(err.Error())-1000):])
		return []string{"failed"}
	}
	for {
		m := fetchedFlags.FindStringSubmatchIndex(text)
		if m == nil {
			break
		}
		flags := strings.Fields(text[m[2]:m[3]])
		text = text[m[1]:]
		open, end := strings.IndexByte(text, '{'), strings.IndexByte(text, '}')
		if strings.Contains(text[:strings.Index(text, "\r\n")], "{") {
			n, err := strconv.Atoi(text[open+1 : end])
			require.NoError(s, err)
			body := text[end+3 : end+3+n]
			out = append(out, line(body, flags))
			text = text[end+3+n:]
		}
	}
	slices.Sort(out)
	return out
}

// same waits until both see the same.
func (s *shared) same(name string) []string {
	s.Helper()
	var ours, theirs []string
	defer func() {
		if s.Failed() {
			less := func(a, b []string) []string {
				return slices.DeleteFunc(slices.Clone(a), func(l string) bool { return slices.Contains(b, l) })
			}
			s.Logf("of %d and %d: only ours %q, only theirs %q", len(ours), len(theirs), less(ours, theirs), less(theirs, ours))
			for _, l := range append(less(ours, theirs), less(theirs, ours)...) {
				for _, f := range maildirFiles(s.T, s.dir, "Subject: "+strings.Join(strings.Fields(l)[:len(strings.Fields(strings.Split(l, " [")[0]))-1], " ")+"\r\n") {
					s.Logf("%s is in %s", l, f)
				}
			}
			keys, _ := os.ReadFile(filepath.Join(s.dir, "dovecot-keywords"))
			s.Logf("keywords %q", keys)
		}
	}()
	require.Eventually(s, func() bool {
		ours, theirs = s.ours(name), s.theirs(name)
		return slices.Equal(ours, theirs)
	}, 20*time.Second, 20*time.Millisecond, "not the same")
	return ours
}

// TestDovecotMaildir has Posta and Dovecot take turns on one Maildir.
func TestDovecotMaildir(t *testing.T) {
	peer(t, "dovecot")
	if asNobody(t) {
		return
	}
	s := newShared(t)
	s.place("INBOX", message(bob, alice, "posta one", "1"))
	s.place("INBOX", message(bob, alice, "posta two", "2"), store.FlagSeen, "Work")
	s.imap(appendLine("INBOX", `\Flagged $Junk`, message(bob, alice, "dovecot one", "3")), appendLine("INBOX", "", message(bob, alice, "dovecot two", "4")))
	require.Len(t, s.same("INBOX"), 4)

	// Flags and keywords, both ways.
	s.imap("SELECT INBOX", `STORE 1 +FLAGS (\Answered Later)`, `STORE 2 -FLAGS (Work)`)
	s.same("INBOX")
	_, err := s.inbox.Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{"$Junk", "Another", store.FlagDraft}})
	require.NoError(t, err)
	for _, l := range s.same("INBOX") {
		assert.Contains(t, l, "$Junk")
		assert.Contains(t, l, "Another")
		assert.Contains(t, l, `\Draft`)
	}

	// Expunge, both ways.
	before, err := s.inbox.Snapshot(t.Context())
	require.NoError(t, err)
	s.imap("SELECT INBOX", `STORE 1 +FLAGS (\Deleted)`, "EXPUNGE")
	require.Len(t, s.same("INBOX"), 3)
	now, err := s.inbox.Snapshot(t.Context())
	require.NoError(t, err)
	_, err = s.inbox.Expunge(t.Context(), store.UIDs(now.At(0).UID))
	require.NoError(t, err)
	require.Len(t, s.same("INBOX"), 2)
	assert.Equal(t, before.UIDValidity(), now.UIDValidity())
	for _, row := range now.All() {
		_, ok := before.Find(row.UID)
		assert.True(t, ok, "UIDs stay")
	}

	// Mailboxes, subscriptions, copies and moves.
	_, err = s.a.Create(t.Context(), "Entwürfe/2026", store.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, s.a.Subscribe(t.Context(), "Entwürfe/2026", true))
	list := s.imap(`CREATE "Listen &- mehr/Go"`, `SUBSCRIBE "Listen &- mehr/Go"`, `LIST "" *`, `LSUB "" *`)
	assert.Contains(t, list, `* LIST (\HasNoChildren) "/" Entw&APw-rfe/2026`)
	assert.Contains(t, list, `* LSUB () "/" Entw&APw-rfe/2026`)
	subs, err := s.a.Subscriptions(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"Entwürfe/2026"}, subs)
	s.imap("SELECT INBOX", "COPY 1 Entw&APw-rfe/2026", "MOVE 2 Entw&APw-rfe/2026")
	require.Len(t, s.same("INBOX"), 1)
	mb := s.box("Entwürfe/2026")
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, snap.Len())
	_, err = mb.Move(t.Context(), store.AllUIDs(), s.inbox.ID())
	require.NoError(t, err)
	require.Len(t, s.same("INBOX"), 3)
	s.imap("RENAME Entw&APw-rfe/2026 Archiv")
	require.Eventually(t, func() bool {
		again, err := s.a.Mailbox(t.Context(), "Archiv")
		return err == nil && again.ID() == mb.ID()
	}, 10*time.Second, 10*time.Millisecond, "renamed by Dovecot, it is the same mailbox")
}

// TestDovecotAtOnce has both work at the same time.
func TestDovecotAtOnce(t *testing.T) {
	peer(t, "dovecot")
	if asNobody(t) {
		return
	}
	s := newShared(t)
	var wg sync.WaitGroup
	const rounds = 15
	for worker := range 2 {
		wg.Go(func() {
			for i := range rounds {
				commands := []string{"SELECT INBOX"}
				for j := range 4 {
					commands = append(commands, appendLine("INBOX", `\Seen`, message(bob, alice, fmt.Sprintf("dovecot %d %d %d", worker, i, j), "x")))
				}
				commands = append(commands, `STORE 1:2 +FLAGS (Theirs)`)
				if i%3 == 2 {
					commands = append(commands, `STORE 2 +FLAGS (\Deleted)`, "EXPUNGE")
				}
				// A message that Posta expunges meanwhile may make it say NO.
				if _, err := s.tryIMAP(commands...); err != nil && !strings.Contains(err.Error(), " NO ") && !strings.Contains(err.Error(), "expunged") {
					t.Errorf("Dovecot: %v", err)
				}
			}
		})
	}
	for worker := range 2 {
		wg.Go(func() {
			for i := range 4 * rounds {
				body, err := s.st.Stage(t.Context(), strings.NewReader(message(bob, alice, fmt.Sprintf("posta %d %d", worker, i), "y")))
				if !assert.NoError(t, err) {
					return
				}
				p := s.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: body}})
				assert.NoError(t, p[0].Err)
				snap, err := s.inbox.Snapshot(t.Context())
				if !assert.NoError(t, err) {
					return
				}
				one := store.UIDs(snap.At(i % snap.Len()).UID)
				_, err = s.inbox.Flag(t.Context(), one, store.FlagUpdate{Op: store.FlagOp(i % 2), Flags: []store.Flag{"Ours", store.FlagFlagged}})
				assert.NoError(t, err)
				if i%7 == 6 {
					_, err = s.inbox.Expunge(t.Context(), one)
					assert.NoError(t, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d messages in the end", len(s.same("INBOX")))
}

// TestNeomuttMaildir has neomutt flag and delete in Posta's Maildir.
func TestNeomuttMaildir(t *testing.T) {
	peer(t, "neomutt")
	s := newShared(t)
	for _, subject := range []string{"keep", "flag me", "delete me"} {
		s.place("INBOX", message(bob, alice, subject, "body"))
	}
	before, err := s.inbox.Snapshot(t.Context())
	require.NoError(t, err)
	rc := write(t, filepath.Join(filepath.Dir(s.conf), "rc"), strings.Join([]string{
		"set mbox_type=Maildir folder='" + s.dir + "' spool_file='" + s.dir + "' header_cache='' delete=yes quit=yes confirm_append=no mark_old=yes sort=mailbox-order",
		"push '<tag-pattern>~s \"flag me\"<enter><tag-prefix><flag-message><untag-pattern>.<enter><delete-pattern>~s \"delete me\"<enter><sync-mailbox><quit>'", "",
	}, "\n"))
	cmd := exec.CommandContext(t.Context(), "script", "-qec", "neomutt -n -F "+rc+" -f "+s.dir, "/dev/null")
	cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+filepath.Dir(s.conf))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var lines []string
	require.Eventually(t, func() bool { lines = s.ours("INBOX"); return len(lines) == 2 }, 10*time.Second, 10*time.Millisecond)
	assert.Contains(t, lines[0], `flag me`)
	assert.Contains(t, lines[0], `\Flagged`)
	assert.Contains(t, lines[1], `keep`)
	now, err := s.inbox.Snapshot(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []store.UID{before.At(0).UID, before.At(1).UID}, []store.UID{now.At(0).UID, now.At(1).UID})
}

// TestMbsyncMaildir has mbsync keep Posta's Maildir and another one the same.
func TestMbsyncMaildir(t *testing.T) {
	peer(t, "mbsync")
	s := newShared(t)
	other := filepath.Join(filepath.Dir(s.conf), "other")
	require.NoError(t, os.MkdirAll(filepath.Join(other, "state"), 0o700))
	config := write(t, filepath.Join(other, "rc"), strings.NewReplacer("@DIR@", other, "@INBOX@", s.dir).Replace(`
MaildirStore posta
Inbox @INBOX@
SubFolders Maildir++

MaildirStore other
Inbox @DIR@/INBOX

Channel both
Far :posta:
Near :other:
Patterns INBOX
Create Near
Expunge Both
SyncState @DIR@/state/
`))
	sync := func() { t.Helper(); run(t, "", "mbsync", "-c", config, "both") }
	s.place("INBOX", message(bob, alice, "ours", "1"), store.FlagSeen)
	s.place("INBOX", message(bob, alice, "goes", "2"))
	sync()
	box := filepath.Join(other, "INBOX")
	one, two := maildirFile(t, box, "Subject: ours"), maildirFile(t, box, "Subject: goes")
	assert.True(t, strings.HasSuffix(one, ":2,S"), one)
	base, _, _ := strings.Cut(filepath.Base(one), ":")
	require.NoError(t, os.Rename(one, filepath.Join(box, "cur", base+":2,FS")))
	require.NoError(t, os.Remove(two))
	write(t, filepath.Join(box, "new", "1.third.here"), strings.ReplaceAll(message(alice, bob, "theirs", "3"), "\r\n", "\n"))
	sync()
	var lines []string
	require.Eventually(t, func() bool { lines = s.ours("INBOX"); return len(lines) == 2 }, 10*time.Second, 10*time.Millisecond)
	assert.Regexp(t, `^ours \d+ \[\\Flagged \\Seen\]$`, lines[0])
	assert.Regexp(t, `^theirs `, lines[1])
	_, err := s.inbox.Expunge(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	sync()
	assert.Empty(t, maildirFiles(t, box, "Subject:"))
}
