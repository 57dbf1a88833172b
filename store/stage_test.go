package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func mailOf(size int) []byte {
	b := bytes.Repeat([]byte("0123456789abcdef\r\n"), size/18+1)
	copy(b, "Subject: x\r\n\r\n")
	return b[:size]
}

func TestStageTemp(t *testing.T) {
	for _, size := range []int{0, 1, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 1 << 20} {
		dir := t.TempDir()
		want := mailOf(size)
		s, err := store.StageTemp(t.Context(), dir, iotest.HalfReader(bytes.NewReader(want)))
		require.NoError(t, err)
		require.EqualValues(t, size, s.Size())
		require.EqualValues(t, size, s.Outline().Size)
		got, err := io.ReadAll(io.NewSectionReader(s, 0, s.Size()))
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got))
		_, err = s.ReadAt(make([]byte, 1), s.Size())
		require.ErrorIs(t, err, io.EOF)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, "the file has no name")
		require.NoError(t, s.Discard())
		require.NoError(t, s.Discard())
	}
}

func TestStageTempErrors(t *testing.T) {
	boom := errors.New("boom")
	for _, after := range []int{0, 10, 64 << 10, 200 << 10} {
		dir := t.TempDir()
		_, err := store.StageTemp(t.Context(), dir, io.MultiReader(bytes.NewReader(mailOf(after)), iotest.ErrReader(boom)))
		require.ErrorIs(t, err, boom, "after %d octets", after)
		_, err = store.StageTemp(t.Context(), dir, io.MultiReader(bytes.NewReader(mailOf(after)), iotest.ErrReader(io.ErrUnexpectedEOF)))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a short body is no body")
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := store.StageTemp(ctx, t.TempDir(), readerFunc(func(p []byte) (int, error) {
		if n++; n == 100 {
			cancel()
		}
		return len(p), nil
	}))
	require.ErrorIs(t, err, context.Canceled)
	_, err = store.StageTemp(t.Context(), t.TempDir(), readerFunc(func(p []byte) (int, error) { return 0, nil }))
	require.ErrorIs(t, err, io.ErrNoProgress)
	_, err = store.StageTemp(t.Context(), t.TempDir(), readerFunc(func(p []byte) (int, error) { return len(p) + 1, nil }))
	require.Error(t, err)
	_, err = store.StageTemp(t.Context(), "/does/not/exist", bytes.NewReader(mailOf(100<<10)))
	require.ErrorIs(t, err, os.ErrNotExist)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestJoined(t *testing.T) {
	body := strings.NewReader("Subject: x\r\n\r\nhello")
	j := store.Joined{Prefix: []byte("Return-Path: <>\r\n"), Body: body, Length: body.Size()}
	whole := []byte("Return-Path: <>\r\nSubject: x\r\n\r\nhello")
	require.EqualValues(t, len(whole), j.Size())
	require.NoError(t, iotest.TestReader(io.NewSectionReader(j, 0, j.Size()), whole))
	for off := range len(whole) + 2 {
		for n := range len(whole) + 3 - off {
			p, q := make([]byte, n), make([]byte, n)
			got, err := j.ReadAt(p, int64(off))
			want, wantErr := bytes.NewReader(whole).ReadAt(q, int64(off))
			require.Equal(t, want, got)
			require.Equal(t, q, p)
			if n > 0 { // with nothing to read an EOF is a matter of taste
				require.Equal(t, wantErr, err, "%d at %d", n, off)
			}
		}
	}
	_, err := j.ReadAt(nil, -1)
	require.Error(t, err)

	short := store.Joined{Body: strings.NewReader("ab"), Length: 5}
	n, err := short.ReadAt(make([]byte, 5), 0)
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, store.ErrCorrupt, "a body shorter than recorded")
	n, err = short.ReadAt(make([]byte, 9), 0)
	require.Equal(t, 2, n)
	require.ErrorIs(t, err, store.ErrCorrupt)
}
