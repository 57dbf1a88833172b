package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
)

// passwords is an Authenticator with nothing but passwords: everybody's is
// "pencil", except where the name says otherwise.
type passwords struct{ calls *int }

func (p passwords) Password(ctx context.Context, _ Request, authzid, user, password string) (*Identity, error) {
	if p.calls != nil {
		*p.calls++
	}
	return prove(ctx, authzid, user, password == "pencil")
}

func prove(ctx context.Context, authzid, user string, right bool) (*Identity, error) {
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case user == "down":
		return nil, io.ErrUnexpectedEOF
	case user == "nobody":
		return nil, nil
	case user == "panic":
		panic("back end")
	case !right:
		return nil, ErrCredentials
	case authzid != "" && authzid != user:
		return nil, ErrForbidden
	}
	return &Identity{Account: user, Login: user}, nil
}

// all is an Authenticator with every ability.
type all struct {
	passwords
	governor *Governor
}

func (a all) SCRAMKeys(_ context.Context, _ Request, user, hash string) (sasl.SCRAMKeys, error) {
	if user == "keyless" {
		return sasl.SCRAMKeys{}, io.ErrUnexpectedEOF
	}
	return sasl.DeriveSCRAMKeys(hash, "pencil", []byte("salt"), 4096)
}

func (a all) Authorize(ctx context.Context, _ Request, authzid, user string) (*Identity, error) {
	return prove(ctx, authzid, user, true)
}

func (a all) Token(ctx context.Context, _ Request, user, token string) (*Identity, error) {
	return prove(ctx, "", user, token == "pencil")
}

func (a all) External(ctx context.Context, req Request, authzid string) (*Identity, error) {
	return prove(ctx, authzid, req.Peer.TLS.VerifiedChains[0][0].Subject.CommonName, true)
}

func (a all) Anonymous(ctx context.Context, _ Request, trace string) (*Identity, error) {
	return prove(ctx, "", trace, true)
}

func (a all) Governor() *Governor { return a.governor }

// hashes has keys for these.
type hashes struct {
	all
	names []string
}

func (h hashes) SCRAMHashes() []string { return h.names }

// keyless tells hashes and has no keys.
type keyless struct{ passwords }

func (keyless) SCRAMHashes() []string { return []string{"SHA-256"} }

func (a all) CanonicalName(user string) string {
	name, _, _ := strings.Cut(user, "@")
	return name
}

var (
	clear  = Peer{Remote: netip.MustParseAddrPort("192.0.2.1:1024")}
	secure = Peer{Remote: clear.Remote, TLS: &tls.ConnectionState{}}
	proven = Peer{Remote: clear.Remote, TLS: &tls.ConnectionState{
		VerifiedChains: [][]*x509.Certificate{{{}}},
	}}
)

func TestMechanisms(t *testing.T) {
	proven.TLS.VerifiedChains[0][0].Subject.CommonName = "bob"
	for _, tc := range []struct {
		name     string
		back     Authenticator
		insecure bool
		peer     Peer
		want     string
	}{
		{"nobody", nil, true, secure, ""},
		{"plain text", passwords{}, false, clear, ""},
		{"plain text allowed", passwords{}, true, clear, "PLAIN LOGIN"},
		{"TLS", passwords{}, false, secure, "PLAIN LOGIN"},
		{"all in plain text", all{}, false, clear, "SCRAM-SHA-256 ANONYMOUS"},
		{"all under TLS", all{}, false, secure, "SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN ANONYMOUS"},
		{"all with certificate", all{}, false, proven, "EXTERNAL SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN ANONYMOUS"},
		{"all hashes", hashes{all{}, []string{"SHA-1", "MD5", "SHA-512", "SHA-256"}}, false, clear, "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 ANONYMOUS"},
		{"another hash", hashes{all{}, []string{"SHA-1"}}, false, clear, "SCRAM-SHA-1 ANONYMOUS"},
		{"no hash", hashes{all{}, nil}, false, clear, "ANONYMOUS"},
		{"hashes and no keys", keyless{}, false, secure, "PLAIN LOGIN"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := NewLogin(tc.back, nil, tc.insecure)
			assert.Equal(t, tc.want, strings.Join(l.Mechanisms(tc.peer), " "))
			for _, m := range []string{"EXTERNAL", "SCRAM-SHA-256", "OAUTHBEARER", "PLAIN", "login", "SCRAM-SHA-1", "SCRAM-SHA-512", "XOAUTH2", "ANONYMOUS", "CRAM-MD5", ""} {
				x, err := l.Start(t.Context(), Request{Peer: tc.peer, Mechanism: m})
				if slices.Contains(strings.Fields(tc.want), strings.ToUpper(m)) {
					require.NoError(t, err, m)
					require.Nil(t, x.Identity())
				} else {
					require.Error(t, err, m)
					require.Nil(t, x)
				}
			}
		})
	}
	var none *Login
	assert.Empty(t, none.Mechanisms(secure))
	assert.False(t, none.PlaintextAllowed(secure))
	for _, l := range []*Login{none, {}} {
		_, err := l.Password(t.Context(), Request{Peer: secure}, "bob", "pencil")
		require.ErrorIs(t, err, ErrMechanism)
		_, err = l.Start(t.Context(), Request{Peer: secure, Mechanism: "PLAIN"})
		require.ErrorIs(t, err, ErrMechanism)
	}
	l := NewLogin(all{}, nil, false)
	_, err := l.Start(t.Context(), Request{Peer: clear, Mechanism: "plain"})
	require.ErrorIs(t, err, ErrEncryptionRequired)
	_, err = l.Start(t.Context(), Request{Peer: secure, Mechanism: "EXTERNAL"})
	require.ErrorIs(t, err, ErrMechanism)
	_, err = l.Password(t.Context(), Request{Peer: clear}, "bob", "pencil")
	require.ErrorIs(t, err, ErrEncryptionRequired)
	l = NewLogin(all{}, nil, false)
	l.Disable = []string{"login", "XOAUTH2", "SCRAM-SHA-256", "ANONYMOUS"}
	require.Equal(t, []string{"OAUTHBEARER", "PLAIN"}, l.Mechanisms(secure))
	for _, m := range []string{"LOGIN", "xoauth2", "SCRAM-SHA-256", "ANONYMOUS"} {
		_, err = l.Start(t.Context(), Request{Peer: secure, Mechanism: m})
		require.ErrorIs(t, err, ErrMechanism)
	}
}

func TestLoginGovernor(t *testing.T) {
	own, given := new(Governor), new(Governor)
	assert.Same(t, own, NewLogin(all{governor: own}, nil, false).Governor)
	assert.Same(t, given, NewLogin(all{governor: own}, given, false).Governor)
	assert.NotNil(t, NewLogin(passwords{}, nil, false).Governor)
	assert.Same(t, own, (&Login{Auth: all{governor: own}}).governor())
	l := &Login{Auth: passwords{}}
	assert.Same(t, l.governor(), l.governor())
}

// run drives an exchange with a client and returns its end.
func run(t *testing.T, l *Login, peer Peer, c gosasl.Client) (*Exchange, error) {
	t.Helper()
	mechanism, m, err := c.Start()
	require.NoError(t, err)
	x, err := l.Start(t.Context(), Request{Peer: peer, Service: SMTP, Mechanism: mechanism})
	require.NoError(t, err)
	for range 5 {
		challenge, done, err := x.Next(t.Context(), m)
		if err != nil {
			require.Nil(t, challenge)
			require.False(t, done)
			require.Nil(t, x.Identity())
			_, _, again := x.Next(t.Context(), m)
			require.ErrorIs(t, again, ErrMalformed, "after the end")
			return x, err
		}
		if done {
			if challenge != nil {
				_, err = c.Next(challenge)
				require.NoError(t, err)
			}
			if v, ok := c.(sasl.Verifier); ok {
				require.True(t, v.Verified())
			}
			return x, nil
		}
		require.Nil(t, x.Identity())
		if m, err = c.Next(challenge); err != nil {
			return x, err
		}
	}
	t.Fatal("no end")
	return nil, nil
}

func scram(t *testing.T, authzid, user, password string) gosasl.Client {
	t.Helper()
	c, err := sasl.NewSCRAMClient("SHA-256", authzid, user, password)
	require.NoError(t, err)
	return c
}

// Every mechanism ends in the same errors, and tells the governor once.
func TestExchange(t *testing.T) {
	mechanisms := map[string]func(t *testing.T, authzid, user, password string) gosasl.Client{
		"PLAIN":         func(_ *testing.T, z, u, p string) gosasl.Client { return sasl.NewPlainClient(z, u, p) },
		"LOGIN":         func(_ *testing.T, _, u, p string) gosasl.Client { return sasl.NewLoginClient(u, p) },
		"SCRAM-SHA-256": scram,
		"XOAUTH2":       func(_ *testing.T, _, u, p string) gosasl.Client { return sasl.NewXOAuth2Client(u, p) },
		"OAUTHBEARER":   func(_ *testing.T, _, u, p string) gosasl.Client { return sasl.NewOAuthBearerClient(u, p) },
		"EXTERNAL":      func(_ *testing.T, z, _, _ string) gosasl.Client { return gosasl.NewExternalClient(z) },
	}
	proven.TLS.VerifiedChains[0][0].Subject.CommonName = "bob"
	for _, tc := range []struct {
		authzid, user, password string
		err                     error
		last                    Decision
		only                    string
	}{
		{"", "bob", "pencil", nil, Succeeded, ""},
		{"", "bob", "pen", ErrCredentials, Failed, "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2"},
		{"", "unknown", "pen", ErrCredentials, Failed, "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2"},
		{"bob", "bob", "pencil", nil, Succeeded, "PLAIN SCRAM-SHA-256 EXTERNAL"},
		{"eve", "bob", "pencil", ErrForbidden, Failed, "PLAIN SCRAM-SHA-256 EXTERNAL"},
		{"eve", "bob", "pen", ErrCredentials, Failed, "PLAIN SCRAM-SHA-256"},
		{"", "down", "pencil", ErrUnavailable, Admitted, "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2"},
		{"", "nobody", "pencil", ErrUnavailable, Admitted, "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2"},
		{"", "keyless", "pencil", ErrUnavailable, Admitted, "SCRAM-SHA-256"},
	} {
		for name, client := range mechanisms {
			if tc.only != "" && !strings.Contains(tc.only, name) {
				continue
			}
			t.Run(fmt.Sprint(name, tc.authzid, " ", tc.user, tc.password), func(t *testing.T) {
				var decisions []Decision
				g := &Governor{OnDecision: func(e Event) { decisions = append(decisions, e.Decision) }}
				x, err := run(t, NewLogin(all{}, g, false), proven, client(t, tc.authzid, tc.user, tc.password))
				require.ErrorIs(t, err, tc.err)
				if tc.err == nil {
					require.NoError(t, err)
					require.Equal(t, "bob", x.Identity().Account)
				}
				want := []Decision{Admitted}
				if tc.last != Admitted {
					want = append(want, tc.last)
				}
				assert.Equal(t, want, decisions)
				for _, r := range g.accounts.records {
					assert.Zero(t, r.flying)
				}
			})
		}
	}
}

// Messages that break the syntax before a name is known are not counted.
func TestExchangeMalformed(t *testing.T) {
	for mechanism, messages := range map[string][]string{
		"PLAIN":         {"", "x", "a\x00b", "a\x00b\x00c\x00d", "\x00\x00", strings.Repeat("x", 20000)},
		"LOGIN":         {"", "a\x00", "\xff"},
		"SCRAM-SHA-256": {"", "n,,n=a", "p=x,,n=a,r=b", "n,,m=1,n=a,r=b"},
		"OAUTHBEARER":   {"", "n,,\x01\x01"},
		"XOAUTH2":       {"", "user=bob\x01\x01"},
		"ANONYMOUS":     {"\x07", "\xff", strings.Repeat("x", 256)},
		"EXTERNAL":      {"\x00", "\xff"},
	} {
		for _, m := range messages {
			g := &Governor{OnDecision: func(e Event) { t.Errorf("%s %.20q: %v", mechanism, m, e) }}
			l := NewLogin(all{}, g, false)
			x, err := l.Start(t.Context(), Request{Peer: proven, Mechanism: mechanism})
			require.NoError(t, err)
			_, _, err = x.Next(t.Context(), []byte(m))
			require.ErrorIs(t, err, ErrMalformed, "%s %.20q", mechanism, m)
			require.Nil(t, x.Identity())
		}
	}
	// Without an initial response there is a challenge first.
	for mechanism, prompt := range map[string]string{"PLAIN": "", "LOGIN": "Username:", "SCRAM-SHA-256": "", "OAUTHBEARER": "", "XOAUTH2": "", "EXTERNAL": "", "ANONYMOUS": ""} {
		x, err := NewLogin(all{}, nil, false).Start(t.Context(), Request{Peer: proven, Mechanism: mechanism})
		require.NoError(t, err)
		challenge, done, err := x.Next(t.Context(), nil)
		require.NoError(t, err)
		require.False(t, done)
		require.NotNil(t, challenge)
		require.Equal(t, prompt, string(challenge))
	}
}

// A broken last SCRAM message is a failed attempt: the name was given.
func TestExchangeSCRAMBrokenProof(t *testing.T) {
	for message, want := range map[string]error{"": ErrMalformed, "c=biws,r=x,p=AAAA": ErrMalformed, "c=biws,r=x,p=" + strings.Repeat("A", 43) + "=": ErrCredentials} {
		var last Decision
		g := &Governor{OnDecision: func(e Event) { last = e.Decision }}
		x, err := NewLogin(all{}, g, false).Start(t.Context(), Request{Peer: secure, Mechanism: "SCRAM-SHA-256"})
		require.NoError(t, err)
		_, _, err = x.Next(t.Context(), []byte("n,,n=bob,r=abc"))
		require.NoError(t, err)
		_, _, err = x.Next(t.Context(), []byte(message))
		require.ErrorIs(t, err, want)
		assert.Equal(t, Failed, last)
	}
}

// Many exchanges begun before the first failure do not give many guesses.
func TestExchangeSCRAMParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLogin(all{}, &Governor{AddressFailures: -1}, false)
		type half struct {
			x *Exchange
			c gosasl.Client
			m []byte
		}
		var begun []half
		for range 100 {
			c := scram(t, "", "bob", "pen")
			_, m, err := c.Start()
			require.NoError(t, err)
			x, err := l.Start(t.Context(), Request{Peer: secure, Mechanism: "SCRAM-SHA-256"})
			require.NoError(t, err)
			challenge, _, err := x.Next(t.Context(), m)
			require.NoError(t, err)
			m, err = c.Next(challenge)
			require.NoError(t, err)
			begun = append(begun, half{x, c, m})
		}
		counts := map[error]int{}
		for _, h := range begun {
			_, _, err := h.x.Next(t.Context(), h.m)
			for _, e := range []error{ErrCredentials, ErrThrottled} {
				if errors.Is(err, e) {
					counts[e]++
				}
			}
		}
		assert.Equal(t, map[error]int{ErrCredentials: 10, ErrThrottled: 90}, counts)
	})
}

// The same account is counted whatever the mechanism and the spelling, and a
// locked one is not even asked for.
func TestLoginThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		l := NewLogin(all{passwords: passwords{&calls}}, &Governor{BaseDelay: -1}, false)
		req := Request{Peer: secure}
		for i := range 5 {
			_, err := l.Password(t.Context(), req, fmt.Sprintf("bob@%d.example", i), fmt.Sprint("pen", i))
			require.ErrorIs(t, err, ErrCredentials)
			_, err = run(t, l, secure, scram(t, "", "BOB", "pen"))
			require.ErrorIs(t, err, ErrCredentials)
		}
		require.Equal(t, 5, calls)
		_, err := l.Password(t.Context(), req, "bob", "pencil")
		require.ErrorIs(t, err, ErrThrottled)
		for _, c := range []gosasl.Client{scram(t, "", "bob", "pencil"), sasl.NewPlainClient("", "bob", "pencil"), sasl.NewLoginClient("bob", "pencil")} {
			_, err = run(t, l, secure, c)
			require.ErrorIs(t, err, ErrThrottled)
		}
		require.Equal(t, 5, calls)
		_, err = l.Password(t.Context(), req, "carol", "pencil")
		require.NoError(t, err)
	})
}

func TestLoginPassword(t *testing.T) {
	calls := 0
	var decisions []Decision
	g := &Governor{OnDecision: func(e Event) { decisions = append(decisions, e.Decision) }}
	l := NewLogin(passwords{&calls}, g, false)
	req := Request{Peer: secure, Service: POP3}
	id, err := l.Password(t.Context(), req, "bob", "pencil")
	require.NoError(t, err)
	require.Equal(t, "bob", id.Account)
	assert.Equal(t, []Decision{Admitted, Succeeded}, decisions)

	// An empty password or name never reaches the back end.
	calls = 0
	_, err = l.Password(t.Context(), req, "bob", "")
	require.ErrorIs(t, err, ErrCredentials)
	_, err = l.Password(t.Context(), req, "", "pencil")
	require.ErrorIs(t, err, ErrCredentials)
	assert.Zero(t, calls)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Password(ctx, req, "bob", "pencil")
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, calls)

	for range 50 { // what says nothing about passwords locks nobody out
		_, err = l.Password(t.Context(), req, "down", "pencil")
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Panics(t, func() { _, _ = l.Password(t.Context(), req, "panic", "pencil") })
	}
	for _, name := range []string{"down", "panic"} {
		assert.Nil(t, g.accounts.get(recordKey{account: foldName(name)}))
	}
}

// What panics leaves nothing in flight: the account's next attempts would wait for
// it.
func TestExchangePanics(t *testing.T) {
	g := new(Governor)
	l := NewLogin(all{}, g, false)
	c := scram(t, "", "panic", "pencil")
	_, m, err := c.Start()
	require.NoError(t, err)
	x, err := l.Start(t.Context(), Request{Peer: secure, Mechanism: "SCRAM-SHA-256"})
	require.NoError(t, err)
	challenge, _, err := x.Next(t.Context(), m)
	require.NoError(t, err)
	m, err = c.Next(challenge)
	require.NoError(t, err)
	require.Panics(t, func() { _, _, _ = x.Next(t.Context(), m) })
	assert.Nil(t, g.accounts.get(recordKey{account: foldName("panic")}))
	assert.Nil(t, x.Identity())
	_, _, err = x.Next(t.Context(), m)
	require.ErrorIs(t, err, ErrMalformed)
}

// A forgotten device with an old password locks nobody out.
func TestLoginSamePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Governor)
		l := NewLogin(passwords{}, g, false)
		login := func(user, password string) error {
			_, err := l.Password(t.Context(), Request{Peer: secure}, user, password)
			return err
		}
		begin := time.Now()
		for range 100 {
			require.ErrorIs(t, login("bob", "old"), ErrCredentials)
			require.ErrorIs(t, login("bob", "older"), ErrCredentials)
		}
		assert.Zero(t, time.Since(begin))
		assert.Equal(t, 2, g.prefixes.get(recordKey{prefix: home(secure.Addr())}).count)
		require.NoError(t, login("bob", "pencil"))

		// One password for many accounts is no such thing.
		refused := 0
		for i := range 60 {
			if err := login(fmt.Sprint("user", i), "summer"); errors.Is(err, ErrThrottled) {
				refused++
			} else {
				require.ErrorIs(t, err, ErrCredentials)
			}
			time.Sleep(10 * time.Second)
		}
		assert.GreaterOrEqual(t, refused, 10)
	})
}

// The wait of a client that is gone ends.
func TestLoginWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLogin(passwords{}, nil, false)
		for i := range 5 {
			_, err := l.Password(t.Context(), Request{Peer: secure}, "bob", fmt.Sprint("pen", i))
			require.ErrorIs(t, err, ErrCredentials)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := l.Password(ctx, Request{Peer: secure}, "bob", "pencil")
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begin))
	})
}

func TestMaySend(t *testing.T) {
	id := &Identity{Senders: []string{"Bob@Example.org", "Jürgen@example.org", "@example.net"}}
	for address, want := range map[string]bool{
		"Bob@example.ORG": true, "bob@example.org": true, "bo@example.org": false, "bobb@example.org": false, "@example.org": false,
		"bob@example.org@example.org": false, "JÜRGEN@example.org": true, "bob@ſexample.org": false, "ſ@example.org": false, "x@example.net": true, "x@EXAMPLE.NET": true,
		"x@sub.example.net": false, "x@notexample.net": false, "@example.net": false, "x": false, "": false,
		`"a@b"@example.net`: true, "x@example.net@evil.example": false,
	} {
		assert.Equal(t, want, id.MaySend(address), address)
	}
	var none *Identity
	assert.False(t, none.MaySend("x@example.net"))
	assert.False(t, new(Identity).MaySend("x@example.net"))
}

func TestPeer(t *testing.T) {
	p := Peer{ID: "a", Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:25")}
	assert.Equal(t, netip.MustParseAddr("192.0.2.1"), p.Addr())
	assert.False(t, p.Secure())
	assert.Contains(t, p.LogValue().String(), "192.0.2.1")
	p.TLS = new(tls.ConnectionState)
	assert.True(t, p.Secure())
	assert.False(t, Peer{}.Addr().IsValid())
}
