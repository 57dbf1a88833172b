package imap_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
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

// TestHostileNesting: what nests is refused at a fixed depth by every parser, and
// costs no more than its octets.
func TestHostileNesting(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MaxBadCommands = -1 })
	w.fill("anna", store.Inbox, 2)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	open, notted := strings.Repeat("(", 5000), strings.Repeat("NOT ", 5000)
	cost := testing.AllocsPerRun(1, func() {
		for _, cmd := range []string{
			"SEARCH " + open + "ALL" + strings.Repeat(")", 5000), "SEARCH " + open, "UID SEARCH " + notted + "ALL", "SEARCH " + strings.Repeat("OR ", 5000) + "ALL", "SEARCH " + strings.Repeat("FUZZY ", 5000) + "ALL",
			"SEARCH RETURN " + open, "SORT " + open, "SORT (DATE) UTF-8 " + open, "UID THREAD REFERENCES UTF-8 " + open, "SEARCH " + strings.Repeat("(NOT ", 5000),
			"FETCH 1 " + open, "FETCH 1 (FLAGS " + open, "FETCH 1 BODY[HEADER.FIELDS " + open, "FETCH 1 " + strings.Repeat("BODY[", 5000), "FETCH 1 FLAGS " + open, "FETCH 1 PREVIEW " + open,
			"STORE 1 FLAGS " + open, "STORE 1 " + open, "APPEND INBOX " + open, "APPEND INBOX CATENATE " + open, "APPEND INBOX UTF8 " + open, "REPLACE 1 INBOX " + open,
			"LIST " + open, `LIST "" ` + open, "LIST \"\" * RETURN " + open, "LIST \"\" * RETURN (STATUS " + open, "STATUS INBOX " + open, "CREATE x " + open, "CREATE x (USE " + open,
			"SELECT INBOX " + open, "SELECT INBOX (QRESYNC " + open, "GETMETADATA " + open, "GETMETADATA INBOX " + open, "SETMETADATA INBOX " + open, "ID " + open, "SETQUOTA \"\" " + open, "NOTIFY SET " + open, "NOTIFY SET (selected " + open, "ESEARCH IN " + open, "RENAME INBOX " + open, "ENABLE " + open,
		} {
			_, end := c.do(cmd)
			require.True(t, strings.HasPrefix(end, "BAD "), "%.60s: %s", cmd, end)
		}
	})
	require.Less(t, cost, 200_000.0)
	require.Len(t, c.ok("FETCH 1 BODY.PEEK["+strings.Repeat("1.", 5000)+"1]"), 1)
	c.ok("NOOP")
}

// TestHostileNames: no name makes anything but a mailbox of that name, or fails.
func TestHostileNames(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MaxBadCommands = -1 })
	c := w.login("anna")
	for name, want := range map[string]string{
		strings.Repeat("a/", 499) + "a": "NO [CANNOT]", strings.Repeat("a", 1001): "NO [CANNOT]", `"` + strings.Repeat("/", 500) + `"`: "NO [CANNOT]",
		"..": "NO [CANNOT]", "../x": "NO [CANNOT]", "x/../../y": "NO [CANNOT]", "x/./y": "NO [CANNOT]", `"/etc/passwd"`: "NO [CANNOT]",
		"{3+}\r\na\x00b": "BAD ", "~{3+}\r\na\x00b": "BAD ", "{4+}\r\na\r\nb": "NO [CANNOT]", "{2+}\r\n\xff\xfe": "NO [CANNOT]", "{2+}\r\n\xc3\xbc": "NO [CANNOT]",
		"&AAA-": "NO [CANNOT]", "&AA0ACg-": "NO [CANNOT]", "&2D0-": "NO [CANNOT]", "&": "NO [CANNOT]", "&AGE": "NO [CANNOT]", "&AGE-": "NO [CANNOT]", "a&-&-&": "NO [CANNOT]", `"&,,,-"`: "NO [CANNOT]",
		"\"\x01\"": "NO [CANNOT]", "\"\x7f\"": "NO [CANNOT]", `"a`: "BAD ", `"\a"`: "BAD ", `""`: "NO [CANNOT]", "INBOX": "NO [", "%": "BAD ", `"*"`: "NO [CANNOT]", `"Other Users/x"`: "NO [",
	} {
		for _, cmd := range []string{"CREATE %s", "RENAME Archive %s", "RENAME INBOX %s"} {
			_, end := c.do(strings.Replace(cmd, "%s", name, 1))
			require.True(t, strings.HasPrefix(end, want), "%.60q: %s", cmd+name, end)
		}
		for _, cmd := range []string{"SELECT %s", "STATUS %s (MESSAGES)", "DELETE %s", "SUBSCRIBE %s", "APPEND %s {1+}\r\nx", "GETACL %s", "GETMETADATA %s /private/x", "GETQUOTAROOT %s", "UNSUBSCRIBE %s"} {
			_, end := c.do(strings.Replace(cmd, "%s", name, 1))
			require.Regexp(t, "^(OK|NO|BAD) ", end)
		}
	}
	require.Len(t, c.ok(`LIST "" *`), 1, "nothing has been made")
}

// TestManyConnections: connections of one address and of one account are bounded,
// and others are not affected.
func TestManyConnections(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MaxConnsPerAddr, s.MaxConnsPerAccount = 4, 2 })
	first := w.login("anna")
	w.login("anna")
	c := w.connect()
	_, end := c.do("LOGIN anna secret")
	require.Equal(t, "NO [LIMIT] Too many connections of this user", end)
	c.ok("LOGIN bob secret")
	w.connect()
	over, err := w.dial(t.Context())
	require.NoError(t, err)
	b, err := io.ReadAll(over)
	require.NoError(t, err)
	require.Equal(t, "* BYE [UNAVAILABLE] Too many connections\r\n", string(b))
	other, err := w.l.DialFrom(t.Context(), net.IPv4(127, 0, 0, 2))
	require.NoError(t, err)
	defer other.Close()
	line, err := bufio.NewReader(other).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "* OK ")
	first.ok("LOGOUT")
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { // its place is free when it has gone
		c, err := w.dial(t.Context())
		require.NoError(t, err)
		defer c.Close()
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.HasPrefix(line, "* OK ")
	}, 10*time.Second, time.Millisecond)
}
