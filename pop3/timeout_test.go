package pop3

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

var allFive = []store.UID{1, 2, 3, 4, 5}

// RFC 1939 §3: no response, and nothing is removed.
func TestIdleClient(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		c := login(t, l, "anna")
		c.say("DELE 1\r\n")
		c.hear("+OK ")
		start := time.Now()
		c.hearEOF()
		require.Equal(t, 10*time.Minute, time.Since(start))
		require.Equal(t, allFive, uids(t, st, "anna"))
		login(t, l, "anna") // the lock is free
	})
}

// The wait is for a whole line: one octet a minute does not prolong it.
func TestOctetAMinute(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, _ *memory.Store) {
		c := login(t, l, "anna")
		start := time.Now()
		go func() {
			for range 20 {
				if _, err := c.Write([]byte("N")); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}()
		c.hearEOF()
		require.Equal(t, 10*time.Minute, time.Since(start))
		time.Sleep(time.Minute) // until the writer has noticed
	})
}

func TestSlowButAlive(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, _ *memory.Store) {
		c := login(t, l, "anna")
		for range 20 {
			time.Sleep(9 * time.Minute)
			c.say("NOOP\r\n")
			c.hear("+OK ")
		}
	})
}

// Who never logs in is sent away, however busy.
func TestLoginHasAnEnd(t *testing.T) {
	bubble(t, &Server{LoginTimeout: 3 * time.Minute}, func(t *testing.T, l *memnet.Listener, _ *memory.Store) {
		c := newTalk(t, l)
		c.hear("+OK ")
		start := time.Now()
		for range 3 {
			c.say("CAPA\r\n")
			c.hearUntil(".")
			time.Sleep(50 * time.Second)
		}
		c.say("AUTH PLAIN\r\n")
		c.hear("+ ")
		c.hearEOF()
		require.Equal(t, 3*time.Minute, time.Since(start))
		// After login the limit is gone.
		c = login(t, l, "anna")
		time.Sleep(5 * time.Minute)
		c.say("NOOP\r\n")
		c.hear("+OK ")
	})
}

func TestNoLimits(t *testing.T) {
	bubble(t, &Server{IdleTimeout: -1, LoginTimeout: -1, MaxBadCommands: -1, MaxAuthFailures: -1}, func(t *testing.T, l *memnet.Listener, _ *memory.Store) {
		c := newTalk(t, l)
		c.hear("+OK ")
		time.Sleep(100 * time.Hour)
		for range 50 {
			c.say("X\r\nAUTH X\r\n")
			c.hear("-ERR Unknown", "-ERR Mech")
		}
		c.say("USER anna\r\nPASS " + password + "\r\n")
		c.hear("+OK ", "+OK ")
		time.Sleep(100 * time.Hour)
		c.say("QUIT\r\n")
		c.hear("+OK Bye")
	})
}

func TestClientThatDoesNotRead(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		put(t, st, "otto", strings.Repeat(strings.Repeat("x", 98)+"\r\n", 50000))
		c := login(t, l, "otto")
		c.say("DELE 1\r\nRETR 2\r\nQUIT\r\n")
		time.Sleep(12 * time.Minute) // a write may take an eighth more than its time
		synctest.Wait()
		require.Equal(t, []store.UID{1, 2}, uids(t, st, "otto"))
		login(t, l, "otto")
		_, _ = io.Copy(io.Discard, c)
	})
}

func TestDroppedConnection(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		c := login(t, l, "anna")
		c.say("DELE 1\r\nDELE 2\r\n")
		c.hear("+OK ", "+OK ")
		require.NoError(t, c.Close())
		synctest.Wait()
		require.Equal(t, allFive, uids(t, st, "anna"))
		c = login(t, l, "anna")
		c.say("DELE 1\r\nQUI") // not even half a QUIT
		c.hear("+OK ")
		require.NoError(t, c.Close())
		synctest.Wait()
		require.Equal(t, allFive, uids(t, st, "anna"))
	})
}

func TestShutdown(t *testing.T) {
	s := &Server{}
	bubble(t, s, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		put(t, st, "otto", strings.Repeat(strings.Repeat("x", 98)+"\r\n", 50000))
		guest, idle, asked := newTalk(t, l), login(t, l, "anna"), newTalk(t, l)
		guest.hear("+OK ")
		idle.say("DELE 1\r\n")
		idle.hear("+OK ")
		asked.hear("+OK ")
		asked.say("AUTH PLAIN\r\n")
		asked.hear("+ ")
		busy := login(t, l, "otto")
		busy.say("DELE 1\r\nRETR 2\r\n")
		busy.hear("+OK ", "+OK 5000000 octets")
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		for _, c := range []*talk{guest, idle, asked} {
			c.hear("-ERR [SYS/TEMP] Server is shutting down")
			c.hearEOF()
		}
		synctest.Wait()
		_, err := l.Dial(t.Context())
		require.Error(t, err)
		select {
		case <-done:
			t.Fatal("Shutdown did not wait for the message")
		default:
		}
		busy.hearUntil(".")
		busy.hear("-ERR [SYS/TEMP] Server is shutting down")
		busy.hearEOF()
		require.NoError(t, <-done)
		require.Equal(t, allFive, uids(t, st, "anna"))
		require.Equal(t, []store.UID{1, 2}, uids(t, st, "otto"))
		require.ErrorIs(t, s.Serve(memnet.Listen()), ErrServerClosed)
	})
}

func TestShutdownByForce(t *testing.T) {
	s := &Server{}
	bubble(t, s, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		put(t, st, "otto", strings.Repeat(strings.Repeat("x", 98)+"\r\n", 50000))
		c := login(t, l, "otto")
		c.say("DELE 1\r\nRETR 2\r\n")
		c.hear("+OK ", "+OK 5000000 octets")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		b, err := io.ReadAll(c.r)
		require.NoError(t, err)
		require.False(t, strings.HasSuffix(string(b), "\r\n.\r\n"), "a cut message must not look whole")
		synctest.Wait()
		require.Equal(t, []store.UID{1, 2}, uids(t, st, "otto"))
	})
}
