package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var stagingChecks = []check{
	{"Stage/sizes", stageSizes},
	{"Stage/reader-errors", stageReaderErrors},
	{"Stage/context", stageContext},
	{"Stage/discard", stageDiscard},
	{"Stage/outline", stageOutline},
	{"Stage/concurrent", stageConcurrent},
}

// Sizes at which engines change what they do.
func stageSizes(k *kit) {
	a := k.account("anna")
	for _, size := range []int64{0, 1, 2, 4095, 4096, 4097, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 10 << 20} {
		s, err := k.st.Stage(k.Context(), &pattern{n: size})
		require.NoError(k, err)
		require.Equal(k, size, s.Size())
		require.NoError(k, samePattern(s, 0, size))
		n, err := s.ReadAt(make([]byte, 2), max(size-1, 0))
		require.EqualValues(k, min(size, 1), n)
		require.ErrorIs(k, err, io.EOF)
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s})
		require.NoError(k, p[0].Err)
		require.NoError(k, s.Discard())
		mb := k.box(a, store.Inbox)
		row := k.row(k.snap(mb), p[0].UID)
		require.EqualValues(k, size, row.Size)
		b, err := mb.Open(k.Context(), row)
		require.NoError(k, err)
		require.Equal(k, size, b.Size())
		require.NoError(k, samePattern(b, 0, size))
		if size > 10 {
			part := make([]byte, 5)
			_, err = b.ReadAt(part, size/2)
			require.NoError(k, err)
			want := make([]byte, 5)
			fillPattern(want, size/2)
			require.Equal(k, want, part)
		}
		require.NoError(k, b.Close())
	}
}

func stageReaderErrors(k *kit) {
	boom := errors.New("boom")
	a := k.account("anna")
	for _, size := range []int64{0, 1, 5000, 300 << 10, 3 << 20} {
		for _, cause := range []error{boom, io.ErrUnexpectedEOF} {
			s, err := k.st.Stage(k.Context(), io.MultiReader(&pattern{n: size}, iotest.ErrReader(cause)))
			require.ErrorIs(k, err, cause, "after %d octets", size)
			require.Nil(k, s)
		}
	}
	// One that gives data together with its end is no error.
	s, err := k.st.Stage(k.Context(), iotest.DataErrReader(strings.NewReader(mail(1))))
	require.NoError(k, err)
	require.EqualValues(k, len(mail(1)), s.Size())
	require.NoError(k, s.Discard())
	k.add(a, store.Inbox, 1, 1) // the store still works
}

func stageContext(k *kit) {
	_, err := k.st.Stage(k.ended(), strings.NewReader(mail(1)))
	require.ErrorIs(k, err, context.Canceled)
	ctx, cancel := context.WithCancel(k.Context())
	defer cancel()
	n := 0
	_, err = k.st.Stage(ctx, readerFunc(func(b []byte) (int, error) {
		if n += len(b); n > 1<<20 {
			cancel()
		}
		if n > 64<<20 {
			return 0, errors.New("read on after its context ended")
		}
		return len(b), nil
	}))
	require.ErrorIs(k, err, context.Canceled)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func stageDiscard(k *kit) {
	a := k.account("anna")
	for _, size := range []int64{100, 2 << 20} {
		s, err := k.st.Stage(k.Context(), &pattern{n: size})
		require.NoError(k, err)
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s})
		require.NoError(k, p[0].Err)
		require.NoError(k, s.Discard())
		require.NoError(k, s.Discard(), "more than once")
		mb := k.box(a, store.Inbox)
		b, err := mb.Open(k.Context(), k.row(k.snap(mb), p[0].UID))
		require.NoError(k, err, "placed copies stay")
		require.NoError(k, samePattern(b, 0, size))
		require.NoError(k, b.Close())
	}
}

func stageOutline(k *kit) {
	text := mail(7)
	s := k.stage(text)
	o := s.Outline()
	require.NotNil(k, o)
	require.EqualValues(k, len(text), o.Size)
	require.Equal(k, "Message 7", o.Envelope.Subject)
	require.EqualValues(k, strings.Index(text, "\r\n\r\n")+4, o.Header.Size)
}

func stageConcurrent(k *kit) {
	s, err := k.st.Stage(k.Context(), &pattern{n: 700_001})
	require.NoError(k, err)
	defer s.Discard()
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() {
			if i%2 == 0 {
				errs[i] = samePattern(s, 0, s.Size())
				return
			}
			size := int64(i * 20_000)
			o, err := k.st.Stage(k.Context(), &pattern{n: size})
			if err != nil {
				errs[i] = err
				return
			}
			errs[i] = samePattern(o, 0, size)
			o.Discard()
		})
	}
	wg.Wait()
	for i, err := range errs {
		require.NoError(k, err, fmt.Sprint("reader ", i))
	}
}
