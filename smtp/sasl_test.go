package smtp

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testauth"
)

// The client takes the strongest mechanism, bound to the connection, under every
// version of TLS, and one bound to the certificate works as well; a proof bound to
// something else fails.
func TestChannelBinding(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	var used []string
	s := &Server{Hostname: "mx.example.org", Handler: &testHandler{}, Auth: testauth.Able{}, ChannelBinding: true, TLSConfig: serverTLS, Governor: &auth.Governor{Off: true}}
	var mu sync.Mutex
	s.Trace = &Trace{Auth: func(_ auth.Peer, mech string, _ *auth.Identity, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			used = append(used, mech)
		}
	}}
	l := testServer(t, s)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		dial := func(who sasl.Credentials) *Client {
			cfg := clientTLS.Clone()
			cfg.MaxVersion = version
			c, err := Dial(t.Context(), "mx.example.org:587", &ClientConfig{
				Hostname: "client.example.com", TLS: TLSPolicy{Mode: TLSVerified, Config: cfg},
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
			})
			require.NoError(t, err)
			if who.User != "" {
				require.NoError(t, c.LoginAs(t.Context(), who))
			}
			return c
		}
		require.NoError(t, dial(sasl.Credentials{User: "anna", Password: "secret"}).Quit(t.Context()))
		for _, right := range []bool{true, false} {
			c := dial(sasl.Credentials{})
			binding, err := sasl.EndPointBinding(c.TLS().PeerCertificates[0])
			require.NoError(t, err)
			if !right {
				binding.Data[0]++
			}
			mech, err := sasl.SCRAM{Hash: "SHA-256", User: "anna", Password: "secret", Binding: binding, Plus: true}.Client()
			require.NoError(t, err)
			err = c.Login(t.Context(), mech)
			require.Equal(t, right, err == nil, "%v", err)
			require.NoError(t, c.Quit(t.Context()))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS"}, used)
}
