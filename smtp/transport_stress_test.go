package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// Senders, hosts, servers and callers that give up, all at random: the limits
// hold, who waits is served or told, every message that was accepted has come
// once, and in the end nothing is left. That nobody is forgotten synctest sees.
func TestTransportAtRandom(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { atRandom(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func atRandom(t *testing.T, r *rand.Rand) {
	var mu sync.Mutex // of r
	n := func(limit int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(limit)
	}
	pause := func(limit time.Duration) { time.Sleep(time.Duration(n(int(limit)))) }
	net1 := &network{}
	tr := &net1.Transport
	tr.MaxConns, tr.MaxConnsPerHost = 1+n(10), 1+n(4)
	tr.MaxIdle, tr.MaxIdlePerHost = n(6)-1, n(4)-1
	tr.IdleTimeout, tr.MaxAge, tr.MaxMessages = time.Duration(1+n(10))*time.Second, time.Duration(1+n(60))*time.Second, 1+n(20)
	if n(2) == 0 { // nobody is saved by idle connections that end
		tr.IdleTimeout, tr.MaxAge = time.Hour, time.Hour
	}
	rec := &smtptest.Recorder{
		Mail: func(smtp.Path, smtp.MailOptions) error {
			if n(20) == 0 {
				return smtp.Errorf(421, smtp.EnhancedCode{4, 3, 2}, "busy")
			}
			return nil
		},
		Rcpt: func(smtp.Path) error {
			if n(10) == 0 {
				return smtp.Errorf(450, smtp.EnhancedCode{4, 2, 1}, "later")
			}
			return nil
		},
		Data: func(*smtptest.Message) error { pause(3 * time.Second); return nil },
	}
	rec.Server.ConnRate, rec.Server.MaxConnsPerAddr, rec.Server.IdleTimeout = -1, -1, []time.Duration{-1, time.Second, 8 * time.Second}[n(3)]
	rec.Start()
	net1.reach(func(ctx context.Context, network, addr string) (net.Conn, error) {
		pause(time.Second)
		if n(15) == 0 {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return rec.Dial(ctx, network, addr)
	})
	start := time.Now()
	var accepted, failed int
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			pause(time.Minute)
			if n(30) == 0 {
				tr.CloseIdle()
			}
			ctx := t.Context()
			if n(2) == 0 { // the others wait as long as it takes
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(1+n(60))*time.Second)
				defer cancel()
			}
			to := &smtp.Target{Addr: fmt.Sprintf("mx%d:25", n(5)), ServerName: fmt.Sprint(n(2))}
			_, err := tr.Send(ctx, to, envelope("b@example.org"), strings.NewReader("x\r\n"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				accepted++
			case !errors.Is(err, smtp.ErrOutcomeUnknown):
				failed++
			}
		})
	}
	wg.Wait()
	require.Less(t, time.Since(start), 30*time.Minute)
	require.NoError(t, tr.Shutdown(t.Context()))
	synctest.Wait()
	require.Zero(t, net1.now())
	require.LessOrEqual(t, net1.most[""], tr.MaxConns)
	for addr, most := range net1.most {
		if addr != "" {
			require.LessOrEqual(t, most, tr.MaxConnsPerHost, addr)
		}
	}
	require.Positive(t, accepted)
	require.GreaterOrEqual(t, len(rec.Messages()), accepted)
	require.LessOrEqual(t, len(rec.Messages()), 300-failed, "a message that failed has not come")
	require.NoError(t, rec.Close())
	time.Sleep(time.Minute)
}
