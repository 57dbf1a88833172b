package imap_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// manyMessages is a client over loopback TCP of a mailbox of n messages, all
// with the same small body.
func manyMessages(tb testing.TB, n int) *benchClient {
	ctx := context.Background()
	st := memory.New()
	require.NoError(tb, st.CreateAccount(ctx, "anna"))
	staged, err := st.Stage(ctx, strings.NewReader(simple(1)))
	require.NoError(tb, err)
	targets := make([]store.Target, 0, 1000)
	for n > 0 {
		targets = targets[:0]
		for range min(n, cap(targets)) {
			targets = append(targets, store.Target{Account: "anna", Mailbox: store.Inbox, Body: staged})
		}
		for _, p := range st.Place(ctx, targets) {
			require.NoError(tb, p.Err)
		}
		n -= len(targets)
	}
	require.NoError(tb, staged.Discard())
	srv := &imap.Server{Store: st, Auth: users{}, Governor: &auth.Governor{Off: true}, InsecureAuth: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(tb, err)
	tb.Cleanup(func() {
		_ = nc.Close()
		require.NoError(tb, srv.Close())
		require.ErrorIs(tb, <-served, imap.ErrServerClosed)
		require.NoError(tb, st.Close())
	})
	c := &benchClient{b: tb, c: nc, buf: make([]byte, 1<<20)}
	c.run("LOGIN anna secret")
	c.run("SELECT INBOX")
	return c
}

// FETCH allocates for the command, not for each message.
func TestFetchAllocations(t *testing.T) {
	const messages = 20_000
	c := manyMessages(t, messages)
	for _, items := range []string{"(FLAGS)", "(UID FLAGS INTERNALDATE RFC822.SIZE SAVEDATE)", "(ENVELOPE BODYSTRUCTURE EMAILID)"} {
		n := testing.AllocsPerRun(3, func() { c.run("FETCH 1:* " + items) })
		require.Less(t, n, messages/20.0, items)
	}
}

// BenchmarkFetchOfOne is what one message costs: the same in any mailbox.
func BenchmarkFetchOfOne(b *testing.B) {
	for _, n := range []int{1000, 500_000} {
		c := manyMessages(b, n)
		for _, cmd := range []string{"NOOP", "FETCH %d (FLAGS)", "UID FETCH %d (FLAGS ENVELOPE)", "FETCH %d BODY.PEEK[]", "UID FETCH 1:* (FLAGS) (PARTIAL -1:-3)", "FETCH 1:* (FLAGS) (CHANGEDSINCE %d)"} {
			if strings.Contains(cmd, "%d") {
				cmd = fmt.Sprintf(cmd, n/2)
			}
			if i := strings.Index(cmd, "CHANGEDSINCE"); i >= 0 {
				cmd = cmd[:i] + "CHANGEDSINCE 99999999)"
			}
			b.Run(fmt.Sprintf("%d/%s", n, strings.ReplaceAll(cmd, " ", "_")), func(b *testing.B) {
				c.b = b
				b.ReportAllocs()
				for b.Loop() {
					c.run(cmd)
				}
			})
		}
	}
}
