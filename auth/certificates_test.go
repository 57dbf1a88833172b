package auth_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testcert"
)

// certified is as the documentation of Certificates has it.
type certified struct {
	*password.Users
	auth.Certificates
}

var (
	_ auth.ExternalAuthenticator = certified{}
	_ auth.SCRAMAuthenticator    = certified{}
)

// shake has a client show a certificate and returns what the server sees.
func shake(t *testing.T, server, client *tls.Config) *tls.ConnectionState {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, server)
	go func() { _ = tls.Client(b, client).Handshake() }()
	require.NoError(t, s.Handshake())
	state := s.ConnectionState()
	return &state
}

func TestCertificates(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	host, err := ca.Issue("localhost")
	require.NoError(t, err)
	issue := func(names ...string) *tls.Certificate {
		cert, err := ca.Issue(names...)
		require.NoError(t, err)
		return &cert
	}
	key := func(cert *tls.Certificate) string {
		parsed, err := x509.ParseCertificate(cert.Certificate[0])
		require.NoError(t, err)
		return auth.KeyFingerprint(parsed)
	}
	users := password.Memory()
	require.NoError(t, users.Add("anna@posta.test", "correct horse"))
	require.NoError(t, users.Add("eve@posta.test", "battery staple"))

	listed, unlisted, out, stale := issue("laptop"), issue("telephone"), issue("old", "anna@posta.test"), issue("stale")
	address, two, none := issue("x", "Anna@posta.test"), issue("x", "anna@posta.test", "eve@posta.test"), issue("x", "nobody@posta.test")
	keys := map[string]string{key(listed): "anna@posta.test", key(out): "", key(stale): "gone@posta.test"}
	for name, c := range map[string]struct {
		cert      *tls.Certificate
		addresses bool
		authzid   string
		err       error
	}{
		"by its key":                    {listed, false, "", nil},
		"as oneself":                    {listed, false, "anna@posta.test", nil},
		"as another":                    {listed, false, "eve@posta.test", auth.ErrForbidden},
		"of nobody":                     {unlisted, true, "", auth.ErrCredentials},
		"of who is gone":                {stale, true, "", auth.ErrCredentials},
		"by its address":                {address, true, "", nil},
		"by its address, not asked for": {address, false, "", auth.ErrCredentials},
		"two addresses":                 {two, true, "", auth.ErrCredentials},
		"an address of nobody":          {none, true, "", auth.ErrCredentials},
		"a key counts before addresses": {out, true, "", auth.ErrCredentials},
		"no certificate":                {nil, true, "", auth.ErrMechanism},
	} {
		t.Run(name, func(t *testing.T) {
			client := &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}
			if c.cert != nil {
				client.Certificates = []tls.Certificate{*c.cert}
			}
			state := shake(t, &tls.Config{Certificates: []tls.Certificate{host}, ClientCAs: ca.Pool(), ClientAuth: tls.VerifyClientCertIfGiven}, client)
			login := auth.NewLogin(certified{users, auth.Certificates{Authorizer: users, Keys: keys, Addresses: c.addresses}}, &auth.Governor{Off: true}, false)
			peer := auth.Peer{TLS: state}
			assert.Equal(t, c.cert != nil, login.Mechanisms(peer)[0] == sasl.External)
			x, err := login.Start(t.Context(), auth.Request{Peer: peer, Service: auth.IMAP, Mechanism: sasl.External})
			if err == nil {
				_, _, err = x.Next(t.Context(), []byte(c.authzid))
			}
			require.ErrorIs(t, err, c.err)
			if c.err == nil {
				assert.Equal(t, "anna@posta.test", x.Identity().Account)
			}
		})
	}
	_, err = auth.Certificates{}.External(t.Context(), auth.Request{}, "")
	assert.ErrorIs(t, err, auth.ErrUnavailable)
	_, err = auth.Certificates{Authorizer: users, Keys: keys}.External(t.Context(), auth.Request{}, "")
	assert.ErrorIs(t, err, auth.ErrCredentials)
}
