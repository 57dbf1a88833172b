//go:build unix

package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkIdle is what a connection costs that has said EHLO and now waits:
// heap and stacks in use after a collection, at 5,000 connections. The clients
// are bare descriptors, so that only the server's memory is counted. Run it with
// -benchtime 1x.
func BenchmarkIdle(b *testing.B) {
	const conns = 5000
	b.Run("plain", func(b *testing.B) { benchIdle(b, conns, false) })
	b.Run("tls", func(b *testing.B) { benchIdle(b, conns, true) })
}

func benchIdle(b *testing.B, conns int, encrypted bool) {
	serverTLS, clientTLS := testTLS(b)
	s := &Server{Hostname: "mx.example.org", Handler: nullHandler{}, TLSConfig: serverTLS, MaxConns: -1, MaxConnsPerAddr: -1}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = s.Serve(l) }()
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
		_ = s.Shutdown(context.Background()) // when all are gone, for the next one's sake
	}()
	for b.Loop() {
		heap, stacks := inUse()
		goroutines := runtime.NumGoroutine()
		for range conns {
			fds = append(fds, idleClient(b, l.Addr().String(), encrypted, clientTLS))
		}
		for runtime.NumGoroutine() > goroutines+conns { // some are awake
			time.Sleep(10 * time.Millisecond)
		}
		moreHeap, moreStacks := inUse()
		moreHeap, moreStacks = moreHeap-heap, moreStacks-stacks
		b.ReportMetric(moreHeap/float64(conns), "heap-B/conn")
		b.ReportMetric(moreStacks/float64(conns), "stack-B/conn")
		b.ReportMetric((moreHeap+moreStacks)/float64(conns), "B/conn")
		if b.N > 1 {
			b.Fatal("run with -benchtime 1x")
		}
	}
}

// inUse is the memory in use after a collection.
func inUse() (heap, stacks float64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse), float64(m.StackInuse)
}

// idleClient says EHLO and returns the descriptor, without anything that Go
// keeps for a connection.
func idleClient(b *testing.B, addr string, encrypted bool, cfg *tls.Config) int {
	nc, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	require.NoError(b, err)
	var fd int
	require.NoError(b, raw.Control(func(f uintptr) { fd, err = syscall.Dup(int(f)) }))
	require.NoError(b, err)
	r := bufio.NewReader(nc)
	takeReply(b, r)
	say := func(w io.Writer, line string) {
		_, err := io.WriteString(w, line)
		require.NoError(b, err)
		takeReply(b, r)
	}
	say(nc, "EHLO client.example.com\r\n")
	if encrypted {
		say(nc, "STARTTLS\r\n")
		t := tls.Client(nc, cfg)
		require.NoError(b, t.Handshake())
		r.Reset(t)
		say(t, "EHLO client.example.com\r\n")
	}
	return fd
}
