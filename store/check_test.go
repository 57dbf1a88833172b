package store_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

type sized struct {
	store.Staged
	n int64
}

func (s sized) Size() int64               { return s.n }
func (s sized) Outline() *message.Outline { return nil }

func TestTargetCheck(t *testing.T) {
	body := sized{n: 10}
	ok := store.Target{Body: body, Prefix: []byte("Return-Path: <>\r\nReceived: a\r\n\tb\r\n"), Flags: []store.Flag{`\Seen`, "k"}, Token: strings.Repeat("t", 128)}
	require.NoError(t, ok.Check())
	for _, prefix := range []string{"X: y", "X: y\n", "X: y\r", "\r\n", "X: y\r\n\r\n", "X: y\rz\r\n", " X: y\r\n", "no colon\r\n",
		": y\r\n", "X y: z\r\n", "X: y\x00\r\n", "X: y\r\n\r\nbody", "\u00c4: y\r\n", "content-type: text/html\r\n", "Content-Transfer-Encoding: x\r\n"} {
		bad := ok
		bad.Prefix = []byte(prefix)
		require.ErrorIs(t, bad.Check(), store.ErrInvalid, "%q", prefix)
	}
	for want, change := range map[error]func(*store.Target){
		store.ErrLimit:   func(b *store.Target) { b.Token += "x" },
		store.ErrInvalid: func(b *store.Target) { b.Body = nil },
	} {
		bad := ok
		change(&bad)
		require.ErrorIs(t, bad.Check(), want)
	}
	bad := ok
	bad.Flags = []store.Flag{`\Recent`}
	require.ErrorIs(t, bad.Check(), store.ErrInvalid)
	bad = ok
	bad.Replaces = 4
	require.ErrorIs(t, bad.Check(), store.ErrInvalid)
	bad = ok
	bad.Body = sized{n: store.MaxMessageSize}
	require.ErrorIs(t, bad.Check(), store.ErrLimit, "with its prefix it is too long")
	bad.Prefix = nil
	require.NoError(t, bad.Check())
	bad.Prefix = []byte("X: " + strings.Repeat("y", store.MaxPrefixOctets) + "\r\n")
	require.ErrorIs(t, bad.Check(), store.ErrLimit)
}

func TestSpoolItemCheck(t *testing.T) {
	ok := store.SpoolItem{Site: strings.Repeat("s", 255), Envelope: make([]byte, 1<<20), Body: sized{n: 1}}
	require.NoError(t, ok.Check())
	bad := ok
	bad.Site += "s"
	require.ErrorIs(t, bad.Check(), store.ErrLimit)
	bad = ok
	bad.Envelope = make([]byte, 1<<20+1)
	require.ErrorIs(t, bad.Check(), store.ErrLimit)
	require.ErrorIs(t, (&store.Reschedule{Envelope: bad.Envelope}).Check(), store.ErrLimit)
	bad = ok
	bad.Body = nil
	require.ErrorIs(t, bad.Check(), store.ErrInvalid)
}
