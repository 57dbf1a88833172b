//go:build unix

package imap_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store/memory"
)

// BenchmarkIdle is what a connection in IDLE costs: heap and stacks in use after
// a collection, at 5,000 connections on one mailbox. The clients are bare
// descriptors, so that only the server's memory is counted. Run it with
// -benchtime 1x.
func BenchmarkIdle(b *testing.B) {
	authority, cert := certificates()
	client := &tls.Config{RootCAs: authority.Pool(), ServerName: "mail.test"}
	for _, c := range []struct {
		name      string
		encrypted bool
		command   string
	}{{"plain", false, "IDLE"}, {"tls", true, "IDLE"}, {"compressed", false, "COMPRESS DEFLATE"}, {"notify", false, "NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))"}} {
		b.Run(c.name, func(b *testing.B) { benchIdle(b, c.encrypted, cert, client, c.command) })
	}
}

func benchIdle(b *testing.B, encrypted bool, cert tls.Certificate, cfg *tls.Config, command string) {
	const conns = 5000
	st := memory.New()
	require.NoError(b, st.CreateAccount(context.Background(), "anna"))
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true, MaxConnsPerAccount: -1, MaxConnsPerAddr: -1}
	srv.ImplicitTLS, srv.TLSConfig = encrypted, &tls.Config{Certificates: []tls.Certificate{cert}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = srv.Serve(l) }()
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
		_ = srv.Shutdown(context.Background())
	}()
	for b.Loop() {
		var m, more runtime.MemStats
		inUse(&m)
		goroutines := runtime.NumGoroutine()
		for range conns {
			fds = append(fds, idleClient(b, l.Addr().String(), encrypted, cfg, command))
		}
		for runtime.NumGoroutine() > goroutines+conns+1 { // some are awake; Eventually would count itself
			time.Sleep(10 * time.Millisecond)
		}
		inUse(&more)
		heap, stacks := float64(more.HeapInuse-m.HeapInuse), float64(more.StackInuse-m.StackInuse)
		b.ReportMetric(heap/conns, "heap-B/conn")
		b.ReportMetric(stacks/conns, "stack-B/conn")
		b.ReportMetric((heap+stacks)/conns, "B/conn")
		if b.N > 1 {
			b.Fatal("run with -benchtime 1x")
		}
	}
}

func inUse(m *runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(m)
}

// idleClient goes as far as a command and returns the descriptor, without
// anything that Go keeps for a connection.
func idleClient(b *testing.B, addr string, encrypted bool, cfg *tls.Config, command string) int {
	nc, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	require.NoError(b, err)
	var fd int
	require.NoError(b, raw.Control(func(f uintptr) { fd, err = syscall.Dup(int(f)) }))
	require.NoError(b, err)
	c := net.Conn(nc)
	if encrypted {
		t := tls.Client(nc, cfg)
		require.NoError(b, t.Handshake())
		c = t
	}
	_, err = io.WriteString(c, "a LOGIN anna secret\r\nb SELECT INBOX\r\nc "+command+"\r\n")
	require.NoError(b, err)
	for r, line := bufio.NewReader(c), ""; !strings.HasPrefix(line, "c OK") && !strings.HasPrefix(line, "+ "); {
		line, err = r.ReadString('\n')
		require.NoError(b, err)
	}
	return fd
}
