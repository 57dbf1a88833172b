package mta_test

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// system is a mail system for ours.test in memory: mailboxes of bob and
// carol, a DNS of its own, and servers for both handlers.
type system struct {
	*mta.Agent
	t     testing.TB
	st    *faultyStore
	local *mda.Agent
	dns   *testdns.Server
	mx    *memnet.Listener
	msa   *memnet.Listener
	users users
}

// newSystem makes a system; set, if not nil, changes it before its servers
// begin.
func newSystem(t testing.TB, zone testdns.Zone, set func(*system)) *system {
	t.Helper()
	s := &system{t: t, st: &faultyStore{Store: memory.New()}, dns: testdns.InMemory(zone), users: users{
		"bob": {Account: "bob@ours.test", Login: "bob", Senders: []string{"bob@ours.test", "Bob.Smith@ours.test"}},
	}}
	for _, account := range []string{"bob@ours.test", "carol@ours.test", "postmaster@ours.test"} {
		require.NoError(t, s.st.CreateAccount(t.Context(), account))
	}
	s.local = &mda.Agent{Store: s.st, Postmaster: "postmaster@ours.test"}
	s.Agent = &mta.Agent{
		Hostname: "mx.ours.test", Domains: []string{"Ours.Test."}, Local: s.local, Stager: s.st, Spool: s.st.Spool(),
		Resolver: &dns.Resolver{Servers: []string{s.dns.Addr()}, Dial: s.dns.Dial},
		Route:    route.Router{AllowPrivate: true},
	}
	s.local.Submitter = s.Agent
	if set != nil {
		set(s)
	}
	s.mx = s.serve(&smtp.Server{Hostname: "mx.ours.test", Handler: s.Inbound()})
	// RequireAuth is off: the handler must not depend on it.
	s.msa = s.serve(&smtp.Server{Hostname: "mx.ours.test", Handler: s.Submission(), Auth: s.users, InsecureAuth: true, Governor: &auth.Governor{Off: true}})
	t.Cleanup(func() {
		require.NoError(t, s.dns.Close())
		require.NoError(t, s.st.Close())
	})
	return s
}

func (s *system) serve(srv *smtp.Server) *memnet.Listener {
	l := memnet.Listen()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	s.t.Cleanup(func() {
		_ = srv.Close()
		require.ErrorIs(s.t, <-done, smtp.ErrServerClosed)
	})
	return l
}

// users is an Authenticator where everybody's password is "secret".
type users map[string]*auth.Identity

func (u users) Password(_ context.Context, _ auth.Request, _, user, password string) (*auth.Identity, error) {
	if id := u[user]; id != nil && password == "secret" {
		return id, nil
	}
	return nil, auth.ErrCredentials
}

// mxRecord is a mail exchanger at a public address.
var mxRecord = testdns.Records{A: []string{"203.0.113.1"}}

// from is where clients connect from; hello what they call themselves.
const (
	from  = "192.0.2.1"
	hello = "client.pass.test"
)

// smtpMessage is what a recorder has got.
type smtpMessage = smtptest.Message

func plain(user string) gosasl.Client { return sasl.NewPlainClient("", user, "secret") }

// receive hands a message to Inbound as a client in the world does. It
// returns the server's answer.
func (s *system) receive(ip, sender, data string, to ...string) error {
	s.t.Helper()
	nc, err := s.mx.DialFrom(s.t.Context(), net.ParseIP(ip))
	require.NoError(s.t, err)
	return s.send(nc, &smtp.ClientConfig{Hostname: hello}, sender, data, to...)
}

// submit hands a message to Submission as user bob.
func (s *system) submit(sender, data string, to ...string) error {
	s.t.Helper()
	nc, err := s.msa.Dial(s.t.Context())
	require.NoError(s.t, err)
	return s.send(nc, &smtp.ClientConfig{Hostname: "[127.0.0.1]", Auth: plain("bob"), InsecureAuth: true}, sender, data, to...)
}

func (s *system) send(nc net.Conn, cfg *smtp.ClientConfig, sender, data string, to ...string) error {
	s.t.Helper()
	c, err := smtp.NewClient(s.t.Context(), nc, cfg)
	require.NoError(s.t, err)
	defer c.Close()
	env := &smtp.Envelope{From: path(s.t, sender)}
	for _, a := range to {
		env.To = append(env.To, smtp.To(path(s.t, a))...)
	}
	res, err := c.Send(s.t.Context(), env, strings.NewReader(data))
	if err == nil {
		for i, e := range res.Recipients {
			require.NoError(s.t, e, to[i])
		}
		require.Regexp(s.t, `^OK, queued as [0-9A-V]{20}$`, res.Reply.Text)
		require.NoError(s.t, c.Quit(s.t.Context()))
	}
	return err
}

func path(t testing.TB, addr string) smtp.Path {
	t.Helper()
	if addr == "" {
		return smtp.Path{}
	}
	p, err := smtp.ParseAddress(addr)
	require.NoError(t, err)
	return p
}

// mail reads all messages of a mailbox, oldest first; none if it does not exist.
func (s *system) mail(account, mailbox string) []string { return mailOf(s.t, s.st, account, mailbox) }

func mailOf(t testing.TB, st store.Store, account, mailbox string) []string {
	t.Helper()
	ctx := context.Background()
	acc, err := st.Account(ctx, account, account)
	require.NoError(t, err)
	box, err := acc.Mailbox(ctx, mailbox)
	if err != nil {
		require.ErrorIs(t, err, store.ErrNotFound)
		return nil
	}
	snap, err := box.Snapshot(ctx)
	require.NoError(t, err)
	var list []string
	for _, row := range snap.All() {
		body, err := box.Open(ctx, row)
		require.NoError(t, err)
		b, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
		require.NoError(t, err)
		require.NoError(t, body.Close())
		list = append(list, string(b))
	}
	return list
}

// one is the only message of a mailbox.
func (s *system) one(account, mailbox string) string {
	s.t.Helper()
	list := s.mail(account, mailbox)
	require.Len(s.t, list, 1, "%s of %s", mailbox, account)
	return list[0]
}

// queued lists what is in the queue: site and recipients.
func (s *system) queued() []string {
	s.t.Helper()
	q := &queue.Queue{Spool: s.st.Spool()}
	entries, err := q.List(context.Background(), 0, 1000)
	require.NoError(s.t, err)
	var list []string
	for _, e := range entries {
		require.NoError(s.t, e.Err)
		line := e.Site + ":"
		for _, r := range e.Message.Recipients {
			line += " " + r.To.Address()
		}
		list = append(list, line)
	}
	return list
}

// run runs the agent until the test ends.
func (s *system) run() { runAgent(s.t, s.Agent) }

func runAgent(t testing.TB, a *mta.Agent) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// refuses demands an answer with these codes.
func refuses(t testing.TB, err error, code int, enhanced smtp.EnhancedCode) {
	t.Helper()
	var e *smtp.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, e.Text)
	require.Equal(t, enhanced, e.Enhanced, e.Text)
}

// faultyStore fails on demand.
type faultyStore struct {
	*memory.Store
	mu      sync.Mutex
	onStage error
	onPlace func(account string) error
	onQueue error
}

func (f *faultyStore) set(change func(*faultyStore)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faultyStore) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	f.mu.Lock()
	err := f.onStage
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.Store.Stage(ctx, r)
}

func (f *faultyStore) Place(ctx context.Context, targets []store.Target) []store.Placed {
	f.mu.Lock()
	onPlace := f.onPlace
	f.mu.Unlock()
	placed := make([]store.Placed, len(targets))
	for i, target := range targets {
		if onPlace != nil {
			if placed[i].Err = onPlace(target.Account); placed[i].Err != nil {
				continue
			}
		}
		placed[i] = f.Store.Place(ctx, []store.Target{target})[0]
	}
	return placed
}

func (f *faultyStore) Spool() store.Spool { return faultySpool{f.Store.Spool(), f} }

type faultySpool struct {
	store.Spool
	f *faultyStore
}

func (s faultySpool) Enqueue(ctx context.Context, items []store.SpoolItem) ([]store.ItemID, error) {
	s.f.mu.Lock()
	err := s.f.onQueue
	s.f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.Spool.Enqueue(ctx, items)
}

// full makes the mailboxes of accounts full.
func (f *faultyStore) full(accounts ...string) {
	f.set(func(f *faultyStore) {
		f.onPlace = func(account string) error {
			if slices.Contains(accounts, account) {
				return store.ErrOverQuota
			}
			return nil
		}
	})
}

var (
	keyOnce sync.Once
	testKey *dkim.Signer
	keyText string
)

// signer signs for a domain with the one key of all tests; record is what the
// domain publishes at k1._domainkey.
func signer(t testing.TB, domain string) (s *dkim.Signer, record string) {
	t.Helper()
	keyOnce.Do(func() {
		key, err := dkim.GenerateKey(dkim.Ed25519SHA256)
		require.NoError(t, err)
		keyText, err = dkim.Record(key)
		require.NoError(t, err)
		testKey = &dkim.Signer{Selector: "k1", Key: key}
	})
	c := *testKey
	c.Domain = domain
	return &c, keyText
}

// crlf makes a message of a literal text.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
