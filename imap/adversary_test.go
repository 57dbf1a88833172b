package imap_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// panicking is a store with a mistake: it panics when a mailbox named Panic is
// filed to.
type panicking struct{ store.Store }

func (p panicking) Place(ctx context.Context, targets []store.Target) []store.Placed {
	for _, t := range targets {
		if t.Mailbox == "Panic" {
			panic("mistake in the store")
		}
	}
	return p.Store.Place(ctx, targets)
}

func (p panicking) PlaceLater(ctx context.Context, targets []store.Target) func() []store.Placed {
	return func() []store.Placed { return p.Place(ctx, targets) }
}

// lockedBuffer can be written to by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestPanicOfFiling: a panic ends the session in which it happens, and nothing
// of that stays.
func TestPanicOfFiling(t *testing.T) {
	var log lockedBuffer
	w := newWorldOver(t, panicking{memory.New()}, func(s *imap.Server) {
		s.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s.MaxConnsPerAccount = 1
	})
	for range 3 {
		var c *client
		require.Eventually(t, func() bool { // the session before may still be counted
			c = w.connect()
			_, end := c.do("LOGIN anna secret")
			return strings.HasPrefix(end, "OK ")
		}, 10*time.Second, time.Millisecond)
		c.send("a APPEND INBOX {12+}\r\nSubject: x\r\n\r\n" + "b APPEND Panic {12+}\r\nSubject: x\r\n\r\n" +
			"c APPEND INBOX {12+}\r\nSubject: x\r\n\r\nd APPEND INBOX {12+}\r\n")
		rest, _ := io.ReadAll(c.r)
		assert.Contains(t, string(rest), "a OK [APPENDUID ")
		assert.NotContains(t, string(rest), "b OK")
	}
	require.Eventually(t, func() bool { // it is logged when the connection has ended
		return strings.Count(log.String(), "mistake in the store") == 3 && strings.Count(log.String(), "connection handler panicked") == 3
	}, 10*time.Second, time.Millisecond)
	w.srv.Close()
	assert.Zero(t, w.srv.BudgetUsed())
}

// alternating flags every other message, so that those are as many ranges.
func alternating(c *client, n int) {
	var set strings.Builder
	for i := 1; i <= n; i += 2 {
		fmt.Fprintf(&set, ",%d", i)
	}
	c.ok("STORE " + set.String()[1:] + " +FLAGS.SILENT (\\Flagged)")
}

// TestSearchesHold: what searches leave behind is bounded by the budget, and
// given back.
func TestSearchesHold(t *testing.T) {
	const n = 2000
	w := newWorld(t, func(s *imap.Server) { s.MemoryBudget = 60 << 10 })
	w.fill("anna", store.Inbox, n)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	alternating(c, n)
	c.ok("NOOP")
	c.ok("UID SEARCH RETURN (SAVE) FLAGGED") // 16 KB
	c.ok("UID SEARCH RETURN (SAVE) FLAGGED") // not twice
	var kept []string
	refused := 0
	for range 4 {
		lines := c.ok("UID SEARCH RETURN (UPDATE COUNT) FLAGGED")
		if len(lines) == 2 {
			assert.Contains(t, lines[0], "[NOUPDATE ")
			refused++
		} else {
			kept = append(kept, fmt.Sprintf("t%d", c.tag))
		}
	}
	assert.Len(t, kept, 2)
	assert.Equal(t, 2, refused)
	_, end := c.do(`CANCELUPDATE "` + kept[0] + `"`)
	assert.Equal(t, "OK CANCELUPDATE completed", end)
	assert.Len(t, c.ok("UID SEARCH RETURN (UPDATE COUNT) FLAGGED"), 1)

	d := w.login("anna")
	d.ok("SELECT INBOX")
	_, end = d.do("UID SEARCH RETURN (SAVE) FLAGGED")
	assert.Equal(t, "NO [NOTSAVED] Too much to do, the result is not saved", end)
	_, end = d.do("UID FETCH $ FLAGS")
	assert.Equal(t, "OK UID FETCH completed", end) // of nothing
	c.ok("UNSELECT")
	assert.Zero(t, w.srv.BudgetUsed())
	d.ok("UID SEARCH RETURN (SAVE) FLAGGED")
	assert.Equal(t, n/2, len(d.ok("UID FETCH $ UID")))
}

// TestResultGrows: a result that outgrows the budget is no longer kept up to
// date, and its client is told.
func TestResultGrows(t *testing.T) {
	const n = 2000
	w := newWorld(t, func(s *imap.Server) { s.MemoryBudget = 12 << 10 })
	w.fill("anna", store.Inbox, n)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	assert.Equal(t, []string{`* ESEARCH (TAG "t3") UID COUNT 0`}, c.ok("UID SEARCH RETURN (UPDATE COUNT) FLAGGED"))
	alternating(c, n)
	lines := c.ok("NOOP")
	require.Len(t, lines, 2)
	assert.True(t, strings.HasPrefix(lines[0], `* ESEARCH (TAG "t3") UID ADDTO (0 1,3,`), "%.60q", lines[0])
	assert.Equal(t, `* NO [NOUPDATE "t3"] The result is not kept up to date`, lines[1])
	assert.Zero(t, w.srv.BudgetUsed())
}

// TestAccountDeleted: a user whose account is deleted gets nothing more from it,
// and the session ends as others do.
func TestAccountDeleted(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", store.Inbox, 3)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	idle := w.login("anna")
	idle.ok("SELECT INBOX")
	idle.send("i IDLE\r\n")
	require.Equal(t, "+ idling", idle.line())
	free := w.login("anna")
	free.ok("NOTIFY SET (PERSONAL (MessageNew MessageExpunge))")
	require.NoError(t, w.st.DeleteAccount(context.Background(), "anna"))
	assert.Equal(t, "* BYE The selected mailbox has been deleted", idle.line())
	for _, cmd := range []string{
		"LIST \"\" *", "LSUB \"\" *", "STATUS INBOX (MESSAGES)", "CREATE x", "DELETE x", "RENAME x y", "SUBSCRIBE x", "GETACL INBOX",
		"GETMETADATA \"\" /private/comment", "SETMETADATA \"\" (/private/comment \"x\")", "GETQUOTAROOT INBOX", "SELECT INBOX",
		"RESETKEY", "NOTIFY SET (PERSONAL (MessageNew MessageExpunge))", "ESEARCH IN (personal) ALL",
	} {
		_, end := free.do(cmd)
		assert.True(t, strings.HasPrefix(end, "NO ["), "%s: %s", cmd, end)
	}
	free.send("z APPEND INBOX {12+}\r\nSubject: x\r\n\r\n")
	_, end := free.until("z")
	assert.Contains(t, end, "NO [TRYCREATE]")
	free.ok("LOGOUT")
	c.send("x FETCH 1 FLAGS\r\n")
	assert.Equal(t, "* BYE The selected mailbox has been deleted", c.line())
	_, end = w.connect().do("LOGIN anna secret")
	assert.Contains(t, end, "NO [CONTACTADMIN]")
}

// counting is a store that counts which staged messages have not been discarded.
type counting struct {
	store.Store
	staged atomic.Int64
}

func (c *counting) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	s, err := c.Store.Stage(ctx, r)
	if err != nil {
		return nil, err
	}
	c.staged.Add(1)
	return &counted{Staged: s, in: c}, nil
}

func (c *counting) PlaceLater(ctx context.Context, targets []store.Target) func() []store.Placed {
	return store.PlaceLater(ctx, c.Store, targets)
}

type counted struct {
	store.Staged
	in   *counting
	once sync.Once
}

func (s *counted) Discard() error {
	s.once.Do(func() { s.in.staged.Add(-1) })
	return s.Staged.Discard()
}

// TestCutAnywhere: wherever a conversation breaks off, nothing of it stays: no
// staged message, no memory of the budget, no session of the account.
func TestCutAnywhere(t *testing.T) {
	script := "a LOGIN anna secret\r\nb SELECT INBOX\r\nc APPEND INBOX {12+}\r\nSubject: x\r\n\r\n" +
		"d APPEND INBOX (\\Seen) {12+}\r\nSubject: x\r\n\r\n {12+}\r\nSubject: y\r\n\r\n" +
		"e APPEND {5+}\r\nINBOX CATENATE (URL \"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(Subject)\" TEXT {2+}\r\nab URL \"/INBOX/;UID=2\")\r\n" +
		"f UID REPLACE * INBOX {12+}\r\nSubject: z\r\n\r\n" +
		"g APPEND INBOX {12+}\r\nSubject: x\r\n\r\n\r\nh APPEND Nowhere {12+}\r\nSubject: x\r\n\r\n" +
		"i UID SEARCH RETURN (SAVE UPDATE) OR SUBJECT {1+}\r\nx TEXT {1+}\r\nz\r\nj UID SORT (SUBJECT) UTF-8 ALL\r\nk THREAD REFERENCES UTF-8 ALL\r\n" +
		"l SETMETADATA INBOX (/private/comment {3+}\r\nabc)\r\nm NOTIFY SET (SELECTED (MessageNew (BODY.PEEK[]) MessageExpunge)) (PERSONAL (MailboxName))\r\n" +
		"n IDLE\r\nDONE\r\no FETCH 1:3 (BODY.PEEK[HEADER.FIELDS (Subject)] BINARY[1])\r\np UNAUTHENTICATE\r\nq LOGIN anna secret\r\n"
	var gone atomic.Int64
	st := &counting{Store: memory.New()}
	w := newWorldOver(t, st, func(s *imap.Server) {
		s.MaxConnsPerAccount = 1
		s.Trace = &imap.Trace{Disconnected: func(auth.Peer) { gone.Add(1) }}
	})
	w.fill("anna", store.Inbox, 3)
	conns := int64(0)
	for i := len(script) % 3; i <= len(script); i += 3 {
		conns++
		c, err := w.dial(context.Background())
		require.NoError(t, err)
		_, err = io.WriteString(c, script[:i])
		require.NoError(t, err)
		var said []byte
		if conns%3 == 0 && i < len(script) { // gone at once, or when it has heard everything
			require.NoError(t, c.Close())
		} else {
			require.NoError(t, c.(interface{ CloseWrite() error }).CloseWrite())
			said, err = io.ReadAll(c)
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
		if i == len(script) {
			for tag := range strings.SplitSeq("a b c d e f g i j k l m n o p q", " ") {
				assert.Contains(t, string(said), "\r\n"+tag+" OK ")
			}
			assert.Contains(t, string(said), "h NO [TRYCREATE]")
		}
		require.Eventually(t, func() bool { return gone.Load() == conns }, 10*time.Second, 50*time.Microsecond, "cut at %d", i)
		require.Zero(t, st.staged.Load(), "cut at %d, behind %q", i, script[max(0, i-30):i])
		require.Zero(t, w.srv.BudgetUsed(), "cut at %d, behind %q", i, script[max(0, i-30):i])
	}
	w.login("anna").ok("NOOP") // the only session of the account
}
