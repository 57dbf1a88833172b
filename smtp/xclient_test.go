package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/testauth"
)

// originHandler refuses clients from 192.0.2.66 at once, those from 192.0.2.67
// for now, and tells in the reply to MAIL whom it takes the client for.
type originHandler struct{ testHandler }

func (h *originHandler) NewSession(ctx context.Context, c *Conn) (Session, error) {
	switch c.Peer().Addr().String() {
	case "192.0.2.66":
		return nil, Errorf(554, EnhancedCode{5, 7, 1}, "Not you")
	case "192.0.2.67":
		return nil, Errorf(421, EnhancedCode{4, 7, 1}, "Not now")
	}
	s, err := h.testHandler.NewSession(ctx, c)
	return &originSession{s.(*testSession), c.Peer()}, err
}

type originSession struct {
	*testSession
	atConnect auth.Peer
}

func (s *originSession) Mail(ctx context.Context, from Path, opts MailOptions) (Reply, error) {
	p := s.c.Peer()
	login := "-"
	if p.Identity != nil {
		login = p.Identity.Login
	}
	text := fmt.Sprintf("%v name=%q by %v to %v helo=%q was %q login=%s", p.Remote, p.Name, p.Proxy.Addr(), p.Local, p.HELO, s.atConnect.HELO, login)
	_, err := s.testSession.Mail(ctx, from, opts)
	return Reply{250, EnhancedCode{2, 1, 0}, text}, err
}

func xclientLogin(_ context.Context, p auth.Peer, login string) (*auth.Identity, error) {
	switch {
	case login == "down":
		return nil, auth.ErrUnavailable
	case login == "nobody":
		return nil, auth.ErrCredentials
	case p.Addr() == netip.MustParseAddr("192.0.2.68"):
		return nil, auth.ErrForbidden
	}
	return &auth.Identity{Account: login, Login: login}, nil
}

// The Handler's Sessions follow one another.
func TestXClientSessions(t *testing.T) {
	var log []string
	h := &testHandler{}
	s := &Server{XClients: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Handler: HandlerFunc(func(_ context.Context, c *Conn) (Session, error) {
		log = append(log, "new "+c.Peer().Addr().String())
		return &strictSession{testSession: testSession{h: h, c: c}, log: &log}, nil
	})}
	c := newTalk(t, testServer(t, s))
	c.hear("220 ")
	c.say("EHLO x\r\nXCLIENT ADDR=192.0.2.1\r\nMAIL FROM:<>\r\nEHLO y\r\nMAIL FROM:<>\r\nXCLIENT ADDR=192.0.2.2\r\nQUIT\r\n")
	c.hear("250 ", "220 ", "503 5.5.1 Say EHLO", "250 ", "250 ", "503 ", "221 ")
	c.hearEOF()
	require.NoError(t, s.Shutdown(t.Context()))
	require.Equal(t, "new 127.0.0.1 reset close new 192.0.2.1 mail reset close", strings.Join(log, " "))
}

// The limits by address are those of the client that was named.
func TestXClientLimits(t *testing.T) {
	s := &Server{Handler: &testHandler{}, MaxConnsPerAddr: 2, XClients: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	l := testServer(t, s)
	var open []*talk
	for range 3 { // more than one address may have: it is counted off
		c := newTalk(t, l)
		c.hear("220 ")
		c.say(fmt.Sprintf("XCLIENT ADDR=192.0.2.%d\r\nXCLIENT HELO=x\r\n", 1+len(open)/2))
		c.hear("220 ", "220 ")
		open = append(open, c)
	}
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("XCLIENT ADDR=192.0.2.1\r\n")
	c.hear("421 4.7.0")
	c.hearEOF()
}

// Only who was authorised when the connection began may use it, as often as
// they like.
func TestXClientByProxy(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for announced, want := range map[string]string{"192.0.2.1": "550 5.7.0", "127.0.0.9": "220 "} {
		c := newTalk(t, testServer(t, &Server{Handler: &testHandler{}, Proxies: local, XClients: local}))
		c.say("PROXY TCP4 " + announced + " 198.51.100.1 1 25\r\n")
		c.hear("220 ")
		c.say("XCLIENT ADDR=192.0.2.2\r\nXCLIENT ADDR=192.0.2.3\r\n")
		c.hear(want, want)
	}
	l := testServer(t, &Server{Handler: &testHandler{}, XClients: local})
	nc, err := l.DialFrom(t.Context(), net.IPv4(192, 0, 2, 1))
	require.NoError(t, err)
	defer nc.Close()
	c := newTalkConn(t, nc)
	c.hear("220 ")
	c.say("EHLO x\r\nXCLIENT ADDR=127.0.0.1\r\n")
	_, err = c.r.ReadString('\n')
	require.NoError(t, err)
	for {
		line, err := c.r.ReadString('\n')
		require.NoError(t, err)
		require.NotContains(t, line, "XCLIENT")
		if strings.HasPrefix(line, "250 ") {
			break
		}
	}
	c.hear("550 5.7.0")
}

// A password given to the proxy's session is not the next client's.
func TestXClientForgetsAuth(t *testing.T) {
	s := &Server{Handler: &originHandler{}, Auth: testAuth{}, InsecureAuth: true, RequireAuth: true, XClientLogin: xclientLogin,
		XClients: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	c := newTalk(t, testServer(t, s))
	c.hear("220 ")
	c.say("EHLO x\r\nAUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n")
	c.hear("250 ", "235 ")
	c.say("XCLIENT NAME=a.example.com\r\nEHLO x\r\nMAIL FROM:<>\r\n")
	c.hear("220 ", "250 ", "530 5.7.0")
	c.say("XCLIENT LOGIN=eve\r\nXCLIENT HELO=z\r\nEHLO x\r\nMAIL FROM:<>\r\n")
	c.hear("220 ", "220 ", "250 ", "250 2.1.0 127.0.0.1:")
	c.say("RSET\r\nXCLIENT ADDR=192.0.2.1\r\nEHLO x\r\nMAIL FROM:<>\r\n")
	c.hear("250 ", "220 ", "250 ", "530 5.7.0")
	c.say("QUIT\r\n")
	c.hear("221 ")
	_, _ = io.ReadAll(c)
}

// The certificate of a proxy is nobody's whom it speaks for.
func TestXClientCertificate(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	serverTLS, clientTLS = testauth.CertifiedTLS(t, serverTLS, clientTLS)
	l := testServer(t, &Server{Handler: &testHandler{}, Auth: testauth.Able{}, TLSConfig: serverTLS, ImplicitTLS: true,
		XClients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	nc, err := l.Dial(t.Context())
	require.NoError(t, err)
	defer nc.Close()
	c := newTalkConn(t, tls.Client(nc, clientTLS))
	offered := func() string {
		for {
			line, err := c.r.ReadString('\n')
			require.NoError(t, err)
			if mechanisms, ok := strings.CutPrefix(line, "250-AUTH "); ok {
				for !strings.HasPrefix(line, "250 ") {
					line, err = c.r.ReadString('\n')
					require.NoError(t, err)
				}
				return mechanisms
			}
		}
	}
	c.hear("220 ")
	c.say("EHLO x\r\n")
	require.Contains(t, offered(), "EXTERNAL", "for the proxy itself")
	c.say("XCLIENT ADDR=192.0.2.1\r\n")
	c.hear("220 ")
	c.say("EHLO x\r\n")
	mechanisms := offered()
	require.NotContains(t, mechanisms, "EXTERNAL")
	require.Contains(t, mechanisms, "PLAIN")
	c.say("AUTH EXTERNAL =\r\nAUTH PLAIN AGFubmEAc2VjcmV0\r\n")
	c.hear("504 ", "235 ")
}

func FuzzXClient(f *testing.F) {
	for _, s := range []string{
		"NAME=a.example.com ADDR=192.0.2.1 PORT=25 PROTO=ESMTP HELO=x LOGIN=tim DESTADDR=IPV6:2001:db8::1 DESTPORT=587",
		"NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL]", "addr=ipv6:::1", "ADDR=IPV6:192.0.2.1", "ADDR=::1", "PORT=-1", "LOGIN=+0D+0A", "HELO=+20x",
		"NAME=", "NAME", "=x", "X=y", "PROTO=LMTP", "ADDR=1.2.3.4 ADDR=1.2.3.4", "LOGIN=t+C3+A4", "LOGIN=+FF", "HELO=+3C+3E", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseXClient(s)
		if err != nil {
			require.Equal(t, 501, err.Code)
			return
		}
		p := auth.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:1"), HELO: "before", Identity: &auth.Identity{}}
		a.apply(&p)
		require.Nil(t, p.Identity)
		require.Equal(t, "127.0.0.1:1", p.Proxy.String())
		if a.addr != nil {
			require.Equal(t, *a.addr, p.Remote.Addr())
			require.Empty(t, p.Remote.Addr().Zone())
		}
		for _, name := range []string{p.Name, p.HELO} {
			require.False(t, strings.ContainsAny(name, " \r\n\x00"), "%q", name)
			require.LessOrEqual(t, len(name), maxDomain)
		}
		if a.login != nil {
			require.False(t, strings.ContainsAny(*a.login, "\r\n\x00"))
		}
	})
}
