package netserve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testcert"
)

// The certificate that is reported is the one that the client sees, and it is the
// one that the configuration would have shown without ServerTLS.
func TestShownCertificate(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	issue := func(name string) tls.Certificate {
		cert, err := ca.Issue(name)
		require.NoError(t, err)
		return cert
	}
	one, two, three := issue("one.test"), issue("two.test"), issue("three.test")
	bare := issue("two.test")
	bare.Leaf = nil
	get := func(c *tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c, nil }
	}
	for name, tc := range map[string]struct {
		cfg     *tls.Config
		unknown bool // which one is not told
		fails   bool
	}{
		"one":                          {&tls.Config{Certificates: []tls.Certificate{one}}, false, false},
		"one, not parsed":              {&tls.Config{Certificates: []tls.Certificate{bare}}, false, false},
		"by name":                      {&tls.Config{Certificates: []tls.Certificate{one, two, three}}, false, false},
		"function":                     {&tls.Config{GetCertificate: get(&three)}, false, false},
		"function and certificates":    {&tls.Config{GetCertificate: get(&three), Certificates: []tls.Certificate{one}}, false, false},
		"function that leaves it open": {&tls.Config{GetCertificate: get(nil), Certificates: []tls.Certificate{one, two}}, false, false},
		"function with nothing":        {&tls.Config{GetCertificate: get(nil)}, false, true},
		"nothing":                      {&tls.Config{}, false, true},
		//lint:ignore SA1019 still met
		"map": {&tls.Config{Certificates: []tls.Certificate{one, two}, NameToCertificate: map[string]*tls.Certificate{"two.test": &two}}, true, false},
		"function that fails": {&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, errors.New("no")
		}, Certificates: []tls.Certificate{one}}, false, true},
		"configuration by client": {&tls.Config{Certificates: []tls.Certificate{one}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{three}}, nil
		}}, false, false},
		"configuration left open": {&tls.Config{Certificates: []tls.Certificate{one}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, nil
		}}, false, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, sni := range []string{"two.test", ""} {
				t.Run(name+" "+tls.VersionName(version)+" "+sni, func(t *testing.T) {
					client := &tls.Config{ServerName: sni, InsecureSkipVerify: true, MaxVersion: version}
					want, _, wantErr := shake(t, tc.cfg, client)
					got, told, err := shake(t, ServerTLS(tc.cfg), client)
					require.Equal(t, wantErr == nil, err == nil)
					if tc.fails && sni != "" {
						require.Error(t, err)
					}
					if err != nil {
						return
					}
					require.True(t, want.PeerCertificates[0].Equal(got.PeerCertificates[0]))
					if tc.unknown {
						require.Nil(t, told)
						return
					}
					require.True(t, told.Equal(got.PeerCertificates[0]))
				})
			}
		}
	}
}

// A resumed connection shows none under TLS 1.3; sessions do resume.
func TestShownCertificateResumed(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("one.test")
	require.NoError(t, err)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := ServerTLS(&tls.Config{Certificates: []tls.Certificate{cert}})
		client := &tls.Config{ServerName: "one.test", RootCAs: ca.Pool(), MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		first, told, err := shake(t, cfg, client)
		require.NoError(t, err)
		require.False(t, first.DidResume)
		require.NotNil(t, told)
		second, told, err := shake(t, cfg, client)
		require.NoError(t, err)
		require.True(t, second.DidResume)
		require.Equal(t, version == tls.VersionTLS12, told != nil)
	}
}

// shake makes a handshake and returns what the client sees and the server tells.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, *x509.Certificate, error) {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	ctx, told := watchShown(context.Background())
	s := tls.Server(a, server)
	done := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(ctx)
		if err == nil {
			_, err = s.Write([]byte("x")) // brings TLS 1.3's ticket along
		}
		if err != nil {
			_ = a.Close()
		}
		done <- err
	}()
	c := tls.Client(b, client)
	err := c.HandshakeContext(context.Background())
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	} else {
		_ = b.Close()
	}
	serverErr := <-done
	if err != nil || serverErr != nil {
		return tls.ConnectionState{}, nil, errors.Join(err, serverErr)
	}
	return c.ConnectionState(), told(), nil
}
