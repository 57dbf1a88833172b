package pop3

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// What others do to the mailbox does not show in a session.
func TestSnapshot(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		c := login(t, l, "anna")
		put(t, st, "anna", "Subject: new\r\n\r\n")
		acc, err := st.Account(t.Context(), "anna", "anna")
		require.NoError(t, err)
		mb, err := acc.Mailbox(t.Context(), store.Inbox)
		require.NoError(t, err)
		_, err = mb.Expunge(t.Context(), store.UIDs(2, 3))
		require.NoError(t, err)
		c.say("STAT\r\nLIST 2\r\nRETR 2\r\nRETR 6\r\n")
		c.hear("+OK 5 ", "+OK 2 ", "+OK ")
		c.hearUntil(".")
		c.hear("-ERR No such message")
		time.Sleep(6 * time.Minute) // the store's grace
		c.say("RETR 2\r\nTOP 2 0\r\nDELE 2\r\nDELE 1\r\nQUIT\r\n")
		c.hear("-ERR No such message, it was deleted", "-ERR No such message, it was deleted", "+OK ", "+OK ", "+OK Bye, 1 messages")
		require.Equal(t, []store.UID{4, 5, 6}, uids(t, st, "anna"))
	})
}

// RETR sets no flag.
func TestRetrievingChangesNothing(t *testing.T) {
	st := testStore(t)
	before := mailboxInfo(t, st, "anna")
	c := login(t, testServer(t, &Server{Store: st, Auth: testAuth{}, InsecureAuth: true}), "anna")
	c.say("RETR 1\r\nTOP 2 1\r\nQUIT\r\n")
	c.hearUntil(".")
	c.hearUntil(".")
	c.hear("+OK Bye")
	require.Equal(t, before, mailboxInfo(t, st, "anna"))
}

// A message that the store cannot give to its end does not look whole.
func TestMessageCutByTheStore(t *testing.T) {
	st := testStore(t)
	put(t, st, "broken", strings.Repeat(strings.Repeat("x", 98)+"\r\n", 10000))
	broken := &brokenStore{Store: st}
	broken.short.Store(100_000)
	c := login(t, testServer(t, &Server{Store: broken, Auth: testAuth{}, InsecureAuth: true}), "broken")
	c.say("RETR 2\r\nSTAT\r\n")
	c.hear("+OK 1000000 octets")
	b, err := io.ReadAll(c.r)
	require.NoError(t, err)
	require.Greater(t, len(b), 90_000)
	require.NotContains(t, string(b), "\r\n.\r\n")
	require.NotContains(t, string(b), "+OK")
}

// shortStore gives bodies that are shorter than they claim.
type shortStore struct{ store.Store }

func (s shortStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	acc, err := s.Store.Account(ctx, name, actor)
	return shortAccount{acc}, err
}

type shortAccount struct{ store.Account }

func (a shortAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return shortMailbox{mb}, err
}

type shortMailbox struct{ store.Mailbox }

func (m shortMailbox) Open(ctx context.Context, row store.Row) (store.Body, error) {
	if row.UID == 2 {
		panic("bug of the store")
	}
	b, err := m.Mailbox.Open(ctx, row)
	return shortBody{b}, err
}

type shortBody struct{ store.Body }

func (b shortBody) ReadAt(p []byte, off int64) (int, error) {
	return b.Body.ReadAt(p[:len(p)/2], off)
}

func TestMessageShorterThanItsSize(t *testing.T) {
	c := login(t, testServer(t, &Server{Store: shortStore{testStore(t)}, Auth: testAuth{}, InsecureAuth: true}), "anna")
	c.say("RETR 1\r\nNOOP\r\n")
	c.hear("-ERR [SYS/TEMP] ", "+OK ")
}

// A panic ends one session, and leaves neither lock nor memory behind.
func TestPanic(t *testing.T) {
	s := &Server{Store: shortStore{testStore(t)}, Auth: testAuth{}, InsecureAuth: true}
	l := testServer(t, s)
	c := login(t, l, "anna")
	c.say("DELE 1\r\nRETR 2\r\n")
	c.hear("+OK ")
	c.hearEOF()
	c = login(t, l, "anna")
	c.say("NOOP\r\nQUIT\r\n")
	c.hear("+OK ", "+OK ")
	c.hearEOF()
	require.Zero(t, s.shared.budget.Used())
}

// Without memory to share the server still serves.
func TestNoBudget(t *testing.T) {
	st := testStore(t)
	text := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 10000)
	put(t, st, "otto", text)
	s := &Server{Store: st, Auth: testAuth{}, InsecureAuth: true, MemoryBudget: 1}
	l := testServer(t, s)
	c := login(t, l, "otto")
	c.say("RETR 2\r\nDELE 2\r\nNOOP\r\n")
	c.hear("+OK 1000000 octets")
	b := make([]byte, len(text))
	_, err := io.ReadFull(c.r, b)
	require.NoError(t, err)
	require.Equal(t, text, string(b))
	c.hear(".", "-ERR [SYS/TEMP] Out of memory", "+OK ")
	c = newTalk(t, l)
	c.hear("+OK ")
	c.say("AUTH PLAIN\r\n" + strings.Repeat("A", 6000) + "\r\n")
	c.hear("+ ", "-ERR [SYS/TEMP] Out of memory")
	require.Zero(t, s.shared.budget.Used())
}

func TestBudgetIsGivenBack(t *testing.T) {
	s := &Server{}
	bubble(t, s, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		put(t, st, "otto", strings.Repeat("x\r\n", 100000))
		c := login(t, l, "otto")
		c.say("DELE 1\r\nRETR 2\r\n")
		c.hear("+OK ", "+OK ")
		synctest.Wait()
		require.EqualValues(t, 2*bulkSize+8, s.shared.budget.Used())
		c.hearUntil(".")
		synctest.Wait()
		require.EqualValues(t, 8, s.shared.budget.Used())
		require.NoError(t, c.Close())
		synctest.Wait()
		require.Zero(t, s.shared.budget.Used())
	})
}

func TestConnectionLimits(t *testing.T) {
	const all, address = "-ERR [SYS/TEMP] Too many connections, try again later", "-ERR [SYS/TEMP] Too many connections from your address"
	for want, servers := range map[string][]*Server{
		all:     {{MaxConns: 1}},
		address: {{MaxConnsPerAddr: 1}, {ConnRate: 1}},
	} {
		for _, s := range servers {
			s.Store, s.Auth = testStore(t), testAuth{}
			l := testServer(t, s)
			newTalk(t, l).hear("+OK ")
			c := newTalk(t, l)
			line, err := c.r.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, want+"\r\n", line)
			_, err = c.r.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		}
	}
}

// countingListener counts the writes of the server.
type countingListener struct {
	*memnet.Listener
	writes atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	return &countingConn{nc, l}, err
}

type countingConn struct {
	net.Conn
	l *countingListener
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.l.writes.Add(1)
	return c.Conn.Write(p)
}

// Replies to pipelined commands leave in one write (RFC 2449 §6.6).
func TestOneWriteForPipelinedCommands(t *testing.T) {
	st := testStore(t)
	s := &Server{Store: st, Auth: testAuth{}, InsecureAuth: true}
	l := &countingListener{Listener: memnet.Listen()}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	c := login(t, l.Listener, "anna")
	before := l.writes.Load()
	c.say(strings.Repeat("LIST 1\r\nUIDL 1\r\nRETR 1\r\n", 10) + "STAT\r\n")
	for range 10 {
		c.hear("+OK ", "+OK ", "+OK ")
		c.hearUntil(".")
	}
	c.hear("+OK ")
	require.EqualValues(t, 1, l.writes.Load()-before)
}

// bigStore has a huge mailbox whose bodies cannot be read.
type bigStore struct {
	store.Store
	n int
}

func (s bigStore) Account(_ context.Context, name, _ string) (store.Account, error) {
	return bigAccount{nil, s.n}, nil
}

type bigAccount struct {
	store.Account
	n int
}

func (a bigAccount) Mailbox(context.Context, string) (store.Mailbox, error) {
	rows := make([]store.Row, a.n)
	for i := range rows {
		rows[i] = store.Row{UID: store.UID(2*i + 1), Size: 1000}
	}
	return bigMailbox{nil, store.NewSnapshot(1, 7, store.UID(2*a.n+1), 1, nil, rows)}, nil
}

type bigMailbox struct {
	store.Mailbox // nil: everything else would panic
	snap          *store.Snapshot
}

func (m bigMailbox) Snapshot(context.Context) (*store.Snapshot, error) { return m.snap, nil }

// The lists come from the snapshot: bodies are not read for them.
func TestListsReadNoBodies(t *testing.T) {
	const n = 100_000
	c := login(t, testServer(t, &Server{Store: bigStore{n: n}, Auth: testAuth{}, InsecureAuth: true}), "anna")
	c.say("STAT\r\nLIST\r\nUIDL\r\nDELE 99999\r\nUIDL 100000\r\nLIST\r\n")
	c.hear("+OK 100000 100000000")
	for range 2 {
		c.hear("+OK 100000 messages (100000000 octets)")
		lines := 0
		for {
			line, err := c.r.ReadString('\n')
			require.NoError(t, err)
			if line == ".\r\n" {
				break
			}
			lines++
		}
		require.Equal(t, n, lines)
	}
	c.hear("+OK ", "+OK 100000 7.199999", "+OK 99999 messages (99999000 octets)")
	c.hearUntil("100000 1000")
	c.hear(".")
}

// Neither logs nor traces hold a password, whichever way it came.
func TestNoSecretsInLogs(t *testing.T) {
	var seen bytes.Buffer
	var mu sync.Mutex
	note := func(parts ...any) {
		mu.Lock()
		defer mu.Unlock()
		slog.New(slog.NewTextHandler(&seen, nil)).Info("trace", "parts", parts)
	}
	closed := make(chan struct{}, 10)
	trace := &Trace{
		Connect: func(p auth.Peer) { note("connect", p) },
		Command: func(p auth.Peer, verb, args string) { note("command", verb, args) },
		Reply:   func(p auth.Peer, verb string, ok bool, text string) { note("reply", verb, ok, text) },
		Login:   func(p auth.Peer, mech string, id *auth.Identity, err error) { note("login", mech, id, err) },
		Close:   func(p auth.Peer, deleted int, err error) { note("close", deleted, err); closed <- struct{}{} },
	}
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return seen.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := &Server{Store: testStore(t), Auth: testAuth{}, InsecureAuth: true, Logger: log, Trace: trace}
	l := testServer(t, s)
	plain := base64.StdEncoding.EncodeToString([]byte("\x00anna\x00" + password))
	for _, text := range []string{
		"USER anna\r\nPASS " + password + "\r\nDELE 1\r\nQUIT\r\n",
		"USER anna\r\nPASS wrong" + password + "\r\nQUIT\r\n",
		"AUTH PLAIN " + plain + "\r\nQUIT\r\n",
		"AUTH PLAIN\r\n" + plain + "\r\nQUIT\r\n",
		password + "\r\nPAS " + password + "\r\nQUIT\r\n",
	} {
		c := newTalk(t, l)
		c.say(text)
		_, err := io.ReadAll(c.r)
		require.NoError(t, err)
		<-closed
	}
	mu.Lock()
	defer mu.Unlock()
	out := seen.String()
	require.NotContains(t, strings.ToLower(out), "tanstaaf")
	require.NotContains(t, out, plain)
	for _, want := range []string{"connect", "[command USER anna]", "[command ? ]", "[command AUTH PLAIN]", "[login PLAIN ", "[reply DELE true Message 1 marked deleted]", "[close 1 <nil>]"} {
		require.Contains(t, out, want)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// scramAuth has anna's SCRAM keys beside her password.
type scramAuth struct{ testAuth }

func (scramAuth) SCRAMKeys(_ context.Context, _ auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	return sasl.DeriveSCRAMKeys(hash, strings.Repeat("p", 10), []byte("0123456789abcdef"), 4096)
}

func (scramAuth) Authorize(_ context.Context, _ auth.Request, authzid, user string) (*auth.Identity, error) {
	return &auth.Identity{Account: user, Login: user}, nil
}

// SCRAM ends with data of the server, which goes as one more challenge whose
// answer is empty (RFC 5034 §4). It needs no TLS.
func TestSCRAM(t *testing.T) {
	s := &Server{Store: testStore(t), Auth: scramAuth{}, Governor: &auth.Governor{Off: true}}
	l := testServer(t, s)
	for _, tt := range []struct{ password, last, want string }{
		{"pppppppppp", "", "+OK 5 messages"},
		{"wrong", "", "-ERR [AUTH] "},
		{"pppppppppp", "*", "-ERR Authentication cancelled"},
		{"pppppppppp", "AAAA", "-ERR Malformed authentication message"},
	} {
		client, err := sasl.NewSCRAMClient("SHA-256", "", "anna", tt.password)
		require.NoError(t, err)
		c := newTalk(t, l)
		c.hear("+OK ")
		_, first, err := client.Start()
		require.NoError(t, err)
		c.say("AUTH SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString(first) + "\r\n")
		challenge := func() []byte {
			line, err := c.r.ReadString('\n')
			require.NoError(t, err)
			b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(strings.TrimPrefix(line, "+ "), "\r\n"))
			require.NoError(t, err, line)
			return b
		}
		final, err := client.Next(challenge())
		require.NoError(t, err)
		c.say(base64.StdEncoding.EncodeToString(final) + "\r\n")
		if tt.password != "wrong" {
			_, err = client.Next(challenge())
			require.NoError(t, err, "the server's proof")
			c.say(tt.last + "\r\n")
		}
		c.hear(tt.want)
		c.say("QUIT\r\n")
	}
}

// Nothing below TLS 1.2, whatever the configuration says (RFC 8997).
func TestOldTLS(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	serverTLS.MinVersion = tls.VersionTLS10
	old := serverTLS.Clone()
	for name, cfg := range map[string]*tls.Config{
		"fixed":  serverTLS,
		"picked": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return old, nil }},
	} {
		l := testServer(t, &Server{Store: testStore(t), Auth: testAuth{}, TLSConfig: cfg, ImplicitTLS: true})
		for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true} {
			nc, err := l.Dial(t.Context())
			require.NoError(t, err)
			c := clientTLS.Clone()
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, version
			err = tls.Client(nc, c).Handshake()
			require.Equal(t, ok, err == nil, "%s %x: %v", name, version, err)
			nc.Close()
		}
	}
}

func TestServeErrors(t *testing.T) {
	require.ErrorContains(t, (&Server{ImplicitTLS: true}).Serve(memnet.Listen()), "ImplicitTLS without TLSConfig")
	require.Error(t, (&Server{Addr: "256.0.0.1:1"}).ListenAndServe())
	l := memnet.Listen()
	require.NoError(t, l.Close())
	require.ErrorIs(t, (&Server{}).Serve(l), net.ErrClosed)
}

func TestHandshakeThatFails(t *testing.T) {
	serverTLS, _ := testTLS(t)
	why := make(chan error, 1)
	s := &Server{Store: testStore(t), Auth: testAuth{}, TLSConfig: serverTLS, Trace: &Trace{Close: func(_ auth.Peer, _ int, err error) { why <- err }}}
	c := newTalk(t, testServer(t, s))
	c.say("STLS\r\n")
	c.hear("+OK ", "+OK Begin TLS")
	c.say("USER anna\r\nPASS x\r\n")
	b, err := io.ReadAll(c.r)
	require.True(t, err == nil || errors.Is(err, io.ErrClosedPipe), "%v", err)
	require.NotContains(t, string(b), "OK")
	require.ErrorIs(t, <-why, errHandshake)
}
