package imap_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/sqlite"
)

// idle begins IDLE.
func (c *client) idle() {
	c.t.Helper()
	c.send("idle IDLE\r\n")
	require.Equal(c.t, "+ idling", c.line())
}

// IDLE is bounded by IdleTimeout, however much happens meanwhile, and what
// happens is told at once at any time.
func TestIdleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *imap.Server) { s.IdleTimeout, s.KeepAlive = 30*time.Minute, -1 })
		c := w.login("anna")
		c.ok("SELECT INBOX")
		begin := time.Now()
		c.idle()
		for i := range 10 {
			time.Sleep(time.Duration(i) * 30 * time.Second)
			w.deliver("anna", store.Inbox, simple(i+1), w.since)
			at := time.Now()
			require.Contains(t, c.line(), " EXISTS")
			require.Equal(t, at, time.Now())
		}
		require.Equal(t, "* BYE Idle for too long", c.line())
		require.Equal(t, 30*time.Minute, time.Since(begin))
		_, err := c.r.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	})
}

// A client in IDLE, or with NOTIFY, hears of the server every few minutes, whether
// it is awake or at rest and whether it can be waited for or not, and is as
// bounded as without; others hear nothing.
func TestKeepAlive(t *testing.T) {
	for _, what := range []string{"IDLE", "NOTIFY", "compressed", "nothing"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s *imap.Server) { s.IdleTimeout = 30 * time.Minute })
				c := w.login("anna")
				c.ok("SELECT INBOX")
				begin := time.Now()
				switch what {
				case "IDLE":
					c.idle()
				case "NOTIFY":
					c.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
				case "compressed":
					c.compress()
					c.idle()
				case "nothing":
					require.Equal(t, "* BYE Idle for too long", c.line())
					require.Equal(t, 30*time.Minute, time.Since(begin))
					return
				}
				for i := range 3 {
					require.Equal(t, "* OK Still here", c.line())
					require.Equal(t, time.Duration(i+1)*4*time.Minute, time.Since(begin))
				}
				time.Sleep(3 * time.Minute)
				w.deliver("anna", store.Inbox, simple(1), w.since)
				require.Equal(t, "* 1 EXISTS", c.line())
				if what == "NOTIFY" {
					c.ok("NOOP")
					begin = begin.Add(15 * time.Minute)
				}
				last := time.Now()
				for c.line() == "* OK Still here" {
					last = last.Add(4 * time.Minute)
					require.Equal(t, last, time.Now(), "counted from what was told last")
				}
				require.Equal(t, 30*time.Minute, time.Since(begin), "BYE")
			})
		})
	}
}

// A command that comes octet by octet has the same time as one that does not come.
func TestIdleTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *imap.Server) { s.IdleTimeout = 30 * time.Minute })
		c := w.login("anna")
		begin := time.Now()
		go func() {
			for range 5 {
				_, _ = io.WriteString(c, "a")
				time.Sleep(8 * time.Minute)
			}
		}()
		require.Equal(t, "* BYE Idle for too long", c.line())
		require.Equal(t, 30*time.Minute, time.Since(begin))
		time.Sleep(time.Hour)
	})
}

// A shutdown ends IDLE and other waits at once, awake or at rest.
func TestIdleShutdown(t *testing.T) {
	for name, rest := range map[string]time.Duration{"awake": time.Millisecond, "at rest": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				in, out := w.login("anna"), w.login("anna")
				in.ok("SELECT INBOX")
				in.idle()
				time.Sleep(rest)
				begin := time.Now()
				require.NoError(t, w.srv.Shutdown(t.Context()))
				require.Zero(t, time.Since(begin))
				for _, c := range []*client{in, out} {
					require.Equal(t, "* BYE [UNAVAILABLE] Shutting down", c.line())
				}
			})
		})
	}
}

// goroutines counts those that serve connections, those that work for them, and
// those that wake them.
func goroutines() (serve, work, wake int) {
	b := make([]byte, 4<<20)
	stacks := string(b[:runtime.Stack(b, true)])
	return strings.Count(stacks, "imap.(*Server).handle("), strings.Count(stacks, "imap.(*session).work("), strings.Count(stacks, "imap.(*hub).wake(")
}

// Sessions at rest have one goroutine each, those in IDLE share one more, and
// all are gone when the clients are.
func TestIdleGoroutines(t *testing.T) {
	none := func() bool { serve, work, wake := goroutines(); return serve+work+wake == 0 }
	require.Eventually(t, none, 10*time.Second, time.Millisecond, "of other tests")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		const n = 20
		resting := func(serve, wake int) {
			synctest.Wait()
			s, work, h := goroutines()
			require.Equal(t, []int{serve, 0, wake}, []int{s, work, h})
		}
		var all []*client
		for range n {
			c := w.login("anna")
			c.ok("SELECT INBOX")
			c.idle()
			all = append(all, c)
		}
		time.Sleep(time.Second)
		resting(n, 1)
		for range 3 {
			w.deliver("anna", store.Inbox, simple(1), w.since)
		}
		resting(n, 1)
		for i, c := range all {
			if i%2 == 0 {
				_ = c.Close()
				continue
			}
			c.send("DONE\r\n")
			c.until("idle")
			c.ok("LOGOUT")
		}
		resting(0, 0)
	})
}

// No change is lost between looking and waiting, nor what the client says
// meanwhile.
func TestIdleLosesNothing(t *testing.T) {
	w := newWorld(t, nil)
	const rounds = 300
	c := w.login("anna")
	c.ok("SELECT INBOX")
	var delivered sync.WaitGroup
	for i := range rounds {
		delivered.Go(func() { w.deliver("anna", store.Inbox, simple(i), w.since) })
		c.idle()
		for seen := false; !seen; {
			seen = strings.HasSuffix(c.line(), " EXISTS")
		}
		delivered.Wait()
		c.send("DONE\r\n")
		_, end := c.until("idle")
		require.Equal(t, "OK IDLE completed", end)
	}
	require.Equal(t, []string{"* SEARCH 300"}, c.ok("SEARCH 300"))
}

// BenchmarkIdleDelivery is how long it takes until a message that is delivered
// has been told to all of 5,000 sessions in IDLE on the mailbox.
func BenchmarkIdleDelivery(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchIdleDelivery(b, memory.New()) })
	b.Run("sqlite", func(b *testing.B) {
		st, err := sqlite.Open(b.TempDir())
		require.NoError(b, err)
		defer st.Close()
		benchIdleDelivery(b, st)
	})
}

func benchIdleDelivery(b *testing.B, st store.Store) {
	const conns = 5000
	require.NoError(b, st.CreateAccount(context.Background(), "anna"))
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true, MaxConnsPerAccount: -1, MaxConnsPerAddr: -1}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	told, before := make(chan struct{}, conns), runtime.NumGoroutine()
	for range conns {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(b, err)
		defer nc.Close()
		r := bufio.NewReaderSize(nc, 512)
		_, err = io.WriteString(nc, "a LOGIN anna secret\r\nb SELECT INBOX\r\nc IDLE\r\n")
		require.NoError(b, err)
		for line := []byte(nil); !bytes.HasPrefix(line, []byte("+ ")); {
			line, err = r.ReadSlice('\n')
			for err == bufio.ErrBufferFull {
				_, err = r.ReadSlice('\n')
			}
			require.NoError(b, err)
		}
		go func() {
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if bytes.HasSuffix(line, []byte(" EXISTS\r\n")) {
					told <- struct{}{}
				}
			}
		}()
	}
	for runtime.NumGoroutine() > before+2*conns+1 { // some have not gone to rest yet
		time.Sleep(time.Millisecond)
	}
	w := &world{t: b, st: st}
	for b.Loop() {
		w.deliver("anna", store.Inbox, simple(1), time.Unix(1_790_000_000, 0))
		for range conns {
			<-told
		}
	}
}
