package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// postfix is a private instance of Postfix that owns peer.test, where x is the
// only user.
type postfix struct {
	addr string
	mail string // folder of the Maildir x
	log  *output
}

const postfixMaster = `
127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
submit unix - - n - - smtp -o smtp_sasl_auth_enable=yes -o smtp_sasl_security_options=noanonymous -o smtp_tls_security_level=encrypt
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix runs Postfix until the end of the test. Arguments say where it
// sends mail, "pattern=transport", or set a parameter, "name = value".
func startPostfix(t *testing.T, port string, args ...string) *postfix {
	t.Helper()
	peer(t, "postfix", "postconf")
	if os.Getuid() != 0 {
		missing(t, "Postfix is started by root only")
	}
	owner, err := user.Lookup("postfix")
	require.NoError(t, err)
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	dir, err := os.MkdirTemp(workDir, "postfix")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, sub := range []string{"etc", "spool", "data", "mail"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	for _, sub := range []string{"data", "mail"} {
		require.NoError(t, os.Chown(filepath.Join(dir, sub), uid, gid))
	}
	maps, settings := " { nowhere.test = error:no }", ""
	for _, arg := range args {
		pattern, transport, _ := strings.Cut(arg, "=")
		if strings.HasSuffix(pattern, " ") {
			settings += arg + "\n"
			continue
		}
		maps += fmt.Sprintf(" { %s = %s }", pattern, transport)
	}
	config := strings.NewReplacer("DIR", dir, "@UID", owner.Uid, "@GID", owner.Gid, "@CERT", certFile(), "@KEY", keyFile(), "@MAPS", maps, "@LOGIN", alice+":"+alicePassword).Replace(`
compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
maillog_file = /dev/stdout
myhostname = mx.peer.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = reject_unlisted_recipient
virtual_mailbox_domains = peer.test
virtual_mailbox_base = DIR/mail
virtual_mailbox_maps = inline:{ { x@peer.test = x/ } }
virtual_uid_maps = static:@UID
virtual_gid_maps = static:@GID
transport_maps = inline:{@MAPS }
alias_maps =
alias_database =
smtpd_tls_cert_file = @CERT
smtpd_tls_key_file = @KEY
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtp_tls_security_level = may
smtp_tls_CAfile = @CERT
smtp_sasl_password_maps = static:@LOGIN
message_size_limit = 52428800
virtual_mailbox_limit = 0
mailbox_size_limit = 0
`) + settings
	// main.cf is read by processes that are not root.
	for name, text := range map[string]string{"main.cf": config, "master.cf": strings.ReplaceAll(postfixMaster, "PORT", port)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644))
	}
	p := &postfix{addr: "127.0.0.1:" + port, mail: filepath.Join(dir, "mail", "x"), log: &output{}}
	cmd := exec.Command("postfix", "-c", filepath.Join(dir, "etc"), "start-fg")
	cmd.Stdout, cmd.Stderr = p.log, p.log
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", tail(p.log.String(), 8000))
		}
		if out, err := exec.Command("postfix", "-c", filepath.Join(dir, "etc"), "stop").CombinedOutput(); err != nil {
			t.Logf("postfix stop: %v\n%s", err, out)
		}
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			t.Errorf("Postfix did not stop")
		}
	})
	require.True(t, p.log.await(30*time.Second, ended, func(s string) bool { return strings.Contains(s, "daemon started") }), "Postfix did not start:\n%s", p.log)
	return p
}

// find waits for the only message in x's Maildir that contains text.
func (p *postfix) find(t *testing.T, text string) string {
	t.Helper()
	var files []string
	require.Eventually(t, func() bool {
		files = maildirFiles(t, p.mail, text)
		return len(files) > 0
	}, 30*time.Second, 100*time.Millisecond, "%q did not reach Postfix's mailbox", text)
	require.Len(t, files, 1)
	b, err := os.ReadFile(files[0])
	require.NoError(t, err)
	return crlf(string(b))
}

// TestPostfixToPosta has Postfix relay to every port that takes mail.
func TestPostfixToPosta(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := startPostfix(t, freePort(t), "carol@posta.test=submit:[127.0.0.1]:"+s.port("submission"), "alice@posta.test=lmtp:inet:"+s.addrs["lmtp"],
		"posta.test=smtp:[127.0.0.1]:"+s.port("smtp"))
	send := func(from, to, subject, body string) string {
		t.Helper()
		raw := message(from, to, subject, body)
		c, err := smtp.Dial(p.addr)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.SendMail(from, []string{to}, strings.NewReader(raw)))
		return raw
	}
	raw := send("x@peer.test", bob, "postfix smtp", ".dots\r\n..\r\nend")
	m := string(s.find(t, bob, "INBOX", "Subject: postfix smtp\r\n").raw)
	assert.True(t, strings.HasSuffix(m, raw[strings.Index(raw, "From:"):]), m)
	assert.Regexp(t, `Received: from mx\.peer\.test[^;]*\bwith ESMTPS\b`, m, "Postfix used STARTTLS")

	send(alice, carol, "postfix submission", "with login")
	m = string(s.find(t, carol, "INBOX", "Subject: postfix submission\r\n").raw)
	assert.Regexp(t, `\bwith ESMTPSA\b`, m, "Postfix logged in")
	assert.True(t, dkimField.MatchString(m))

	send("x@peer.test", alice, "postfix lmtp", "by LMTP")
	m = string(s.find(t, alice, "INBOX", "Subject: postfix lmtp\r\n").raw)
	assert.Regexp(t, `\bwith LMTPS?\b`, m)

	// A large one, and many recipients with one that does not exist.
	line := strings.Repeat("0123456789", 7) + "\r\n"
	send("x@peer.test", bob, "postfix large", strings.Repeat(line, 5<<20/len(line)))
	m = string(s.find(t, bob, "INBOX", "Subject: postfix large\r\n").raw)
	assert.Greater(t, len(m), 5<<20-len(line))
	send("x@peer.test", "nobody@posta.test", "postfix nobody", "x")
	bounce := p.find(t, "Subject: postfix nobody")
	assert.Contains(t, bounce, "Action: failed\r\n")
	assert.Contains(t, bounce, "Status: 5.1.1\r\n")
}

// TestPostaToPostfix relays to Postfix, by MX records and as a smart host.
func TestPostaToPostfix(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	p := startPostfix(t, port)
	for _, c := range []struct {
		name string
		args []string
	}{{"MX", []string{"-mx-port", port}}, {"smarthost", []string{"-smarthost", "127.0.0.1:" + port}}} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, c.args...)
			s.dns.Set("peer.test", testdns.Records{MX: []string{"10 mx.peer.test"}})
			s.dns.Set("mx.peer.test", testdns.Records{A: []string{"127.0.0.1"}})
			client := dialSMTP(t, s, "submissions")
			require.NoError(t, client.Auth(sasl.NewPlainClient("", alice, alicePassword)))
			raw := message(alice, "x@peer.test", "to postfix by "+c.name, ".\r\n..two\r\n\r\nend")
			require.NoError(t, client.SendMail(alice, []string{"x@peer.test"}, strings.NewReader(raw)))
			got := p.find(t, "Subject: to postfix by "+c.name)
			assert.True(t, strings.HasSuffix(got, raw), got)
			assert.Contains(t, got, "Return-Path: <alice@posta.test>\r\n")
			assert.Regexp(t, `by mx\.peer\.test \(Postfix\) with ESMTPS`, got, "STARTTLS was used")
			verifySigned(t, s, got[strings.Index(got, "DKIM-Signature:"):])

			line := strings.Repeat("0123456789", 7) + "\r\n"
			require.NoError(t, client.SendMail(alice, []string{"x@peer.test"}, strings.NewReader(message(alice, "x@peer.test", "large by "+c.name, strings.Repeat(line, 5<<20/len(line))))))
			assert.Greater(t, len(p.find(t, "Subject: large by "+c.name)), 5<<20-len(line))

			require.NoError(t, client.SendMail(alice, []string{"nobody@peer.test", "x@peer.test"}, strings.NewReader(message(alice, "nobody@peer.test", "half by "+c.name, "x"))))
			bounce := string(s.find(t, alice, "INBOX", "Subject: half by "+c.name).raw)
			assert.Contains(t, bounce, "Final-Recipient: rfc822; nobody@peer.test\r\n")
			assert.NotContains(t, bounce, "Final-Recipient: rfc822; x@peer.test\r\n")
			assert.Contains(t, bounce, "Status: 5.1.1\r\n")
			p.find(t, "Subject: half by "+c.name)
		})
	}
}
