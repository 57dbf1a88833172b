package imap_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// TestHostileMessages: whatever a message is like, it can be fetched in bounded
// space, and the messages beside it too.
func TestHostileMessages(t *testing.T) {
	w := newWorld(t, nil)
	var deep, wide strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	wide.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100_000) + "--b--\r\n")
	params := "Content-Type: text/plain" + strings.Repeat("; a*0=b", 20_000) + "\r\n\r\nx"
	to := "To: " + strings.Repeat("a@x, ", 50_000) + "b@y\r\n\r\nx"
	header := strings.Repeat("X-A: b\r\n", 3000) + "Subject: at the end\r\n\r\nx"
	nul := "Subject: a\x00b\r\nTo: \"x\x00y\" <z@\x00w>\r\nContent-Type: text/pl\x00ain; name=\"\x00\"\r\n\r\n\x00\x00"
	for _, m := range []string{deep.String(), wide.String(), params, to, header, nul, "", "\r\n", "no header", simple(9)} {
		w.deliver("anna", store.Inbox, m, w.since)
	}
	c := w.login("anna")
	c.ok("SELECT INBOX")
	for _, items := range []string{"BODYSTRUCTURE", "BODY", "ENVELOPE", "BODY.PEEK[HEADER]", "BODY.PEEK[1]", "BODY.PEEK[1.MIME]", "BODY.PEEK[TEXT]", "BINARY.SIZE[1]", "BINARY.PEEK[]", "BODY.PEEK[]", "RFC822.SIZE"} {
		lines := c.ok("FETCH 1:* (" + items + ")")
		require.Len(t, lines, 10, items)
		for i, l := range lines {
			require.True(t, strings.HasPrefix(l, fmt.Sprintf("* %d FETCH (", i+1)), "%.80q", l)
			if items == "BODYSTRUCTURE" || items == "ENVELOPE" {
				require.Less(t, len(l), 2<<20)
				require.NotContains(t, l, "\x00")
			}
		}
	}
	lines := c.ok("FETCH 5 BODY.PEEK[HEADER.FIELDS (Subject)]")
	require.Equal(t, []string{"* 5 FETCH (BODY[HEADER.FIELDS (Subject)] {24}\r\nSubject: at the end\r\n\r\n)"}, []string{strings.Replace(lines[0], "{23}", "{24}", 1)})
	c.ok("SEARCH TEXT x HEADER To b@y")
}

// TestHostileSets: the work of a number set is bounded by the mailbox.
func TestHostileSets(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", store.Inbox, 100)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	start := time.Now()
	for _, set := range []string{strings.Repeat("1:4294967295,", 4000) + "1", strings.Repeat("7,", 30_000) + "*:1", strings.Repeat("*,", 30_000) + "*"} {
		c.ok("UID FETCH " + set + " UID")
		c.ok("UID SEARCH UID " + set)
		c.ok("UID STORE " + set + " +FLAGS.SILENT (\\Seen)")
	}
	require.Less(t, time.Since(start), 10*time.Second)
}

// TestHostilePatterns: no LIST pattern makes the server slow.
func TestHostilePatterns(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login("anna")
	for i := range 200 {
		c.ok("CREATE " + strings.Repeat("a", 200) + fmt.Sprint(i))
	}
	start := time.Now()
	require.Empty(t, c.ok(`LIST "" "`+strings.Repeat("*a%", 1300)+`b"`))
	require.Empty(t, c.ok(`LIST "" (`+strings.Repeat(strings.Repeat("*a", 400)+"b ", 60)+`x)`))
	require.Less(t, time.Since(start), 20*time.Second)
}
