package auth

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testcert"
)

// handshake returns both ends' view of a TLS connection, and the server's
// certificate.
func handshake(t testing.TB, version uint16) (client, server *tls.ConnectionState, shown *x509.Certificate) {
	t.Helper()
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("localhost")
	require.NoError(t, err)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}})
	c := tls.Client(b, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- s.HandshakeContext(t.Context()) }()
	require.NoError(t, c.HandshakeContext(t.Context()))
	require.NoError(t, <-done)
	cs, ss := c.ConnectionState(), s.ConnectionState()
	shown, err = x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	return &cs, &ss, shown
}

// What is offered with channel binding, and where.
func TestOfferedBinding(t *testing.T) {
	plus := "SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS "
	bare := "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1"
	_, tls12, shown := handshake(t, tls.VersionTLS12)
	_, tls13, _ := handshake(t, tls.VersionTLS13)
	made := &tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS12, TLSUnique: []byte("x")}
	for name, tc := range map[string]struct {
		peer Peer
		off  bool
		want string
	}{
		"plain text":              {clear, false, bare},
		"unfinished":              {secure, false, bare},
		"TLS 1.3":                 {Peer{TLS: tls13}, false, plus + bare},
		"TLS 1.2":                 {Peer{TLS: tls12}, false, plus + bare},
		"switched off":            {Peer{TLS: tls13, Certificate: shown}, true, bare},
		"behind a proxy":          {Peer{TLS: tls13, Proxy: netip.MustParseAddrPort("192.0.2.9:1")}, false, bare},
		"only the certificate":    {Peer{TLS: made, Certificate: shown}, false, plus + bare},
		"nothing to bind to":      {Peer{TLS: made}, false, bare},
		"certificate without TLS": {Peer{Certificate: shown}, false, bare},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLogin(hashes{names: []string{"SHA-1", "SHA-256", "SHA-512"}}, nil, false)
			l.ChannelBinding, l.Disable = !tc.off, []string{"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "ANONYMOUS"}
			require.Equal(t, tc.want, strings.Join(l.Mechanisms(tc.peer), " "))
			_, err := l.Start(t.Context(), Request{Peer: tc.peer, Mechanism: "SCRAM-SHA-512-PLUS"})
			if strings.HasPrefix(tc.want, plus) {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrMechanism)
			}
		})
	}
}

// Every kind of binding proves a login, and one that somebody stands between
// does not.
func TestBinding(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server, shown := handshake(t, version)
		elsewhere, _, other := handshake(t, version)
		connection, err := sasl.TLSBinding(client)
		require.NoError(t, err)
		foreign, err := sasl.TLSBinding(elsewhere)
		require.NoError(t, err)
		endPoint, err := sasl.EndPointBinding(client.PeerCertificates[0])
		require.NoError(t, err)
		otherEndPoint, err := sasl.EndPointBinding(other)
		require.NoError(t, err)
		exported, err := client.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		require.NoError(t, err)
		for name, tc := range map[string]struct {
			binding sasl.ChannelBinding
			plus    bool // the client sees that it is offered
			off     bool
			disable string
			err     error
		}{
			"connection":                  {connection, true, false, "", nil},
			"exporter":                    {sasl.ChannelBinding{Type: "tls-exporter", Data: exported}, true, false, "", nil},
			"certificate":                 {endPoint, true, false, "", nil},
			"other connection":            {foreign, true, false, "", ErrCredentials},
			"other certificate":           {otherEndPoint, true, false, "", ErrCredentials},
			"unknown type":                {sasl.ChannelBinding{Type: "tls-other", Data: exported}, true, false, "", ErrMalformed},
			"one as another":              {sasl.ChannelBinding{Type: "tls-server-end-point", Data: exported}, true, false, "", ErrCredentials},
			"client that cannot":          {sasl.ChannelBinding{}, false, false, "", nil},
			"somebody changed the list":   {connection, false, false, "", ErrCredentials},
			"not offered":                 {connection, false, true, "", nil},
			"this hash is not offered":    {connection, false, false, "SCRAM-SHA-256-PLUS", ErrCredentials},
			"none is offered, one by one": {connection, false, false, "SCRAM-SHA-256-PLUS SCRAM-SHA-512-PLUS", nil},
		} {
			t.Run(tls.VersionName(version)+" "+name, func(t *testing.T) {
				l := NewLogin(hashes{names: []string{"SHA-256", "SHA-512"}}, nil, false)
				l.ChannelBinding, l.Disable = !tc.off, strings.Fields(tc.disable)
				c, err := sasl.SCRAM{Hash: "SHA-256", User: "bob", Password: "pencil", Binding: tc.binding, Plus: tc.plus}.Client()
				require.NoError(t, err)
				x, err := run(t, l, Peer{TLS: server, Certificate: shown}, c)
				require.ErrorIs(t, err, tc.err)
				if tc.err == nil {
					require.NoError(t, err)
					require.Equal(t, "bob", x.Identity().Account)
				} else {
					require.Nil(t, x.Identity())
				}
			})
		}
	}
}

// tls-unique is not what binds under TLS 1.3, and only the certificate's hash
// tells servers with one certificate apart.
func TestBindingTypes(t *testing.T) {
	for version, want := range map[uint16]string{
		tls.VersionTLS12: "tls-exporter tls-unique tls-server-end-point",
		tls.VersionTLS13: "tls-exporter tls-server-end-point",
	} {
		_, server, shown := handshake(t, version)
		var types []string
		for _, b := range sasl.ServerBindings(server, shown) {
			types = append(types, b.Type)
		}
		require.Equal(t, want, strings.Join(types, " "))
		require.Empty(t, sasl.ServerBindings(nil, shown))
	}
}

// What every EHLO and CAPABILITY cost.
func BenchmarkMechanisms(b *testing.B) {
	_, tls12, shown := handshake(b, tls.VersionTLS12)
	_, tls13, _ := handshake(b, tls.VersionTLS13)
	for name, p := range map[string]Peer{"plain text": clear, "TLS 1.2": {TLS: tls12, Certificate: shown}, "TLS 1.3": {TLS: tls13, Certificate: shown}} {
		b.Run(name, func(b *testing.B) {
			l := NewLogin(hashes{names: []string{"SHA-256", "SHA-512"}}, nil, false)
			l.ChannelBinding, l.Disable = true, []string{"LOGIN", "XOAUTH2"}
			b.ReportAllocs()
			for b.Loop() {
				require.NotEmpty(b, l.Mechanisms(p))
			}
		})
	}
}
