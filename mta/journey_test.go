package mta_test

import (
	"context"
	"io"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/sqlite"
)

// noticeOf takes a bounce or delay notice apart, with the standard library.
func noticeOf(t *testing.T, msg string) (text, status, header string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(msg))
	require.NoError(t, err)
	assert.Equal(t, "<>", m.Header.Get("Return-Path"))
	assert.Equal(t, "auto-replied", m.Header.Get("Auto-Submitted"))
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/report", kind)
	require.Equal(t, "delivery-status", params["report-type"])
	var parts []string
	for mr := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		b, err := io.ReadAll(p)
		require.NoError(t, err)
		parts = append(parts, string(b))
	}
	require.Len(t, parts, 3)
	return parts[0], parts[1], parts[2]
}

// peer is one of two systems that know each other by the DNS alone, on sockets
// of the loopback interface.
type peer struct {
	agent *mta.Agent
	st    *memory.Store
	mx    net.Listener
	msa   net.Listener
}

func newPeer(t *testing.T, zone *testdns.Server, domain, user string) *peer {
	t.Helper()
	p := &peer{st: memory.New()}
	host := "mx." + domain
	require.NoError(t, p.st.CreateAccount(t.Context(), user+"@"+domain))
	key, record := signer(t, domain)
	hostKey, _ := signer(t, host)
	zone.Set(domain, testdns.Records{MX: []string{"10 " + host}, TXT: []string{"v=spf1 ip4:127.0.0.1 -all"}})
	zone.Set(host, testdns.Records{A: []string{"127.0.0.1"}, TXT: []string{"v=spf1 a -all"}})
	zone.Set("_dmarc."+domain, testdns.Records{TXT: []string{"v=DMARC1; p=reject"}})
	zone.Set("k1._domainkey."+domain, testdns.Records{TXT: []string{record}})
	zone.Set("k1._domainkey."+host, testdns.Records{TXT: []string{record}})
	p.agent = &mta.Agent{
		Hostname: host, Domains: []string{domain}, Local: &mda.Agent{Store: p.st}, Stager: p.st, Spool: p.st.Spool(),
		Signer: mta.DKIM(key, hostKey), Resolver: &dns.Resolver{Servers: []string{zone.Addr()}},
		Route: route.Router{AllowPrivate: true},
	}
	s := &system{t: t, users: users{user: {Account: user + "@" + domain, Login: user, Senders: []string{"@" + domain}}}}
	p.mx = listen(t, &smtp.Server{Hostname: host, Handler: p.agent.Inbound()})
	p.msa = listen(t, &smtp.Server{Hostname: host, Handler: p.agent.Submission(), Auth: s.users, InsecureAuth: true, RequireAuth: true})
	return p
}

func listen(t testing.TB, srv *smtp.Server) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
	})
	return l
}

func port(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// await waits for a number of messages in an INBOX.
func await(t *testing.T, st store.Store, account string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	acc, err := st.Account(ctx, account, account)
	require.NoError(t, err)
	wake := acc.Watch(ctx)
	for {
		if list := mailOf(t, st, account, store.Inbox); len(list) >= n {
			return list
		}
		_, ok := <-wake
		require.True(t, ok, "%s got no message", account)
	}
}

// Two systems: a letter arrives with everything passed; one to nobody comes
// back as a bounce.
func TestTwoSystems(t *testing.T) {
	zone := testdns.New(t, testdns.Zone{})
	a, b := newPeer(t, zone, "a.test", "alice"), newPeer(t, zone, "b.test", "bob")
	a.agent.Route.Port, b.agent.Route.Port = port(b.mx), port(a.mx)
	runAgent(t, a.agent)
	runAgent(t, b.agent)

	s := &system{t: t}
	send := func(data string, to ...string) {
		nc, err := net.Dial("tcp", a.msa.Addr().String())
		require.NoError(t, err)
		require.NoError(t, s.send(nc, &smtp.ClientConfig{Auth: plain("alice"), InsecureAuth: true}, "alice@a.test", data, to...))
	}
	send("From: alice@a.test\r\nTo: bob@b.test\r\nSubject: lunch\r\n\r\nAt noon?\r\n", "bob@b.test")
	got := await(t, b.st, "bob@b.test", 1)[0]
	for _, want := range []string{"spf=pass", "dkim=pass header.d=a.test", "dmarc=pass", "\r\n\r\nAt noon?\r\n"} {
		require.Contains(t, strings.ReplaceAll(got, "\r\n\t", " "), want)
	}

	send("From: alice@a.test\r\nTo: nobody@b.test\r\nSubject: anybody?\r\n\r\nsecret\r\n", "nobody@b.test", "alice@nowhere.test", "bob@b.test")
	notices := await(t, a.st, "alice@a.test", 2)
	require.Len(t, await(t, b.st, "bob@b.test", 2), 2)
	all := strings.Join(notices, "")
	require.Contains(t, all, "Final-Recipient: rfc822; alice@nowhere.test\r\nAction: failed\r\nStatus: 5.1.2\r\n")
	for _, n := range notices {
		text, status, header := noticeOf(t, n)
		results, err := (&dkim.Verifier{Resolver: a.agent.Resolver}).Verify(t.Context(), strings.NewReader(n))
		require.NoError(t, err)
		require.Len(t, results, 2, "the host's key and, as its parent, the domain's")
		require.NoError(t, results[0].Err)
		require.Contains(t, header, "\r\nSubject: anybody?")
		require.NotContains(t, n, "secret")
		if strings.Contains(n, "nowhere") {
			require.NotContains(t, status, "Remote-MTA")
			continue
		}
		require.Contains(t, text, "<nobody@b.test>\r\n    mx.b.test said:\r\n    550 5.1.1 No such user here")
		require.Contains(t, status, "Reporting-MTA: dns; mx.a.test\r\n")
		require.Contains(t, status, "Final-Recipient: rfc822; nobody@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.b.test\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user here\r\n")
	}
	require.Eventually(t, func() bool {
		list, err := a.agent.Queue.List(t.Context(), 0, 10)
		return err == nil && len(list) == 0
	}, 10*time.Second, time.Millisecond)
}

// What the DNS says of a domain, as the sender sees it.
func TestBounceTexts(t *testing.T) {
	for _, c := range []struct {
		name   string
		mx     testdns.Records
		status string
		text   string
	}{
		{"null MX", testdns.Records{MX: []string{"0 ."}, A: []string{"203.0.113.1"}}, "5.1.10", "556 5.1.10 Domain does not accept mail (null MX)"},
		{"no address", testdns.Records{TXT: []string{"x"}}, "5.1.2", "550 5.1.2 Domain has no mail exchanger and no address"},
		{"MX without address", testdns.Records{MX: []string{"10 gone.test"}}, "5.4.4", "550 5.4.4 No usable mail exchanger for the domain"},
		{"we are the MX", testdns.Records{MX: []string{"10 mx.ours.test"}}, "5.4.6", "554 5.4.6 Mail for the domain loops back to this system"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, rec := bothEnds(t, nil)
				s.dns.Set("target.test", c.mx)
				s.run()
				require.NoError(t, s.submit("bob@ours.test", submitted, "x@target.test"))
				synctest.Wait()
				text, status, header := noticeOf(t, s.one("bob@ours.test", store.Inbox))
				require.Contains(t, text, "<x@target.test>\r\n    "+c.text+"\r\n")
				require.Contains(t, status, "\r\nStatus: "+c.status+"\r\n")
				require.Contains(t, header, "Message-ID: <1@ours.test>")
				require.Empty(t, rec.Messages())
				require.Empty(t, s.queued())
			})
		})
	}
}

// A delay is told once, after four hours; the end of the attempts after five
// days.
func TestDelayNoticeAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, nil)
		rec.Rcpt = func(smtp.Path) error { return smtp.Errorf(450, smtp.EnhancedCode{4, 2, 0}, "Greylisted") }
		s.run()
		require.NoError(t, s.submit("bob@ours.test", submitted, "x@else.test"))
		time.Sleep(3*time.Hour + 30*time.Minute)
		require.Empty(t, s.mail("bob@ours.test", store.Inbox))
		time.Sleep(4 * time.Hour)
		text, status, _ := noticeOf(t, s.one("bob@ours.test", store.Inbox))
		require.Contains(t, text, "need not send it again")
		require.Contains(t, status, "Action: delayed\r\nStatus: 4.2.0\r\n")
		require.Contains(t, status, "Will-Retry-Until: ")
		time.Sleep(4 * 24 * time.Hour)
		s.one("bob@ours.test", store.Inbox)
		time.Sleep(24 * time.Hour)
		list := s.mail("bob@ours.test", store.Inbox)
		require.Len(t, list, 2)
		_, status, _ = noticeOf(t, list[1])
		require.Contains(t, status, "Action: failed\r\nStatus: 5.4.7\r\n")
		require.Contains(t, status, "Diagnostic-Code: smtp; 450 4.2.0 Greylisted\r\n")
		require.Empty(t, s.queued())
	})
}

// Nobody is told that a notice cannot be delivered, and a notice to nobody ends
// quietly.
func TestNoBounceOfABounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, nil)
		s.users["bob"].Senders = append(s.users["bob"].Senders, "gone@ours.test", "bob@more.test")
		rec.Rcpt = func(smtp.Path) error { return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "No such user") }
		s.run()
		for _, sender := range []string{"", "gone@ours.test", "bob@more.test"} {
			require.NoError(t, s.submit(sender, submitted, "x@else.test"))
			synctest.Wait()
			require.Empty(t, s.queued(), sender)
		}
		for _, account := range []string{"bob@ours.test", "postmaster@ours.test"} {
			require.Empty(t, s.mail(account, store.Inbox))
		}
		require.Empty(t, rec.Messages())
	})
}

func TestRunAndShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, nil)
		block := make(chan struct{})
		rec.Data = func(*smtpMessage) error { <-block; return nil }
		require.NoError(t, s.Shutdown(t.Context()), "nothing to end")
		require.NoError(t, s.submit("bob@ours.test", submitted, "x@else.test"))
		done := make(chan error, 1)
		start := func() { go func() { done <- s.Run(context.Background()) }() }
		start()
		synctest.Wait()
		require.ErrorIs(t, s.Run(t.Context()), mta.ErrRunning)

		// The attempt under way is cut short, its item stays.
		require.NoError(t, s.Shutdown(t.Context()))
		require.NoError(t, <-done)
		require.Len(t, s.queued(), 1)
		close(block)

		// And again.
		start()
		time.Sleep(time.Minute)
		require.Empty(t, s.queued())
		require.NoError(t, s.Shutdown(t.Context()))
		require.NoError(t, <-done)

		// A ctx that has ended ends Run, too.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.Run(ctx))
	})
}

// Shutdown does not wait longer than its ctx.
func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		s, _ := bothEnds(t, nil)
		s.Local = stubborn{block}
		s.st.set(func(f *faultyStore) {})
		require.NoError(t, s.Submit(t.Context(), "", smtp.Path{}, []smtp.Path{path(t, "bob@ours.test")}, nil, staged(t, s, letter)))
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		close(block)
		require.NoError(t, <-done)
		require.Empty(t, s.queued(), "what was done counts")
	})
}

// stubborn is a Local that listens to no ctx.
type stubborn struct{ block chan struct{} }

func (stubborn) Check(context.Context, smtp.Path) error { return nil }
func (l stubborn) Deliver(_ context.Context, _ *mda.Delivery, to []smtp.Path) []error {
	<-l.block
	return make([]error, len(to))
}

// A system begins again with what was in its queue, and sees its new settings.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, nil)
		require.NoError(t, s.submit("bob@ours.test", submitted, "x@else.test", "carol@more.test", "y@more.test"))
		require.Len(t, s.queued(), 2)
		// more.test has become ours; its MX names us.
		s.dns.Set("more.test", testdns.Records{MX: []string{"10 mx.ours.test"}})
		again := &mta.Agent{
			Hostname: s.Hostname, Domains: []string{"ours.test", "more.test"}, Local: s.local, Stager: s.st, Spool: s.st.Spool(),
			Resolver: s.Resolver,
		}
		again.Remote.Transport.Client.DialContext = rec.Dial
		s.local.Aliases = map[string][]string{"@more.test": {"carol@ours.test"}}
		runAgent(t, again)
		synctest.Wait()
		require.Len(t, rec.Messages(), 1)
		s.one("carol@ours.test", store.Inbox)
		require.Empty(t, s.queued())
	})
}

// The same with a store on disk.
func TestRestartOnDisk(t *testing.T) {
	zone := testdns.New(t, testdns.Zone{})
	other := newPeer(t, zone, "b.test", "bob")
	dir := filepath.Join(t.TempDir(), "data")
	open := func() (*sqlite.Store, *mta.Agent) {
		st, err := sqlite.Open(dir)
		require.NoError(t, err)
		a := &mta.Agent{
			Hostname: "mx.a.test", Domains: []string{"a.test"}, Local: &mda.Agent{Store: st}, Stager: st, Spool: st.Spool(),
			Resolver: &dns.Resolver{Servers: []string{zone.Addr()}}, Route: route.Router{AllowPrivate: true, Port: port(other.mx)},
		}
		return st, a
	}
	st, a := open()
	require.NoError(t, st.CreateAccount(t.Context(), "alice@a.test"))
	body, err := st.Stage(t.Context(), strings.NewReader("From: alice@a.test\r\nSubject: kept\r\n\r\n"))
	require.NoError(t, err)
	to := []smtp.Path{path(t, "bob@b.test"), path(t, "nobody@b.test")}
	require.NoError(t, a.Submit(t.Context(), "", path(t, "alice@a.test"), to, []byte("X-Prefix: yes\r\n"), body))
	require.NoError(t, body.Discard())
	require.NoError(t, st.Close())

	st, a = open()
	defer st.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	got := await(t, other.st, "bob@b.test", 1)[0]
	require.True(t, strings.HasSuffix(got, "\r\nX-Prefix: yes\r\nFrom: alice@a.test\r\nSubject: kept\r\n\r\n"), got)
	_, status, _ := noticeOf(t, await(t, st, "alice@a.test", 1)[0])
	require.Contains(t, status, "nobody@b.test")
	cancel()
	require.NoError(t, <-done)
}

// The checks of a message end with it, however it ends.
func TestChecksDoNotLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, world(t), nil)
		s.dns.Delay("slow.test", time.Hour)
		s.dns.Delay("k1._domainkey.slow.test", time.Hour)
		running := func() int {
			buf := make([]byte, 1<<20)
			stacks := string(buf[:runtime.Stack(buf, true)])
			return strings.Count(stacks, "spf.(*Checker)") + strings.Count(stacks, "dkim.(*Verifier)")
		}
		sig := "DKIM-Signature: v=1; a=ed25519-sha256; d=slow.test; s=k1; h=from; bh=AAAA; b=AAAA\r\n"

		// The message is refused while the lookups run.
		nc, err := s.mx.DialFrom(t.Context(), net.ParseIP(from))
		require.NoError(t, err)
		c, err := smtp.NewClient(t.Context(), nc, nil)
		require.NoError(t, err)
		env := &smtp.Envelope{From: path(t, "a@slow.test"), To: smtp.To(path(t, "bob@ours.test"))}
		_, err = c.Send(t.Context(), env, strings.NewReader(sig+strings.Repeat("Received: x\r\n", 100)+letter))
		refuses(t, err, 554, smtp.EnhancedCode{5, 4, 6})
		synctest.Wait()
		require.Zero(t, running(), "although the connection lives on")
		require.NoError(t, c.Quit(t.Context()))

		// The client goes away in the middle.
		nc, err = s.mx.DialFrom(t.Context(), net.ParseIP(from))
		require.NoError(t, err)
		_, err = io.WriteString(nc, "EHLO x.test\r\nMAIL FROM:<a@slow.test>\r\nRCPT TO:<bob@ours.test>\r\n")
		require.NoError(t, err)
		synctest.Wait()
		_, err = io.WriteString(nc, "DATA\r\n")
		require.NoError(t, err)
		synctest.Wait()
		_, err = io.WriteString(nc, sig+letter)
		require.NoError(t, err)
		synctest.Wait()
		require.NotZero(t, running(), "SPF and the key are being looked up")
		require.NoError(t, nc.Close())
		synctest.Wait()
		require.Zero(t, running())

		// The client waits: time-outs end the lookups, and the mail is taken.
		start := time.Now()
		require.NoError(t, s.receive(from, "a@slow.test", sig+letter, "bob@ours.test"))
		require.Less(t, time.Since(start), time.Minute)
		require.Contains(t, s.one("bob@ours.test", "Junk"), "spf=temperror")
		synctest.Wait()
		require.Zero(t, running())
	})
}
