package smtp_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// Where a Mailer connects to, and what it demands there.
func TestMailer(t *testing.T) {
	serverTLS, clientTLS := testTLSConfig(t)
	const host = "mx.example.org"
	strangers := &tls.Config{}
	for _, c := range []struct {
		name   string
		server string
		user   string
		at     string // where a server listens
		tls    *tls.Config
		plain  bool // the server has no TLS
		change func(*smtp.Mailer)
		calls  string
		with   string // protocol of the message; empty: it is not sent
		fails  string
	}{
		{name: "login at 465", server: host, user: "u", at: ":465", calls: ":465", with: "ESMTPSA"},
		{name: "login at 587 if nobody is at 465", server: host, user: "u", at: ":587", calls: ":465 :587", with: "ESMTPSA"},
		{name: "no third port", server: host, user: "u", at: ":25", calls: ":465 :587", fails: "refused"},
		{name: "given port, implicit", server: host + ":465", user: "u", at: ":465", calls: ":465", with: "ESMTPSA"},
		{name: "given port", server: host + ":2525", user: "u", at: ":2525", calls: ":2525", with: "ESMTPSA"},
		{name: "a stranger at 465 does not lead to 587", server: host, user: "u", at: ":465", tls: strangers, calls: ":465", fails: "unknown authority"},
		{name: "a stranger gets no password", server: host + ":587", user: "u", at: ":587", tls: strangers, calls: ":587", fails: "unknown authority"},
		{name: "nor does plain text", server: host + ":587", user: "u", at: ":587", plain: true, calls: ":587", fails: "STARTTLS is not offered"},
		{name: "unless asked for", server: host + ":587", user: "u", at: ":587", plain: true, change: func(m *smtp.Mailer) { m.Client.InsecureAuth = true }, calls: ":587", with: "ESMTPA"},
		{name: "no login", server: host, at: ":25", tls: strangers, calls: ":25", with: "ESMTPS"},
		{name: "no login, no TLS", server: host, at: ":25", plain: true, calls: ":25", with: "ESMTP"},
		{name: "IPv6", server: "[2001:db8::1]", at: ":25", calls: ":25", with: "ESMTPS"},
		{name: "socket", server: "/run/lmtp", at: "", plain: true, change: func(m *smtp.Mailer) { m.Client.LMTP = true }, calls: "", with: "LMTP"},
		{name: "wrong password", server: host, user: "nobody", at: ":465", calls: ":465", fails: "535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := &smtptest.Recorder{}
			s := &rec.Server
			s.Auth, s.Governor, s.LMTP, s.InsecureAuth = someone{}, &auth.Governor{Off: true}, c.with == "LMTP", c.plain
			if !c.plain {
				s.TLSConfig, s.ImplicitTLS = serverTLS, c.at == ":465"
			}
			rec.Start()
			defer rec.Close()
			if c.tls == nil {
				c.tls = clientTLS
			}
			var calls []string
			m := smtp.Mailer{Server: c.server, User: c.user, Password: "p"}
			m.Client.TLS.Config = c.tls
			m.Client.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				port := addr[max(strings.LastIndexByte(addr, ':'), 0):]
				if strings.HasPrefix(addr, "/") {
					port = ""
				}
				calls = append(calls, port)
				if port != c.at {
					return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
				}
				return rec.Dial(ctx, network, addr)
			}
			if c.change != nil {
				c.change(&m)
			}
			err := m.Send(t.Context(), "a@example.com", []string{"b@example.org"}, []byte("Subject: x\n\ny\n"))
			require.Equal(t, c.calls, strings.Join(calls, " "))
			if c.with == "" {
				require.ErrorContains(t, err, c.fails)
				require.Empty(t, rec.Messages())
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.with, rec.Messages()[0].Protocol)
			require.Equal(t, "Subject: x\r\n\r\ny\r\n", string(rec.Messages()[0].Data))
		})
	}
}

// someone is an Authenticator of one user.
type someone struct{}

func (someone) Password(_ context.Context, _ auth.Request, _, user, password string) (*auth.Identity, error) {
	if user != "u" || password != "p" {
		return nil, auth.ErrCredentials
	}
	return &auth.Identity{Account: user, Login: user}, nil
}

// What a Mailer declares, and whose fault it says an error is.
func TestMailerMessage(t *testing.T) {
	rec := &smtptest.Recorder{Rcpt: func(to smtp.Path) error {
		if to.Local == "nobody" {
			return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "no")
		}
		return nil
	}}
	rec.Start()
	defer rec.Close()
	m := smtp.Mailer{Server: "mx", Client: smtp.ClientConfig{DialContext: rec.Dial}}
	for _, c := range []struct {
		from, to, msg string
		utf8          bool
		body          smtp.BodyType
	}{
		{"a@example.com", "b@example.org", "Subject: x\n\ny", false, ""},
		{"", "b@example.org", "Subject: x\r\n\r\nü", false, smtp.Body8BitMIME},
		{"a@example.com", "b@example.org", "Subject: ü\n\nx", true, smtp.Body8BitMIME},
		{"ü@example.com", "b@example.org", "x", true, ""},
		{"a@example.com", "ü@example.org", "x", true, ""},
	} {
		require.NoError(t, m.Send(t.Context(), c.from, []string{c.to}, []byte(c.msg)))
		list := rec.Messages()
		got := list[len(list)-1]
		require.Equal(t, c.utf8, got.SMTPUTF8, c)
		require.Equal(t, c.body, got.Body, c)
	}
	sent := len(rec.Messages())
	err := m.Send(t.Context(), "a@example.com", []string{"b@example.org", "nobody@example.org"}, nil)
	require.EqualError(t, err, "nobody@example.org: smtp: RCPT: 550 5.1.1 no")
	require.Equal(t, 550, code(err))
	require.Len(t, rec.Messages(), sent+1)
	require.ErrorIs(t, m.Send(t.Context(), "a@example.com", nil, nil), smtp.ErrNotSent)
	require.ErrorContains(t, m.Send(t.Context(), "Alice <a@example.com>", []string{"b@example.org"}, nil), "Alice")
	require.ErrorContains(t, m.Send(t.Context(), "a@example.com", []string{"b@example.org\r\nDATA"}, nil), "DATA")
	require.Len(t, rec.Messages(), sent+1)
}

// The mechanism is the best one offered.
func TestMailerMechanism(t *testing.T) {
	for offered, line := range map[string]string{
		"LOGIN PLAIN SCRAM-SHA-1 SCRAM-SHA-256": "AUTH SCRAM-SHA-256 .*", "PLAIN SCRAM-SHA-1": "AUTH SCRAM-SHA-1 .*", "LOGIN PLAIN": "AUTH PLAIN .*", "LOGIN": "AUTH LOGIN.*",
	} {
		p, err := smtptest.NewPeer("S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 AUTH " + offered + "\nC: " + line + "\nS: 535 5.7.8 no")
		require.NoError(t, err)
		m := smtp.Mailer{Server: "mx", User: "u", Password: "p", Client: smtp.ClientConfig{DialContext: p.Dial, InsecureAuth: true}}
		m.Client.TLS.Mode = smtp.TLSNone
		m.Server = "mx:587"
		require.Equal(t, 535, code(m.Send(t.Context(), "a@example.com", []string{"b@example.org"}, nil)), offered)
		require.NoError(t, p.Close())
		require.NoError(t, p.Err())
	}
}
