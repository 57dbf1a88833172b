package imap_test

import (
	"bufio"
	"context"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
)

// Behind a proxy the Peer is the client that it announced, and after the login
// knows who that is.
func TestProxy(t *testing.T) {
	peers := make(chan auth.Peer, 10)
	w := newWorld(t, func(s *imap.Server) {
		s.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.Trace = &imap.Trace{Connected: func(p auth.Peer) { peers <- p }, Command: func(p auth.Peer, _ imap.CommandInfo) { peers <- p }}
	})
	c, err := w.dial(context.Background())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "PROXY TCP4 192.0.2.1 198.51.100.1 1234 143\r\na LOGIN anna secret\r\nb NOOP\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "* OK [CAPABILITY")
	p := <-peers
	require.Equal(t, "192.0.2.1:1234", p.Remote.String())
	require.True(t, p.Proxy.Addr().IsLoopback())
	require.Nil(t, p.Identity)
	for range 2 {
		p = <-peers
		require.Equal(t, "192.0.2.1:1234", p.Remote.String())
		require.Equal(t, "anna", p.Identity.Account)
	}

	bad, err := w.dial(context.Background())
	require.NoError(t, err)
	defer bad.Close()
	_, err = io.WriteString(bad, "a NOOP\r\n")
	require.NoError(t, err)
	b, err := io.ReadAll(bad)
	require.NoError(t, err)
	require.Empty(t, string(b), "closed without a word")
}
