package interop

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
)

// sendWithDSN sends a message by our own Client, with everything that the
// other side may pass on.
func sendWithDSN(t *testing.T, addr string, cfg *smtp.ClientConfig) (text string) {
	t.Helper()
	if cfg == nil {
		cfg = &smtp.ClientConfig{}
	}
	cfg.TLS = smtp.TLSPolicy{Mode: smtp.TLSRequired, Config: trusting(t)}
	from, err := smtp.ParsePath("<jürgen@peer.test>")
	require.NoError(t, err)
	to, err := smtp.ParsePath("<" + bob + ">")
	require.NoError(t, err)
	env := &smtp.Envelope{From: from, To: smtp.To(to), MailOptions: smtp.MailOptions{SMTPUTF8: true, Body: smtp.Body8BitMIME, Return: smtp.ReturnHeaders, EnvelopeID: "id+=1"}}
	env.To[0].Notify = smtp.NotifyDelay | smtp.NotifyFailure
	env.To[0].Original = smtp.OriginalRecipient{Type: "rfc822", Address: "bob+x@peer.test"}
	text = message("jürgen@peer.test", bob, "Grüße", ".\r\n..\r\nend")
	res, err := smtp.SendMail(t.Context(), addr, cfg, env, strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, res.Recipients[0])
	return text
}

// goServer is go-smtp's server, which keeps what it is asked for.
type goServer struct {
	mu   sync.Mutex
	mail gosmtp.MailOptions
	rcpt gosmtp.RcptOptions
	from string
	text string
}

func (g *goServer) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return g, nil }

func (g *goServer) Mail(from string, opts *gosmtp.MailOptions) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.from, g.mail = from, *opts
	return nil
}

func (g *goServer) Rcpt(_ string, opts *gosmtp.RcptOptions) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rcpt = *opts
	return nil
}

func (g *goServer) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text = string(b)
	return err
}

func (g *goServer) Reset()        {}
func (g *goServer) Logout() error { return nil }

// What our Client asks for arrives at go-smtp's server.
func TestClientToGoSMTP(t *testing.T) {
	t.Parallel()
	for _, lmtp := range []bool{false, true} {
		g := &goServer{}
		srv := gosmtp.NewServer(g)
		cert, err := tls.LoadX509KeyPair(certFile(), keyFile())
		require.NoError(t, err)
		srv.Domain, srv.LMTP, srv.TLSConfig = "localhost", lmtp, &tls.Config{Certificates: []tls.Certificate{cert}}
		srv.EnableSMTPUTF8, srv.EnableDSN, srv.EnableREQUIRETLS, srv.EnableBINARYMIME = true, true, true, true
		srv.ReadTimeout = time.Minute
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go srv.Serve(l)
		t.Cleanup(func() { srv.Close() })
		text := sendWithDSN(t, l.Addr().String(), &smtp.ClientConfig{LMTP: lmtp})
		g.mu.Lock()
		defer g.mu.Unlock()
		assert.Equal(t, text, g.text)
		assert.Equal(t, "jürgen@peer.test", g.from)
		assert.True(t, g.mail.UTF8)
		assert.Equal(t, gosmtp.Body8BitMIME, g.mail.Body)
		assert.Equal(t, gosmtp.DSNReturnHeaders, g.mail.Return)
		assert.Equal(t, "id+=1", g.mail.EnvelopeID)
		assert.ElementsMatch(t, []gosmtp.DSNNotify{gosmtp.DSNNotifyDelayed, gosmtp.DSNNotifyFailure}, g.rcpt.Notify)
		assert.Equal(t, gosmtp.DSNAddressTypeRFC822, g.rcpt.OriginalRecipientType)
		assert.Equal(t, "bob+x@peer.test", g.rcpt.OriginalRecipient)
	}
}
