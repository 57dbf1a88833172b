package interop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testsmuggle"
	"github.com/posta-mail/posta/smtp"
)

// Everything that may be taken for the end of a message and that we accept is
// relayed by our Client. It arrives as one message with the same text,
// whoever the next system is.
func TestSmugglingRelayed(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name string
		size int64 // as the envelope has it, by which the Client chooses
		cfg  smtp.ClientConfig
	}{
		{"DATA", 0, smtp.ClientConfig{NoChunking: true}},
		{"BDAT", 60 << 10, smtp.ClientConfig{}},
		{"BDAT in chunks", 1 << 20, smtp.ClientConfig{}},
	} {
		t.Run("Postfix, "+way.name, func(t *testing.T) {
			t.Parallel()
			p := startPostfix(t, freePort(t))
			relayCandidates(t, p.addr, way.cfg, way.size, "x@peer.test", p.mail)
		})
		t.Run("Exim, "+way.name, func(t *testing.T) {
			t.Parallel()
			e := startExim(t, freePort(t), "*", "nowhere.test 127.0.0.1")
			relayCandidates(t, e.addr, way.cfg, way.size, "x@peer.test", e.mail)
		})
		t.Run("Dovecot LMTP, "+way.name, func(t *testing.T) {
			t.Parallel()
			d := startDovecot(t, dovecotLMTP)
			cfg := way.cfg
			cfg.LMTP = true
			relayCandidates(t, d.lmtp, cfg, way.size, "anna@peer.test", filepath.Join(d.home, "anna"))
		})
	}
}

// relayCandidates sends candidates to a server of ours that relays them to
// addr, and looks at what arrives in a Maildir.
func relayCandidates(t *testing.T, addr string, cfg smtp.ClientConfig, size int64, to, maildir string) {
	cfg.TLS.Config = trusting(t)
	c, err := smtp.Dial(t.Context(), addr, &cfg)
	require.NoError(t, err)
	defer c.Close()
	next, err := smtp.ParsePath("<" + to + ">")
	require.NoError(t, err)
	srv := &smtp.Server{Handler: smtp.Receive(smtp.ForDomains("example.org"), func(ctx context.Context, env *smtp.Envelope, r io.Reader) error {
		_, err := c.Send(ctx, &smtp.Envelope{From: env.From, To: smtp.To(next), MailOptions: smtp.MailOptions{Size: size}}, r)
		return err
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()

	want := sendCandidates(t, l.Addr().String())
	require.NoError(t, c.Quit(t.Context()))
	require.Greater(t, len(want), 200)
	var files []string
	require.Eventually(t, func() bool {
		files = maildirFiles(t, maildir, "Subject: ")
		return len(files) >= len(want)
	}, 90*time.Second, 200*time.Millisecond, "not everything arrived")
	assert.Len(t, files, len(want), "one for each")
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		_, text, ok := strings.Cut(crlf(string(b)), "\r\nSubject: ")
		require.True(t, ok, "%q", b)
		subject, _, _ := strings.Cut(text, "\r\n")
		if !assert.Equal(t, want[subject], "Subject: "+text) {
			return
		}
		delete(want, subject)
	}
	assert.Empty(t, want)
}

// sendCandidates sends them by BDAT and by DATA and returns what was accepted,
// by subject.
func sendCandidates(t *testing.T, addr string) map[string]string {
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer nc.Close()
	in := bufio.NewReader(nc)
	say := func(want, format string, args ...any) {
		t.Helper()
		_, err := fmt.Fprintf(nc, format, args...)
		require.NoError(t, err)
		for {
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			if line[3] == ' ' {
				require.Equal(t, want, line[:3], "%.200q: %s", fmt.Sprintf(format, args...), line)
				return
			}
		}
	}
	accepted := map[string]string{}
	say("220", "")
	say("250", "EHLO client.test\r\n")
	for i, cand := range testsmuggle.Candidates() {
		subject := fmt.Sprintf("%d %s", i, cand.Name)
		text := cand.Message(subject + " BDAT")
		if testsmuggle.Bare(text) {
			continue
		}
		begin := "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
		say("250", "%s", begin)
		say("250", "BDAT %d LAST\r\n%s", len(text), text)
		say("250", "")
		accepted[subject+" BDAT"] = string(text)

		text = append(cand.Message(subject+" DATA"), ".\r\n"...)
		verdict := testsmuggle.Data(text)
		if verdict.Refuse || len(verdict.Rest) > 0 {
			continue
		}
		say("250", "%sDATA\r\n", begin)
		say("250", "")
		say("354", "")
		say("250", "%s", text)
		accepted[subject+" DATA"] = string(verdict.Text)
	}
	say("221", "QUIT\r\n")
	return accepted
}
