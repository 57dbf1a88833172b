package interop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSmuggling runs a prober of ends of data against every port that takes
// messages.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	peer(t, "python3")
	shared := os.Getenv("POSTA_SHARED")
	if shared == "" {
		missing(t, "$POSTA_SHARED does not name the folder with tools/smuggle_probe.py")
	}
	probe, err := filepath.Abs(filepath.Join(shared, "tools", "smuggle_probe.py"))
	require.NoError(t, err)
	s := start(t, "-unlimited", "-insecure-auth")
	for _, c := range []struct {
		name string
		way  prologue
		args []string
	}{
		{"smtp", prologue{service: "smtp"}, []string{"--starttls"}},
		{"smtp, TLS", prologue{service: "smtp", tls: true}, nil},
		// The prober has no login, so somebody logs in for it.
		{"submission", prologue{service: "submission", login: true}, []string{"--sender", alice}},
		{"submission, TLS", prologue{service: "submission", tls: true, login: true}, []string{"--sender", alice}},
		{"lmtp", prologue{service: "lmtp"}, []string{"--lmtp", "--starttls"}},
		{"lmtp, TLS", prologue{service: "lmtp", tls: true}, []string{"--lmtp"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := s.addrs[c.way.service]
			if c.way.tls || c.way.login {
				addr = c.way.proxy(t, s)
			}
			_, port, _ := net.SplitHostPort(addr)
			out := run(t, "", "python3", append([]string{probe, "--port", port, "--rcpt", bob, "--quiet", "0.7"}, c.args...)...)
			assert.Contains(t, out, "probes judged, 0 unsafe")
			assert.NotRegexp(t, `SMUGGLED|INJECTED|\berror\b`, out)
			assert.Regexp(t, `(?m)^end CRLF\.SP-CRLF +safe +one message: 250`, out, "the prober's messages arrive")
		})
	}
	t.Cleanup(func() {
		_, all := s.mailbox(t, bob, "INBOX")
		for _, m := range all {
			assert.NotContains(t, string(m.raw), "Subject: smuggled\r\n\r\nsecond\r\n.\r\n")
			assert.False(t, strings.HasPrefix(string(m.raw), "Subject: smuggled"))
		}
		t.Logf("%d messages were taken", len(all))
	})
}

// prologue is what a client that can do neither is spared: encryption and login.
type prologue struct {
	service    string
	tls, login bool
}

// proxy listens for clients and connects each of them to the server, with what
// they are spared behind it.
func (p prologue) proxy(t *testing.T, s *server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	cfg := trusting(t)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				far, in, err := p.dial(s.addrs[p.service], cfg)
				if err != nil {
					fmt.Fprintf(client, "554 5.0.0 the proxy: %v\r\n", err)
					return
				}
				defer far.Close()
				fmt.Fprintf(client, "220 the proxy is through\r\n")
				go func() {
					_, _ = in.WriteTo(client)
					client.Close()
				}()
				p.forward(far, client)
			}()
		}
	}()
	return l.Addr().String()
}

// forward passes on what the client says. The prober writes a message at once,
// with a From field that is not one of ours.
func (p prologue) forward(far io.Writer, client io.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		text := b[:n]
		if p.login {
			text = bytes.ReplaceAll(text, []byte("From: <probe@probe.example>"), []byte("From: <"+alice+">"))
		}
		if _, err := far.Write(text); err != nil {
			return
		}
	}
}

// dial speaks until the client may begin.
func (p prologue) dial(addr string, cfg *tls.Config) (net.Conn, *bufio.Reader, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	in := bufio.NewReader(nc)
	say := func(cmd string) {
		if cmd != "" {
			fmt.Fprintf(nc, "%s\r\n", cmd)
		}
		for line := "220-"; err == nil && len(line) > 3 && line[3] == '-'; {
			if line, err = in.ReadString('\n'); err == nil && line[0] != '2' {
				err = fmt.Errorf("%q: %s", cmd, line)
			}
		}
	}
	hello := "EHLO proxy.test"
	if p.service == "lmtp" {
		hello = "LHLO proxy.test"
	}
	say("")
	say(hello)
	if p.tls {
		say("STARTTLS")
		if err == nil {
			nc = tls.Client(nc, cfg)
			in.Reset(nc)
		}
		say(hello)
	}
	if p.login {
		say("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+alice+"\x00"+alicePassword)))
	}
	if err != nil {
		nc.Close()
	}
	return nc, in, err
}

// Nobody relays without a login.
func TestNoRelay(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, service := range []string{"smtp", "lmtp"} {
		for _, from := range []string{"x@peer.test", alice, ""} {
			c := dialSMTP(t, s, service)
			require.NoError(t, c.Hello("client.test"))
			if err := c.Mail(from, nil); err != nil {
				t.Logf("%s, from <%s>: %v", service, from, err)
				continue
			}
			for _, to := range []string{"y@elsewhere.test", "y%elsewhere.test@posta.test", "y@elsewhere.test@posta.test", `"y@elsewhere.test"@posta.test`,
				"elsewhere.test!y@posta.test", "@posta.test:y@elsewhere.test", "y@posta.test.elsewhere.test", "y@[127.0.0.1]", "y@127.0.0.1", "y@localhost", "y"} {
				err := c.Rcpt(to, nil)
				require.Error(t, err, "%s: <%s> to <%s>", service, from, to)
				assert.Regexp(t, `5\d\d|Relay|syntax`, err.Error())
			}
			require.NoError(t, c.Reset())
		}
	}
	for _, service := range []string{"submission", "submissions"} {
		c := dialSMTP(t, s, service)
		require.NoError(t, c.Hello("client.test"))
		err := c.Mail(alice, nil)
		var refused *smtp.SMTPError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, 530, refused.Code)
	}
}

// Nobody sends as somebody else.
func TestNoForgedSender(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := dialSMTP(t, s, "submissions")
	require.NoError(t, c.Auth(sasl.NewPlainClient("", alice, alicePassword)))
	for _, from := range []string{bob, "x@peer.test", "alice@peer.test", "alice+x@elsewhere.test", "postmaster@posta.test"} {
		err := c.Mail(from, nil)
		require.Error(t, err, from)
		t.Logf("MAIL FROM <%s>: %v", from, err)
		require.NoError(t, c.Reset())
	}
	for _, header := range []string{"From: <" + bob + ">", "From: " + alice + ", " + bob, "From: <" + alice + ">\r\nFrom: <" + bob + ">",
		"From: <" + alice + ">\r\nSender: <" + bob + ">", "X: y", `From: "` + alice + `" <` + bob + `>`} {
		err := c.SendMail(alice, []string{bob}, strings.NewReader(header+"\r\nSubject: forged\r\n\r\nx\r\n"))
		require.Error(t, err, header)
		t.Logf("%q: %v", header, err)
		require.NoError(t, c.Reset())
	}
	require.NoError(t, c.SendMail(alice, []string{bob}, strings.NewReader("From: <"+alice+">\r\nSubject: honest\r\n\r\nx\r\n")))
	_, all := s.mailbox(t, bob, "INBOX")
	require.Len(t, all, 1)
}

// guess tries one IMAP login from a source address and returns the answer.
func guess(t *testing.T, s *server, source, user, password string) string {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}, Config: trusting(t)}
	c, err := d.DialContext(t.Context(), "tcp", s.addrs["imaps"])
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	in := bufio.NewReader(c)
	fmt.Fprintf(c, "a LOGIN %q %q\r\n", user, password)
	for {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		if strings.HasPrefix(line, "a ") {
			return strings.TrimSpace(line)
		}
	}
}

// Wrong passwords slow down, then lock out whoever guesses, on every protocol
// and whether the user exists or not; who logged in before is not locked out.
func TestGuessing(t *testing.T) {
	t.Parallel()
	s := start(t)
	require.Contains(t, guess(t, s, "127.0.0.1", alice, alicePassword), "a OK")
	var wg sync.WaitGroup
	for i, user := range []string{alice, "unknown@posta.test"} {
		source := fmt.Sprintf("127.0.1.%d", i+1)
		wg.Go(func() {
			var waits []time.Duration
			locked := ""
			for n := range 15 {
				began := time.Now()
				answer := guess(t, s, source, user, fmt.Sprintf("wrong %d", n))
				waits = append(waits, time.Since(began).Round(10*time.Millisecond))
				if !assert.Contains(t, answer, "a NO") {
					return
				}
				if !strings.Contains(answer, "AUTHENTICATIONFAILED") {
					locked = answer
					break
				}
			}
			t.Logf("%s: guesses took %v, then %q", user, waits, locked)
			assert.NotEmpty(t, locked, "15 guesses did not lock the guesser out")
			assert.GreaterOrEqual(t, len(waits), 6, "who mistypes a few times is not locked out")
			if len(waits) > 6 {
				assert.Greater(t, waits[5], waits[2], "the wait grows")
				assert.Greater(t, waits[5], time.Second)
			}
			// Even with the right password, and on the other protocols too.
			assert.Equal(t, locked, guess(t, s, source, user, alicePassword))
			pop := dialFrom(t, source, s.addrs["pop3s"])
			fmt.Fprintf(pop, "USER %s\r\nPASS %s\r\n", user, alicePassword)
			assert.Contains(t, readUntil(pop, "-ERR"), "-ERR")
			sub := dialFrom(t, source, s.addrs["submissions"])
			fmt.Fprintf(sub, "EHLO x\r\n")
			readUntil(sub, "250 ")
			fmt.Fprintf(sub, "AUTH PLAIN %s\r\n", base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+alicePassword)))
			assert.Regexp(t, `^(4|5)\d\d `, readUntil(sub, " "))
		})
	}
	wg.Wait()
	assert.Contains(t, guess(t, s, "127.0.0.1", alice, alicePassword), "a OK", "the owner, at an address of before, is not locked out")
	assert.Contains(t, guess(t, s, "127.0.1.1", bob, bobPassword), "a OK", "others at the guesser's address are not locked out yet")
}

func dialFrom(t *testing.T, source, addr string) net.Conn {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}, Config: trusting(t)}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = bufio.NewReaderSize(c, 16).ReadString('\n') // the greeting
	require.NoError(t, err)
	return c
}

// readUntil reads lines until one contains text, and returns that.
func readUntil(c net.Conn, text string) string {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil || strings.Contains(line, text) {
			return line
		}
	}
}
