package interop

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSwaks(t *testing.T) {
	t.Parallel()
	peer(t, "swaks")
	s := start(t)
	type user struct{ name, password string }
	as := &user{alice, alicePassword}
	cases := []struct {
		name, service, from, to string
		as                      *user
		args                    []string
	}{
		{"SMTP", "smtp", "someone@peer.test", bob, nil, nil},
		{"SMTP, STARTTLS", "smtp", "someone@peer.test", bob, nil, []string{"--tls", "--tls-verify", "--tls-ca-path", certFile()}},
		{"SMTP, pipelining", "smtp", "someone@peer.test", bob + "," + carol, nil, []string{"--pipeline"}},
		{"submission, PLAIN", "submission", alice, bob, as, []string{"--tls", "--auth", "PLAIN"}},
		{"submission, LOGIN", "submission", alice, bob, as, []string{"--tls", "--auth", "LOGIN"}},
		{"submissions, PLAIN", "submissions", alice, bob, as, []string{"--tls-on-connect", "--auth", "PLAIN"}},
		{"submissions, LOGIN", "submissions", alice, bob, as, []string{"--tls-on-connect", "--auth", "LOGIN"}},
		{"LMTP", "lmtp", "someone@peer.test", bob, nil, []string{"--protocol", "LMTP"}},
		{"LMTP, STARTTLS, two recipients", "lmtp", "someone@peer.test", bob + "," + carol, nil, []string{"--protocol", "LMTP", "--tls"}},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			subject := "swaks " + string(rune('A'+i))
			args := append([]string{"--server", "127.0.0.1", "--port", s.port(c.service), "--from", c.from, "--to", c.to,
				"--header", "Subject: " + subject, "--body", "From swaks.\\n.leading dot\\n"}, c.args...)
			if c.as != nil {
				args = append(args, "--auth-user", c.as.name, "--auth-password", c.as.password)
			}
			run(t, "", "swaks", args...)
			m := s.find(t, bob, "INBOX", "Subject: "+subject+"\r\n")
			assert.Contains(t, string(m.raw), "\r\n.leading dot\r\n")
			assert.Equal(t, c.as != nil, dkimField.Match(m.raw), "DKIM signs what users send, and nothing else:\n%s", m.raw)
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		out, err := try(t, "", "swaks", "--server", "127.0.0.1", "--port", s.port("submission"), "--from", alice, "--to", bob,
			"--tls", "--auth", "PLAIN", "--auth-user", alice, "--auth-password", "wrong")
		require.Error(t, err)
		assert.Contains(t, out, "535 5.7.8")
	})
	t.Run("no login", func(t *testing.T) {
		out, err := try(t, "", "swaks", "--server", "127.0.0.1", "--port", s.port("submission"), "--from", alice, "--to", bob, "--tls")
		require.Error(t, err)
		assert.Contains(t, out, "530 5.7.0")
	})
}
