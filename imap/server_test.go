package imap_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store"
)

func TestZeroServerRefusesEverybody(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { *s = imap.Server{} })
	c := w.connect()
	_, end := c.do("LOGIN anna secret")
	require.Equal(t, "NO [UNAVAILABLE] Authentication is temporarily unavailable", end)
	_, end = c.do("AUTHENTICATE PLAIN AGFubmEAc2VjcmV0")
	require.Equal(t, "NO [CANNOT] Mechanism not available", end)
	require.ErrorContains(t, (&imap.Server{ImplicitTLS: true}).Serve(memnet.Listen()), "TLSConfig")
}

func TestImplicitTLS(t *testing.T) {
	authority, cert := certificates()
	w := newWorld(t, func(s *imap.Server) {
		s.ImplicitTLS, s.InsecureAuth = true, false
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	})
	nc, err := w.dial(context.Background())
	require.NoError(t, err)
	defer nc.Close()
	c := tls.Client(nc, &tls.Config{RootCAs: authority.Pool(), ServerName: "mail.test"})
	_, err = io.WriteString(c, "a LOGIN anna secret\r\nb LOGOUT\r\n")
	require.NoError(t, err)
	b, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Contains(t, string(b), "AUTH=PLAIN")
	assert.NotContains(t, string(b), "STARTTLS")
	assert.Contains(t, string(b), "a OK")

	old := tls.Client(mustDial(t, w), &tls.Config{RootCAs: authority.Pool(), ServerName: "mail.test", MaxVersion: tls.VersionTLS11})
	require.Error(t, old.Handshake()) // RFC 8996
}

func mustDial(t *testing.T, w *world) net.Conn {
	c, err := w.dial(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestSlowReader makes sure that a client that stops reading in the middle of a
// large FETCH delays nobody else, and loses its connection in the end.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *imap.Server) { s.WriteTimeout = time.Minute })
		big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 30000)
		w.deliver("anna", store.Inbox, big, w.since)
		w.fill("anna", store.Inbox, 3)
		stuck := w.login("anna")
		stuck.ok("SELECT INBOX")
		stuck.send("x FETCH 1:* BODY[]\r\n")
		synctest.Wait()
		start := time.Now()
		other := w.login("anna")
		other.ok("SELECT INBOX")
		other.ok("STORE 1:* +FLAGS (\\Deleted)")
		lines := other.ok("EXPUNGE")
		require.Len(t, lines, 4)
		require.Zero(t, time.Since(start))
		time.Sleep(2 * time.Minute)
		_, err := io.Copy(io.Discard, stuck)
		require.True(t, err == nil || errors.Is(err, io.EOF))
	})
}

// TestReadsOnAfterExpunge: what one session expunges another can still fetch in
// the command at hand and until it is told.
func TestReadsOnAfterExpunge(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", store.Inbox, 3)
	a, b := w.login("anna"), w.login("anna")
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	b.ok("STORE 2 +FLAGS (\\Deleted)")
	b.ok("EXPUNGE")
	require.Len(t, a.ok("FETCH 1:* BODY.PEEK[]"), 3)
	require.Equal(t, []string{"* 2 EXPUNGE"}, a.ok("NOOP"))
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.fill("anna", store.Inbox, 1)
		guest, user, idle := w.connect(), w.login("anna"), w.login("anna")
		idle.ok("SELECT INBOX")
		idle.send("i IDLE\r\n")
		require.Equal(t, "+ idling", idle.line())
		uploading := w.login("anna")
		uploading.send("u APPEND INBOX {10}\r\n")
		require.Equal(t, "+ Ready for message", uploading.line())
		uploading.send("A: b")
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- w.srv.Shutdown(context.Background()) }()
		for _, c := range []*client{guest, user, idle} {
			require.Equal(t, "* BYE [UNAVAILABLE] Shutting down", c.line())
			_, err := c.r.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		}
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("did not wait for the upload")
		default:
		}
		uploading.send("\r\n\r\nx\r\r\n")
		require.Contains(t, uploading.line(), "u OK [APPENDUID")
		require.Equal(t, "* BYE [UNAVAILABLE] Shutting down", uploading.line())
		require.NoError(t, <-done)
		_, err := w.dial(context.Background())
		require.Error(t, err)
	})
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *imap.Server) { s.KeepAlive = -1 })
		lost := func(c *client, want string, after time.Duration) {
			t.Helper()
			start := time.Now()
			require.Equal(t, want, c.line())
			require.Equal(t, after, time.Since(start))
			_, err := c.r.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		}
		lost(w.connect(), "* BYE Login took too long", 2*time.Minute)

		slow := w.connect()
		time.Sleep(time.Minute)
		slow.send("a NOOP\r\n")
		require.Equal(t, "a OK NOOP completed", slow.line())
		lost(slow, "* BYE Login took too long", time.Minute)

		// Before login drops do not gain time.
		drip := w.connect()
		drip.send("a LOGIN {1000+}\r\n")
		for range 3 {
			time.Sleep(30 * time.Second)
			drip.send("x")
		}
		lost(drip, "* BYE Login took too long", 30*time.Second)

		user := w.login("anna")
		lost(user, "* BYE Idle for too long", 31*time.Minute)

		idle := w.login("anna")
		idle.send("i IDLE\r\n")
		require.Equal(t, "+ idling", idle.line())
		lost(idle, "* BYE Idle for too long", 31*time.Minute)

		// A slow upload lives as long as something comes.
		up := w.login("anna")
		up.send("u APPEND INBOX {20+}\r\n")
		for range 20 {
			time.Sleep(time.Minute + 59*time.Second)
			up.send("x")
		}
		up.send("\r\n")
		require.Contains(t, up.line(), "u OK")
		up.send("v APPEND INBOX {20+}\r\nabc")
		lost(up, "* BYE Idle for too long", 2*time.Minute)
	})
}

// TestUploadIsLost: a message that is cut short is not stored.
func TestUploadIsLost(t *testing.T) {
	w := newWorld(t, nil)
	c := w.login("anna")
	c.send("a APPEND INBOX {100+}\r\nSubject: x\r\n")
	require.NoError(t, c.Close())
	d := w.login("anna")
	require.Equal(t, []string{`* STATUS "INBOX" (MESSAGES 0)`}, d.ok("STATUS INBOX (MESSAGES)"))
}

// countingListener counts what the server writes.
type countingListener struct {
	net.Listener
	writes atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &countingConn{c, l}, err
}

type countingConn struct {
	net.Conn
	l *countingListener
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.l.writes.Add(1)
	return c.Conn.Write(p)
}

// TestWritesAreCoalesced: 1,000 rows and 100 pipelined commands are few writes.
func TestWritesAreCoalesced(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", store.Inbox, 1000)
	srv := &imap.Server{Store: w.st, Auth: users{}, InsecureAuth: true}
	l := &countingListener{Listener: memnet.Listen()}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	old := w.l
	w.l = l.Listener.(*memnet.Listener)
	defer func() { w.l = old }()
	c := w.login("anna")
	c.ok("SELECT INBOX")
	before := l.writes.Load()
	require.Len(t, c.ok("FETCH 1:* FLAGS"), 1000)
	require.LessOrEqual(t, l.writes.Load()-before, int64(2))
	before = l.writes.Load()
	var script strings.Builder
	for i := range 100 {
		fmt.Fprintf(&script, "p%d NOOP\r\n", i)
	}
	c.send(script.String())
	for i := range 100 {
		require.Equal(t, fmt.Sprintf("p%d OK NOOP completed", i), c.line())
	}
	require.LessOrEqual(t, l.writes.Load()-before, int64(2))
}

// TestMemoryBudget: long commands of all connections share one budget.
func TestMemoryBudget(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MemoryBudget = 100_000 })
	a, b := w.login("anna"), w.login("anna")
	a.send("a CREATE {60000}\r\n")
	require.Equal(t, "+ Ready for literal", a.line()) // it has its memory now
	c := w.login("bob")
	c.send("b CREATE {60000+}\r\n")
	require.Equal(t, "* BYE [UNAVAILABLE] Too much to do, try again later", c.line())
	a.send(strings.Repeat("x", 60000) + "\r\n")
	require.Equal(t, "a NO [CANNOT] Invalid mailbox name", a.line())
	b.send("b CREATE {60000+}\r\n" + strings.Repeat("x", 60000) + "\r\n")
	require.Equal(t, "b NO [CANNOT] Invalid mailbox name", b.line())
}

// TestIdleConnectionsAreSmall measures what an idle connection costs.
func TestIdleConnectionsAreSmall(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MaxConnsPerAccount = -1 })
	w.fill("anna", store.Inbox, 100)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = w.srv.Serve(l) }()
	const n = 300
	conns := make([]net.Conn, 0, n)
	open := func() {
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, prelude(c, "a LOGIN anna secret\r\nb SELECT INBOX\r\nc IDLE\r\n", "+ idling"))
		conns = append(conns, c)
	}
	open()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for len(conns) < n {
		open()
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse) / (n - 1)
	t.Logf("%d octets for each idle connection, the client's end included; %d of them stacks", each, int64(after.StackInuse-before.StackInuse)/(n-1))
	require.Less(t, each, int64(40<<10))
}

func TestTrace(t *testing.T) {
	var log bytes.Buffer
	events := make(chan string, 100)
	w := newWorld(t, func(s *imap.Server) {
		s.Trace = &imap.Trace{
			Connected:    func(p auth.Peer) { events <- "connected" },
			Disconnected: func(p auth.Peer) { events <- "disconnected" },
			Login:        func(p auth.Peer, id *auth.Identity, err error) { events <- fmt.Sprint("login ", id != nil, " ", err) },
			Command: func(p auth.Peer, c imap.CommandInfo) {
				events <- fmt.Sprintf("%s %s %s", c.Name, c.Account, c.Status)
			},
		}
	})
	c := w.connect()
	c.do("LOGIN anna wrong")
	c.ok("LOGIN anna secret")
	c.do("UID FETCH 1 FLAGS")
	c.ok("LOGOUT")
	_, _ = io.Copy(&log, c.r)
	for _, want := range []string{
		"connected", "login false auth: wrong user or password", "LOGIN  NO", "login true <nil>", "LOGIN anna OK", "UID FETCH anna BAD", "LOGOUT  OK", "disconnected",
	} {
		require.Equal(t, want, <-events)
	}
}

// faultyStore fails on demand.
type faultyStore struct {
	store.Store
	err atomic.Pointer[error]
}

func (s *faultyStore) fail(err error) { s.err.Store(&err) }

func (s *faultyStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return faultyAccount{a, s}, err
}

type faultyAccount struct {
	store.Account
	s *faultyStore
}

func (a faultyAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	if err := a.s.err.Load(); err != nil {
		return nil, *err
	}
	return a.Account.Mailbox(ctx, name)
}

// TestStoreErrors maps every kind of failure to its response code.
func TestStoreErrors(t *testing.T) {
	var fs *faultyStore
	w := newWorld(t, func(s *imap.Server) { fs = &faultyStore{Store: s.Store}; s.Store = fs })
	c := w.login("anna")
	for _, k := range []struct {
		err  error
		want string
	}{
		{store.ErrNotFound, "NO [NONEXISTENT] No such mailbox"},
		{store.ErrOverQuota, "NO [OVERQUOTA] Over quota"},
		{store.ErrLimit, "NO [LIMIT] Limit reached"},
		{store.ErrInUse, "NO [INUSE] In use"},
		{store.ErrConflict, "NO [INUSE] Changed by another session, try again"},
		{store.ErrReadOnly, "NO [NOPERM] Not permitted"},
		{store.ErrUnavailable, "NO [UNAVAILABLE] Temporarily unavailable"},
		{store.ErrCorrupt, "NO [CORRUPTION] Data is damaged"},
		{store.ErrNoSpace, "NO [OVERQUOTA] No space left"},
		{context.Canceled, "NO [UNAVAILABLE] Interrupted"},
		{errors.New("/secret/path: boom"), "NO [SERVERBUG] Internal error"},
	} {
		fs.fail(fmt.Errorf("wrapped: %w", k.err))
		_, end := c.do("SELECT INBOX")
		assert.Equal(t, k.want, end)
	}
	fs.fail(store.ErrNotFound)
	_, end := c.do("APPEND INBOX {2}")
	assert.Equal(t, "NO [TRYCREATE] No such mailbox", end)
}

// damagedStore gives out bodies that are damaged: that of UID 2 is missing, that
// of UID 3 too short, and that of UID 4 breaks off after 100,000 octets.
type damagedStore struct{ store.Store }

func (s damagedStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return damagedAccount{a}, err
}

type damagedAccount struct{ store.Account }

func (a damagedAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return damagedMailbox{mb}, err
}

type damagedMailbox struct{ store.Mailbox }

func (m damagedMailbox) Open(ctx context.Context, row store.Row) (store.Body, error) {
	b, err := m.Mailbox.Open(ctx, row)
	switch row.UID {
	case 2:
		return nil, store.ErrCorrupt
	case 3, 4:
		return damagedBody{b, row.UID}, err
	}
	return b, err
}

type damagedBody struct {
	store.Body
	uid store.UID
}

func (b damagedBody) Size() int64 {
	if b.uid == 3 {
		return b.Body.Size() - 1
	}
	return b.Body.Size()
}

func (b damagedBody) ReadAt(p []byte, off int64) (int, error) {
	if b.uid == 4 && off >= 100_000 {
		return 0, errors.New("disk is broken")
	}
	return b.Body.ReadAt(p, off)
}

// TestDamagedBodies: a message that cannot be read is left out; one that breaks
// off within a literal ends the connection, as nothing else can be said.
func TestDamagedBodies(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.Store = damagedStore{s.Store} })
	w.fill("anna", store.Inbox, 3)
	w.deliver("anna", store.Inbox, "Subject: long\r\n\r\n"+strings.Repeat("0123456789abcde\n", 20_000), w.since)
	w.fill("anna", store.Inbox, 1)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	lines, end := c.do("FETCH 1:3,5 (BODY.PEEK[])")
	require.Len(t, lines, 2)
	require.Equal(t, "NO [CORRUPTION] Data is damaged", end)
	c.ok("FETCH 1:* (ENVELOPE)")
	c.ok("SEARCH SUBJECT long")
	c.send("x FETCH 4 (BODY.PEEK[])\r\n")
	b, err := io.ReadAll(c.r)
	require.NoError(t, err)
	require.Less(t, len(b), 200_000)
	require.NotContains(t, string(b), "x OK")
	require.NotContains(t, string(b), "x NO")
}

// TestSCRAM logs in with SCRAM, whose last message comes as a challenge of its
// own (RFC 9051 §6.2.2).
func TestSCRAM(t *testing.T) {
	known := password.Memory()
	require.NoError(t, known.Add("anna", "correct horse"))
	w := newWorld(t, func(s *imap.Server) { s.Auth, s.InsecureAuth = known, false })
	c := w.connect()
	require.Equal(t, "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE SASL-IR LOGINDISABLED AUTH=SCRAM-SHA-256", c.ok("CAPABILITY")[0])
	for _, pw := range []string{"wrong horse", "correct horse"} {
		x, err := sasl.NewSCRAMClient("SHA-256", "", "anna", pw)
		require.NoError(t, err)
		l := c.prove(x)
		if pw == "wrong horse" {
			require.Equal(t, "s NO [AUTHENTICATIONFAILED] Wrong user or password", l)
		} else {
			require.Contains(t, l, "s OK [CAPABILITY")
		}
	}
}
