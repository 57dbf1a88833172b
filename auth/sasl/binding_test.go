package sasl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/require"
)

var bound = ChannelBinding{"tls-exporter", []byte("of this connection")}

// plusServer offers SCRAM-SHA-256 with and without channel binding.
func plusServer(t *testing.T, b ChannelBinding, plus bool) gosasl.Server {
	t.Helper()
	keys, err := DeriveSCRAMKeys("SHA-256", "pencil", []byte("0123456789abcdef"), MinIterations)
	require.NoError(t, err)
	s, err := NewBoundSCRAMServer("SHA-256", []ChannelBinding{{"tls-server-end-point", []byte("certificate")}, b}, plus, func(string) (SCRAMKeys, error) { return keys, nil },
		func(string, string) error { return nil })
	require.NoError(t, err)
	return s
}

func TestChannelBinding(t *testing.T) {
	other := ChannelBinding{"tls-exporter", []byte("of another connection")}
	for name, tc := range map[string]struct {
		client     SCRAM
		serverPlus bool
		err        error
	}{
		"bound":                     {SCRAM{Binding: bound, Plus: true}, true, nil},
		"client that cannot":        {SCRAM{}, false, nil},
		"two connections":           {SCRAM{Binding: other, Plus: true}, true, ErrProof},
		"other type":                {SCRAM{Binding: ChannelBinding{"tls-unique", bound.Data}, Plus: true}, true, ErrMalformed},
		"list has been changed":     {SCRAM{Binding: bound}, false, ErrProof},
		"p without PLUS":            {SCRAM{Binding: bound, Plus: true}, false, ErrMalformed},
		"PLUS without p":            {SCRAM{}, true, ErrMalformed},
		"PLUS, not believed in":     {SCRAM{Binding: bound}, true, ErrMalformed},
		"bound, acting for another": {SCRAM{Binding: bound, Plus: true, ActAs: "x"}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tc.client.Hash, tc.client.User, tc.client.Password = "SHA-256", "user", "pencil"
			c, err := tc.client.Client()
			require.NoError(t, err)
			err = talk(t, c, plusServer(t, bound, tc.serverPlus), true)
			require.ErrorIs(t, err, tc.err)
			if tc.err == nil {
				require.NoError(t, err)
			}
		})
	}
	_, err := SCRAM{Hash: "SHA-256", User: "u", Password: "p", Plus: true}.Client()
	require.ErrorIs(t, err, ErrBinding)
	_, err = NewBoundSCRAMServer("SHA-256", []ChannelBinding{bound, {"a,b", []byte("x")}}, true, nil, nil)
	require.ErrorIs(t, err, ErrBinding)
	_, err = NewBoundSCRAMServer("SHA-256", nil, true, nil, nil)
	require.ErrorIs(t, err, ErrBinding)
}

// Both ends of a TLS connection have the same binding, two connections do not.
func TestTLSBinding(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	serverConfig := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	for version, want := range map[uint16]string{tls.VersionTLS12: "tls-unique", tls.VersionTLS13: "tls-exporter"} {
		var last ChannelBinding
		for range 2 {
			a, b := net.Pipe()
			server := tls.Server(a, serverConfig)
			client := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			done := make(chan error, 1)
			go func() { done <- server.HandshakeContext(t.Context()) }()
			require.NoError(t, client.HandshakeContext(t.Context()))
			require.NoError(t, <-done)
			clientState, serverState := client.ConnectionState(), server.ConnectionState()
			here, err := TLSBinding(&clientState)
			require.NoError(t, err)
			there, err := TLSBinding(&serverState)
			require.NoError(t, err)
			require.Equal(t, want, here.Type)
			require.Equal(t, here, there)
			require.NotEqual(t, last, here)
			last = here
			_, _ = a.Close(), b.Close()
		}
	}
	_, err = TLSBinding(nil)
	require.ErrorIs(t, err, ErrBinding)
	_, err = TLSBinding(&tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true})
	require.ErrorIs(t, err, ErrBinding)
}

func TestCredentials(t *testing.T) {
	password := Credentials{User: "u", Password: "pencil"}
	token := Credentials{User: "u", Token: "abc"}
	for _, tc := range []struct {
		who     Credentials
		offered string
		secrets bool
		want    string
		first   string
	}{
		{password, "PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256", true, SCRAMSHA256, "n,,n=u,"},
		{password, "plain scram-sha-1", false, SCRAMSHA1, "n,,"},
		{password, "LOGIN PLAIN", true, Plain, "\x00u\x00pencil"},
		{password, "LOGIN", true, Login, ""},
		{password, "LOGIN PLAIN", false, "", ""},
		{password, "SCRAM-SHA-256-PLUS SCRAM-SHA-256", true, SCRAMSHA256, "n,,"}, // nothing to bind to
		{password, "SCRAM-SHA-256-PLUS", true, "", ""},
		{password, "XOAUTH2 OAUTHBEARER EXTERNAL CRAM-MD5", true, "", ""},
		{token, "XOAUTH2 OAUTHBEARER PLAIN", true, OAuthBearer, "n,a=u,\x01auth=Bearer abc\x01\x01"},
		{token, "PLAIN XOAUTH2", true, XOAuth2, "user=u\x01auth=Bearer abc\x01\x01"},
		{token, "XOAUTH2 OAUTHBEARER", false, "", ""},
		{Credentials{Certificate: true}, "EXTERNAL", true, "", ""}, // no TLS
		{Credentials{}, "PLAIN LOGIN", true, "", ""},
	} {
		c, err := tc.who.Client(strings.Fields(tc.offered), nil, tc.secrets)
		if tc.want == "" {
			require.ErrorIs(t, err, ErrNoMechanism, tc.offered)
			continue
		}
		require.NoError(t, err)
		name, first, err := c.Start()
		require.NoError(t, err)
		require.Equal(t, tc.want, name)
		require.True(t, strings.HasPrefix(string(first), tc.first), "%q", first)
	}
	c, err := Credentials{Certificate: true, ActAs: "x"}.Client([]string{External}, &tls.ConnectionState{}, false)
	require.NoError(t, err)
	name, first, err := c.Start()
	require.NoError(t, err)
	require.Equal(t, External, name)
	require.Equal(t, "x", string(first))
	_, err = c.Next(nil)
	require.Error(t, err)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, Credentials{User: "u", Password: "pencil", Token: "abcdef"}), "pencil")
	}
}

// XOAUTH2's report of an error is answered with nothing.
func TestXOAuth2(t *testing.T) {
	c := NewXOAuth2Client("u@example.org", "tok")
	_, _, err := c.Start()
	require.NoError(t, err)
	m, err := c.Next([]byte(`{"status":"401"}`))
	require.NoError(t, err)
	require.NotNil(t, m)
	require.Empty(t, m)
	for _, bad := range [][2]string{{"", "tok"}, {"a\x01b", "tok"}, {"a", "to k"}, {"a", ""}} {
		_, _, err := NewXOAuth2Client(bad[0], bad[1]).Start()
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// tls-server-end-point takes the hash of the certificate's own signature, of 256
// bits at least (RFC 5929 §4.1), and a client falls back to it.
func TestEndPointBinding(t *testing.T) {
	raw := []byte("certificate")
	sum256, sum384, sum512 := sha256.Sum256(raw), sha512.Sum384(raw), sha512.Sum512(raw)
	for algorithm, want := range map[x509.SignatureAlgorithm][]byte{
		x509.MD5WithRSA: sum256[:], x509.SHA1WithRSA: sum256[:], x509.ECDSAWithSHA1: sum256[:],
		x509.SHA256WithRSA: sum256[:], x509.SHA256WithRSAPSS: sum256[:], x509.ECDSAWithSHA256: sum256[:],
		x509.SHA384WithRSA: sum384[:], x509.ECDSAWithSHA384: sum384[:], x509.SHA384WithRSAPSS: sum384[:],
		x509.SHA512WithRSA: sum512[:], x509.ECDSAWithSHA512: sum512[:], x509.SHA512WithRSAPSS: sum512[:],
		x509.PureEd25519: nil, x509.UnknownSignatureAlgorithm: nil,
	} {
		cert := &x509.Certificate{Raw: raw, SignatureAlgorithm: algorithm}
		// No handshake has made this state: there is nothing else to bind to.
		state := &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true, TLSUnique: []byte("x"), PeerCertificates: []*x509.Certificate{cert}}
		b, err := EndPointBinding(cert)
		all := ServerBindings(state, cert)
		c, clientErr := Credentials{User: "u", Password: "p"}.Client([]string{SCRAMSHA256 + Plus}, state, true)
		if want == nil {
			require.ErrorIs(t, err, ErrBinding, "%v", algorithm)
			require.Empty(t, all)
			require.ErrorIs(t, clientErr, ErrNoMechanism)
			continue
		}
		require.NoError(t, err, "%v", algorithm)
		require.Equal(t, ChannelBinding{"tls-server-end-point", want}, b)
		require.Equal(t, []ChannelBinding{b}, all)
		require.NoError(t, clientErr)
		name, first, err := c.Start()
		require.NoError(t, err)
		require.Equal(t, SCRAMSHA256+Plus, name)
		require.True(t, strings.HasPrefix(string(first), "p=tls-server-end-point,,n=u,"), "%s", first)
	}
	_, err := EndPointBinding(nil)
	require.ErrorIs(t, err, ErrBinding)
}

// A client with something to bind to tells so where -PLUS is not offered, and
// chooses the better hash; -PLUS with a lesser hash goes before.
func TestStrongest(t *testing.T) {
	for offered, want := range map[string]string{
		"SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512":           "SCRAM-SHA-512 y",
		"SCRAM-SHA-512 SCRAM-SHA-1-PLUS":                    "SCRAM-SHA-1-PLUS p",
		"SCRAM-SHA-1-PLUS scram-sha-512-plus SCRAM-SHA-256": "SCRAM-SHA-512-PLUS p",
		"SCRAM-SHA-3-PLUS SCRAM-SHA-256 PLAIN":              "SCRAM-SHA-256 y",
		"PLAIN":                                             "",
	} {
		has := func(name string) bool {
			return slices.ContainsFunc(strings.Fields(offered), func(o string) bool { return strings.EqualFold(o, name) })
		}
		m, ok := strongest(has, bound)
		require.Equal(t, want != "", ok, offered)
		if ok {
			got := "SCRAM-" + m.hash + " y"
			if m.plus {
				got = "SCRAM-" + m.hash + "-PLUS p"
			}
			require.Equal(t, want, got, offered)
			require.Equal(t, bound, m.binding)
		}
	}
}
