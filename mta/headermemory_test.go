package mta

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func header(octets int) string {
	line := "X: " + strings.Repeat("x", 59) + "\r\n"
	return strings.Repeat(line, octets/len(line)) + "\r\nbody\r\n"
}

func TestHeaderMemory(t *testing.T) {
	a := &Agent{HeaderMemory: 512 << 10}
	var seen bytes.Buffer
	h, rest, release, err := a.readHeader(strings.NewReader(header(100<<10)), &seen)
	require.NoError(t, err)
	body, err := io.ReadAll(rest)
	require.NoError(t, err)
	assert.Equal(t, header(100<<10), string(h.Raw())+string(body))
	assert.Equal(t, header(100<<10), seen.String())
	held := a.headers.Used()
	assert.InDelta(t, (100-8)<<10*headerShare, held, 2*headerStep*headerShare)

	// A second one is too much while the first is there; ordinary ones are not.
	_, _, again, err := a.readHeader(strings.NewReader(header(100<<10)), nil)
	require.ErrorIs(t, err, errHeaderMemory)
	for range 100 {
		_, _, more, err := a.readHeader(strings.NewReader(header(4<<10)), nil)
		require.NoError(t, err)
		defer more()
	}
	again()
	assert.Equal(t, held, a.headers.Used())
	release()
	assert.Zero(t, a.headers.Used())
	_, _, release, err = a.readHeader(strings.NewReader(header(100<<10)), nil)
	require.NoError(t, err)
	release()

	// A body takes nothing.
	_, rest, release, err = a.readHeader(strings.NewReader("A: b\r\n\r\n"+strings.Repeat("x", 1<<20)), nil)
	require.NoError(t, err)
	n, err := io.Copy(io.Discard, rest)
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, n)
	assert.Zero(t, a.headers.Used())
	release()

	unbounded := &Agent{HeaderMemory: -1}
	_, _, release, err = unbounded.readHeader(strings.NewReader(header(1<<20)), nil)
	require.NoError(t, err)
	release()
}
