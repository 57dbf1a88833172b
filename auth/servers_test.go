package auth_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testauth"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/pop3"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store/memory"
)

// dialect is how a protocol logs in.
type dialect struct {
	name     string
	serve    func(cfg *tls.Config, g *auth.Governor) interface{ Serve(net.Listener) error }
	hello    string // what is sent ahead, and answered by greet lines
	auth     string // before the mechanism
	more     string // begins a challenge
	good     string // begins success
	commands []string
}

type nobody struct{ smtp.Session }

func (nobody) Reset() {}

func (nobody) Close() {}

var dialects = []dialect{
	{name: "smtp", hello: "EHLO client.example\r\n", auth: "AUTH ", more: "334 ", good: "235 ",
		serve: func(cfg *tls.Config, g *auth.Governor) interface{ Serve(net.Listener) error } {
			h := smtp.HandlerFunc(func(context.Context, *smtp.Conn) (smtp.Session, error) { return nobody{}, nil })
			return &smtp.Server{Handler: h, TLSConfig: cfg, ImplicitTLS: true, Auth: testauth.Able{}, Governor: g, ChannelBinding: true, ConnRate: -1, MaxConnsPerAddr: -1}
		}},
	{name: "imap", auth: "a AUTHENTICATE ", more: "+ ", good: "a OK",
		serve: func(cfg *tls.Config, g *auth.Governor) interface{ Serve(net.Listener) error } {
			return &imap.Server{Store: memory.New(), TLSConfig: cfg, ImplicitTLS: true, Auth: testauth.Able{}, Governor: g, ChannelBinding: true, ConnRate: -1}
		}, commands: []string{"a LOGIN anna "}},
	{name: "pop3", auth: "AUTH ", more: "+ ", good: "+OK",
		serve: func(cfg *tls.Config, g *auth.Governor) interface{ Serve(net.Listener) error } {
			return &pop3.Server{Store: memory.New(), TLSConfig: cfg, ImplicitTLS: true, Auth: testauth.Able{}, Governor: g, ChannelBinding: true, ConnRate: -1, MaxConnsPerAddr: -1}
		}, commands: []string{"USER anna\r\nPASS "}},
}

// clients make one attempt by each mechanism, with the right secret or not.
func clients(t *testing.T, right bool, state *tls.ConnectionState) map[string]gosasl.Client {
	t.Helper()
	pick := func(yes, no string) string {
		if right {
			return yes
		}
		return no
	}
	password, token := pick("secret", "guess"), pick("good", "guess")
	all := map[string]gosasl.Client{
		sasl.Plain: sasl.NewPlainClient("", "anna", password), sasl.Login: sasl.NewLoginClient("anna", password),
		sasl.OAuthBearer: sasl.NewOAuthBearerClient("anna", token), sasl.XOAuth2: sasl.NewXOAuth2Client("anna", token),
		sasl.External: sasl.NewExternalClient(pick("", "eve")), sasl.Anonymous: sasl.NewAnonymousClient(pick("guest", "banned")),
	}
	for _, hash := range []string{"SHA-1", "SHA-256", "SHA-512"} {
		for _, plus := range []bool{false, true} {
			who := sasl.SCRAM{Hash: hash, User: "anna", Password: password, Plus: plus}
			if plus {
				var err error
				who.Binding, err = sasl.TLSBinding(state)
				require.NoError(t, err)
			}
			c, err := who.Client()
			require.NoError(t, err)
			name, _, err := c.Start()
			require.NoError(t, err)
			all[name] = c
		}
	}
	return all
}

// guard is a server of one dialect behind a governor, and what that tells.
type guard struct {
	dialect
	address string
	tls     *tls.Config
	mu      sync.Mutex
	told    []auth.Decision
}

func newGuard(t *testing.T, d dialect, g *auth.Governor) *guard {
	t.Helper()
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("localhost")
	require.NoError(t, err)
	server, client := testauth.CertifiedTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"})
	w := &guard{dialect: d, tls: client}
	g.OnDecision = func(e auth.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, e.Decision)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.address = l.Addr().String()
	s := d.serve(server, g)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.(interface{ Close() error }).Close()
		wg.Wait()
	})
	return w
}

// try makes one attempt on a connection of its own: by the client, or by a command
// as it stands. It tells whether it was let in, and what the governor did.
func (w *guard) try(t *testing.T, attempt func(*tls.ConnectionState) gosasl.Client, command string) (in bool, told []auth.Decision) {
	t.Helper()
	c, err := tls.Dial("tcp", w.address, w.tls)
	require.NoError(t, err)
	defer c.Close()
	r := bufio.NewReader(c)
	line := func() string {
		s, err := r.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimRight(s, "\r\n")
	}
	send := func(s string) {
		_, err := c.Write([]byte(s))
		require.NoError(t, err)
	}
	line()
	if w.hello != "" {
		send(w.hello)
		for !strings.HasPrefix(line(), "250 ") {
		}
	}
	w.mu.Lock()
	w.told = nil
	w.mu.Unlock()
	end := ""
	if attempt == nil {
		send(command + "\r\n")
		for range strings.Count(command, "\r\n") {
			line()
		}
		end = line()
	} else {
		state := c.ConnectionState()
		mech := attempt(&state)
		name, initial, err := mech.Start()
		require.NoError(t, err)
		text := base64.StdEncoding.EncodeToString(initial)
		if text == "" {
			text = "="
		}
		if initial == nil {
			text = ""
		}
		send(strings.TrimRight(w.auth+name+" "+text, " ") + "\r\n")
		for end = line(); strings.HasPrefix(end, w.more); end = line() {
			challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(end, w.more))
			require.NoError(t, err)
			answer, err := mech.Next(challenge)
			require.NoError(t, err)
			send(base64.StdEncoding.EncodeToString(answer) + "\r\n")
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.HasPrefix(end, w.good), w.told
}

// The governor stands in front of everything that takes a password, a token or a
// certificate, in every protocol; what is not offered does not get to it.
func TestGovernorInFront(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			free := newGuard(t, d, &auth.Governor{BaseDelay: -1, AccountFailures: -1, AddressFailures: -1})
			locked := newGuard(t, d, &auth.Governor{BaseDelay: -1, AddressFailures: 1})
			account := newGuard(t, d, &auth.Governor{BaseDelay: -1, AddressFailures: -1, AccountFailures: 1})
			wrong := []auth.Decision{auth.Admitted, auth.Failed}
			for _, w := range []*guard{locked, account} {
				_, told := w.try(t, func(*tls.ConnectionState) gosasl.Client { return sasl.NewPlainClient("", "anna", "guess") }, "")
				require.Equal(t, append(slices.Clone(wrong), auth.LockedOut), told)
			}
			names := 0
			for name := range clients(t, true, handshaken(t, free)) {
				names++
				by := func(right bool) func(state *tls.ConnectionState) gosasl.Client {
					return func(state *tls.ConnectionState) gosasl.Client { return clients(t, right, state)[name] }
				}
				in, told := free.try(t, by(false), "")
				assert.False(t, in, name)
				assert.Equal(t, wrong, told, name)
				in, told = locked.try(t, by(true), "")
				assert.False(t, in, name)
				assert.Equal(t, []auth.Decision{auth.Refused}, told, name)
				if name != sasl.External && name != sasl.Anonymous { // which name no account
					in, told = account.try(t, by(true), "")
					assert.False(t, in, name)
					assert.Equal(t, []auth.Decision{auth.Refused}, told, name)
				}
			}
			assert.Equal(t, 12, names)
			for _, command := range d.commands {
				in, told := free.try(t, nil, command+"guess")
				assert.False(t, in, command)
				assert.Equal(t, wrong, told, command)
				for _, w := range []*guard{locked, account} {
					in, told = w.try(t, nil, command+"secret")
					assert.False(t, in, command)
					assert.Equal(t, []auth.Decision{auth.Refused}, told, command)
				}
			}
			for _, mechanism := range []string{"CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "SCRAM-SHA-3", "PLAIN2"} {
				in, told := free.try(t, nil, fmt.Sprint(d.auth, mechanism))
				assert.False(t, in, mechanism)
				assert.Empty(t, told, mechanism)
			}
		})
	}
}

// handshaken is the state of a connection to a server.
func handshaken(t *testing.T, w *guard) *tls.ConnectionState {
	t.Helper()
	c, err := tls.Dial("tcp", w.address, w.tls)
	require.NoError(t, err)
	defer c.Close()
	state := c.ConnectionState()
	return &state
}
