package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// workDir is a folder for the whole run that other users (postfix) may enter.
var workDir string

func TestMain(m *testing.M) {
	if os.Getenv(relayEnv) != "" {
		os.Exit(relayMain())
	}
	os.Exit(func() int {
		var err error
		if workDir, err = os.MkdirTemp("", "posta-interop"); err == nil {
			err = os.Chmod(workDir, 0o755)
		}
		if err == nil {
			err = writeCertificate()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(workDir)
		return m.Run()
	}())
}

func certFile() string { return filepath.Join(workDir, "cert.pem") }
func keyFile() string  { return filepath.Join(workDir, "key.pem") }

// writeCertificate makes the certificate that every server shows and every
// client is told to trust.
func writeCertificate() error {
	cert, key, err := testcert.SelfSigned("localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(certFile(), cert, 0o644), os.WriteFile(keyFile(), key, 0o600))
}

// trusting is a client's configuration that verifies that certificate.
func trusting(t *testing.T) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(certFile())
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// buildServer builds examples/mailserver once for each kind of build.
var (
	buildPlain = sync.OnceValues(func() (string, error) { return build("mailserver") })
	buildRace  = sync.OnceValues(func() (string, error) { return build("mailserver-race", "-race") })
)

func build(name string, flags ...string) (string, error) {
	bin := filepath.Join(workDir, name)
	args := append(append([]string{"build"}, flags...), "-o", bin, "github.com/posta-mail/posta/examples/mailserver")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return bin, nil
}

// required is set where every peer must be there.
func required() bool { return os.Getenv("POSTA_INTEROP") == "1" }

// missing skips the test, or fails it where every peer must be there.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if required() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// peer finds the programs that a test needs.
func peer(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			missing(t, "%s is not installed", n)
		}
	}
}

// The users of every server, and their passwords.
const (
	alice, alicePassword = "alice@posta.test", "wonder-Land.7"
	bob, bobPassword     = "bob@posta.test", "Builder,42"
	carol, carolPassword = "carol@posta.test", "xmas=Carol"
)

var passwords = map[string]string{alice: alicePassword, bob: bobPassword, carol: carolPassword}

// services are the names of the listeners' flags.
var services = []string{"smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s"}

// server is a running examples/mailserver.
type server struct {
	bin   string
	args  []string // without addresses
	data  string
	dns   *testdns.Server
	addrs map[string]string // by service; kept over a restart
	out   *output
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, once ended is closed
}

// start runs a server until the end of the test.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	bin, err := buildPlain()
	if raceEnabled {
		bin, err = buildRace()
	}
	require.NoError(t, err)
	return startBinary(t, bin, args...)
}

// startPlain runs a server without the race detector, for figures and speed.
func startPlain(t *testing.T, args ...string) *server {
	t.Helper()
	bin, err := buildPlain()
	require.NoError(t, err)
	return startBinary(t, bin, args...)
}

func startBinary(t *testing.T, bin string, args ...string) *server {
	t.Helper()
	s := &server{bin: bin, data: t.TempDir(), addrs: map[string]string{}, dns: testdns.New(t, testdns.Zone{
		"posta.test": {MX: []string{"10 localhost"}},
		"peer.test":  {MX: []string{"10 mx.peer.test"}},
		"localhost":  {A: []string{"127.0.0.1"}},
	})}
	s.args = append([]string{"-data", s.data, "-resolver", s.dns.Addr(), "-cert", certFile(), "-key", keyFile(), "-domain", "posta.test"}, args...)
	for name, password := range passwords {
		s.args = append(s.args, "-user", name+":"+password)
	}
	for _, name := range services {
		s.addrs[name] = "127.0.0.1:0"
	}
	s.launch(t)
	t.Cleanup(func() { s.stop(t) })
	return s
}

// launch starts the process and waits until it has printed all its addresses.
func (s *server) launch(t *testing.T) {
	t.Helper()
	args := s.args
	for _, name := range services {
		args = append(args, "-"+name, s.addrs[name])
	}
	s.start(t, s.bin, args, nil)
	printed := regexp.MustCompile(`(?m)^(\w+) +(127\.0\.0\.1:\d+) `)
	ok := s.out.await(60*time.Second, s.ended, func(out string) bool {
		for _, m := range printed.FindAllStringSubmatch(out, -1) {
			s.addrs[m[1]] = m[2]
		}
		return strings.Contains(out, "\nread:")
	})
	require.True(t, ok, "the server did not start:\n%s", s.out)
}

// start starts the process.
func (s *server) start(t *testing.T, bin string, args, env []string) {
	t.Helper()
	s.out = &output{}
	s.cmd = exec.Command(bin, args...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	require.NoError(t, s.cmd.Start())
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() {
		s.err = cmd.Wait()
		close(ended)
	}()
}

// stop ends the server as an operator does and looks at what it said.
func (s *server) stop(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	default:
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
			assert.NoError(t, s.err, "exit status after SIGTERM")
		case <-time.After(45 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.ended
			t.Errorf("the server did not end within 45 seconds of SIGTERM")
		}
	}
	log := s.out.String()
	assert.NotContains(t, log, "DATA RACE")
	assert.NotRegexp(t, `(?m)^(panic:|goroutine \d+ \[)`, log)
	if t.Failed() {
		t.Logf("the server's log, without logins:\n%s", tail(loginLine.ReplaceAllString(log, ""), 8000))
	}
}

// kill ends the server as a power cut does.
func (s *server) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, s.cmd.Process.Kill())
	<-s.ended
}

// port is a service's port.
func (s *server) port(service string) string {
	_, port, _ := net.SplitHostPort(s.addrs[service])
	return port
}

// output collects what a process writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
	ch chan struct{} // closed at the next write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ch != nil {
		close(o.ch)
		o.ch = nil
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until what was written so far satisfies ok.
func (o *output) await(timeout time.Duration, ended <-chan struct{}, ok func(string) bool) bool {
	timer := time.After(timeout)
	for {
		o.mu.Lock()
		if o.ch == nil {
			o.ch = make(chan struct{})
		}
		more, now := o.ch, o.b.String()
		o.mu.Unlock()
		if ok(now) {
			return true
		}
		select {
		case <-more:
		case <-ended:
			return ok(o.String())
		case <-timer:
			return false
		}
	}
}

var loginLine = regexp.MustCompile(`(?m)^.* msg="logged in" .*\n`)

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// try runs a client for at most two minutes and returns what it printed.
func try(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+homeOf(t), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	t.Logf("%s: %v\n%s", name, err, tail(string(out), 4000))
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return string(out), err
}

// homes are the folders that clients take for the user's.
var homes sync.Map

func homeOf(t *testing.T) string {
	dir, ok := homes.Load(t)
	if !ok {
		dir, _ = homes.LoadOrStore(t, t.TempDir())
	}
	return dir.(string)
}

// run is try for a client that must succeed.
func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	out, err := try(t, stdin, name, args...)
	require.NoError(t, err, "%s %s", name, strings.Join(args, " "))
	return out
}

// write writes a file for a client, readable for its owner only.
func write(t *testing.T, name, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// message is a small message with CRLF ends of line.
func message(from, to, subject, body string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s.%d@client.test>\r\n\r\n%s\r\n",
		from, to, subject, time.Now().Format(time.RFC1123Z), strings.ReplaceAll(subject, " ", "."), time.Now().UnixNano(), body)
}
