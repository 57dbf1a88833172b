package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNeomuttIMAP has neomutt, in a terminal, read, flag, search, copy, save and
// delete, and come back with the header cache of the time before.
func TestNeomuttIMAP(t *testing.T) {
	t.Parallel()
	peer(t, "neomutt", "script")
	s := start(t)
	dir := homeOf(t)
	mutt := func(keys string) {
		t.Helper()
		rc := write(t, filepath.Join(dir, "rc"), strings.Join([]string{
			"set folder='imaps://localhost:" + s.port("imaps") + "/' spool_file='+INBOX' imap_user='" + alice + "' imap_pass='" + alicePassword + "'",
			"set ssl_ca_certificates_file='" + certFile() + "' certificate_file='" + certFile() + "' header_cache='" + dir + "/cache' imap_condstore=yes imap_qresync=yes",
			"set delete=yes quit=yes confirm_append=no confirm_create=no mark_old=no sort=mailbox-order wait_key=no pager_stop=yes prompt_after=no copy=no",
			"push '" + keys + "<quit>'", "",
		}, "\n"))
		cmd := exec.CommandContext(t.Context(), "script", "-qec", "neomutt -n -F "+rc+" -f +INBOX", "/dev/null")
		cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+dir, "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	subjects := func(box string) (found []string) {
		t.Helper()
		_, all := s.mailbox(t, alice, box)
		for _, m := range all {
			_, rest, _ := strings.Cut(string(m.raw), "Subject: ")
			subject, _, _ := strings.Cut(rest, "\r\n")
			for _, f := range []imap.Flag{imap.FlagSeen, imap.FlagFlagged, imap.FlagAnswered} {
				if contains(m.flags, f) {
					subject += " " + string(f)
				}
			}
			found = append(found, subject)
		}
		return found
	}
	for _, subject := range []string{"keep", "flag me", "delete me", "copy me", "save me"} {
		s.append(t, alice, "INBOX", message(bob, alice, subject, "body with a needle of "+subject))
	}
	tagged := func(pattern, do string) string {
		return "<tag-pattern>" + pattern + "<enter><tag-prefix>" + do + "<untag-pattern>.<enter>"
	}
	mutt(tagged(`~s "flag me"`, "<flag-message>") + tagged(`~b "needle of copy"`, "<copy-message>=Sent<enter>") +
		tagged(`~s "save me"`, "<save-message>=Archive/2026<enter>") + `<delete-pattern>~s "delete me"<enter><sync-mailbox><first-entry><display-message><exit>`)
	assert.Equal(t, []string{`keep \Seen`, `flag me \Flagged`, "copy me"}, subjects("INBOX"))
	assert.Equal(t, []string{"copy me"}, subjects("Sent"))
	assert.Equal(t, []string{"save me"}, subjects("Archive/2026"))

	// Meanwhile another client is at work; neomutt comes back with its cache.
	_, all := s.mailbox(t, alice, "INBOX")
	change(t, s, alice, all[0].uid, imap.FlagAnswered)
	change(t, s, alice, all[2].uid, imap.FlagDeleted)
	c := s.login(t, alice, nil)
	_, err := c.Select("INBOX", nil).Wait()
	require.NoError(t, err)
	require.NoError(t, c.UIDExpunge(imap.UIDSetNum(all[2].uid)).Close())
	require.NoError(t, c.Logout().Wait())
	s.append(t, alice, "INBOX", message(bob, alice, "fresh", "new"))
	mutt(tagged(`~Q | ~s fresh`, "<flag-message>") + "<sync-mailbox>")
	assert.Equal(t, []string{`keep \Seen \Flagged \Answered`, `flag me \Flagged`, `fresh \Flagged`}, subjects("INBOX"))
}
