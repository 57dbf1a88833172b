package pop3

import (
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// Behind a proxy the Peer is the client that it announced, and after the login
// knows who that is.
func TestProxy(t *testing.T) {
	peers := make(chan auth.Peer, 1)
	s := &Server{Store: testStore(t), Auth: testAuth{}, InsecureAuth: true, Governor: &auth.Governor{Off: true},
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Trace:   &Trace{Close: func(p auth.Peer, _ int, _ error) { peers <- p }}}
	l := testServer(t, s)
	c := newTalk(t, l)
	_, err := io.WriteString(c, "PROXY TCP4 192.0.2.1 198.51.100.1 1234 110\r\nUSER anna\r\nPASS "+password+"\r\nQUIT\r\n")
	require.NoError(t, err)
	c.hear("+OK ")
	p := <-peers
	require.Equal(t, "192.0.2.1:1234", p.Remote.String())
	require.True(t, p.Proxy.Addr().IsLoopback())
	require.Equal(t, "anna", p.Identity.Account)

	bad := newTalk(t, l)
	_, err = io.WriteString(bad, "CAPA\r\n")
	require.NoError(t, err)
	b, err := io.ReadAll(bad.r)
	require.NoError(t, err)
	require.Empty(t, string(b), "closed without a word")
}
