package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNeomutt sends as a user's program does, with an attachment.
func TestNeomutt(t *testing.T) {
	t.Parallel()
	peer(t, "neomutt")
	s := start(t)
	for _, c := range []struct{ scheme, service string }{{"smtp", "submission"}, {"smtps", "submissions"}} {
		t.Run(c.scheme, func(t *testing.T) {
			dir := t.TempDir()
			rc := write(t, filepath.Join(dir, "rc"), strings.Join([]string{
				"set from='" + alice + "' realname='Alice Liddell' use_envelope_from=yes",
				"set smtp_url='" + c.scheme + "://" + alice + "@localhost:" + s.port(c.service) + "/' smtp_pass='" + alicePassword + "'",
				"set ssl_starttls=yes ssl_force_tls=yes ssl_ca_certificates_file='" + certFile() + "' certificate_file='" + certFile() + "'",
				"set copy=no hostname=client.test send_charset=utf-8", "",
			}, "\n"))
			attachment := write(t, filepath.Join(dir, "data.bin"), "\x00\x01binary\r\n.\r\n\xff")
			run(t, "Grüße aus der Datei\n.\nEnde\n", "neomutt", "-n", "-F", rc, "-s", "neomutt "+c.scheme+" äöü", "-a", attachment, "--", bob, carol)
			for _, to := range []string{bob, carol} {
				m := string(s.find(t, to, "INBOX", "Subject: neomutt "+c.scheme+" =?utf-8?").raw)
				assert.Contains(t, m, "From: Alice Liddell <alice@posta.test>\r\n")
				assert.Contains(t, m, "Return-Path: <alice@posta.test>\r\n")
				assert.Contains(t, m, "\r\n.\r\nEnde\r\n")
				assert.Contains(t, m, "filename=\"data.bin\"")
			}
		})
	}
}

// TestFetchmail collects mail over POP3 and IMAP and hands it to a program.
func TestFetchmail(t *testing.T) {
	t.Parallel()
	peer(t, "fetchmail")
	s := start(t)
	for i, c := range []struct{ protocol, service, ssl string }{
		{"pop3", "pop3s", "ssl"}, {"imap", "imaps", "ssl"}, {"pop3", "pop3", "sslproto TLS1.2+"}, {"imap", "imap", "sslproto TLS1.2+"},
	} {
		t.Run(c.protocol+" on "+c.service, func(t *testing.T) {
			dir := t.TempDir()
			subject := "fetchmail " + string(rune('A'+i))
			s.append(t, bob, "INBOX", message(alice, bob, subject+" one", "one\r\n..\r\n.\r\nend"), message(alice, bob, subject+" two", "two"))
			got := filepath.Join(dir, "got")
			rc := write(t, filepath.Join(dir, "rc"), "poll localhost protocol "+c.protocol+" service "+s.port(c.service)+
				" user '"+bob+"' password '"+bobPassword+"' "+c.ssl+" sslcertck sslcertfile '"+certFile()+"' fetchall no keep\n mda \"cat >> "+got+"\"\n")
			run(t, "", "env", "FETCHMAILHOME="+dir, "fetchmail", "-v", "--nosyslog", "-f", rc)
			text, err := os.ReadFile(got)
			require.NoError(t, err)
			all := strings.ReplaceAll(string(text), "\r\n", "\n")
			assert.Contains(t, all, "Subject: "+subject+" one\n")
			assert.Contains(t, all, "\n\none\n..\n.\nend\n")
			assert.Contains(t, all, "Subject: "+subject+" two\n")
			_, left := s.mailbox(t, bob, "INBOX")
			assert.Empty(t, left, "collected mail is deleted")
		})
	}
}

// TestFetchmailIdle has fetchmail wait in IDLE: what comes is collected at once.
func TestFetchmailIdle(t *testing.T) {
	t.Parallel()
	peer(t, "fetchmail")
	s := start(t)
	dir := t.TempDir()
	got := filepath.Join(dir, "got")
	rc := write(t, filepath.Join(dir, "rc"), "poll localhost protocol imap service "+s.port("imaps")+
		" user '"+bob+"' password '"+bobPassword+"' ssl sslcertck sslcertfile '"+certFile()+"' idle no keep\n mda \"cat >> "+got+"\"\n")
	cmd := exec.CommandContext(t.Context(), "fetchmail", "-v", "--nodetach", "--nosyslog", "-f", rc)
	cmd.Env = append(os.Environ(), "FETCHMAILHOME="+dir, "HOME="+homeOf(t))
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	for i := range 3 {
		idles := out.await(time.Minute, ended, func(s string) bool { return strings.Count(s, " IDLE\n")+strings.Count(s, " IDLE\r\n") > i })
		require.True(t, idles, "%s", out)
		subject := fmt.Sprintf("idle %d", i)
		s.append(t, bob, "INBOX", message(alice, bob, subject, "while you wait"))
		require.Eventually(t, func() bool {
			text, _ := os.ReadFile(got)
			return strings.Contains(string(text), "Subject: "+subject)
		}, 20*time.Second, 10*time.Millisecond, "%s", out)
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	<-ended
}

// TestOpenSSL makes a handshake on every port, with the certificate verified.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	peer(t, "openssl")
	s := start(t)
	starttls := map[string]string{"smtp": "smtp", "submission": "smtp", "lmtp": "lmtp", "imap": "imap", "pop3": "pop3"}
	for _, service := range services {
		t.Run(service, func(t *testing.T) {
			args := []string{"s_client", "-connect", s.addrs[service], "-CAfile", certFile(), "-verify_return_error", "-verify_hostname", "localhost", "-quiet", "-crlf"}
			if protocol := starttls[service]; protocol != "" {
				args = append(args, "-starttls", protocol)
			}
			quit := "QUIT\n"
			if strings.HasPrefix(service, "imap") {
				quit = "a LOGOUT\n"
			}
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				out := run(t, quit, "openssl", append(args, version)...)
				assert.Regexp(t, map[bool]string{true: `a OK`, false: `(221 |\+OK)`}[strings.HasPrefix(service, "imap")], out, "the farewell, over TLS")
			}
			// RFC 8996: versions below 1.2 are gone.
			out, err := try(t, quit, "openssl", append(args, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")...)
			require.Error(t, err)
			assert.Regexp(t, `(?i)alert protocol version`, out)
		})
	}
}
