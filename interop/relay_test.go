package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store/sqlite"
	"github.com/stretchr/testify/require"
)

// relayEnv makes the test's own program a submission server whose queue has
// no patience: examples/mailserver would retry after five minutes.
const relayEnv = "POSTA_INTEROP_RELAY"

type relayConfig struct {
	Dir, Resolver, Addr string
	Port                uint16
}

func relayMain() int {
	var c relayConfig
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	err := json.Unmarshal([]byte(os.Getenv(relayEnv)), &c)
	if err == nil {
		err = relayRun(c, log)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func relayRun(c relayConfig, log *slog.Logger) error {
	st, err := sqlite.Options{Logger: log}.Open(filepath.Join(c.Dir, "mail"))
	if err != nil {
		return err
	}
	defer st.Close()
	users := &password.Users{HashMemory: 64, HashPasses: 1, Iterations: -1}
	if err := users.Add(alice, alicePassword); err != nil {
		return err
	}
	agent := &mta.Agent{
		Hostname: "localhost", Domains: []string{"posta.test"}, Local: &mda.Agent{Store: st, Hostname: "localhost"}, Spool: st.Spool(),
		Resolver: &dns.Resolver{Servers: []string{c.Resolver}, Logger: log}, Route: route.Router{Port: c.Port, AllowPrivate: true},
		Queue: queue.Queue{Retry: []time.Duration{200 * time.Millisecond}, SiteDown: 100 * time.Millisecond, Lease: 2 * time.Second}, Logger: log,
	}
	server := &smtp.Server{Hostname: "localhost", Handler: agent.Submission(), Auth: users.WithoutSCRAM(), RequireAuth: true, InsecureAuth: true, MaxConnsPerAddr: -1, Logger: log}
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return err
	}
	fmt.Println("listening", l.Addr())
	return posta.Run(context.Background(), posta.On(l, server), agent)
}

// TestKillQueue kills a server that has mail for a site that is down, or that
// it is just delivering: after a restart with the site up every message that
// was acknowledged arrives.
func TestKillQueue(t *testing.T) {
	e := newExchange(t)
	zone := testdns.New(t, testdns.Zone{"peer.test": {MX: []string{"10 mx.peer.test"}}})
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	port := e.listener.Addr().(*net.TCPAddr).Port
	s := &server{addrs: map[string]string{}}
	launch := func(site string) {
		zone.Set("mx.peer.test", testdns.Records{A: []string{site}, TTL: -1})
		config, err := json.Marshal(relayConfig{Dir: dir, Resolver: zone.Addr(), Addr: "127.0.0.1:0", Port: uint16(port)})
		require.NoError(t, err)
		s.start(t, self, nil, []string{relayEnv + "=" + string(config)})
		require.True(t, s.out.await(60*time.Second, s.ended, func(out string) bool {
			_, after, ok := strings.Cut(out, "listening ")
			if addr, _, whole := strings.Cut(after, "\n"); ok && whole {
				s.addrs["submission"] = addr
				return true
			}
			return false
		}), s.out.String())
	}
	t.Cleanup(func() {
		if s.cmd != nil {
			s.stop(t)
		}
	})
	all := map[string]sent{}
	l := &load{cfg: smtp.ClientConfig{TLS: smtp.TLSPolicy{Mode: smtp.TLSNone}, InsecureAuth: true}, login: [2]string{alice, alicePassword}, from: alice, to: [][]string{{"x@peer.test"}, {"x@peer.test", "y@peer.test"}}}
	for round := range rounds(t, 20) {
		// Nothing listens at the second address.
		site := []string{"127.0.0.77", "127.0.0.1"}[round%2]
		launch(site)
		l.addr, l.round = s.addrs["submission"], round
		after := l.killDuring(t, func() { s.kill(t) })
		for k, m := range l.acked {
			all[k] = m
		}
		e.mu.Lock()
		before := len(e.got)
		e.mu.Unlock()
		began := time.Now()
		launch("127.0.0.1")
		missing, copies := 0, 0
		require.Eventually(t, func() bool {
			missing, copies = e.missing(t, all)
			return missing == 0
		}, 90*time.Second, 50*time.Millisecond, "%d of %d acknowledged messages did not arrive", missing, len(all))
		t.Logf("round %d, site %s: killed %v after the first 250; %d acknowledged, %d copies delivered before the restart; all there %v after it; %d copies beyond the first",
			round, site, after, len(l.acked), before, time.Since(began).Round(time.Millisecond), copies)
		s.kill(t)
		// What has arrived need not be looked at in every later round.
		clear(all)
		e.mu.Lock()
		e.got = nil
		e.mu.Unlock()
	}
}

// missing counts the recipients of acknowledged messages that have not got
// theirs, and the copies that came more than once.
func (e *exchange) missing(t *testing.T, all map[string]sent) (missing, copies int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	type copyOf struct{ subject, to string }
	got := map[copyOf]int{}
	for _, m := range e.got {
		match := loadSubject.FindStringSubmatch(m.raw)
		if match == nil {
			t.Errorf("a message that was never sent:\n%s", m.raw)
			continue
		}
		if want, ok := all[match[1]]; ok && !strings.HasSuffix(m.raw, "\r\n"+want.raw) {
			t.Errorf("%s is not as it was sent:\n%s", match[1], m.raw)
		}
		for _, to := range m.to {
			got[copyOf{match[1], to}]++
		}
	}
	for subject, m := range all {
		for _, to := range m.to {
			n := got[copyOf{subject, to}]
			if n == 0 {
				missing++
			}
			copies += max(0, n-1)
		}
	}
	return missing, copies
}
