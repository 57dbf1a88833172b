package interop

import (
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wneessen/go-mail"
)

// dialSMTP connects with go-smtp's client, encrypted where there is a login.
func dialSMTP(t *testing.T, s *server, service string) *smtp.Client {
	t.Helper()
	var c *smtp.Client
	var err error
	switch service {
	case "submissions":
		c, err = smtp.DialTLS(s.addrs[service], trusting(t))
	case "submission":
		c, err = smtp.DialStartTLS(s.addrs[service], trusting(t))
	default:
		var nc net.Conn
		if nc, err = net.Dial("tcp", s.addrs[service]); err == nil && service == "lmtp" {
			c = smtp.NewClientLMTP(nc)
		} else if err == nil {
			c = smtp.NewClient(nc)
		}
	}
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestGoSMTPClient(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i, service := range []string{"smtp", "submission", "submissions", "lmtp"} {
		t.Run(service, func(t *testing.T) {
			c := dialSMTP(t, s, service)
			from := "someone@peer.test"
			if strings.HasPrefix(service, "sub") {
				from = alice
				require.NoError(t, c.Auth(sasl.NewPlainClient("", alice, alicePassword)))
			}
			subject := "go-smtp " + strconv.Itoa(i)
			body := ".\r\n..\r\nlast line"
			require.NoError(t, c.SendMail(from, []string{bob, carol}, strings.NewReader(message(from, bob, subject, body))))
			for _, to := range []string{bob, carol} {
				m := s.find(t, to, "INBOX", "Subject: "+subject+"\r\n")
				assert.True(t, strings.HasSuffix(string(m.raw), "\r\n\r\n"+body+"\r\n"), "%s", m.raw)
			}
			// A second message on the same connection, after a failed one.
			require.Error(t, c.SendMail(from, []string{"nobody@posta.test"}, strings.NewReader("")))
			require.NoError(t, c.Reset())
			require.NoError(t, c.SendMail(from, []string{bob}, strings.NewReader(message(from, bob, subject+" again", body))))
			require.NoError(t, c.Quit())
		})
	}
}

// exchange is a mail system elsewhere, made of go-smtp's server.
type exchange struct {
	mu       sync.Mutex
	got      []received
	more     chan struct{} // a message has come
	listener net.Listener
}

type received struct {
	from string
	to   []string
	tls  bool
	raw  string
}

// newExchange serves mail for anybody on a free port, with STARTTLS.
func newExchange(t *testing.T) *exchange {
	t.Helper()
	e := &exchange{more: make(chan struct{}, 1)}
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &exchangeSession{e: e, c: c}, nil }))
	cert, err := tls.LoadX509KeyPair(certFile(), keyFile())
	require.NoError(t, err)
	srv.Domain, srv.TLSConfig = "mx.peer.test", &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.EnableSMTPUTF8 = true
	e.listener, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go srv.Serve(e.listener)
	t.Cleanup(func() { srv.Close() })
	return e
}

func (e *exchange) port() string {
	_, port, _ := net.SplitHostPort(e.listener.Addr().String())
	return port
}

// wait waits until n messages have come and returns the last of them.
func (e *exchange) wait(t *testing.T, n int) received {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		e.mu.Lock()
		got := len(e.got)
		if got >= n {
			defer e.mu.Unlock()
			return e.got[n-1]
		}
		e.mu.Unlock()
		select {
		case <-e.more:
		case <-deadline:
			t.Fatalf("%d of %d messages arrived", got, n)
		}
	}
}

type exchangeSession struct {
	e *exchange
	c *smtp.Conn
	m received
}

func (s *exchangeSession) Mail(from string, _ *smtp.MailOptions) error {
	_, s.m.tls = s.c.TLSConnectionState()
	s.m.from = from
	return nil
}

func (s *exchangeSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user here"}
	}
	s.m.to = append(s.m.to, to)
	return nil
}

func (s *exchangeSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.m.raw = string(b)
	s.e.mu.Lock()
	s.e.got = append(s.e.got, s.m)
	s.e.mu.Unlock()
	select {
	case s.e.more <- struct{}{}:
	default: // somebody has been told that there is more
	}
	return nil
}

func (s *exchangeSession) Reset()        { s.m = received{} }
func (s *exchangeSession) Logout() error { return nil }

// TestGoSMTPServer relays a submission over MX records to go-smtp's server.
func TestGoSMTPServer(t *testing.T) {
	t.Parallel()
	e := newExchange(t)
	s := start(t, "-mx-port", e.port())
	s.dns.Set("peer.test", testdns.Records{MX: []string{"10 dead.peer.test", "20 mx.peer.test"}})
	s.dns.Set("dead.peer.test", testdns.Records{A: []string{"127.0.0.9"}})
	s.dns.Set("mx.peer.test", testdns.Records{A: []string{"127.0.0.1"}})
	c := dialSMTP(t, s, "submission")
	require.NoError(t, c.Auth(sasl.NewPlainClient("", alice, alicePassword)))
	raw := message(alice, "x@peer.test", "to an exchange", ".dots\r\n..more")
	require.NoError(t, c.SendMail(alice, []string{"x@peer.test", "y@peer.test"}, strings.NewReader(raw)))
	m := e.wait(t, 1)
	assert.Equal(t, alice, m.from)
	assert.ElementsMatch(t, []string{"x@peer.test", "y@peer.test"}, m.to)
	assert.True(t, m.tls, "STARTTLS is used where it is offered")
	assert.True(t, strings.HasSuffix(m.raw, raw), "the message is as it was sent:\n%s", m.raw)
	verifySigned(t, s, m.raw)

	// What the exchange refuses comes back.
	require.NoError(t, c.SendMail(alice, []string{"nobody@peer.test"}, strings.NewReader(message(alice, "nobody@peer.test", "to nobody", "x"))))
	bounce := string(s.find(t, alice, "INBOX", "Subject: to nobody").raw)
	assert.Contains(t, bounce, "Return-Path: <>\r\n")
	assert.Contains(t, bounce, "550 5.1.1 No such user here")
}

// TestGoMail sends through submission with every login that go-mail knows.
func TestGoMail(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, c := range []struct {
		service string
		auth    mail.SMTPAuthType
	}{
		{"submission", mail.SMTPAuthPlain}, {"submission", mail.SMTPAuthLogin}, {"submission", mail.SMTPAuthSCRAMSHA256},
		{"submissions", mail.SMTPAuthPlain}, {"submissions", mail.SMTPAuthSCRAMSHA256}, {"submissions", mail.SMTPAuthAutoDiscover},
	} {
		t.Run(c.service+" "+string(c.auth), func(t *testing.T) {
			port, err := strconv.Atoi(s.port(c.service))
			require.NoError(t, err)
			opts := []mail.Option{mail.WithPort(port), mail.WithTLSConfig(trusting(t)), mail.WithTLSPolicy(mail.TLSMandatory), mail.WithHELO("client.test"),
				mail.WithSMTPAuth(c.auth), mail.WithUsername(alice), mail.WithPassword(alicePassword)}
			if c.service == "submissions" {
				opts = append(opts, mail.WithSSL())
			}
			client, err := mail.NewClient("localhost", opts...)
			require.NoError(t, err)
			m := mail.NewMsg()
			require.NoError(t, m.FromFormat("Alice", alice))
			require.NoError(t, m.To(bob))
			subject := "go-mail " + c.service + " " + string(c.auth)
			m.Subject(subject)
			m.SetBodyString(mail.TypeTextPlain, "Grüße\r\n.\r\nEnde")
			m.AddAlternativeString(mail.TypeTextHTML, "<p>Grüße</p>")
			require.NoError(t, client.DialAndSendWithContext(t.Context(), m))
			assert.Contains(t, string(s.find(t, bob, "INBOX", "Subject: "+subject+"\r\n").raw), "multipart/alternative")
		})
	}
}
