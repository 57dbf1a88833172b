package smtp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nullHandler takes everything and keeps nothing.
type nullHandler struct{}

func (nullHandler) NewSession(context.Context, *Conn) (Session, error) { return nullSession{}, nil }

type nullSession struct{}

func (nullSession) Mail(context.Context, Path, MailOptions) (Reply, error) { return Reply{}, nil }
func (nullSession) Rcpt(context.Context, Path, RcptOptions) (Reply, error) { return Reply{}, nil }
func (nullSession) Reset()                                                 {}
func (nullSession) Close()                                                 {}

func (nullSession) Data(_ context.Context, r io.Reader) (Result, error) {
	_, err := io.Copy(io.Discard, r)
	return Result{}, err
}

// benchConn connects over loopback TCP and says EHLO.
func benchConn(b testing.TB) (net.Conn, *bufio.Reader) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s := &Server{Hostname: "mx.example.org", Handler: nullHandler{}}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	b.Cleanup(func() { _ = nc.Close() })
	r := bufio.NewReader(nc)
	benchRead(b, r, 1)
	benchWrite(b, nc, "EHLO client.example.com\r\n")
	takeReply(b, r)
	return nc, r
}

func benchWrite(b testing.TB, nc net.Conn, s string) {
	if _, err := io.WriteString(nc, s); err != nil {
		b.Fatal(err)
	}
}

func benchRead(b testing.TB, r *bufio.Reader, lines int) {
	for range lines {
		line, err := r.ReadSlice('\n')
		if err != nil || line[0] > '3' {
			b.Fatalf("%q %v", line, err)
		}
	}
}

// BenchmarkTransaction is one message of a few octets on an open connection.
func BenchmarkTransaction(b *testing.B) {
	b.Run("lockstep", func(b *testing.B) {
		nc, r := benchConn(b)
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range []string{"MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.org>\r\n", "DATA\r\n", "Subject: x\r\n\r\nx\r\n.\r\n"} {
				benchWrite(b, nc, s)
				benchRead(b, r, 1)
			}
		}
	})
	b.Run("pipelined", func(b *testing.B) {
		nc, r := benchConn(b)
		b.ReportAllocs()
		for b.Loop() {
			benchWrite(b, nc, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
			benchRead(b, r, 3)
			benchWrite(b, nc, "Subject: x\r\n\r\nx\r\n.\r\n")
			benchRead(b, r, 1)
		}
	})
}

// BenchmarkData is a message of 1 MiB in lines of 72 octets.
func BenchmarkData(b *testing.B) {
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20/72) + ".\r\n"
	nc, r := benchConn(b)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		benchWrite(b, nc, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
		benchRead(b, r, 3)
		benchWrite(b, nc, body)
		benchRead(b, r, 1)
	}
}

// BenchmarkSend is a Client's message to our own Server.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 1 << 20} {
		b.Run(map[int]string{100: "100B", 4 << 10: "4KiB", 1 << 20: "1MiB"}[size], func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(b, err)
			s := &Server{Hostname: "mx.example.org", Handler: nullHandler{}}
			go func() { _ = s.Serve(l) }()
			defer s.Close()
			c, err := Dial(b.Context(), l.Addr().String(), nil)
			require.NoError(b, err)
			env := &Envelope{From: mustPath(b, "a@example.com"), To: To(paths(b, "b@example.org")...)}
			body := bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), size/72)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Send(b.Context(), env, bytes.NewReader(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
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
