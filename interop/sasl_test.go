package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wneessen/go-mail"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/pop3"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store/memory"
)

// able is an Authenticator with every ability, for alice alone. It remembers the
// mechanisms that alice has come in by.
type able struct {
	mu   sync.Mutex
	used []string
}

// last is what the last login used.
func (a *able) last() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.used) == 0 {
		return ""
	}
	return a.used[len(a.used)-1]
}

func (a *able) Password(_ context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	return a.asAlice(req, authzid, user == alice && password == alicePassword)
}

func (a *able) SCRAMHashes() []string { return []string{"SHA-1", "SHA-256", "SHA-512"} }

func (a *able) SCRAMKeys(_ context.Context, _ auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	if user != alice {
		return sasl.FakeSCRAMKeys(hash, []byte("secret"), user, 16, 4096)
	}
	return sasl.DeriveSCRAMKeys(hash, alicePassword, []byte("sixteen octets !"), 4096)
}

func (a *able) Authorize(_ context.Context, req auth.Request, authzid, user string) (*auth.Identity, error) {
	return a.asAlice(req, authzid, user == alice)
}

func (a *able) Token(_ context.Context, req auth.Request, user, token string) (*auth.Identity, error) {
	return a.asAlice(req, user, token == "good.token")
}

func (a *able) External(_ context.Context, req auth.Request, authzid string) (*auth.Identity, error) {
	return a.asAlice(req, authzid, req.Peer.TLS.VerifiedChains[0][0].Subject.CommonName == "localhost")
}

func (a *able) Anonymous(_ context.Context, req auth.Request, _ string) (*auth.Identity, error) {
	return a.asAlice(req, "", true)
}

func (a *able) asAlice(req auth.Request, authzid string, ok bool) (*auth.Identity, error) {
	switch {
	case !ok:
		return nil, auth.ErrCredentials
	case authzid != "" && authzid != alice:
		return nil, auth.ErrForbidden
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used = append(a.used, req.Mechanism)
	return &auth.Identity{Account: alice, Login: alice, Senders: []string{alice}}, nil
}

// saslServers are servers of the three protocols, by port, over able.
type saslServers struct {
	*able
	smtp, imap, pop3 string
}

func startSASL(t *testing.T, binding bool, version uint16, disable ...string) *saslServers {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(certFile(), keyFile())
	require.NoError(t, err)
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: trusting(t).RootCAs, ClientAuth: tls.VerifyClientCertIfGiven, MaxVersion: version}
	st := memory.New()
	t.Cleanup(func() { _ = st.Close() })
	require.NoError(t, st.CreateAccount(t.Context(), alice))
	drop := smtp.Receive(func(smtp.Path) bool { return true }, func(_ context.Context, _ *smtp.Envelope, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	who := new(able)
	governor := &auth.Governor{Off: true}
	s := &smtp.Server{Hostname: "localhost", Handler: drop, Auth: who, Governor: governor, RequireAuth: true, TLSConfig: cfg, ChannelBinding: binding, DisableAuth: disable}
	i := &imap.Server{Store: st, Auth: who, Governor: governor, TLSConfig: cfg, ChannelBinding: binding, DisableAuth: disable}
	p := &pop3.Server{Store: st, Auth: who, Governor: governor, TLSConfig: cfg, ChannelBinding: binding, DisableAuth: disable}
	listen := func(serve func(net.Listener) error, stop func() error) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = serve(l) }()
		t.Cleanup(func() { _ = stop(); <-ended })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	return &saslServers{who, listen(s.Serve, s.Close), listen(i.Serve, i.Close), listen(p.Serve, p.Close)}
}

// tlsVersions are what channel binding differs by.
var tlsVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// TestSASLGoMail: go-mail's client, which implements SCRAM and both bindings of a
// connection for itself.
func TestSASLGoMail(t *testing.T) {
	t.Parallel()
	for _, version := range tlsVersions {
		for _, binding := range []bool{false, true} {
			s := startSASL(t, binding, version)
			port, err := strconv.Atoi(s.smtp)
			require.NoError(t, err)
			for _, mech := range []mail.SMTPAuthType{mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthXOAUTH2,
				mail.SMTPAuthSCRAMSHA1, mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthSCRAMSHA1PLUS, mail.SMTPAuthSCRAMSHA256PLUS} {
				for _, right := range []bool{true, false} {
					t.Run(fmt.Sprint(tls.VersionName(version), " binding ", binding, " ", mech, " ", right), func(t *testing.T) {
						secret := alicePassword
						if mech == mail.SMTPAuthXOAUTH2 {
							secret = "good.token"
						}
						if !right {
							secret = "wrong"
						}
						c, err := mail.NewClient("localhost", mail.WithPort(port), mail.WithTLSConfig(trusting(t)), mail.WithTLSPolicy(mail.TLSMandatory),
							mail.WithHELO("client.test"), mail.WithSMTPAuth(mech), mail.WithUsername(alice), mail.WithPassword(secret))
						require.NoError(t, err)
						err = c.DialWithContext(t.Context())
						if right && (binding || !strings.HasSuffix(string(mech), "PLUS")) {
							require.NoError(t, err)
							require.NoError(t, c.Close())
							require.Equal(t, string(mech), s.last())
						} else {
							require.Error(t, err)
						}
					})
				}
			}
		}
	}
}

// TestSASLGsasl: GNU SASL's tool as a client of SMTP and IMAP.
func TestSASLGsasl(t *testing.T) {
	t.Parallel()
	peer(t, "gsasl")
	for _, version := range tlsVersions {
		s := startSASL(t, true, version)
		for _, mech := range []string{"PLAIN", "LOGIN", "ANONYMOUS", "EXTERNAL", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"} {
			for protocol, port := range map[string]string{"--smtp": s.smtp, "--imap": s.imap} {
				for _, password := range []string{alicePassword, "wrong"} {
					t.Run(fmt.Sprint(tls.VersionName(version), protocol, mech, password == alicePassword), func(t *testing.T) {
						args := []string{protocol, "-m", mech, "-a", alice, "-p", password, "-n", "guest", "--x509-ca-file", certFile(), "--verbose", "--no-client-first"}
						if mech == "EXTERNAL" {
							args = append(args, "-z", "", "--x509-cert-file", certFile(), "--x509-key-file", keyFile())
						}
						if !strings.HasSuffix(mech, sasl.Plus) {
							args = append(args, "--no-cb") // it would send what RFC 5802 forbids without -PLUS
						}
						out, err := try(t, "", "gsasl", append(args, "localhost", port)...)
						if password == "wrong" && mech != "ANONYMOUS" && mech != "EXTERNAL" {
							require.Error(t, err)
							return
						}
						require.NoError(t, err)
						require.Contains(t, out, "Client authentication finished (server trusted)")
						require.Equal(t, mech, s.last())
					})
				}
			}
		}
	}
}

// TestSASLNeomutt is why channel binding is not offered unless it is asked for:
// this NeoMutt, on GNU SASL and with nothing to bind to, chooses it and fails. When
// it no longer does, think about the default again.
func TestSASLNeomutt(t *testing.T) {
	t.Parallel()
	peer(t, "neomutt")
	for _, binding := range []bool{false, true} {
		s := startSASL(t, binding, 0)
		rc := write(t, filepath.Join(t.TempDir(), "rc"), strings.Join([]string{
			"set from='" + alice + "' use_envelope_from=yes hostname=client.test copy=no",
			"set smtp_url='smtp://" + alice + "@localhost:" + s.smtp + "/' smtp_pass='" + alicePassword + "'",
			"set ssl_starttls=yes ssl_force_tls=yes ssl_ca_certificates_file='" + certFile() + "' certificate_file='" + certFile() + "'", "",
		}, "\n"))
		out, err := try(t, "text\n", "neomutt", "-n", "-F", rc, "-s", "subject", "--", alice)
		if binding {
			assert.Error(t, err)
			assert.Contains(t, out, "SASL authentication failed")
			continue
		}
		assert.NoError(t, err)
		assert.Equal(t, "SCRAM-SHA-256", s.last())
	}
}

// TestSASLMbsync: a program on Cyrus SASL that has nothing to bind to passes
// -PLUS over.
func TestSASLMbsync(t *testing.T) {
	t.Parallel()
	peer(t, "mbsync")
	s := startSASL(t, true, 0)
	dir := t.TempDir()
	config := write(t, filepath.Join(dir, "rc"), "IMAPAccount posta\nHost localhost\nPort "+s.imap+"\nUser "+alice+"\nPass \""+alicePassword+
		"\"\nSSLType STARTTLS\nCertificateFile "+certFile()+"\nAuthMechs SCRAM-SHA-512 SCRAM-SHA-512-PLUS SCRAM-SHA-256 SCRAM-SHA-256-PLUS\n\nIMAPStore far\nAccount posta\n\n"+
		"MaildirStore near\nPath "+dir+"/mail/\nInbox "+dir+"/mail/INBOX\n\nChannel posta\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\n")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "mail"), 0o700))
	run(t, "", "mbsync", "-c", config, "-V", "posta")
	assert.Regexp(t, "^SCRAM-SHA-(256|512)$", s.last())
}

// TestSASLPython: what smtplib, imaplib and poplib can carry, tokens too.
func TestSASLPython(t *testing.T) {
	t.Parallel()
	peer(t, "python3")
	s := startSASL(t, false, 0)
	out := run(t, "", "python3", filepath.Join("testdata", "sasl.py"), certFile(), s.smtp, s.imap, s.pop3, alice, alicePassword, "good.token")
	assert.Contains(t, out, "\nall done\n")
}

// TestSASLPerl: Net::SMTP over Authen::SASL.
func TestSASLPerl(t *testing.T) {
	t.Parallel()
	peer(t, "perl")
	if exec.Command("perl", "-MAuthen::SASL", "-MIO::Socket::SSL", "-MNet::SMTP", "-e", "1").Run() != nil {
		missing(t, "Authen::SASL, IO::Socket::SSL or Net::SMTP is not installed")
	}
	s := startSASL(t, true, 0)
	for mech, secret := range map[string]string{"PLAIN": alicePassword, "LOGIN": alicePassword, "ANONYMOUS": "guest", "EXTERNAL": "-"} {
		for _, right := range []bool{true, false} {
			if !right {
				if mech == "ANONYMOUS" || mech == "EXTERNAL" {
					continue
				}
				secret = "wrong"
			}
			out, err := try(t, "", "perl", filepath.Join("testdata", "sasl.pl"), certFile(), keyFile(), s.smtp, mech, alice, secret)
			require.Equal(t, right, err == nil, "%s %v: %s", mech, right, out)
			if right {
				require.Equal(t, mech, s.last())
			}
		}
	}
}
