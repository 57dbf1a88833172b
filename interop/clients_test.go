package interop

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/wneessen/go-mail"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// recorder is a server of package smtp alone, with the extensions that other
// people's software uses.
type recorder struct {
	smtptest.Recorder
	host, port string
}

func (r *recorder) addr() string { return net.JoinHostPort(r.host, r.port) }

func startRecorder(t *testing.T, lmtp bool) *recorder {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(certFile(), keyFile())
	require.NoError(t, err)
	r := &recorder{}
	r.Server = smtp.Server{Hostname: "localhost", LMTP: lmtp, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	r.Middleware = []smtp.Middleware{withExtensions(extensions()...)}
	r.Rcpt = func(to smtp.Path) error {
		if to.Local == "nobody" {
			return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "No such user here")
		}
		return nil
	}
	addr, err := r.StartTCP()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	r.host, r.port, err = net.SplitHostPort(addr)
	require.NoError(t, err)
	return r
}

// only waits for the only message.
func (r *recorder) only(t *testing.T) smtptest.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	list, err := r.Wait(ctx, 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

// withExtensions gives each Session extensions.
func withExtensions(list ...smtp.Extension) smtp.Middleware {
	return func(next smtp.Handler) smtp.Handler {
		return smtp.HandlerFunc(func(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
			s, err := next.NewSession(ctx, c)
			return extended{smtp.Wrapper{Session: s}, list}, err
		})
	}
}

type extended struct {
	smtp.Wrapper
	list []smtp.Extension
}

func (s extended) Extensions() []smtp.Extension { return s.list }

// What each client asks for arrives as it was meant.
func TestClientsOfSMTP(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		lmtp     bool
		programs []string
		send     func(t *testing.T, r *recorder)
		check    func(t *testing.T, m smtptest.Message)
	}{
		{name: "go-smtp", send: sendGoSMTP, check: func(t *testing.T, m smtptest.Message) {
			assert.True(t, m.SMTPUTF8)
			assert.Equal(t, smtp.Body8BitMIME, m.Body)
			assert.Equal(t, "jürgen", m.From.Local)
			requireDSN(t, m, dsn{"HDRS", "id+=1", "FAILURE,SUCCESS", "rfc822;bob+x@peer.test"})
		}},
		{name: "go-smtp LMTP", lmtp: true, send: sendGoSMTP, check: func(t *testing.T, m smtptest.Message) {
			requireDSN(t, m, dsn{"HDRS", "id+=1", "FAILURE,SUCCESS", "rfc822;bob+x@peer.test"})
			assert.Equal(t, "LMTP", m.Protocol)
		}},
		{name: "go-mail", send: sendGoMail, check: func(t *testing.T, m smtptest.Message) {
			requireDSN(t, m, dsn{"FULL", "", "FAILURE,SUCCESS", ""})
			assert.Contains(t, string(m.Data), "\r\n..\r\n", "a line of two dots")
		}},
		{name: "smtplib", programs: []string{"python3"}, send: sendSmtplib, check: func(t *testing.T, m smtptest.Message) {
			assert.True(t, m.SMTPUTF8)
			assert.Equal(t, "jürgen", m.From.Local)
			requireDSN(t, m, dsn{"FULL", "abc", "DELAY,SUCCESS", "rfc822;bob+x@peer.test"})
		}},
		{name: "msmtp", programs: []string{"msmtp"}, send: func(t *testing.T, r *recorder) {
			run(t, message(alice, bob, "msmtp", ".dot\r\n..\r\nend"), "msmtp", "--host="+r.host, "--port="+r.port, "--tls=on", "--tls-starttls=on", "--tls-trust-file="+certFile(),
				"--from="+alice, "--dsn-notify=success,failure", "--dsn-return=headers", "--domain=client.test", "--", bob)
		}, check: func(t *testing.T, m smtptest.Message) {
			requireDSN(t, m, dsn{"HDRS", "", "FAILURE,SUCCESS", ""})
			assert.True(t, strings.HasSuffix(string(m.Data), "\r\n\r\n.dot\r\n..\r\nend\r\n"), "%s", m.Data)
			assert.Equal(t, "ESMTPS", m.Protocol)
		}},
		{name: "msmtp LMTP", lmtp: true, programs: []string{"msmtp"}, send: func(t *testing.T, r *recorder) {
			run(t, message(alice, bob, "msmtp", ".dot\r\nend"), "msmtp", "--protocol=lmtp", "--host="+r.host, "--port="+r.port, "--from="+alice, "--domain=client.test", "--", bob, carol)
		}, check: func(t *testing.T, m smtptest.Message) {
			assert.Len(t, m.To, 2)
			assert.Equal(t, "LMTP", m.Protocol)
		}},
		{name: "curl", programs: []string{"curl"}, send: func(t *testing.T, r *recorder) {
			file := write(t, t.TempDir()+"/m", message("jürgen@peer.test", bob, "curl", "Grüße\r\n.\r\nend"))
			run(t, "", "curl", "-sS", "--max-time", "60", "--cacert", certFile(), "--ssl-reqd", "--url", "smtp://"+r.addr()+"/client.test", "--mail-from", "jürgen@peer.test", "--mail-rcpt", bob, "-T", file)
		}, check: func(t *testing.T, m smtptest.Message) {
			assert.True(t, m.SMTPUTF8)
			assert.Equal(t, "ESMTPS", m.Protocol)
			assert.Contains(t, string(m.Data), "Grüße\r\n.\r\nend\r\n")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			peer(t, c.programs...)
			r := startRecorder(t, c.lmtp)
			c.send(t, r)
			c.check(t, r.only(t))
		})
	}
}

func sendGoSMTP(t *testing.T, r *recorder) {
	nc, err := net.Dial("tcp", r.addr())
	require.NoError(t, err)
	defer nc.Close()
	c := gosmtp.NewClient(nc)
	if r.Server.LMTP {
		c = gosmtp.NewClientLMTP(nc)
	}
	require.NoError(t, c.Mail("jürgen@peer.test", &gosmtp.MailOptions{UTF8: true, Return: gosmtp.DSNReturnHeaders, EnvelopeID: "id+=1", Size: 1000}))
	require.NoError(t, c.Rcpt(bob, &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifySuccess, gosmtp.DSNNotifyFailure},
		OriginalRecipientType: gosmtp.DSNAddressTypeRFC822, OriginalRecipient: "bob+x@peer.test"}))
	require.Error(t, c.Rcpt("nobody@posta.test", nil))
	w, err := c.Data()
	require.NoError(t, err)
	_, err = w.Write([]byte(message("jürgen@peer.test", bob, "go-smtp", ".dot\r\n..\r\nend")))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, c.Quit())
}

func sendGoMail(t *testing.T, r *recorder) {
	port, err := strconv.Atoi(r.port)
	require.NoError(t, err)
	c, err := mail.NewClient("localhost", mail.WithPort(port), mail.WithTLSConfig(trusting(t)), mail.WithTLSPolicy(mail.TLSMandatory), mail.WithHELO("client.test"), mail.WithDSN())
	require.NoError(t, err)
	m := mail.NewMsg()
	require.NoError(t, m.From(alice))
	require.NoError(t, m.To(bob))
	m.Subject("go-mail")
	m.SetBodyString(mail.TypeTextPlain, "x\r\n..\r\nend", mail.WithPartEncoding(mail.NoEncoding))
	require.NoError(t, c.DialAndSendWithContext(t.Context(), m))
}

const smtplibScript = `
import smtplib, ssl, sys
host, port, cert, rcpt = sys.argv[1:]
with smtplib.SMTP("localhost", int(port), local_hostname="client.test", timeout=30) as c:
    c.starttls(context=ssl.create_default_context(cafile=cert))
    c.ehlo()
    for keyword in ("dsn", "smtputf8", "chunking", "8bitmime", "pipelining", "size"):
        assert c.has_extn(keyword), keyword
    refused = c.sendmail("jürgen@peer.test", [rcpt, "nobody@posta.test"], "Subject: smtplib\r\n\r\nGrüße\r\n".encode(),
        mail_options=["SMTPUTF8", "BODY=8BITMIME", "RET=FULL", "ENVID=abc"], rcpt_options=["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;bob+2Bx@peer.test"])
    assert list(refused) == ["nobody@posta.test"], refused
`

func sendSmtplib(t *testing.T, r *recorder) {
	run(t, "", "python3", "-c", smtplibScript, r.host, r.port, certFile(), bob)
}
