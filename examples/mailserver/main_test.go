package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// start runs the server on free ports until the test ends and returns what it
// prints.
func start(t *testing.T, args ...string) (c *config, printed func() string, stop func()) {
	t.Helper()
	for _, l := range listeners {
		args = append([]string{"-" + l.name, "127.0.0.1:0"}, args...)
	}
	c, rest, err := parseFlags(args)
	require.NoError(t, err)
	require.Empty(t, rest)
	ctx, cancel := context.WithCancel(context.Background())
	out := &buffer{ready: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c, slog.New(slog.DiscardHandler), out) }()
	select {
	case <-out.ready:
	case err := <-done:
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return c, out.String, stop
}

// buffer tells when the usage has been printed.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	ready chan struct{}
	once  sync.Once
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Contains(string(p), "read:") {
		defer b.once.Do(func() { close(b.ready) })
	}
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func send(t *testing.T, addr, user, password, from, to string) error {
	t.Helper()
	c, err := smtp.Dial(t.Context(), addr, &smtp.ClientConfig{
		TLS: smtp.TLSPolicy{Mode: smtp.TLSRequired}, InsecureAuth: true, Auth: sasl.NewPlainClient("", user, password),
	})
	if err != nil {
		return err
	}
	defer c.Close()
	sender, err := smtp.ParseAddress(from)
	require.NoError(t, err)
	rcpt, err := smtp.ParseAddress(to)
	require.NoError(t, err)
	_, err = c.Send(t.Context(), &smtp.Envelope{From: sender, To: smtp.To(rcpt)},
		strings.NewReader(fmt.Sprintf("From: <%s>\r\nSubject: hello\r\n\r\nIt works.\r\n", from)))
	return err
}

// fetch reads the first message of INBOX.
func fetch(t *testing.T, addr, user, password string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	fmt.Fprintf(c, "a LOGIN %s %s\r\nb SELECT INBOX\r\nc FETCH 1 BODY[]\r\nd LOGOUT\r\n", user, password)
	b, err := io.ReadAll(c)
	require.NoError(t, err)
	return string(b)
}

func TestMailServer(t *testing.T) {
	for _, kind := range []string{"sqlite", "memory"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"-data", dir, "-store", kind, "-domain", "one.test", "-domain", "two.test", "-user", "alice:apple", "-user", "bob@two.test:banana"}
			c, printed, stop := start(t, args...)
			assert.Contains(t, printed(), "alice@one.test:apple")
			require.NoError(t, send(t, *c.addrs["submission"], "alice", "apple", "alice@one.test", "bob@two.test"))
			require.Error(t, send(t, *c.addrs["submission"], "alice", "apple", "bob@two.test", "bob@two.test"), "nobody sends as somebody else")
			require.Error(t, send(t, *c.addrs["submission"], "alice", "wrong", "alice@one.test", "bob@two.test"))
			got := fetch(t, *c.addrs["imaps"], "bob@two.test", "banana")
			assert.Contains(t, got, "DKIM-Signature:")
			assert.Contains(t, got, "\r\n\r\nIt works.\r\n")
			stop()
			if kind == "memory" {
				return
			}
			// Users, mail and keys are there again without being named.
			c, printed, _ = start(t, "-data", dir, "-domain", "one.test", "-domain", "two.test")
			assert.NotContains(t, printed(), "password ")
			assert.Contains(t, fetch(t, *c.addrs["imaps"], "bob@two.test", "banana"), "\r\n\r\nIt works.\r\n")
		})
	}
}

func TestDemoUsers(t *testing.T) {
	c, printed, _ := start(t, "-data", t.TempDir())
	m := regexp.MustCompile(`user (alice@posta\.test), password (\S+)`).FindStringSubmatch(printed())
	require.NotNil(t, m, printed())
	require.NoError(t, send(t, *c.addrs["submission"], m[1], m[2], m[1], "bob@posta.test"))
}

func TestUsersCommand(t *testing.T) {
	c, _, err := parseFlags([]string{"-data", t.TempDir(), "-domain", "one.test"})
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, changeUsers(c, []string{"set", "carol"}, strings.NewReader("cherry\n"), &out))
	require.NoError(t, changeUsers(c, []string{"list"}, nil, &out))
	require.Equal(t, "carol@one.test\n", out.String())
	require.NoError(t, changeUsers(c, []string{"remove", "carol"}, nil, &out))
	require.Error(t, changeUsers(c, []string{"remove", "carol"}, nil, &out))
	require.Error(t, changeUsers(c, []string{"frobnicate"}, nil, &out))
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{{"-store", "tape"}, {"-user", "nopassword"}, {"-cert", "/nowhere", "-key", "/nowhere"}} {
		c, _, err := parseFlags(append([]string{"-data", t.TempDir()}, args...))
		require.NoError(t, err)
		for _, addr := range c.addrs {
			*addr = "127.0.0.1:0"
		}
		require.Error(t, serve(context.Background(), c, slog.New(slog.DiscardHandler), io.Discard), args)
	}
	_, _, err := parseFlags([]string{"-mx-port", "0"})
	require.Error(t, err)
}
