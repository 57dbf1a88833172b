package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rounds is how often a server is killed; $POSTA_INTEROP_ROUNDS overrides it.
func rounds(t *testing.T, n int) int {
	t.Helper()
	if s := os.Getenv("POSTA_INTEROP_ROUNDS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	return n
}

// connections is how many clients send at the same time.
const connections = 20

// load sends messages over many connections until the server is gone.
type load struct {
	addr  string
	cfg   smtp.ClientConfig
	login [2]string // user and password, if there is a login
	from  string
	to    [][]string // taken in turn
	round int

	mu    sync.Mutex
	acked map[string]sent // answered 250, by subject
	maybe map[string]sent // sent, outcome unknown
	first chan struct{}   // closed at the first 250
}

// sent is a message and its recipients.
type sent struct {
	raw string
	to  []string
}

// run sends from all connections; it ends when each has failed.
func (l *load) run(t *testing.T) {
	var once sync.Once
	var wg sync.WaitGroup
	for n := range connections {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cfg := l.cfg
			if l.login[0] != "" {
				cfg.Auth = sasl.NewPlainClient("", l.login[0], l.login[1])
			}
			c, err := smtp.Dial(ctx, l.addr, &cfg)
			if err != nil {
				return
			}
			defer c.Close()
			for i := 0; ; i++ {
				subject := fmt.Sprintf("load %d %d %d", l.round, n, i)
				to := l.to[i%len(l.to)]
				// Of many sizes, and like no other.
				filler := strings.Repeat(fmt.Sprintf("%x\r\n", sha256.Sum256([]byte(subject))), 1+rand.IntN(60))
				m := sent{"From: <" + l.from + ">\r\nSubject: " + subject + "\r\n\r\n" + filler + ".\r\nend of " + subject + "\r\n", to}
				l.mu.Lock()
				l.maybe[subject] = m
				l.mu.Unlock()
				var from smtp.Path
				if from, err = smtp.ParseAddress(l.from); err != nil {
					return
				}
				env := &smtp.Envelope{From: from}
				for _, addr := range to {
					p, err := smtp.ParseAddress(addr)
					if err != nil {
						return
					}
					env.To = append(env.To, smtp.Recipient{Path: p})
				}
				res, err := c.Send(ctx, env, strings.NewReader(m.raw))
				if err != nil {
					return
				}
				for _, err := range res.Recipients {
					if err != nil {
						return
					}
				}
				l.mu.Lock()
				delete(l.maybe, subject)
				l.acked[subject] = m
				l.mu.Unlock()
				once.Do(func() { close(l.first) })
			}
		})
	}
	wg.Wait()
}

// killDuring kills the process at a random moment after the first 250.
func (l *load) killDuring(t *testing.T, kill func()) time.Duration {
	t.Helper()
	l.acked, l.maybe, l.first = map[string]sent{}, map[string]sent{}, make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(t)
	}()
	select {
	case <-l.first:
	case <-done:
		t.Fatal("nothing was acknowledged")
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was acknowledged within 30 seconds")
	}
	after := time.Duration(50+rand.IntN(350)) * time.Millisecond
	select { // the moment is random, and is no wait for anything
	case <-time.After(after):
	case <-done:
		t.Fatal("the server refused mail before it was killed")
	}
	kill()
	<-done
	return after
}

var loadSubject = regexp.MustCompile(`(?m)^Subject: (load \d+ \d+ \d+)\r$`)

// TestKill kills the server under load: after a restart every message that was
// answered 250 is in the mailboxes of all its recipients exactly as it was
// sent, once, and UIDs are what they were.
func TestKill(t *testing.T) {
	for _, service := range []string{"smtp", "lmtp"} {
		t.Run(service, func(t *testing.T) { killRounds(t, service, rounds(t, 20)/2) })
	}
}

func killRounds(t *testing.T, service string, n int) {
	s := startPlain(t, "-unlimited")
	users := []string{bob, carol}
	all := map[string]sent{}   // every message that was acknowledged
	maybe := map[string]sent{} // and those whose sender saw no answer
	uids := map[string]map[string]imap.UID{bob: {}, carol: {}}
	validity := map[string]uint32{}
	l := &load{cfg: smtp.ClientConfig{LMTP: service == "lmtp", TLS: smtp.TLSPolicy{Mode: smtp.TLSNone}}, from: "x@peer.test", to: [][]string{{bob}, {carol}, {bob, carol}}}
	for round := range n {
		l.addr, l.round = s.addrs[service], round
		after := l.killDuring(t, func() { s.kill(t) })
		for k, m := range l.acked {
			all[k] = m
		}
		for k, m := range l.maybe {
			maybe[k] = m
		}
		began := time.Now()
		s.launch(t)
		up := time.Since(began)
		for _, user := range users {
			v, got := s.mailbox(t, user, "INBOX")
			if validity[user] != 0 {
				require.Equal(t, validity[user], v, "UIDVALIDITY")
			}
			validity[user] = v
			seen := map[string]imap.UID{}
			last := imap.UID(0)
			for _, m := range got {
				require.Greater(t, m.uid, last)
				last = m.uid
				match := loadSubject.FindSubmatch(m.raw)
				require.NotNil(t, match, "UID %d of %s is no message of ours:\n%s", m.uid, user, tail(string(m.raw), 500))
				key := string(match[1])
				want, ok := all[key]
				if !ok {
					want, ok = maybe[key]
				}
				require.True(t, ok, "%s was never sent", key)
				require.Zero(t, seen[key], "%s was delivered twice", key)
				require.True(t, bytes.HasSuffix(m.raw, []byte("\r\n"+want.raw)), "%s is not as it was sent:\n%s", key, m.raw)
				seen[key] = m.uid
			}
			for key, uid := range uids[user] {
				require.Equal(t, uid, seen[key], "the UID of %s has changed", key)
			}
			for key, m := range all {
				for _, to := range m.to {
					if to == user {
						require.NotZero(t, seen[key], "%s was acknowledged, and is lost for %s", key, user)
					}
				}
			}
			uids[user] = seen
		}
		t.Logf("round %d: killed %v after the first 250; %d acknowledged, %d without an answer; up again after %v; %d and %d messages in all",
			round, after, len(l.acked), len(l.maybe), up.Round(time.Millisecond), len(uids[bob]), len(uids[carol]))
	}
}

// TestSMTPSource takes the load of Postfix's generator: one run that ends, of
// which every message must be there, and one during which the server is killed.
func TestSMTPSource(t *testing.T) {
	peer(t, "smtp-source")
	s := startPlain(t, "-unlimited")
	const n = 2000
	args := []string{"-c", "-s", strconv.Itoa(connections), "-l", "4096", "-f", "x@peer.test"}
	began := time.Now()
	run(t, "", "smtp-source", append(args, "-m", strconv.Itoa(n), "-t", carol, s.addrs["smtp"])...)
	t.Logf("%d messages of 4 KiB in %v", n, time.Since(began).Round(time.Millisecond))
	_, got := s.mailbox(t, carol, "INBOX")
	require.Len(t, got, n)

	out := &output{}
	cmd := exec.Command("smtp-source", append(args, "-m", "100000", "-t", bob, s.addrs["smtp"])...)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	counter := regexp.MustCompile(`\d+`)
	// It counts a message when it has sent the end, before the answer.
	count := func() int {
		all := counter.FindAllString(strings.Split(out.String(), "smtp-source")[0], -1)
		if len(all) == 0 {
			return 0
		}
		n, _ := strconv.Atoi(all[len(all)-1])
		return n
	}
	require.True(t, out.await(60*time.Second, ended, func(string) bool { return count() >= 500 }), out.String())
	s.kill(t)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
	s.launch(t)
	_, got = s.mailbox(t, bob, "INBOX")
	t.Logf("smtp-source sent %d to the end; %d are there", count(), len(got))
	assert.GreaterOrEqual(t, len(got), count()-connections, "only the last of each connection may be without an answer")
	assert.LessOrEqual(t, len(got), count()+connections)
	for _, m := range got {
		require.True(t, bytes.HasSuffix(m.raw, []byte("X\r\n")), "a message without its end:\n%s", tail(string(m.raw), 300))
	}
}
