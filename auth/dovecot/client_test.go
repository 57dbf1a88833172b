package dovecot_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/dovecot"
	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

const hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\nSPID\t7\nCUID\t1\nCOOKIE\tab\nDONE\n"

// server answers each request by a function of its parameters; "" closes.
type server struct {
	net.Listener
	hello  string
	answer func(id string, params []string, response string) string
	conns  atomic.Int64
}

func serve(t *testing.T, hello string, answer func(id string, params []string, response string) string) *server {
	l, err := net.Listen("unix", t.TempDir()+"/auth")
	require.NoError(t, err)
	s := &server{Listener: l, hello: hello, answer: answer}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			wg.Go(func() { s.talk(c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return s
}

func (s *server) talk(c net.Conn) {
	defer c.Close()
	io.WriteString(c, s.hello)
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if f[0] != "AUTH" {
			continue
		}
		response, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(f[len(f)-1], "resp="))
		answer := s.answer(f[1], f[2:len(f)-1], string(response))
		if answer == "" {
			return
		}
		io.WriteString(c, answer)
	}
}

func netAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestPassword(t *testing.T) {
	s := serve(t, hello, func(id string, params []string, response string) string {
		switch response {
		case "\x00anna\x00secret", "boss\x00anna\x00secret":
			assert.Equal(t, []string{"PLAIN", "service=imap", "rip=192.0.2.1"}, params)
			return "CONT\t99\t\nOK\t" + id + "\tuser=anna@a.example\ttoken=x\n"
		case "\x00tab\x00secret":
			return "OK\t" + id + "\tuser=a\x01tb\x011\n"
		case "\x00temp\x00secret":
			return "FAIL\t" + id + "\tuser=temp\ttemp\n"
		case "\x00temp2\x00secret":
			return "FAIL\t" + id + "\tuser=temp\tcode=temp_fail\n"
		case "\x00disabled\x00secret":
			return "FAIL\t" + id + "\tuser_disabled\n"
		case "\x00expired\x00secret":
			return "FAIL\t" + id + "\tuser=x\tcode=pass_expired\n"
		case "\x00others\x00secret":
			return strings.Repeat("OK\t99\tuser=root\n", 300) + "OK\t" + id + "\tuser=others\n"
		case "root\x00bob\x00secret":
			return "FAIL\t" + id + "\tauthz\n"
		case "root\x00bob2\x00secret":
			return "FAIL\t" + id + "\tuser=root\tcode=authz_fail\n"
		case "\x00proxied\x00secret":
			return "OK\t" + id + "\tuser=proxied\tproxy\thost=192.0.2.9\tpass=secret\n"
		case "\x00barred\x00secret":
			return "OK\t" + id + "\tuser=barred\tnologin=y\treason=moved\n"
		case "\x00wide\x00secret":
			return "OK\t" + id + "\tuser=wide\tnote=proxy nologin" + strings.Repeat("x", 15<<10) + "\n"
		case "\x00nobody\x00secret":
			return "OK\t" + id + "\n"
		case "\x00more\x00secret":
			return "CONT\t" + id + "\tabcd\n"
		case "\x00long\x00secret":
			return strings.Repeat("x", 20<<10) + "\n"
		case "\x00gone\x00secret":
			return ""
		}
		if len(response) > 2000 {
			return "OK\t" + id + "\tuser=long\n"
		}
		return "FAIL\t" + id + "\tuser=x\n"
	})
	c := &dovecot.Client{Address: s.Addr().String()}
	defer c.Close()
	req := auth.Request{Service: auth.IMAP}
	req.Peer.Remote = netAddr("192.0.2.1:99")
	for _, x := range []struct {
		authzid, user, password string
		want                    string
		err                     error
	}{
		{"", "anna", "secret", "anna@a.example", nil},
		{"boss", "anna", "secret", "anna@a.example", nil},
		{"", "tab", "secret", "a\tb\x01", nil},
		{"", "anna", "wrong", "", auth.ErrCredentials},
		{"", "temp", "secret", "", auth.ErrUnavailable},
		{"", "temp2", "secret", "", auth.ErrUnavailable},
		{"", "disabled", "secret", "", auth.ErrCredentials},
		{"", "expired", "secret", "", auth.ErrCredentials},
		{"", "others", "secret", "", auth.ErrUnavailable},
		{"", "anna", strings.Repeat("x", 2044), "long", nil},
		{"", "anna", strings.Repeat("x", 2045), "", auth.ErrCredentials},
		{"root", "bob", "secret", "", auth.ErrForbidden},
		{"root", "bob2", "secret", "", auth.ErrForbidden},
		{"", "proxied", "secret", "", auth.ErrCredentials},
		{"", "barred", "secret", "", auth.ErrCredentials},
		{"", "wide", "secret", "wide", nil},
		{"", "nobody", "secret", "", auth.ErrUnavailable},
		{"", "more", "secret", "", auth.ErrUnavailable},
		{"", "long", "secret", "", auth.ErrUnavailable},
		{"", "gone", "secret", "", auth.ErrUnavailable},
		{"", "", "secret", "", auth.ErrCredentials},
		{"", "anna", "", "", auth.ErrCredentials},
		{"", "anna", "a\x00b", "", auth.ErrCredentials},
	} {
		id, err := c.Password(t.Context(), req, x.authzid, x.user, x.password)
		assert.ErrorIs(t, err, x.err, x.user)
		if x.err == nil {
			require.NoError(t, err)
			assert.Equal(t, x.want, id.Account)
		} else {
			assert.Nil(t, id, x.user)
		}
	}
	id, err := c.Password(t.Context(), req, "", "anna", "secret")
	require.NoError(t, err)
	assert.True(t, id.MaySend("anna@a.example"))
	assert.Same(t, c.Governor(), auth.NewLogin(c, nil, false).Governor)
	given := &dovecot.Client{Throttle: new(auth.Governor)}
	assert.Same(t, given.Throttle, given.Governor())
	c.Identity = func(user string) (*auth.Identity, error) { return &auth.Identity{Account: "box-" + user}, nil }
	id, err = c.Password(t.Context(), req, "", "anna", "secret")
	require.NoError(t, err)
	assert.Equal(t, "box-anna@a.example", id.Account)
	for _, nobody := range []*auth.Identity{nil, {Login: "anna"}} {
		c.Identity = func(string) (*auth.Identity, error) { return nobody, nil }
		id, err = c.Password(t.Context(), req, "", "anna", "secret")
		assert.ErrorIs(t, err, auth.ErrCredentials)
		assert.Nil(t, id)
	}
}

// A zone of an address is nothing to Dovecot, and no way to say more.
func TestZone(t *testing.T) {
	s := serve(t, hello, func(id string, params []string, _ string) string {
		assert.Equal(t, []string{"PLAIN", "service=pop3", "rip=fe80::1", "lip=fe80::2"}, params)
		return "OK\t" + id + "\tuser=anna\n"
	})
	c := &dovecot.Client{Address: s.Addr().String()}
	defer c.Close()
	req := auth.Request{Service: auth.POP3}
	req.Peer.Remote = netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone("0\tcert_username=root\nAUTH"), 1)
	req.Peer.Local = netip.AddrPortFrom(netip.MustParseAddr("fe80::2").WithZone("eth0"), 143)
	_, err := c.Password(t.Context(), req, "", "anna", "secret")
	require.NoError(t, err)
}

// TestConnections keeps connections, and makes new ones when they have gone.
func TestConnections(t *testing.T) {
	var close atomic.Bool
	s := serve(t, hello, func(id string, _ []string, _ string) string {
		if close.Swap(false) {
			return ""
		}
		return "OK\t" + id + "\tuser=anna\n"
	})
	c := &dovecot.Client{Address: s.Addr().String(), MaxIdle: 2}
	login := func() error {
		_, err := c.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		return err
	}
	for range 10 {
		require.NoError(t, login())
	}
	assert.EqualValues(t, 1, s.conns.Load())
	close.Store(true)
	require.NoError(t, login(), "the server had closed the one that was kept")
	assert.EqualValues(t, 2, s.conns.Load())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { assert.NoError(t, login()) })
	}
	wg.Wait()
	require.NoError(t, c.Close())
	require.NoError(t, login())
	c.Close()
}

func TestServer(t *testing.T) {
	for name, hello := range map[string]string{
		"version":     "VERSION\t2\t0\nDONE\n",
		"no version":  "VERSION\nDONE\n",
		"no PLAIN":    "VERSION\t1\t2\nMECH\tGSSAPI\nDONE\n",
		"no end":      strings.Repeat("MECH\tPLAIN\n", 1000),
		"a long line": strings.Repeat("x", 20<<10) + "\n",
		"silent":      "",
	} {
		s := serve(t, hello, nil)
		c := &dovecot.Client{Address: s.Addr().String(), Timeout: 200 * time.Millisecond}
		_, err := c.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		assert.ErrorIs(t, err, auth.ErrUnavailable, name)
	}
	_, err := (&dovecot.Client{Address: t.TempDir() + "/gone"}).Password(t.Context(), auth.Request{}, "", "anna", "secret")
	assert.ErrorIs(t, err, auth.ErrUnavailable)
	s := serve(t, hello, func(string, []string, string) string { time.Sleep(time.Second); return "" })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	began := time.Now()
	_, err = (&dovecot.Client{Address: s.Addr().String()}).Password(ctx, auth.Request{}, "", "anna", "secret")
	assert.ErrorIs(t, err, auth.ErrUnavailable)
	assert.Less(t, time.Since(began), 900*time.Millisecond)
}

// script is a connection to a server that has said everything before it was asked.
type script struct {
	net.Conn
	io.Reader
}

func (s script) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }
func (s script) SetDeadline(time.Time) error { return nil }
func (s script) Close() error                { return nil }

// FuzzAnswers: whatever a server says, nobody is let in without an OK of its own that
// keeps the user here.
func FuzzAnswers(f *testing.F) {
	ask := func(said string) (*auth.Identity, error) {
		c := &dovecot.Client{Address: "x:1", MaxIdle: -1, Dial: func(context.Context, string, string) (net.Conn, error) {
			return script{Reader: strings.NewReader(said)}, nil
		}}
		return c.Password(context.Background(), auth.Request{}, "", "anna", "secret")
	}
	id, err := ask(hello + "OK\t1\tuser=anna\n")
	require.NoError(f, err)
	require.Equal(f, "anna", id.Account)
	letsIn := func(line string) bool {
		f := strings.Split(line, "\t")
		return len(f) > 2 && f[0] == "OK" && f[1] == "1" && !slices.ContainsFunc(f[2:], func(p string) bool {
			name, _, _ := strings.Cut(p, "=")
			return name == "proxy" || name == "nologin"
		})
	}
	f.Add(hello, "OK\t1\tuser=anna\n")
	f.Add("VERSION\t1\t2\nMECH\tPLAIN\nDONE\n", "FAIL\t1\ttemp\n")
	f.Add(hello, "OK\t1\tuser=anna\tproxy\thost=a\tpass=x\n")
	f.Add(hello, "OK\t1\tnologin=y\tuser=anna\n")
	f.Add(hello, "OK\t2\tuser=root\n")
	f.Add(hello, "FAIL\t2\tuser=x\nOK\t1\tuser=\x01t\x010\n")
	f.Fuzz(func(t *testing.T, hello, answer string) {
		id, err := ask(hello + answer)
		switch {
		case err != nil && !errors.Is(err, auth.ErrCredentials) && !errors.Is(err, auth.ErrForbidden) && !errors.Is(err, auth.ErrUnavailable):
			t.Fatalf("%q %q: %v", hello, answer, err)
		case err == nil && (id.Account == "" || !slices.ContainsFunc(strings.Split(hello+answer, "\n"), letsIn)):
			t.Fatalf("%q %q lets %v in", hello, answer, id)
		}
	})
}

// The server has no more connections than may be, and who cannot wait is told.
func TestMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled := 0
		c := &dovecot.Client{Address: "x:1", MaxConns: 2, MaxIdle: -1}
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			dialled++
			client, srv := net.Pipe()
			go func() {
				defer srv.Close()
				go io.Copy(io.Discard, srv)
				io.WriteString(srv, hello)
				time.Sleep(2 * time.Second)
				io.WriteString(srv, "FAIL\t1\tuser=x\n")
			}()
			return client, nil
		}
		login := func(ctx context.Context) error {
			_, err := c.Password(ctx, auth.Request{}, "", "anna", "wrong")
			return err
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { assert.ErrorIs(t, login(t.Context()), auth.ErrCredentials) })
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := login(ctx)
		require.ErrorIs(t, err, dovecot.ErrBusy)
		require.ErrorIs(t, err, auth.ErrUnavailable)
		require.Equal(t, 2, dialled)
		require.ErrorIs(t, login(t.Context()), auth.ErrCredentials, "who can wait gets a place")
		wg.Wait()
		require.Equal(t, 3, dialled)
	})
}
