package store_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

const outlineBody = "From: a@example.org\r\nSubject: body\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
	"--b\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntwo\r\n--b--\r\n"

// The outline with a prefix is that of the whole message.
func TestWithPrefix(t *testing.T) {
	for _, prefix := range []string{
		"",
		"Return-Path: <>\r\n",
		"Received: from a\r\n\tby b; Sun, 22 Nov 2026 10:00:00 +0000\r\nX-Other: y\r\n",
		"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n",
		"To: b@example.org, c@example.org\r\nCc: d@example.org\r\nBcc: e@example.org\r\nSender: f@example.org\r\nReply-To: g@example.org\r\nIn-Reply-To: <2@x>\r\n",
		"Subject: prefix\r\nFrom: other@example.org\r\n",
		"X-Eight: \xc3\xa9\r\n",
		"X-Long: " + strings.Repeat("x", 1200) + "\r\n",
	} {
		body, whole := []byte(outlineBody), []byte(prefix+outlineBody)
		o := message.ParseBytes(body, nil)
		before, err := o.AppendBinary(nil)
		require.NoError(t, err)
		got := store.WithPrefix(o, []byte(prefix))
		want := message.ParseBytes(whole, nil)
		require.Equal(t, want.Size, got.Size, "%.20q", prefix)
		require.Equal(t, want.Header, got.Header)
		require.Equal(t, want.Envelope, got.Envelope, "%.20q", prefix)
		require.Equal(t, want.Root, got.Root, "%.20q", prefix)
		require.Equal(t, want.Traits, got.Traits, "%.20q", prefix)
		require.Equal(t, want.HasDefect(message.DuplicateField), got.HasDefect(message.DuplicateField), "%.20q", prefix)
		after, err := o.AppendBinary(nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after), "the staged outline does not change")
	}
	require.Nil(t, store.WithPrefix(nil, []byte("X: y\r\n")))
}

func BenchmarkWithPrefix(b *testing.B) {
	o := message.ParseBytes([]byte(outlineBody), nil)
	prefix := []byte("Return-Path: <>\r\nReceived: from a\r\n\tby b; Sun, 22 Nov 2026 10:00:00 +0000\r\n")
	b.ReportAllocs()
	for b.Loop() {
		store.WithPrefix(o, prefix)
	}
}

// FuzzPrefix checks that whatever Target.Check lets pass is a prefix: it
// leaves the body what it is, and WithPrefix is right about the whole.
func FuzzPrefix(f *testing.F) {
	for _, s := range []string{"Return-Path: <>\r\n", "X: y\r\n\tz\r\n", "From: a@b\r\nTo: =?utf-8?q?x?= <c@d>\r\n", "X: y", "\r\n", "A:\r\n \r\n", "Date: x\r\nDate: y\r\n",
		"X : y\r\n", "\tx\r\n", "MIME-Version: 1.0\r\n", "Content-Type: text/html\r\n", "\xff: x\r\n", "X:\xff\r\n", "Subject:\r\nSubject: (\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		if len(prefix) > 10_000 {
			return
		}
		target := store.Target{Body: sized{n: int64(len(outlineBody))}, Prefix: []byte(prefix)}
		if target.Check() != nil {
			return
		}
		got := store.WithPrefix(message.ParseBytes([]byte(outlineBody), nil), []byte(prefix))
		want := message.ParseBytes([]byte(prefix+outlineBody), nil)
		require.Equal(t, want.Size, got.Size)
		require.Equal(t, want.Header, got.Header)
		require.Equal(t, want.Root, got.Root)
		require.Equal(t, want.Envelope, got.Envelope)
		require.Equal(t, want.Traits, got.Traits)
	})
}
