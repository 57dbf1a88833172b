package imap_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

// flagging is a mailbox that makes changes begun with FlagLater only when it is
// told to, in order.
type flagging struct {
	store.Mailbox
	g *flagGate
}

type flagGate struct {
	turn chan struct{}

	mu    sync.Mutex
	begun int
}

func (m flagging) FlagLater(ctx context.Context, uids store.UIDSet, u store.FlagUpdate) func() (store.Flagged, error) {
	m.g.mu.Lock()
	m.g.begun++
	m.g.mu.Unlock()
	return func() (store.Flagged, error) {
		<-m.g.turn
		return m.Mailbox.Flag(ctx, uids, u)
	}
}

// now is how many have begun.
func (g *flagGate) now() int {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun
}

func (g *flagGate) open(n int) {
	for range n {
		g.turn <- struct{}{}
	}
}

func flagWorld(t *testing.T, change func(*imap.Server)) (*world, *flagGate) {
	g := &flagGate{turn: make(chan struct{}, 1000)}
	return newWorld(t, func(s *imap.Server) {
		s.Store = openedStore{s.Store, func(mb store.Mailbox) store.Mailbox { return flagging{mb, g} }}
		if change != nil {
			change(s)
		}
	}), g
}

// Changes of flags that are sent together begin together, and are answered in
// order; what others do meanwhile is told between, and all else waits.
func TestStoresRunAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := flagWorld(t, nil)
		w.fill("anna", store.Inbox, 4)
		c, other := w.login("anna"), w.login("anna")
		c.ok("SELECT INBOX")
		other.ok("SELECT INBOX")
		c.send("a UID STORE 1 FLAGS (\\Seen)\r\nb UID STORE 3:99 +FLAGS.SILENT (\\Flagged)\r\nc UID STORE 1:2 +FLAGS (x)\r\n" +
			"d UID STORE 9 +FLAGS (x)\r\ne UID FETCH 3 FLAGS\r\n")
		require.Equal(t, 4, g.now(), "all have begun")
		g.open(1)
		require.Equal(t, `* 1 FETCH (UID 1 FLAGS (\Seen))`, c.line())
		require.Equal(t, "a OK UID STORE completed", c.line())
		other.ok("STORE 1:2 +FLAGS.SILENT (\\Deleted)")
		other.ok("EXPUNGE")
		g.open(1)
		require.Equal(t, "b OK UID STORE completed", c.line())
		g.open(1)
		require.Equal(t, "* 1 EXPUNGE", c.line())
		require.Equal(t, "* 1 EXPUNGE", c.line())
		require.Equal(t, "c OK UID STORE completed", c.line())
		g.open(1)
		require.Equal(t, "d OK UID STORE completed", c.line())
		require.Equal(t, `* 1 FETCH (UID 3 FLAGS (\Flagged))`, c.line())
		require.Equal(t, "e OK UID FETCH completed", c.line())
		require.Zero(t, w.srv.BudgetUsed())
		_ = c.Close()
	})
}

// What must see what was before it waits for that: what names messages by number,
// depends on mod-sequences, or comes after an APPEND; and what comes alone.
func TestStoresThatWait(t *testing.T) {
	for name, k := range map[string]struct {
		sent   string
		begun  int
		first  string // sent alone
		change func(*imap.Server)
	}{
		"alone":        {"a UID STORE 1 +FLAGS (x)\r\n", 0, "", nil},
		"by number":    {"a STORE 1 +FLAGS (x)\r\nb STORE 2 +FLAGS (x)\r\n", 0, "", nil},
		"conditional":  {"a UID STORE 1 (UNCHANGEDSINCE 1) +FLAGS (x)\r\nb NOOP\r\n", 0, "", nil},
		"silent":       {"a UID STORE 1 +FLAGS.SILENT (x)\r\nb NOOP\r\n", 0, "ENABLE CONDSTORE", nil},
		"loud":         {"a UID STORE 1 +FLAGS (x)\r\nb NOOP\r\n", 1, "ENABLE CONDSTORE", nil},
		"saved":        {"a UID STORE $ +FLAGS (x)\r\nb NOOP\r\n", 0, "SEARCH RETURN (SAVE) ALL", nil},
		"read-only":    {"a UID STORE 1 +FLAGS (x)\r\nb NOOP\r\n", 0, "EXAMINE INBOX", nil},
		"limited":      {"a UID STORE 1 +FLAGS (x)\r\nb NOOP\r\n", 0, "", func(s *imap.Server) { s.MaxMessages = 1000 }},
		"one by one":   {"a UID STORE 1 +FLAGS (x)\r\nb NOOP\r\n", 0, "", func(s *imap.Server) { s.MaxPipelined = 1 }},
		"two at most":  {"a UID STORE 1 +FLAGS (x)\r\nb UID STORE 1 +FLAGS (y)\r\nc UID STORE 1 +FLAGS (z)\r\nd NOOP\r\n", 2, "", func(s *imap.Server) { s.MaxPipelined = 2 }},
		"after a bad":  {"a UID STORE 1 +FLAGS (\\x y\r\nb UID STORE 1 +FLAGS (x)\r\nc NOOP\r\n", 1, "", nil},
		"with literal": {"a UID STORE 1 +FLAGS (x)\r\nb UID STORE {1}\r\n", 1, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := flagWorld(t, k.change)
				w.fill("anna", store.Inbox, 2)
				c := w.login("anna")
				c.ok("SELECT INBOX")
				if k.first != "" {
					c.ok(k.first)
				}
				c.send(k.sent)
				require.Equal(t, k.begun, g.now())
				g.open(10)
				_ = c.Close()
				synctest.Wait()
				require.Zero(t, w.srv.BudgetUsed())
			})
		})
	}
}

// BenchmarkPipelinedStore is 1,000 changes of flags sent together, each to be
// durable when it is answered.
func BenchmarkPipelinedStore(b *testing.B) {
	st, err := sqlite.Open(b.TempDir())
	require.NoError(b, err)
	defer st.Close()
	require.NoError(b, st.CreateAccount(context.Background(), "anna"))
	w := &world{t: b, st: st}
	for i := range 1000 {
		w.deliver("anna", "INBOX", simple(i), time.Unix(1_790_000_000, 0))
	}
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	defer nc.Close()
	c := &benchClient{b: b, c: nc, buf: make([]byte, 1<<20)}
	c.run("LOGIN anna secret")
	c.run("SELECT INBOX")
	sign := "+"
	for b.Loop() {
		var s strings.Builder
		for i := range 999 {
			fmt.Fprintf(&s, "x%d UID STORE %d %sFLAGS.SILENT (\\Seen)\r\n", i, i+1, sign)
		}
		_, err := io.WriteString(nc, s.String())
		require.NoError(b, err)
		c.run("UID STORE 1000 " + sign + "FLAGS.SILENT (\\Seen)")
		if sign == "+" {
			sign = "-"
		} else {
			sign = "+"
		}
	}
}
