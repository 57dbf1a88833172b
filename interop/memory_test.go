package interop

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// crowd is how many connections attack at the same time.
const crowd = 2000

// The servers' documented figures (field docs of smtp.Server, imap.Server and
// pop3.Server, and sqlite.Options.StageMemory).
const (
	kib = 1 << 10
	mib = 1 << 20

	smtpConn, smtpBudget = 20 * kib, 64 * mib
	imapConn, imapBudget = 20 * kib, 256 * mib
	imapWriting          = 64 * kib
	pop3Conn, pop3Budget = 12 * kib, 64 * mib
	stageMemory          = 64 * mib
	// mta.Agent.HeaderMemory, and what it does not count.
	headerConn, headerMemory = 32 * kib, 64 * mib
)

// Go's collector lets the heap grow to twice what is in use before it runs.
const collector = 2

// TestMemory has many connections each send the largest thing they may, and
// stop in the middle of it: the process stays within the documented budget.
func TestMemory(t *testing.T) {
	long := strings.Repeat("x", 64*kib)
	for _, c := range []struct {
		name, service string
		bound         int64 // beyond the idle process
		login         bool
		talk          func(*client)
	}{
		{"SMTP, AUTH line", "submission", crowd*smtpConn + smtpBudget, false, func(c *client) {
			c.until("220 ")
			c.ask("EHLO x", "250 ")
			c.send("AUTH PLAIN " + long[:12200])
		}},
		{"SMTP, 100 recipients and half a message", "smtp", crowd*(smtpConn+headerConn) + smtpBudget + headerMemory + stageMemory, false, func(c *client) {
			c.until("220 ")
			c.ask("EHLO x", "250 ")
			var b strings.Builder
			for i := range 100 {
				fmt.Fprintf(&b, "RCPT TO:<bob+%s%d@posta.test>\r\n", long[:40], i)
			}
			c.ask("MAIL FROM:<"+long[:60]+"@peer.test>", "250 ")
			c.send(b.String())
			for range 100 {
				c.line() // 452 when the budget is empty: the others stay
			}
			c.send("DATA\r\n")
			c.until("354")
			c.send("Subject: " + strings.Repeat(long[:990]+"\r\n ", 8) + "\r\n\r\n" + strings.Repeat(long[:60000]+"\r\n", 3))
		}},
		{"SMTP, half a header", "smtp", crowd*(smtpConn+headerConn) + smtpBudget + headerMemory + stageMemory, false, func(c *client) {
			c.until("220 ")
			c.ask("EHLO x", "250 ")
			c.ask("MAIL FROM:<x@peer.test>", "250 ")
			c.ask("RCPT TO:<bob@posta.test>", "250 ")
			c.ask("DATA", "354")
			c.send(strings.Repeat("Subject: "+strings.Repeat(long[:990]+"\r\n ", 30)+"\r\n", 15))
		}},
		{"IMAP before login", "imap", crowd*imapConn + imapBudget, false, func(c *client) {
			c.send("a LOGIN {4096+}\r\n" + long[:4096] + " {4096+}\r\n" + long[:4000])
		}},
		{"IMAP, largest command", "imap", crowd*imapConn + imapBudget, true, func(c *client) {
			c.send("a SEARCH TEXT {60000+}\r\n" + long[:60000-1])
		}},
		{"IMAP, half an APPEND", "imap", crowd*imapConn + imapBudget + stageMemory, true, func(c *client) {
			c.send("a APPEND INBOX {60000000+}\r\nSubject: " + strings.Repeat(long[:990]+"\r\n ", 30) + "\r\n\r\n" + strings.Repeat(long[:60000]+"\r\n", 3))
		}},
		{"IMAP, replies not read", "imap", crowd*(imapConn+imapWriting) + imapBudget, true, func(c *client) {
			c.ask("a SELECT big", "a OK")
			c.send("b FETCH 1 BODY[]\r\nc FETCH 1 BODY[]\r\n")
		}},
		{"POP3, AUTH line", "pop3", crowd*pop3Conn + pop3Budget, false, func(c *client) {
			c.ask("AUTH PLAIN", "+")
			c.send(long[:12000])
		}},
	} {
		t.Run(c.name, func(t *testing.T) { occupy(t, c.service, c.bound, c.login, c.talk) })
	}
}

func occupy(t *testing.T, service string, bound int64, login bool, talk func(*client)) {
	args := []string{"-unlimited", "-insecure-auth"}
	accounts := crowd / 100 // as many sessions as one account may have
	for i := range accounts {
		args = append(args, "-user", fmt.Sprintf("u%d:secret%d", i, i))
	}
	s := startPlain(t, args...)
	if login {
		big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20/72)
		for i := range accounts {
			c := dialClient(t, s.addrs["imap"])
			c.ask(fmt.Sprintf("a LOGIN u%d secret%d", i, i), "a OK")
			c.ask("b CREATE big", "b OK")
			c.ask(fmt.Sprintf("c APPEND big {%d+}\r\n%s", len(big), big), "c OK")
			require.NoError(t, c.err)
			c.nc.Close()
		}
	}
	idle := s.memory(t, "VmRSS")
	var mu sync.Mutex
	refused := map[string]int{}
	var group errgroup.Group
	clients := make([]*client, 0, crowd)
	for i := range crowd {
		c := dialClient(t, s.addrs[service])
		clients = append(clients, c)
		group.Go(func() error {
			if login {
				c.ask(fmt.Sprintf("l LOGIN u%d secret%d", i%accounts, i%accounts), "l OK")
			}
			talk(c)
			if c.err != nil {
				mu.Lock()
				refused[c.err.Error()]++
				mu.Unlock()
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	// All are served or refused when a newcomer is: the process is busy with
	// what came before until then.
	deadline := time.Now().Add(20 * time.Second)
	for last := int64(-1); time.Now().Before(deadline); {
		cpu := s.cpu(t)
		if cpu == last {
			break
		}
		last = cpu
		<-time.After(300 * time.Millisecond)
	}
	now, peak := s.memory(t, "VmRSS"), s.memory(t, "VmHWM")
	t.Logf("%d connections: idle %d MiB, now %d MiB, at most %d MiB; documented %d MiB, twice that with the collector's share",
		crowd, idle/mib, now/mib, peak/mib, bound/mib)
	open := 0
	for _, c := range clients {
		_ = c.nc.SetReadDeadline(time.Now().Add(10 * time.Microsecond))
		if c.err == nil {
			_, err := c.in.Discard(64 * kib)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			} else {
				refused["closed later"]++
			}
		}
	}
	t.Logf("%d connections are still open", open)
	for what, n := range refused {
		t.Logf("%d were refused: %s", n, what)
	}
	assert.LessOrEqual(t, peak, idle+collector*bound)
}

// client is a plain connection.
type client struct {
	nc  net.Conn
	in  *bufio.Reader
	err error // the first one; everything after it does nothing
}

func dialClient(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(2*time.Minute)))
	return &client{nc: nc, in: bufio.NewReaderSize(nc, 512)}
}

func (c *client) send(s string) {
	if c.err == nil {
		// What the server does not take in any more is not waited for.
		_ = c.nc.SetWriteDeadline(time.Now().Add(20 * time.Second))
		_, c.err = c.nc.Write([]byte(s))
	}
}

func (c *client) line() string {
	if c.err != nil {
		return ""
	}
	var line string
	line, c.err = c.in.ReadString('\n')
	return line
}

// until reads up to a line that begins with prefix.
func (c *client) until(prefix string) {
	last := ""
	for c.err == nil {
		line := c.line()
		if strings.HasPrefix(line, prefix) {
			return
		}
		if prefix[0] >= '2' && prefix[0] <= '3' && len(line) > 3 && line[0] >= '4' && line[0] <= '5' && line[3] == ' ' {
			c.err = fmt.Errorf("%s instead of %s", line[:9], prefix)
			return
		}
		if c.err != nil && last != "" {
			c.err = fmt.Errorf("after %q", strings.TrimSpace(last))
		}
		last = line
	}
}

func (c *client) ask(command, prefix string) {
	c.send(command + "\r\n")
	c.until(prefix)
}

// memory is a figure of /proc/PID/status, in octets.
func (s *server) memory(t *testing.T, field string) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(b)
	require.NotNil(t, m, field)
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n * kib
}

// cpu is the process's time on the CPU, in ticks.
func (s *server) cpu(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	require.NoError(t, err)
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	sys, _ := strconv.ParseInt(f[12], 10, 64)
	return user + sys
}
