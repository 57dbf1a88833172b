package smtp

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A caller who gives up at the moment when it is granted a connection passes it
// on.
func TestPoolGivesUpWhatIsGranted(t *testing.T) {
	both := 0
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			p := &pool{maxOpen: 1, maxOpenHost: 1, maxIdle: 1, maxIdleHost: 1, idleTimeout: time.Minute, maxAge: time.Minute}
			p.init()
			defer p.stop()
			first, err := p.get(t.Context(), poolKey{addr: "a"}, true)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan *pooled, 1)
			go func() {
				c, _ := p.get(ctx, poolKey{addr: "b"}, true)
				done <- c
			}()
			synctest.Wait()
			cancel()
			p.put(first)
			if c := <-done; c != nil {
				p.put(c)
			} else {
				both++
			}
			synctest.Wait()
			require.Zero(t, p.open)
			require.Empty(t, p.hosts)
			require.Zero(t, p.waiting.Len())
		})
	}
	require.Positive(t, both)
}

// When a body can be sent again.
func TestRewindable(t *testing.T) {
	sought := strings.NewReader("xyz")
	_, _ = sought.Seek(1, io.SeekStart)
	again, r := rewindable(sought)
	_, _ = io.ReadAll(r)
	require.True(t, again())
	rest, _ := io.ReadAll(r)
	require.Equal(t, "yz", string(rest))

	again, r = rewindable(iotest.OneByteReader(strings.NewReader("xyz")))
	require.True(t, again())
	_, _ = r.Read(make([]byte, 1))
	require.False(t, again())
	require.EqualValues(t, 0, bodySize(r))

	_, r = rewindable(struct {
		io.Reader
		sized
	}{strings.NewReader("xyz"), 3})
	require.EqualValues(t, 3, bodySize(r))
	again, r = rewindable(nil)
	require.True(t, again())
	require.Nil(t, r)
}

type sized int64

func (s sized) Size() int64 { return int64(s) }
