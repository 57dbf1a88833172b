package smtp

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
)

// dropDialogue is what a client says that goes away at some octet of it.
const dropDialogue = "EHLO x\r\nAUTH LOGIN\r\ndGlt\r\ndGFuc3RhYWZ0YW5zdGFhZg==\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 10\r\n12345678\r\nBDAT 3 LAST\r\nx\r\n" +
	"MAIL FROM:<lazy@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"

// Connections that are dropped at random points leave nothing behind: no
// goroutine, no memory, no count.
func TestDroppedConnections(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	n := 10_000
	if raceEnabled {
		n = 2_000 // it is slow enough
	}
	var opened, closed countedStates
	s := &Server{
		Handler: Receive(func(Path) bool { return true }, func(_ context.Context, _ *Envelope, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		}),
		Auth: testAuth{}, InsecureAuth: true, TLSConfig: serverTLS, MaxConnsPerAddr: 100, ConnRate: -1, Governor: &auth.Governor{Off: true},
		ConnState: func(_ auth.Peer, s ConnState, _ error) {
			switch s {
			case StateNew:
				opened.add()
			case StateClosed:
				closed.add()
			}
		},
	}
	l := testServer(t, s)
	drop(t, l, clientTLS, n/10) // pools and tables have their size afterwards
	before, goroutines := settled(t, s)
	drop(t, l, clientTLS, n)
	after, now := settled(t, s)
	require.LessOrEqual(t, now, goroutines, "goroutines")
	require.Less(t, int64(after)-int64(before), int64(1<<20), "octets of heap and stacks: a hundred for each connection")
	require.Zero(t, s.shared.budget.Used())
	require.Equal(t, n+n/10, opened.value())
	require.Equal(t, n+n/10, closed.value())
}

type countedStates struct {
	mu sync.Mutex
	n  int
}

func (c *countedStates) add()       { c.mu.Lock(); defer c.mu.Unlock(); c.n++ }
func (c *countedStates) value() int { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

// drop opens n connections, 20 at a time, says some octets on each and closes
// it.
func drop(t *testing.T, l *memnet.Listener, clientTLS *tls.Config, n int) {
	random := rand.New(rand.NewPCG(1, 2))
	text := dropDialogue + strings.Repeat("a line of the message\r\n", 10)
	var wg sync.WaitGroup
	room := make(chan bool, 20)
	for i := range n {
		cut := random.IntN(len(text))
		secure := random.IntN(50) == 0
		room <- true
		wg.Go(func() {
			defer func() { <-room }()
			nc, err := l.DialFrom(t.Context(), net.IPv4(192, 0, 2, byte(i)))
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(time.Minute))
			if secure {
				_, _ = io.WriteString(nc, "STARTTLS\r\n")
				_, _ = nc.Read(make([]byte, 200))
				_, _ = nc.Read(make([]byte, 200))
				if cut%2 == 0 {
					_, _ = io.WriteString(nc, "\x16\x03\x01\x02\x00\x01") // the beginning of a handshake
					return
				}
				_ = tls.Client(nc, clientTLS).Handshake()
				return
			}
			_, _ = io.WriteString(nc, text[:cut])
			if cut%2 == 0 {
				_, _ = nc.Read(make([]byte, 200))
			}
		})
	}
	wg.Wait()
}

// settled waits until the server has no connections left, and tells the
// octets in use and the goroutines.
func settled(t *testing.T, s *Server) (uint64, int) {
	require.Eventually(t, func() bool { return s.conns.Conns() == 0 }, 10*time.Second, time.Millisecond)
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
}
