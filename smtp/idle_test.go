//go:build unix

package smtp

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkIdle is what a connection costs that has said EHLO and now waits:
// heap and stacks in use after a collection, at 5,000 connections. The clients
// are bare descriptors, so that only the server's memory is counted.
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
	defer s.Close()
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
	}()
	for b.Loop() {
		before := inUse()
		for range conns {
			fds = append(fds, idleClient(b, l.Addr().String(), encrypted, clientTLS))
		}
		b.ReportMetric(float64(inUse()-before)/float64(conns), "B/conn")
		if b.N > 1 {
			b.Fatal("run with -benchtime 1x")
		}
	}
}

// inUse is the memory in use after a collection.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
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

// takeReply reads a whole reply.
func takeReply(t testing.TB, r *bufio.Reader) {
	for {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.True(t, line[0] < '4', line)
		if strings.IndexByte(line, ' ') == 3 {
			return
		}
	}
}
