package imap_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// gigabyte files a GiB of messages of 4 MiB, whose octets are there once.
func gigabyte(t testing.TB, st store.Store) {
	ctx := context.Background()
	staged, err := st.Stage(ctx, io.MultiReader(strings.NewReader("Subject: large\r\n\r\n"), strings.NewReader(strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 4<<20/34))))
	require.NoError(t, err)
	defer staged.Discard()
	targets := make([]store.Target, 256)
	for i := range targets {
		targets[i] = store.Target{Account: "anna", Mailbox: store.Inbox, Body: staged, Date: time.Unix(1_790_000_000, 0)}
	}
	for _, p := range st.Place(ctx, targets) {
		require.NoError(t, p.Err)
	}
}

// A client that stops reading costs no more than one buffer and holds nobody up;
// WriteTimeout ends it.
func TestStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *imap.Server) { s.WriteTimeout = time.Minute })
		gigabyte(t, w.st)
		stuck, c := w.login("anna"), w.login("anna")
		stuck.ok("SELECT INBOX")
		c.ok("SELECT INBOX")
		c.ok("NOOP")
		time.Sleep(time.Second)
		before := heapInUse()
		begin := time.Now()
		stuck.send("a FETCH 1:* BODY.PEEK[]\r\n")
		synctest.Wait()
		require.Less(t, heapInUse()-before, 1<<20, "more than a buffer, and what the connection itself holds")
		for range 10 {
			c.ok("STORE 1:* +FLAGS (\\Seen)")
			c.ok("STORE 1 +FLAGS (\\Deleted)")
			c.ok("EXPUNGE")
		}
		require.Zero(t, time.Since(begin))
		time.Sleep(time.Minute)
		synctest.Wait()
		_, err := io.Copy(io.Discard, stuck)
		require.NoError(t, err, "closed")
		require.Equal(t, time.Minute, time.Since(begin))
	})
}

func heapInUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// BenchmarkBesideStuckClient is how long others wait for a command while a
// client has stopped reading the answer to a FETCH of 1 GiB, and without it.
func BenchmarkBesideStuckClient(b *testing.B) {
	st := memory.New()
	require.NoError(b, st.CreateAccount(context.Background(), "anna"))
	gigabyte(b, st)
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	dial := func(b *testing.B) *benchClient {
		nc, err := net.Dial("tcp", l.Addr().String())
		require.NoError(b, err)
		b.Cleanup(func() { _ = nc.Close() })
		c := &benchClient{b: b, c: nc, buf: make([]byte, 1<<20)}
		c.run("LOGIN anna secret")
		c.run("SELECT INBOX")
		return c
	}
	for _, stuck := range []bool{false, true} {
		name := "without"
		if stuck {
			name = "with"
		}
		b.Run(name, func(b *testing.B) {
			c := dial(b)
			if stuck {
				s := dial(b)
				_, err := io.WriteString(s.c, "a FETCH 1:* BODY.PEEK[]\r\n")
				require.NoError(b, err)
				_, err = io.CopyN(io.Discard, s.c, 16<<20) // it goes, and from now on it does not
				require.NoError(b, err)
			}
			for b.Loop() {
				c.run("STORE 100 +FLAGS (\\Seen)")
				c.run("STORE 100 -FLAGS (\\Seen)")
				c.run("FETCH 1:10 (FLAGS ENVELOPE)")
			}
		})
	}
}
