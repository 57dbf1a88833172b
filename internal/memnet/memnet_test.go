package memnet

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen()
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
		c, err := l.DialFrom(context.Background(), net.IPv4(192, 0, 2, 7))
		require.NoError(t, err)
		require.Equal(t, "192.0.2.7", c.LocalAddr().(*net.TCPAddr).IP.String())
		_, err = c.Write([]byte("hello"))
		require.NoError(t, err)
		b := make([]byte, 5)
		_, err = io.ReadFull(c, b)
		require.NoError(t, err)
		require.Equal(t, "hello", string(b))

		start := time.Now()
		require.NoError(t, c.SetReadDeadline(start.Add(time.Hour)))
		_, err = c.Read(b)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Hour, time.Since(start))
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		_, err = c.Write([]byte("again"))
		require.NoError(t, err)
		_, err = io.ReadFull(c, b)
		require.NoError(t, err)

		// A deadline set while a read waits ends it.
		go func() {
			time.Sleep(time.Minute)
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}()
		_, err = c.Read(b)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.Close())
		_, err = c.Read(b)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestWriteBlocksOnAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(&net.TCPAddr{}, &net.TCPAddr{})
		defer b.Close()
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
		_, err := a.Write(make([]byte, 1<<20))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, a.Close())
		n, err := io.Copy(io.Discard, b)
		require.NoError(t, err)
		require.EqualValues(t, chunks*chunkSize, n)
	})
}
