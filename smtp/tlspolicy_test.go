package smtp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testcert"
)

// dialPolicy connects to a listener under a policy.
func dialPolicy(t *testing.T, l *memnet.Listener, addr string, p TLSPolicy) (*Client, error) {
	t.Helper()
	c, err := Dial(t.Context(), addr, &ClientConfig{TLS: p, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// What each policy makes of a certificate for mx.example.org and *.wild.example.
func TestTLSPolicy(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("mx.example.org", "*.wild.example", "xn--bcher-kva.example", "192.0.2.1")
	require.NoError(t, err)
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}}
	own, strangers := &tls.Config{RootCAs: ca.Pool()}, &tls.Config{RootCAs: x509.NewCertPool()}
	l := testServer(t, &Server{Handler: &testHandler{}, TLSConfig: serverTLS})
	implicit := testServer(t, &Server{Handler: &testHandler{}, TLSConfig: serverTLS, ImplicitTLS: true})
	plain := testServer(t, &Server{Handler: &testHandler{}})
	errNo := errors.New("not this one")
	accept := func(string, tls.ConnectionState) error { return nil }
	refuse := func(string, tls.ConnectionState) error { return errNo }
	verified := func(cfg *tls.Config, names ...string) TLSPolicy {
		p := VerifiedTLS(names...)
		p.Config = cfg
		return p
	}
	for _, c := range []struct {
		name      string
		l         *memnet.Listener
		addr      string
		policy    TLSPolicy
		fails     string // part of the error; empty: connected
		plain     bool
		unproved  bool
		extraName string
	}{
		{name: "opportunistic notes a proof", l: l, policy: TLSPolicy{Config: own}},
		{name: "opportunistic takes a stranger", l: l, policy: TLSPolicy{Config: strangers}, unproved: true},
		{name: "opportunistic, not offered", l: plain, plain: true, unproved: true},
		{name: "none", l: l, policy: TLSPolicy{Mode: TLSNone}, plain: true, unproved: true},
		{name: "required takes a stranger", l: l, policy: TLSPolicy{Mode: TLSRequired, Config: strangers}, unproved: true},
		{name: "required, another name", l: l, addr: "other.example:25", policy: TLSPolicy{Mode: TLSRequired, Config: own}, unproved: true},
		{name: "required, not offered", l: plain, policy: TLSPolicy{Mode: TLSRequired}, fails: "not offered"},
		{name: "verified", l: l, policy: verified(own)},
		{name: "verified, not offered", l: plain, policy: verified(own), fails: "not offered"},
		{name: "verified, stranger", l: l, policy: verified(strangers), fails: "unknown authority"},
		{name: "verified, another name", l: l, addr: "other.example:25", policy: verified(own), fails: "not other.example"},
		{name: "verified by a name of the policy", l: l, addr: "other.example:25", policy: verified(own, "no.example", "MX.example.org.")},
		{name: "the host does not count beside names", l: l, policy: verified(own, "no.example"), fails: "not no.example"},
		{name: "wildcard", l: l, policy: verified(own, "a.wild.example")},
		{name: "wildcard is one label", l: l, policy: verified(own, "a.b.wild.example"), fails: "not a.b.wild.example"},
		{name: "international name", l: l, policy: verified(own, "bücher.example")},
		{name: "address", l: l, addr: "192.0.2.1:25", policy: verified(own)},
		{name: "another address", l: l, addr: "192.0.2.2:25", policy: verified(own), fails: "192.0.2.2"},
		{name: "no name", l: l, addr: "/socket", policy: verified(own), fails: "no name to verify"},
		{name: "malformed name", l: l, policy: verified(own, "not a name"), fails: "bad name"},
		{name: "verifier replaces the authorities", l: l, policy: TLSPolicy{Mode: TLSVerified, Config: strangers, Verify: accept}},
		{name: "verifier refuses", l: l, policy: TLSPolicy{Mode: TLSVerified, Config: own, Verify: refuse}, fails: "not this one"},
		{name: "verifier that is only asked", l: l, policy: TLSPolicy{Config: own, Verify: refuse}, unproved: true},
		{name: "VerifyConnection counts too", l: l, policy: TLSPolicy{Config: &tls.Config{VerifyConnection: func(tls.ConnectionState) error { return errNo }}}, fails: "not this one"},
		{name: "InsecureSkipVerify does not", l: l, policy: verified(&tls.Config{InsecureSkipVerify: true, RootCAs: x509.NewCertPool()}), fails: "unknown authority"},
		{name: "implicit", l: implicit, policy: TLSPolicy{Implicit: true, Mode: TLSVerified, Config: own}},
		{name: "implicit, stranger", l: implicit, policy: TLSPolicy{Implicit: true, Mode: TLSVerified, Config: strangers}, fails: "unknown authority"},
		{name: "implicit and none", l: implicit, policy: TLSPolicy{Implicit: true, Mode: TLSNone, Config: strangers}, unproved: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.addr == "" {
				c.addr = "mx.example.org:25"
			}
			client, err := dialPolicy(t, c.l, c.addr, c.policy)
			if c.fails != "" {
				require.ErrorContains(t, err, c.fails)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.plain, client.TLS() == nil)
			require.Equal(t, c.unproved, client.Verified() != nil, "%v", client.Verified())
			require.Equal(t, c.plain, errors.Is(client.Verified(), ErrUnverified))
			if c.unproved && !c.plain && c.policy.Verify == nil {
				var ve *tls.CertificateVerificationError
				require.ErrorAs(t, client.Verified(), &ve)
				require.Len(t, ve.UnverifiedCertificates, 1)
			}
		})
	}
}

// The name in the handshake, the client's certificate, and the least version.
func TestTLSHandshakeDetails(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	mine, err := ca.Issue("client.example.com")
	require.NoError(t, err)
	var asked *tls.ClientHelloInfo
	cfg := serverTLS.Clone()
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { asked = h; return nil, nil }
	h := &testHandler{}
	l := testServer(t, &Server{Handler: h, TLSConfig: cfg})
	var host string
	p := TLSPolicy{Mode: TLSVerified, Config: &tls.Config{RootCAs: clientTLS.RootCAs, Certificates: []tls.Certificate{mine}, MinVersion: tls.VersionTLS10}}
	c, err := dialPolicy(t, l, "mx.example.org:25", p)
	require.NoError(t, err)
	require.NoError(t, c.Noop(t.Context()), "the server has taken the certificate")
	require.Equal(t, "mx.example.org", asked.ServerName)
	require.NotContains(t, asked.SupportedVersions, uint16(tls.VersionTLS11))

	// DANE gives another name than the host's (RFC 7672 §8.1), and verifies itself.
	p.Config = &tls.Config{ServerName: "base.example", Certificates: []tls.Certificate{mine}}
	p.Verify = func(h string, s tls.ConnectionState) error {
		host = h
		return VerifyNames(&tls.Config{RootCAs: clientTLS.RootCAs}, s, "mx.example.org")
	}
	_, err = dialPolicy(t, l, "192.0.2.1:25", p)
	require.NoError(t, err)
	require.Equal(t, "base.example", host)
	require.Equal(t, "base.example", asked.ServerName)

	_, err = dialPolicy(t, testServer(t, &Server{Handler: h, TLSConfig: &tls.Config{Certificates: serverTLS.Certificates, ClientAuth: tls.RequireAnyClientCert}}), "mx.example.org:25",
		TLSPolicy{Config: &tls.Config{MaxVersion: tls.VersionTLS12}})
	require.ErrorContains(t, err, "handshake failure")
}

// A password is for a server that has proved its name.
func TestPasswordNeedsVerifiedServer(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	l := testServer(t, &Server{Handler: &testHandler{}, TLSConfig: serverTLS, Auth: testAuth{}})
	plain := sasl.NewPlainClient("", "tim", "tanstaaftanstaaf")
	c, err := dialPolicy(t, l, "mx.example.org:587", TLSPolicy{Mode: TLSRequired})
	require.NoError(t, err)
	err = c.Login(t.Context(), plain)
	require.ErrorIs(t, err, ErrNotSent)
	require.ErrorContains(t, err, "unknown authority")
	require.Equal(t, Error{538, EnhancedCode{5, 7, 11}, AsError(err).Text}, *AsError(err))
	c, err = dialPolicy(t, l, "mx.example.org:587", TLSPolicy{Config: clientTLS})
	require.NoError(t, err)
	require.NoError(t, c.Login(t.Context(), plain))
}

// Two policies share connections only if they ask for the same.
func TestTLSPolicyKey(t *testing.T) {
	cfg := &tls.Config{}
	verify := func(string, tls.ConnectionState) error { return nil }
	seen := map[tlsKey]string{}
	for name, p := range map[string]TLSPolicy{
		"zero": {}, "none": {Mode: TLSNone}, "required": {Mode: TLSRequired}, "verified": {Mode: TLSVerified}, "implicit": {Implicit: true},
		"config": {Config: cfg}, "other config": {Config: &tls.Config{ServerName: "x"}}, "name": VerifiedTLS("a.example"), "names": VerifiedTLS("a.example", "b.example"),
		"verify": {Verify: verify, VerifyKey: "1"}, "verify 2": {Verify: verify, VerifyKey: "2"},
	} {
		k, shared := p.key()
		require.True(t, shared, name)
		require.Empty(t, seen[k], name)
		seen[k] = name
	}
	same := func(a, b TLSPolicy) bool {
		ka, _ := a.key()
		kb, _ := b.key()
		return ka == kb
	}
	require.True(t, same(VerifiedTLS("a.example", "B.example"), VerifiedTLS("b.example", strings.ToUpper("a.example"))))
	_, shared := TLSPolicy{Verify: verify}.key()
	require.False(t, shared)
}

// What a server sends between its certificate and the authority counts, but is
// trusted no further.
func TestIntermediates(t *testing.T) {
	issue := func(name string, ca bool, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if ca {
			tmpl.KeyUsage = x509.KeyUsageCertSign
		} else {
			tmpl.DNSNames = []string{name}
		}
		if parent == nil {
			parent, by = tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return cert, key
	}
	root, rootKey := issue("root", true, nil, nil)
	middle, middleKey := issue("middle", true, root, rootKey)
	leaf, _ := issue("mx.example.org", false, middle, middleKey)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	cfg := &tls.Config{RootCAs: roots}
	verify := func(cfg *tls.Config, names []string, certs ...*x509.Certificate) error {
		return VerifyNames(cfg, tls.ConnectionState{PeerCertificates: certs}, names...)
	}
	names := []string{"mx.example.org"}
	require.NoError(t, verify(cfg, names, leaf, middle))
	require.NoError(t, verify(cfg, names, leaf, root, middle))
	require.ErrorContains(t, verify(cfg, names, leaf), "unknown authority")
	require.ErrorContains(t, verify(&tls.Config{RootCAs: x509.NewCertPool()}, names, leaf, middle, root), "unknown authority")
	require.ErrorContains(t, verify(nil, names, leaf, middle, root), "unknown authority")
	require.ErrorContains(t, verify(cfg, nil, leaf, middle), "no name")
	require.ErrorContains(t, verify(cfg, names), "no certificate")
	later := &tls.Config{RootCAs: roots, Time: func() time.Time { return time.Now().Add(2 * time.Hour) }}
	require.ErrorContains(t, verify(later, names, leaf, middle), "expired")
}
