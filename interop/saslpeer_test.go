package interop

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
)

// talker is a program that speaks SASL over its standard input and output.
type talker struct {
	in    io.WriteCloser
	lines *bufio.Scanner
	said  strings.Builder
}

// converse starts a program for at most a minute.
func converse(t *testing.T, env []string, name string, args ...string) *talker {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal to ask for passwords
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, pipe, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = pipe, pipe
	require.NoError(t, cmd.Start())
	_ = pipe.Close()
	kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	p := &talker{in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(func() {
		kill.Stop()
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.said.String())
		}
	})
	return p
}

// hear reads lines until one has the prefix, and returns the rest of it.
func (p *talker) hear(prefix string) (string, error) {
	for p.lines.Scan() {
		line := p.lines.Text()
		p.said.WriteString(line + "\n")
		// A prompt without end of line may come before it.
		if _, rest, ok := strings.Cut(line, prefix); ok {
			return strings.TrimSpace(rest), nil
		}
	}
	return "", fmt.Errorf("no %q any more: %w", prefix, errors.Join(p.lines.Err(), io.EOF))
}

func (p *talker) say(text string) { _, _ = io.WriteString(p.in, text+"\n") }

func to64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// TestSASLGsaslServer: our clients against GNU SASL's server.
func TestSASLGsaslServer(t *testing.T) {
	t.Parallel()
	peer(t, "gsasl")
	for _, hash := range []string{"SHA-1", "SHA-256"} {
		for _, password := range []string{"pencil", "wrong"} {
			t.Run(hash+" "+password, func(t *testing.T) {
				c, err := sasl.NewSCRAMClient(hash, "", "user", password)
				require.NoError(t, err)
				name, m, err := c.Start()
				require.NoError(t, err)
				p := converse(t, nil, "gsasl", "--server", "-m", name, "-a", "user", "-p", "pencil", "--no-starttls", "--hostname", "localhost", "--service", "imap")
				for i := 0; err == nil && !c.(sasl.Verifier).Verified() && i < 3; i++ {
					// What the server says is a line of its own after this one, empty at
					// the beginning.
					if _, err = p.hear("Output from server:"); err != nil {
						break
					}
					var line string
					if line, err = p.hear(""); err == nil && line != "" {
						var challenge []byte
						challenge, err = base64.StdEncoding.DecodeString(line)
						require.NoError(t, err)
						if m, err = c.Next(challenge); err != nil {
							break
						}
					}
					p.say(to64(m))
				}
				require.Equal(t, password == "pencil", c.(sasl.Verifier).Verified(), "%v", err)
				_, err = p.hear("Server authentication finished (client trusted)")
				require.Equal(t, password == "pencil", err == nil)
			})
		}
	}
}

// cyrusEnv is the configuration of Cyrus' sample server, with one user.
func cyrusEnv(t *testing.T) []string {
	t.Helper()
	peer(t, "stdbuf", "sasl-sample-server", "sasl-sample-client", "saslpasswd2")
	dir := t.TempDir()
	db := filepath.Join(dir, "db")
	run(t, "pencil\n", "saslpasswd2", "-p", "-c", "-u", "localhost", "-f", db, "user")
	write(t, filepath.Join(dir, "sample.conf"), "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: "+db+"\n")
	return []string{"SASL_CONF_PATH=" + dir}
}

// TestSASLCyrusServer: our clients against the server side of Cyrus SASL.
func TestSASLCyrusServer(t *testing.T) {
	t.Parallel()
	env := cyrusEnv(t)
	scram := func(hash, password string) gosasl.Client {
		c, err := sasl.NewSCRAMClient(hash, "", "user", password)
		require.NoError(t, err)
		return c
	}
	for name, client := range map[string]func(password string) gosasl.Client{
		"PLAIN":         func(p string) gosasl.Client { return sasl.NewPlainClient("", "user@localhost", p) },
		"LOGIN":         func(p string) gosasl.Client { return sasl.NewLoginClient("user@localhost", p) },
		"ANONYMOUS":     func(string) gosasl.Client { return sasl.NewAnonymousClient("guest") },
		"SCRAM-SHA-1":   func(p string) gosasl.Client { return scram("SHA-1", p) },
		"SCRAM-SHA-256": func(p string) gosasl.Client { return scram("SHA-256", p) },
		"SCRAM-SHA-512": func(p string) gosasl.Client { return scram("SHA-512", p) },
	} {
		for _, password := range []string{"pencil", "wrong"} {
			t.Run(name+" "+password, func(t *testing.T) {
				c := client(password)
				mech, m, err := c.Start()
				require.NoError(t, err)
				p := converse(t, env, "stdbuf", "-oL", "sasl-sample-server", "-s", "imap", "-m", mech, "-d", "localhost", "-u", "localhost")
				_, err = p.hear("S: ") // the list
				require.NoError(t, err)
				first := []byte(mech)
				if m != nil {
					first = append(append(first, 0), m...)
				}
				p.say("C: " + to64(first))
				right := password == "pencil" || mech == "ANONYMOUS"
				for {
					line, err := p.hear(": ") // S: and what it sends, or why it ends
					if err != nil {
						require.False(t, right, "%v", err)
						return
					}
					last := p.said.String()
					last = last[strings.LastIndex(last[:len(last)-1], "\n")+1:]
					if strings.HasPrefix(last, "Username: ") {
						require.True(t, right)
						break
					}
					if !strings.HasPrefix(last, "S: ") {
						continue
					}
					challenge, err := base64.StdEncoding.DecodeString(line)
					require.NoError(t, err)
					response, err := c.Next(challenge)
					require.NoError(t, err)
					p.say("C: " + to64(response))
				}
				if v, ok := c.(sasl.Verifier); ok {
					require.True(t, v.Verified())
				}
			})
		}
	}
}

// TestSASLCyrusClient: the client side of Cyrus SASL against our servers.
func TestSASLCyrusClient(t *testing.T) {
	t.Parallel()
	env := cyrusEnv(t)
	check := func(user, password string) error {
		if user != "user" || password != "pencil" {
			return errors.New("wrong")
		}
		return nil
	}
	scram := func(hash string) gosasl.Server {
		keys, err := sasl.DeriveSCRAMKeys(hash, "pencil", []byte("0123456789abcdef"), 4096)
		require.NoError(t, err)
		// A server that can bind: the client says that it cannot ("n").
		s, err := sasl.NewBoundSCRAMServer(hash, []sasl.ChannelBinding{{Type: "tls-exporter", Data: []byte("x")}}, false,
			func(string) (sasl.SCRAMKeys, error) { return keys, nil }, func(_, user string) error { return check(user, "pencil") })
		require.NoError(t, err)
		return s
	}
	for name, server := range map[string]func() gosasl.Server{
		"PLAIN": func() gosasl.Server {
			return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) })
		},
		"LOGIN":         func() gosasl.Server { return sasl.NewLoginServer(check) },
		"ANONYMOUS":     func() gosasl.Server { return sasl.NewAnonymousServer(func(string) error { return nil }) },
		"SCRAM-SHA-1":   func() gosasl.Server { return scram("SHA-1") },
		"SCRAM-SHA-256": func() gosasl.Server { return scram("SHA-256") },
		"SCRAM-SHA-512": func() gosasl.Server { return scram("SHA-512") },
	} {
		for _, password := range []string{"pencil", "wrong"} {
			t.Run(name+" "+password, func(t *testing.T) {
				p := converse(t, env, "stdbuf", "-oL", "sasl-sample-client", "-s", "imap", "-n", "localhost", "-u", "user", "-a", "user", "-m", name)
				// -PLUS is passed over.
				p.say("S: " + to64([]byte(name+" "+name+sasl.Plus)))
				if name != "ANONYMOUS" && name != "LOGIN" {
					p.say(password) // LOGIN's is asked for later
				}
				first, err := p.hear("C: ")
				require.NoError(t, err)
				m, err := base64.StdEncoding.DecodeString(first)
				require.NoError(t, err)
				mech, initial, found := strings.Cut(string(m), "\x00")
				require.Equal(t, name, mech)
				var response []byte
				if found {
					response = []byte(initial)
				}
				s := server()
				for i := 0; ; i++ {
					challenge, done, err := s.Next(response)
					if password == "wrong" && err != nil {
						return
					}
					require.NoError(t, err)
					if done && challenge == nil {
						break
					}
					p.say("S: " + to64(challenge))
					if name == "LOGIN" && i == 1 {
						p.say(password)
					}
					line, err := p.hear("C: ")
					require.NoError(t, err, "the client refuses the server")
					response, err = base64.StdEncoding.DecodeString(line)
					require.NoError(t, err)
					if done {
						require.Empty(t, response)
						break
					}
				}
				require.True(t, password == "pencil" || name == "ANONYMOUS")
			})
		}
	}
}

// TestSASLDovecot: our clients log in to Dovecot's IMAP server.
func TestSASLDovecot(t *testing.T) {
	t.Parallel()
	d := startDovecot(t, "auth_mechanisms = plain login scram-sha-1 scram-sha-256 anonymous\n")
	for _, only := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", ""} {
		for _, right := range []bool{true, false} {
			t.Run(fmt.Sprint(only, " ", right), func(t *testing.T) {
				nc, err := tls.Dial("tcp", d.imaps, trusting(t))
				require.NoError(t, err)
				defer nc.Close()
				who := sasl.Credentials{User: "anna", Password: dovecotPassword}
				if !right {
					who.Password = "wrong"
				}
				name, verified, err := authenticate(nc, who, only)
				if !right {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, strings.HasPrefix(name, "SCRAM-"), verified)
				if only == "" {
					only = "SCRAM-SHA-256" // the strongest
				}
				assert.Equal(t, only, name)
			})
		}
	}
}

// authenticate is IMAP's AUTHENTICATE from the client's side, by the mechanism
// named or the strongest.
func authenticate(nc *tls.Conn, who sasl.Credentials, only string) (name string, verified bool, err error) {
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewScanner(nc)
	line := func() string {
		r.Scan()
		return r.Text()
	}
	line() // the greeting
	_, _ = io.WriteString(nc, "a CAPABILITY\r\n")
	var offered []string
	for l := line(); !strings.HasPrefix(l, "a "); l = line() {
		if r.Err() != nil || l == "" {
			return "", false, net.ErrClosed
		}
		for word := range strings.FieldsSeq(l) {
			if mech, ok := strings.CutPrefix(word, "AUTH="); ok && (only == "" || mech == only) {
				offered = append(offered, mech)
			}
		}
	}
	state := nc.ConnectionState()
	c, err := who.Client(offered, &state, true)
	if err != nil {
		return "", false, err
	}
	name, initial, err := c.Start()
	if err != nil {
		return "", false, err
	}
	_, _ = io.WriteString(nc, "b AUTHENTICATE "+name+"\r\n")
	for {
		l := line()
		if challenge, ok := strings.CutPrefix(l, "+ "); ok {
			m := initial
			if m != nil {
				initial = nil
			} else {
				b, err := base64.StdEncoding.DecodeString(challenge)
				if err != nil {
					return name, false, err
				}
				if m, err = c.Next(b); err != nil {
					return name, false, err
				}
			}
			_, _ = io.WriteString(nc, to64(m)+"\r\n")
			continue
		}
		if strings.HasPrefix(l, "b OK") {
			v, ok := c.(sasl.Verifier)
			return name, ok && v.Verified(), nil
		}
		if strings.HasPrefix(l, "b ") || l == "" {
			return name, false, errors.New(l)
		}
	}
}
