package smtp

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/testcert"
)

// The protocol keyword of each kind of session (RFC 3848).
func TestProtocol(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	login := "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"
	for _, tc := range []struct {
		want, hello string
		tls, auth   bool
	}{
		{"SMTP", "HELO x", false, false},
		{"SMTP", "HELO x", true, false},
		{"ESMTP", "EHLO x", false, false},
		{"ESMTPS", "EHLO x", true, false},
		{"ESMTPA", "EHLO x", false, true},
		{"ESMTPSA", "EHLO x", true, true},
		{"LMTP", "LHLO x", false, false},
		{"LMTPS", "LHLO x", true, false},
		{"LMTPA", "LHLO x", false, true},
		{"LMTPSA", "LHLO x", true, true},
	} {
		t.Run(fmt.Sprintf("%s tls=%v", tc.want, tc.tls), func(t *testing.T) {
			h := &testHandler{}
			l := testServer(t, &Server{Handler: h, LMTP: tc.want[0] == 'L', Auth: testAuth{}, InsecureAuth: true,
				TLSConfig: serverTLS, ImplicitTLS: tc.tls, Governor: &auth.Governor{Off: true}})
			nc, err := l.Dial(t.Context())
			require.NoError(t, err)
			if tc.tls {
				nc = tls.Client(nc, clientTLS)
			}
			defer nc.Close()
			c := newTalkConn(t, nc)
			c.hear("220 ")
			c.say(tc.hello + "\r\n")
			c.hear("250 ")
			if tc.auth {
				c.say(login)
				c.hear("235 ")
			}
			c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
			c.hear("250 ", "250 ", "354 ")
			c.say(".\r\n")
			c.hear("250 ")
			require.Equal(t, tc.want, h.messages()[0].with)
			require.Equal(t, tc.tls, h.messages()[0].env.Peer.Secure())
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	serverTLS.MinVersion = tls.VersionTLS10
	inner := serverTLS.Clone()
	for name, cfg := range map[string]*tls.Config{
		"config":   serverTLS,
		"callback": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			l := testServer(t, &Server{Handler: &testHandler{}, TLSConfig: cfg, ImplicitTLS: true})
			for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
				nc, err := l.Dial(t.Context())
				require.NoError(t, err)
				mine := clientTLS.Clone()
				mine.MinVersion, mine.MaxVersion = version, version
				err = tls.Client(nc, mine).Handshake()
				require.Equal(t, ok, err == nil, "%x: %v", version, err)
				_ = nc.Close()
			}
		})
	}
	require.EqualValues(t, tls.VersionTLS10, serverTLS.MinVersion, "the caller's configuration is not touched")
}

// A new certificate is used by the next handshake, without a restart.
func TestCertificateReload(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	var current atomic.Pointer[tls.Certificate]
	l := testServer(t, &Server{Handler: &testHandler{}, ImplicitTLS: true, TLSConfig: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
	}})
	var serials []string
	for range 2 {
		cert, err := ca.Issue("mx.example.org")
		require.NoError(t, err)
		current.Store(&cert)
		nc, err := l.Dial(t.Context())
		require.NoError(t, err)
		c := tls.Client(nc, &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.org"})
		require.NoError(t, c.Handshake())
		serials = append(serials, c.ConnectionState().PeerCertificates[0].SerialNumber.String())
		_ = nc.Close()
	}
	require.NotEqual(t, serials[0], serials[1])
}

// A listener that wraps its connections does not hide TLS, nor the address.
func TestTLSBehindAWrapper(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &testHandler{}
	s := &Server{Handler: h, TLSConfig: serverTLS, Auth: testAuth{}, Governor: &auth.Governor{Off: true}}
	go func() { _ = s.Serve(&countingListener{Listener: tcp}) }()
	defer s.Close()
	nc, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	c := newTalkConn(t, nc)
	c.hear("220 ")
	c.say("STARTTLS\r\n")
	c.hear("220 ")
	secure := tls.Client(nc, clientTLS)
	c = newTalkConn(t, secure)
	c.say("EHLO x\r\n")
	c.hear("250 AUTH PLAIN LOGIN")
	c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
	c.hear("250 ", "250 ", "354 ")
	c.say(".\r\n")
	c.hear("250 ")
	p := h.messages()[0].env.Peer
	require.True(t, p.Secure())
	require.True(t, p.Addr().IsLoopback())
}

// Octets that come in the same segment as STARTTLS are not executed, and a
// handshake that fails ends the connection.
func TestFailedHandshake(t *testing.T) {
	serverTLS, _ := testTLS(t)
	h := &testHandler{}
	l := testServer(t, &Server{Handler: h, TLSConfig: serverTLS})
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("EHLO x\r\n")
	c.hear("250 ")
	c.say("STARTTLS\r\n")
	c.hear("220 ")
	c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n" + strings.Repeat("x", 100))
	rest := make([]byte, 1000)
	n, _ := c.r.Read(rest)
	require.NotContains(t, string(rest[:n]), "250")
	require.Empty(t, h.messages())
}
