package netserve

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A deadline that is only moved on when it comes ends a wait at the same time
// as one that is set anew for each.
func TestDeadlinesAreMovedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{Handle: func(_ context.Context, c *Conn) {
			took := func(f func() error) (time.Duration, error) {
				start := time.Now()
				err := f()
				return time.Since(start), err
			}
			read := func() error { _, err := c.Read(make([]byte, 1)); return err }
			for range 3 { // the peer says something every 50 s
				require.NoError(t, c.Busy(time.Minute))
				d, err := took(read)
				require.NoError(t, err)
				require.Equal(t, 50*time.Second, d)
			}
			for _, f := range []func() error{read, c.Await} {
				require.NoError(t, c.Idle(time.Minute))
				d, err := took(f)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.Equal(t, time.Minute, d)
			}
			require.NoError(t, c.Idle(time.Minute))
			require.NoError(t, c.Idle(0))
			d, err := took(c.Await)
			require.NoError(t, err)
			require.Equal(t, time.Hour, d)
			d, err = took(read)
			require.NoError(t, err, "Await takes nothing")
			require.Zero(t, d)

			require.NoError(t, c.WriteTimeout(time.Minute))
			_, err = c.Write([]byte("x"))
			require.NoError(t, err)
			time.Sleep(30 * time.Second)
			require.NoError(t, c.WriteTimeout(time.Minute))
			d, err = took(func() error { _, err := c.Write(make([]byte, 1<<20)); return err })
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Equal(t, time.Minute, d)
			require.NoError(t, c.WriteTimeout(0))
			d, err = took(func() error { _, err := c.Write(make([]byte, 1<<20)); return err })
			require.ErrorIs(t, err, io.ErrClosedPipe)
			require.Equal(t, 24*time.Hour, d)
		}})
		c := s.dial(t)
		for range 3 {
			time.Sleep(50 * time.Second)
			_, _ = c.Write([]byte("x"))
		}
		time.Sleep(2*time.Minute + time.Hour)
		_, _ = c.Write([]byte("x"))
		time.Sleep(90*time.Second + 24*time.Hour)
		require.NoError(t, c.Close())
		require.NoError(t, s.Shutdown(context.Background()))
		<-s.done
	})
}

// Await on a socket: it sees what is there already, what comes, and the end.
func TestAwaitTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	step := make(chan error)
	s := &Server{}
	go func() {
		_ = s.Serve(l, Config{Handle: func(_ context.Context, c *Conn) {
			if !c.CanAwait() {
				step <- net.ErrClosed
				return
			}
			b := make([]byte, 1) // the second may have come with the first
			for range 2 {
				step <- c.Await()
				n, err := c.Read(b)
				if err != nil || n != 1 {
					step <- io.ErrUnexpectedEOF
				}
			}
			_ = c.Idle(time.Millisecond)
			step <- c.Await()
			_ = c.Idle(0)
			step <- c.Await()
			_, err := c.Read(b)
			step <- err
		}})
	}()
	defer s.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	for range 2 {
		_, _ = c.Write([]byte("x"))
		require.NoError(t, <-step)
	}
	require.ErrorIs(t, <-step, os.ErrDeadlineExceeded)
	require.NoError(t, c.Close())
	require.NoError(t, <-step)
	require.Equal(t, io.EOF, <-step)
}

func TestApart(t *testing.T) {
	ran := false
	Apart(func() { ran = true })
	require.True(t, ran)
	require.Panics(t, func() { Apart(func() { panic("no") }) })
	done := make(chan bool, 1)
	go func() {
		defer func() { done <- recover() == nil }()
		Apart(runtime.Goexit)
		done <- false // not reached
	}()
	require.True(t, <-done)
}
