package pop3

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// benchServer serves an account with n messages of the given size over
// loopback.
func benchServer(b *testing.B, n, size int) string {
	b.Helper()
	st := memory.New()
	b.Cleanup(func() { _ = st.Close() })
	require.NoError(b, st.CreateAccount(b.Context(), "anna"))
	line := strings.Repeat("x", 74) + "\r\n"
	staged, err := st.Stage(b.Context(), strings.NewReader("Subject: x\r\n\r\n"+strings.Repeat(line, size/len(line))))
	require.NoError(b, err)
	defer staged.Discard()
	targets := make([]store.Target, n)
	for i := range targets {
		targets[i] = store.Target{Account: "anna", Mailbox: store.Inbox, Body: staged}
	}
	for _, p := range st.Place(b.Context(), targets) {
		require.NoError(b, p.Err)
	}
	s := &Server{Store: st, Auth: testAuth{}, InsecureAuth: true, Governor: &auth.Governor{Off: true}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

type benchClient struct {
	net.Conn
	r *bufio.Reader
}

func benchLogin(b *testing.B, addr string) *benchClient {
	b.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	c := &benchClient{nc, bufio.NewReaderSize(nc, 64<<10)}
	c.cmd(b, "", false)
	c.cmd(b, "USER anna", false)
	c.cmd(b, "PASS "+password, false)
	return c
}

// cmd says one command and reads its answer, and how long that is.
func (c *benchClient) cmd(b *testing.B, line string, multi bool) int {
	b.Helper()
	if line != "" {
		if _, err := io.WriteString(c, line+"\r\n"); err != nil {
			b.Fatal(err)
		}
	}
	total := 0
	for first := true; ; first = false {
		got, err := c.r.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		total += len(got)
		if first && got[0] != '+' {
			b.Fatalf("%q", got)
		}
		if !multi || bytes.Equal(got, []byte(".\r\n")) {
			return total
		}
	}
}

// What a client that leaves mail on the server does each time.
func BenchmarkLoginUIDL(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			addr := benchServer(b, n, 100)
			b.ReportAllocs()
			for b.Loop() {
				c := benchLogin(b, addr)
				c.cmd(b, "UIDL", true)
				c.cmd(b, "QUIT", false)
				_ = c.Close()
			}
		})
	}
}

func BenchmarkRETR(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := benchLogin(b, benchServer(b, 1, size))
			defer c.Close()
			b.ReportAllocs()
			total := 0
			for b.Loop() {
				total += c.cmd(b, "RETR 1", true)
			}
			b.SetBytes(int64(total / b.N))
		})
	}
}

// BenchmarkIdle tells the memory of a connection that has logged in.
func BenchmarkIdle(b *testing.B) {
	st := memory.New()
	b.Cleanup(func() { _ = st.Close() })
	const n = 1000
	a := namedAuth{}
	for i := range n {
		require.NoError(b, st.CreateAccount(b.Context(), fmt.Sprint(i)))
	}
	for b.Loop() {
		s := &Server{Store: st, Auth: a, InsecureAuth: true, MaxConnsPerAddr: -1, Governor: &auth.Governor{Off: true}}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		go func() { _ = s.Serve(l) }()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var conns []net.Conn
		buf := make([]byte, 256)
		for i := range n {
			nc, err := net.Dial("tcp", l.Addr().String())
			require.NoError(b, err)
			_, _ = fmt.Fprintf(nc, "USER %d\r\nPASS x\r\n", i)
			for got := ""; !strings.Contains(got, "octets)\r\n"); {
				n, err := nc.Read(buf)
				require.NoError(b, err)
				got += string(buf[:n])
			}
			conns = append(conns, nc)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		used := after.HeapAlloc + after.StackInuse - before.HeapAlloc - before.StackInuse
		b.ReportMetric(float64(used)/n, "B/conn")
		for _, nc := range conns {
			_ = nc.Close()
		}
		_ = s.Close()
	}
}

type namedAuth struct{}

func (namedAuth) Password(_ context.Context, _ auth.Request, _, user, _ string) (*auth.Identity, error) {
	return &auth.Identity{Account: user, Login: user}, nil
}
