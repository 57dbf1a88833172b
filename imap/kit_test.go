package imap_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// users knows anna and bob by the password "secret", carol, who belongs to the
// group staff, team, and ghost, who has no account. Down makes the back end unavailable.
type users struct{}

func (users) Password(_ context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	switch {
	case user == "down":
		return nil, auth.ErrUnavailable
	case password != "secret" || !slices.Contains([]string{"anna", "bob", "carol", "team", "ghost"}, user):
		return nil, auth.ErrCredentials
	case authzid != "" && authzid != user:
		return nil, auth.ErrForbidden
	}
	id := &auth.Identity{Account: user, Login: user}
	if user == "carol" {
		id.Groups = []string{"staff"}
	}
	return id, nil
}

var certificates = sync.OnceValues(func() (*testcert.Authority, tls.Certificate) {
	a, err := testcert.NewAuthority()
	if err != nil {
		panic(err)
	}
	c, err := a.Issue("mail.test")
	if err != nil {
		panic(err)
	}
	return a, c
})

// world is a server over a store in memory.
type world struct {
	t     testing.TB
	st    store.Store
	srv   *imap.Server
	l     *memnet.Listener
	since time.Time // internal date of the first message
}

// newWorld makes a store with the accounts anna and bob. change may be nil.
func newWorld(t testing.TB, change func(*imap.Server)) *world {
	t.Helper()
	return newWorldOver(t, memory.New(), change)
}

// newWorldOver is newWorld over a store that the test has made.
func newWorldOver(t testing.TB, st store.Store, change func(*imap.Server)) *world {
	t.Helper()
	w := &world{t: t, st: st, l: memnet.Listen(), since: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)}
	for _, name := range []string{"anna", "bob"} {
		require.NoError(t, w.st.CreateAccount(context.Background(), name))
	}
	w.srv = &imap.Server{Store: w.st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true}
	if change != nil {
		change(w.srv)
	}
	served := make(chan error, 1)
	srv, l := w.srv, w.l
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, w.srv.Close())
		require.ErrorIs(t, <-served, imap.ErrServerClosed)
		require.NoError(t, w.st.Close())
	})
	return w
}

// deliver places a message.
func (w *world) deliver(account, mailbox, text string, date time.Time, flags ...store.Flag) store.Placed {
	w.t.Helper()
	ctx := context.Background()
	staged, err := w.st.Stage(ctx, strings.NewReader(text))
	require.NoError(w.t, err)
	defer staged.Discard()
	p := w.st.Place(ctx, []store.Target{{Account: account, Mailbox: mailbox, Body: staged, Date: date, Flags: flags}})[0]
	require.NoError(w.t, p.Err)
	return p
}

// simple is the n-th of a row of small messages.
func simple(n int) string {
	return fmt.Sprintf("From: Sender %d <s%d@peer.test>\r\nTo: anna@posta.test\r\nSubject: message %d\r\n"+
		"Date: Mon, 02 Nov 2026 10:%02d:00 +0000\r\nMessage-ID: <m%d@peer.test>\r\n\r\nbody %d\r\n", n, n, n, n%60, n, n)
}

func (w *world) fill(account, mailbox string, n int) {
	for i := 1; i <= n; i++ {
		w.deliver(account, mailbox, simple(i), w.since.Add(time.Duration(i)*time.Minute))
	}
}

func (w *world) dial(ctx context.Context) (net.Conn, error) { return w.l.Dial(ctx) }

// client is one connection driven by a test.
type client struct {
	t testing.TB
	net.Conn
	r   *bufio.Reader
	tag int
}

// connect opens a connection and reads the greeting.
func (w *world) connect() *client {
	w.t.Helper()
	c, err := w.dial(context.Background())
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	cl := &client{t: w.t, Conn: c, r: bufio.NewReaderSize(c, 64<<10)}
	require.Contains(w.t, cl.line(), "* OK [CAPABILITY IMAP4rev1 ")
	return cl
}

// login opens a connection for a user.
func (w *world) login(user string) *client {
	w.t.Helper()
	c := w.connect()
	c.ok("LOGIN " + user + " secret")
	return c
}

func (c *client) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	require.NoError(c.t, err, "read so far: %q", s)
	return strings.TrimSuffix(s, "\r\n")
}

func (c *client) send(s string) {
	c.t.Helper()
	_, err := io.WriteString(c, s)
	require.NoError(c.t, err)
}

// do sends a command and returns the untagged lines and the tagged one without
// its tag. Literals stay in the line, behind "{n}\r\n".
func (c *client) do(cmd string) (lines []string, end string) {
	c.t.Helper()
	c.tag++
	tag := "t" + strconv.Itoa(c.tag)
	c.send(tag + " " + cmd + "\r\n")
	return c.until(tag)
}

func (c *client) until(tag string) (lines []string, end string) {
	c.t.Helper()
	for {
		l := c.response()
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			return lines, rest
		}
		lines = append(lines, l)
	}
}

// response reads one response with its literals.
func (c *client) response() string {
	c.t.Helper()
	l := c.line()
	for strings.HasSuffix(l, "}") {
		i := strings.LastIndexByte(l, '{')
		n, err := strconv.Atoi(l[i+1 : len(l)-1])
		if err != nil {
			break
		}
		b := make([]byte, n)
		_, err = io.ReadFull(c.r, b)
		require.NoError(c.t, err)
		l += "\r\n" + string(b) + c.line()
	}
	return l
}

// ok expects a command to succeed.
func (c *client) ok(cmd string) []string {
	c.t.Helper()
	lines, end := c.do(cmd)
	require.True(c.t, strings.HasPrefix(end, "OK "), "%s: %s", cmd, end)
	return lines
}

// setting reads "#: words" at the top of a dialogue: what its server is like.
func settings(t testing.TB, name string) map[string]string {
	b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	require.NoError(t, err)
	set := map[string]string{}
	for line := range strings.Lines(string(b)) {
		words, ok := strings.CutPrefix(line, "#:")
		if !ok {
			continue
		}
		for _, f := range strings.Fields(words) {
			k, v, _ := strings.Cut(f, "=")
			set[k] = v
		}
	}
	return set
}
