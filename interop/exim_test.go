package interop

import (
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
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exim is a private instance of Exim that owns peer.test, where x is the only
// user.
type exim struct {
	addr string
	mail string // folder of the Maildir x
	log  *output
}

const eximConfig = `
exim_path = @DIR/exim
spool_directory = @DIR/spool
log_file_path = @DIR/spool/%slog
pid_file_path = @DIR/spool/pid
keep_environment =
exim_user = @USER
exim_group = @GROUP
never_users =
deliver_drop_privilege = true
primary_hostname = mx.peer.test
daemon_smtp_ports = @PORT
local_interfaces = 127.0.0.1
disable_ipv6 = true
queue_run_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max = 0
domainlist local = peer.test
tls_advertise_hosts = *
tls_certificate = @DIR/cert.pem
tls_privatekey = @DIR/key.pem
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
acl_smtp_rcpt = rcpt
host_lookup =
rfc1413_hosts =
helo_allow_chars = _
message_size_limit = 50M
received_header_text = Received: from $sender_helo_name by $primary_hostname (Exim) with $received_protocol id $message_exim_id

begin acl
rcpt:
  warn control = dkim_disable_verify
  accept domains = +local
         verify = recipient
  deny domains = +local
       message = 5.1.1 unknown user
  accept hosts = 127.0.0.1

begin routers
away:
  driver = manualroute
  domains = ! +local
  transport = smtp
  route_list = @ROUTES
  host_find_failed = fail
  self = send
home:
  driver = accept
  domains = +local
  local_parts = x
  transport = maildir

begin transports
smtp:
  driver = smtp
  hosts_require_tls = *
  tls_verify_certificates = @DIR/cert.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames =
  allow_localhost = true
  hosts_try_chunking = @CHUNKING
maildir:
  driver = appendfile
  directory = @DIR/mail/x
  create_directory = true
  maildir_format = true
  user = @USER
  group = @GROUP
  delivery_date_add = false
  envelope_to_add = false
  return_path_add = true

begin retry
* * F,2h,1m
`

// eximBinary is Exim's program: Debian's mail servers exclude one another, so
// that it is usually unpacked from its package and not installed.
func eximBinary(t *testing.T) string {
	if name := os.Getenv("POSTA_EXIM"); name != "" {
		return name
	}
	name, err := exec.LookPath("exim4")
	if err != nil {
		missing(t, "exim4 is not installed, and $POSTA_EXIM does not name it")
	}
	return name
}

// startExim runs Exim until the end of the test; routes say where it sends
// mail, as items of a route_list.
func startExim(t *testing.T, port, chunking string, routes ...string) *exim {
	t.Helper()
	bin := eximBinary(t)
	wrapper, _ := filepath.Glob("/usr/lib/*/libnss_wrapper.so")
	if len(wrapper) == 0 {
		missing(t, "libnss-wrapper is not installed")
	}
	if os.Getuid() != 0 {
		missing(t, "Exim is started by root only")
	}
	owner, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	dir, err := os.MkdirTemp(workDir, "exim")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	put := func(name string, text []byte, mode os.FileMode) {
		t.Helper()
		name = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(name, text, mode))
	}
	for _, sub := range []string{"spool", "mail"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
		require.NoError(t, os.Chown(filepath.Join(dir, sub), uid, gid))
	}
	program, err := os.ReadFile(bin) // which is setuid: the preloading below would not work
	require.NoError(t, err)
	put("exim4", program, 0o755)
	cert, err := os.ReadFile(certFile())
	require.NoError(t, err)
	key, err := os.ReadFile(keyFile())
	require.NoError(t, err)
	put("cert.pem", cert, 0o644)
	put("key.pem", key, 0o600)
	require.NoError(t, os.Chown(filepath.Join(dir, "key.pem"), uid, gid))
	// The program insists on a user that only its package makes, and begins
	// itself anew.
	ids := owner.Uid + ":" + owner.Gid
	put("passwd", []byte("root:x:0:0:root:/root:/bin/sh\nDebian-exim:x:"+ids+":exim:"+dir+":/bin/false\n"), 0o644)
	put("group", []byte("root:x:0:\nDebian-exim:x:"+owner.Gid+":\n"), 0o644)
	put("conf", []byte(strings.NewReplacer("@DIR", dir, "@PORT", port, "@USER", "Debian-exim", "@GROUP", "Debian-exim",
		"@CHUNKING", chunking, "@ROUTES", strings.Join(routes, " ; ")).Replace(eximConfig)), 0o644)
	put("exim", []byte("#!/bin/sh\nexec env LD_PRELOAD="+wrapper[0]+" NSS_WRAPPER_PASSWD="+dir+"/passwd NSS_WRAPPER_GROUP="+dir+"/group "+dir+"/exim4 \"$@\"\n"), 0o755)
	e := &exim{addr: "127.0.0.1:" + port, mail: filepath.Join(dir, "mail", "x"), log: &output{}}
	cmd := exec.Command(filepath.Join(dir, "exim"), "-C", filepath.Join(dir, "conf"), "-bdf", "-v")
	cmd.Stdout, cmd.Stderr = e.log, e.log
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"mainlog", "paniclog", "rejectlog"} {
				text, _ := os.ReadFile(filepath.Join(dir, "spool", name))
				t.Logf("Exim's %s:\n%s", name, tail(string(text), 6000))
			}
			t.Logf("Exim's output:\n%s", tail(e.log.String(), 4000))
		}
		_ = cmd.Process.Kill()
		<-ended
	})
	require.Eventually(t, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		c, err := smtp.Dial(e.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 30*time.Second, 50*time.Millisecond, "Exim did not start:\n%s", e.log)
	select {
	case <-ended:
		t.Fatalf("Exim ended:\n%s", e.log)
	default:
	}
	return e
}

// TestEximToPosta has Exim relay to us, by BDAT and by DATA.
func TestEximToPosta(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ name, chunking string }{{"BDAT", "*"}, {"DATA", ""}} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			e := startExim(t, freePort(t), way.chunking, "posta.test 127.0.0.1::"+s.port("smtp"))
			c, err := smtp.Dial(e.addr)
			require.NoError(t, err)
			defer c.Close()
			raw := message("x@peer.test", bob, "exim "+way.name, ".dots\r\n..\r\n.\r\nend")
			require.NoError(t, c.SendMail("x@peer.test", []string{bob, carol}, strings.NewReader(raw)))
			for _, to := range []string{bob, carol} {
				m := string(s.find(t, to, "INBOX", "Subject: exim "+way.name+"\r\n").raw)
				assert.True(t, strings.HasSuffix(m, raw[strings.Index(raw, "\r\n\r\n"):]), m)
				assert.Regexp(t, `Received: from mx\.peer\.test[^;]*\bwith ESMTPS\b`, m)
			}
			line := strings.Repeat("0123456789", 7) + "\r\n"
			require.NoError(t, c.SendMail("x@peer.test", []string{bob}, strings.NewReader(message("x@peer.test", bob, "exim large", strings.Repeat(line, 5<<20/len(line))))))
			assert.Greater(t, len(s.find(t, bob, "INBOX", "Subject: exim large\r\n").raw), 5<<20-len(line))
			require.NoError(t, c.SendMail("x@peer.test", []string{"nobody@posta.test"}, strings.NewReader(message("x@peer.test", "nobody@posta.test", "exim nobody", "x"))))
			bounce := e.find(t, "Subject: exim nobody")
			assert.Contains(t, bounce, "Action: failed\r\n")
			assert.Contains(t, bounce, "550 5.1.1")
		})
	}
}

// find waits for the only message in x's Maildir that contains text.
func (e *exim) find(t *testing.T, text string) string {
	t.Helper()
	return (&postfix{mail: e.mail}).find(t, text)
}

// TestPostaToExim relays to Exim as to a smart host.
func TestPostaToExim(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	e := startExim(t, port, "*", "nowhere.test 127.0.0.1")
	s := start(t, "-smarthost", "127.0.0.1:"+port)
	c := dialSMTP(t, s, "submissions")
	require.NoError(t, c.Auth(sasl.NewPlainClient("", alice, alicePassword)))
	raw := message(alice, "x@peer.test", "to exim", ".\r\n..two\r\n\r\nend")
	require.NoError(t, c.SendMail(alice, []string{"x@peer.test"}, strings.NewReader(raw)))
	got := e.find(t, "Subject: to exim")
	assert.True(t, strings.HasSuffix(got, raw), got)
	assert.Contains(t, got, "Return-path: <alice@posta.test>\r\n")
	assert.Regexp(t, `by mx\.peer\.test \(Exim\) with esmtps`, got)
	require.NoError(t, c.SendMail(alice, []string{"nobody@peer.test", "x@peer.test"}, strings.NewReader(message(alice, "nobody@peer.test", "half to exim", "x"))))
	bounce := string(s.find(t, alice, "INBOX", "Subject: half to exim").raw)
	assert.Contains(t, bounce, "Final-Recipient: rfc822; nobody@peer.test\r\n")
	e.find(t, "Subject: half to exim")
}
