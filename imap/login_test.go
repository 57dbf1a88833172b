package imap_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
)

// prove runs a mechanism whose client speaks first, and returns the tagged
// answer.
func (c *client) prove(x gosasl.Client) string {
	c.t.Helper()
	mechanism, first, err := x.Start()
	require.NoError(c.t, err)
	c.send("s AUTHENTICATE " + mechanism + " " + base64.StdEncoding.EncodeToString(first) + "\r\n")
	l := c.line()
	for strings.HasPrefix(l, "+ ") {
		challenge, err := base64.StdEncoding.DecodeString(l[2:])
		require.NoError(c.t, err)
		answer, err := x.Next(challenge)
		require.NoError(c.t, err)
		c.send(base64.StdEncoding.EncodeToString(answer) + "\r\n")
		l = c.line()
	}
	return l
}

// record is a log that tests read.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// TestSecretsStaySecret: whatever a client does with a password, no log and no
// Trace has it.
func TestSecretsStaySecret(t *testing.T) {
	log := new(record)
	w := newWorld(t, func(s *imap.Server) {
		s.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 100}))
		s.MaxBadCommands = -1
		s.Trace = &imap.Trace{
			Connected:    func(p auth.Peer) { fmt.Fprintf(log, "%+v\n", p) },
			Disconnected: func(p auth.Peer) { fmt.Fprintf(log, "%+v\n", p) },
			Login:        func(p auth.Peer, id *auth.Identity, err error) { fmt.Fprintf(log, "%+v %+v %v\n", p, id, err) },
			Command:      func(p auth.Peer, c imap.CommandInfo) { fmt.Fprintf(log, "%+v %+v\n", p, c) },
		}
	})
	for _, script := range []string{
		"a LOGIN anna hunter2\r\n",
		"a LOGIN {4+}\r\nanna {7+}\r\nhunter2\r\n",
		"a LOGIN \"hunter2\" x\r\n",
		"LOGIN hunter2\r\n",
		"a hunter2 x\r\n",
		"hunter2 hunter2\r\n",
		"a UID hunter2\r\n",
		"a AUTHENTICATE PLAIN AGFubmEAaHVudGVyMg==\r\n",
		"a AUTHENTICATE LOGIN\r\nYW5uYQ==\r\naHVudGVyMg==\r\n",
		"a AUTHENTICATE hunter2\r\n",
		"a AUTHENTICATE PLAIN\r\nhunter2\r\n",
		"a AUTHENTICATE PLAIN AGFubmEAaHVudGVyMg=\r\n",
		"a LOGIN anna secret\r\nb hunter2 x\r\nc LOGIN anna hunter2\r\n",
		"a LOGIN anna hunter2\n",
	} {
		c := w.connect()
		c.send(script)
		require.NoError(t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
		_, err := io.ReadAll(c.r)
		require.NoError(t, err)
	}
	require.NoError(t, w.srv.Close())
	require.Contains(t, log.String(), "wrong user or password")
	for _, secret := range []string{"hunter2", "HUNTER2", "aHVudGVyMg", "AHVUDGVYMG", "secret"} {
		assert.NotContains(t, log.String(), secret)
	}
}

// TestGuessing: who guesses waits longer and longer, loses the connection, and is
// locked out on others; who owns the account and comes from where they have
// been before is not.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *imap.Server) { s.Governor = new(auth.Governor) })
		guess := func(n int) (last string) {
			c := w.connect()
			for i := range 5 {
				_, last = c.do(fmt.Sprintf("LOGIN anna guess%d", n+i))
			}
			require.Equal(t, "* BYE Too many failed logins", c.line())
			return last
		}
		start := time.Now()
		require.Equal(t, "NO [AUTHENTICATIONFAILED] Wrong user or password", guess(0))
		require.Greater(t, time.Since(start), time.Second)
		guess(5)
		require.Greater(t, time.Since(start), 30*time.Second)
		require.Equal(t, "NO [UNAVAILABLE] Too many failures, try again later", guess(10))
		_, end := w.connect().do("LOGIN anna secret")
		require.Equal(t, "NO [UNAVAILABLE] Too many failures, try again later", end)
		w.login("bob").ok("NOOP")
	})
}

// TestAuthenticateHoldsNothing: clients that do not answer a challenge keep
// nobody from logging in, and are let go in time.
func TestAuthenticateHoldsNothing(t *testing.T) {
	known := password.Memory()
	require.NoError(t, known.Add("anna", "correct horse"))
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *imap.Server) {
			s.Auth, s.Governor = known, &auth.Governor{MaxWaiting: 1}
		})
		var waiting []*client
		for range 50 {
			for _, cmd := range []string{"AUTHENTICATE PLAIN", "AUTHENTICATE LOGIN YW5uYQ==", "AUTHENTICATE SCRAM-SHA-256 biwsbj1hbm5hLHI9YWJjZGVmZ2g="} {
				c := w.connect()
				c.send("a " + cmd + "\r\n")
				require.Contains(t, c.line(), "+ ")
				waiting = append(waiting, c)
			}
		}
		c := w.connect()
		c.ok(`LOGIN anna "correct horse"`)
		require.Zero(t, w.srv.BudgetUsed())
		start := time.Now()
		for _, c := range waiting {
			require.Equal(t, "* BYE Login took too long", c.line())
		}
		require.LessOrEqual(t, time.Since(start), 2*time.Minute)
	})
}
