package imap_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
	assert.Equal(t, 3, strings.Count(log.String(), "mistake in the store"))
	assert.Equal(t, 3, strings.Count(log.String(), "connection handler panicked"))
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
