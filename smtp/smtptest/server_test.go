package smtptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// sink accepts what is for example.org and remembers it.
type sink struct {
	mu  sync.Mutex
	got []string
}

func (s *sink) handler() smtp.Handler {
	return smtp.Receive(smtp.ForDomains("example.org"), func(_ context.Context, env *smtp.Envelope, r io.Reader) error {
		var b strings.Builder
		if _, err := io.Copy(&b, r); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got = append(s.got, b.String())
		return nil
	})
}

func (s *sink) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

func TestServer(t *testing.T) {
	for _, kind := range []string{"plain", "starttls", "implicit", "lmtp"} {
		t.Run(kind, func(t *testing.T) {
			var got sink
			srv := &smtp.Server{Hostname: "mx.example.org", Handler: got.handler(), Auth: smtptest.Users{"tim": "tanstaaf"}, LMTP: kind == "lmtp", ImplicitTLS: kind == "implicit"}
			var s *smtptest.Server
			if kind == "plain" {
				s = smtptest.NewServer(t, srv)
			} else {
				s = smtptest.NewTLSServer(t, srv)
			}
			for _, faults := range []bool{false, true} {
				if faults { // none that does anything, but the way is another
					s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{{At: smtptest.AtConnect}, {At: smtptest.AtQuit, Nth: 2, Reply: "never"}}})
				}
				for _, mech := range []string{"", "PLAIN", "SCRAM-SHA-256"} {
					if kind == "plain" && mech == "PLAIN" {
						continue
					}
					c := smtptest.NewClient(t, s, func(cfg *smtp.ClientConfig) {
						switch mech {
						case "PLAIN":
							cfg.Auth = sasl.NewPlainClient("", "tim", "tanstaaf")
						case "SCRAM-SHA-256":
							cfg.Auth, _ = sasl.NewSCRAMClient("SHA-256", "", "tim", "tanstaaf")
						}
					})
					require.Equal(t, kind != "plain", c.TLS() != nil)
					_, err := c.Send(t.Context(), envelope(t, "a@example.org", "b@example.org"), strings.NewReader(".x\n"))
					require.NoError(t, err)
					require.NoError(t, c.Reset(t.Context()))
					require.NoError(t, c.Quit(t.Context()))
					m := got.messages()
					require.Equal(t, ".x\r\n", m[len(m)-1])
				}
			}
			require.Equal(t, []int{0, 0}, append(s.Misbehaved()[:0:0], 0, s.Misbehaved()[1]))
		})
	}
}

// A client that does not trust the certificate, from another address, by TCP.
func TestServerAddresses(t *testing.T) {
	s := smtptest.NewTLSServer(t, &smtp.Server{Handler: (&sink{}).handler()})
	nc, err := s.DialFrom(t.Context(), net.IPv4(192, 0, 2, 1))
	require.NoError(t, err)
	require.Equal(t, "192.0.2.1", nc.LocalAddr().(*net.TCPAddr).IP.String())
	_ = nc.Close()
	cfg := s.Client()
	cfg.TLS.Config = smtptest.NewAuthority(t).Client()
	_, err = smtp.Dial(t.Context(), s.Addr(), cfg)
	require.ErrorContains(t, err, "authority")
	addr, err := s.ListenTCP()
	require.NoError(t, err)
	cfg = s.Client()
	cfg.DialContext = nil
	c, err := smtp.Dial(t.Context(), addr, cfg)
	require.NoError(t, err)
	require.NoError(t, c.Verified())
	require.NoError(t, c.Quit(t.Context()))
}

func TestUsers(t *testing.T) {
	s := smtptest.NewTLSServer(t, &smtp.Server{Handler: (&sink{}).handler(), Auth: smtptest.Users{"tim": "tanstaaf"}, Governor: &auth.Governor{Off: true}})
	for _, c := range []struct{ user, password, authzid string }{{"tim", "wrong", ""}, {"tom", "tanstaaf", ""}, {"tim", "tanstaaf", "tom"}} {
		scram, err := sasl.NewSCRAMClient("SHA-256", c.authzid, c.user, c.password)
		require.NoError(t, err)
		for _, mech := range []interface {
			Start() (string, []byte, error)
			Next([]byte) ([]byte, error)
		}{scram, sasl.NewPlainClient(c.authzid, c.user, c.password)} {
			cfg := s.Client()
			cfg.Auth = mech
			_, err = smtp.Dial(t.Context(), s.Addr(), cfg)
			var e *smtp.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, 535, e.Code)
		}
	}
}

// The kit tells what goes wrong.
func TestKitFails(t *testing.T) {
	require.Contains(t, testfail.Run(t, func(t testing.TB) {
		s := smtptest.NewServer(t, &smtp.Server{})
		smtptest.NewClient(t, s, nil)
	}), "521 5.3.2")
	require.Contains(t, testfail.Run(t, func(t testing.TB) {
		smtptest.NewServer(t, &smtp.Server{Hostname: "not a name"})
	}), "malformed Hostname")
	require.Contains(t, testfail.Run(t, func(t testing.TB) {
		s := smtptest.NewServer(t, &smtp.Server{Handler: (&sink{}).handler()})
		smtptest.Play(t, s, "S~ 220 .*\nC: NOOP\nS: 250 no", nil)
	}), `script:3: S: 250 no
got  "250 2.0.0 OK"`)
	require.Contains(t, testfail.Run(t, func(t testing.TB) {
		s := smtptest.NewServer(t, &smtp.Server{Handler: (&sink{}).handler()})
		smtptest.Play(t, s, "TLS", nil)
	}), "no TLS configuration")
}

func TestPlay(t *testing.T) {
	s := smtptest.NewTLSServer(t, &smtp.Server{Hostname: "mx.example.org", Handler: (&sink{}).handler()})
	smtptest.Play(t, s, `
# Two connections, one of them encrypted.
S: 220 mx.example.org ESMTP ready
2S~ 220 (?P<name>\S+) .*
C: EHLO ${me}
S* 250 STARTTLS
C: STARTTLS
S* 220 .*
TLS
C: EHLO ${me}
S: 250-${name}
S* 250 .*
2C: QUIT
2S~ 221 2.0.0 ${name} .*
2EOF
CLOSE`, map[string]string{"me": "client.example"})
}

func TestPlayFiles(t *testing.T) {
	var names []string
	smtptest.PlayFiles(t, "testdata/*.txt", func(t *testing.T, name string) (*smtptest.Server, map[string]string) {
		names = append(names, name)
		return smtptest.NewServer(t, &smtp.Server{Hostname: name + ".example.org", Handler: (&sink{}).handler()}), map[string]string{"name": name}
	})
	require.Equal(t, []string{"hello"}, names)
}

func ExampleServer() {
	test := func(t testing.TB) { // as it would be in a _test.go file
		s := smtptest.NewTLSServer(t, &smtp.Server{
			Hostname: "mx.example.org",
			Handler: smtp.Receive(smtp.ForDomains("example.org"), func(_ context.Context, env *smtp.Envelope, _ io.Reader) error {
				return errors.New("disk full")
			}),
		})
		c := smtptest.NewClient(t, s, nil)
		bob, _ := smtp.ParseAddress("bob@example.org")
		_, err := c.Send(t.Context(), &smtp.Envelope{To: smtp.To(bob)}, strings.NewReader("Subject: x\n\nx\n"))
		fmt.Println(err)
	}
	_ = test
}

func ExamplePlay() {
	test := func(t testing.TB) {
		s := smtptest.NewServer(t, &smtp.Server{
			Hostname: "mx.example.org",
			Handler:  smtp.Receive(smtp.ForDomains("example.org"), nil),
		})
		smtptest.Play(t, s, `
S: 220 mx.example.org ESMTP ready
C: EHLO client.example
S* 250 .*
C: MAIL FROM:<a@${domain}>
S~ 250 .*
C: RCPT TO:<b@elsewhere.example>
S: 550 5.7.1 Not accepted here
`, map[string]string{"domain": "example.com"})
	}
	_ = test
}
