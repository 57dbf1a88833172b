package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/testcert"
)

func TestConfig(t *testing.T) {
	for name, a := range map[string]*Authenticator{
		"zero":       {},
		"no place":   {URL: "ldaps://a.example"},
		"no user":    {URL: "ldaps://a.example", DN: "uid=x"},
		"two users":  {URL: "ldaps://a.example", DN: "uid=%s,cn=%s"},
		"fixed":      {URL: "ldaps://a.example", Base: "dc=a", Filter: "(uid=x)"},
		"no URL":     {URL: "ldap://[", DN: "uid=%s"},
		"not LDAP":   {URL: "https://a.example", DN: "uid=%s"},
		"no scheme":  {URL: "a.example", DN: "uid=%s"},
		"LDAP by IP": {URL: "cldap://a.example", DN: "uid=%s"},
	} {
		_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		assert.ErrorIs(t, err, auth.ErrUnavailable, name)
		assert.ErrorIs(t, err, ErrConfig, name)
	}
	a := &Authenticator{URL: "ldap://127.0.0.1:1", DN: "uid=%s,dc=a"}
	for _, user := range []string{"", " ", "a\x00b", "\xff", "an\u200bna", "an\u00adna", "an\ufe0fna", "\u0130van", string(make([]byte, 300))} {
		_, err := a.Password(t.Context(), auth.Request{}, "", user, "secret")
		assert.ErrorIs(t, err, auth.ErrCredentials, "%q", user)
	}
	_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "")
	assert.ErrorIs(t, err, auth.ErrCredentials, "no password is no login")
	_, err = a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
	assert.ErrorIs(t, err, auth.ErrUnavailable, "nobody is there")
}

// Where it is dialled.
func TestAddress(t *testing.T) {
	for url, want := range map[string]string{
		"ldap://a.example": "tcp a.example:389", "ldap://a.example:1389/": "tcp a.example:1389", "ldaps://[::1]": "tcp [::1]:636",
		"ldap://[::1]:389": "tcp [::1]:389", "LDAPS://a.example": "tcp a.example:636", "ldapi:///run/ldapi": "unix /run/ldapi",
	} {
		got := ""
		a := &Authenticator{URL: url, DN: "uid=%s,dc=a", Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			got = network + " " + address
			return nil, errors.New("no")
		}}
		_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		require.ErrorIs(t, err, auth.ErrUnavailable)
		assert.Equal(t, want, got)
	}
}

// A server that says nothing is waited for as long as is said, and no longer than
// the client is there.
func TestSilent(t *testing.T) {
	for _, scheme := range []string{"ldap://", "ldaps://"} {
		synctest.Test(t, func(t *testing.T) {
			a := &Authenticator{URL: scheme + "a.example", DN: "uid=%s,dc=a", Dial: func(context.Context, string, string) (net.Conn, error) {
				c, s := net.Pipe()
				go func() { // reads and does not answer
					for b := make([]byte, 100); ; {
						if _, err := s.Read(b); err != nil {
							return
						}
					}
				}()
				return c, nil
			}}
			began := time.Now()
			_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
			assert.ErrorIs(t, err, auth.ErrUnavailable)
			assert.Equal(t, DefaultTimeout, time.Since(began))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began = time.Now()
			_, err = a.Password(ctx, auth.Request{}, "", "anna", "secret")
			assert.ErrorIs(t, err, auth.ErrUnavailable)
			assert.Equal(t, time.Second, time.Since(began))
		})
	}
}

// Nothing tells an account that there is from one that there is not: not the answer,
// and not its time.
func TestNoOracle(t *testing.T) {
	for _, c := range []struct {
		user, password string
		err            error
		after          time.Duration
	}{
		{"nobody", "wrong", auth.ErrCredentials, 500 * time.Millisecond},
		{"anna", "wrong", auth.ErrCredentials, 500 * time.Millisecond},
		{"inactive", "wrong", auth.ErrCredentials, 500 * time.Millisecond},
		{"locked", "wrong", auth.ErrCredentials, 500 * time.Millisecond},
		{"barred", "wrong", auth.ErrCredentials, 500 * time.Millisecond},
		{"keyless", "wrong", auth.ErrCredentials, 500 * time.Millisecond},
		{"slow", "wrong", auth.ErrCredentials, time.Second},
		{"anna", "secret", nil, 90 * time.Millisecond},
		{"elsewhere", "secret", auth.ErrUnavailable, 0},
		{"busy", "secret", auth.ErrUnavailable, 0},
		{"looped", "secret", auth.ErrUnavailable, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, DN: "uid=%s,dc=a", Dial: people().dial}
			began := time.Now()
			_, err := a.Password(t.Context(), auth.Request{}, "", c.user, c.password)
			assert.ErrorIs(t, err, c.err, c.user)
			assert.Equal(t, c.after, time.Since(began), c.user)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		d := people()
		found := map[string][]string{"anna": {"uid=anna,dc=a"}, "twin": {"a", "b"}, "nameless": {""}, "referred": {"ldap://evil.example/x"}}
		d.search = func(filter []byte) (byte, []string) {
			for name, dns := range found {
				if strings.Contains(string(filter), name) {
					return 0, dns
				}
			}
			return 0, nil
		}
		a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, Base: "dc=a", SearchDN: "cn=admin", SearchPassword: "x", Dial: d.dial}
		for _, user := range []string{"nobody", "anna", "twin", "nameless", "referred"} {
			began := time.Now()
			_, err := a.Password(t.Context(), auth.Request{}, "", user, "wrong")
			assert.ErrorIs(t, err, auth.ErrCredentials, user)
			assert.Equal(t, DefaultFailAfter, time.Since(began), user)
		}
		assert.NotContains(t, d.binds, "", "a bind without a name")
		id, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		require.NoError(t, err)
		assert.Equal(t, "anna", id.Account)

		a.FailAfter = -1
		began := time.Now()
		_, err = a.Password(t.Context(), auth.Request{}, "", "nobody", "wrong")
		assert.ErrorIs(t, err, auth.ErrCredentials)
		assert.Zero(t, time.Since(began))
		a.FailAfter = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = a.Password(ctx, auth.Request{}, "", "nobody", "wrong")
		assert.ErrorIs(t, err, auth.ErrCredentials)
		assert.Equal(t, time.Second, time.Since(began), "who has gone is not waited for")
	})
}

// No password goes to a server that has not proved who it is, nor in the clear.
func TestTLS(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("a.example")
	require.NoError(t, err)
	for _, c := range []struct {
		url  string
		cert *tls.Certificate
		cfg  *tls.Config
		ok   bool
	}{
		{"ldap://a.example", &cert, &tls.Config{RootCAs: ca.Pool()}, true},
		{"ldap://b.example", &cert, &tls.Config{RootCAs: ca.Pool()}, false},
		{"ldap://b.example", &cert, &tls.Config{RootCAs: ca.Pool(), ServerName: "a.example"}, true},
		{"ldap://a.example", &cert, nil, false},
		{"ldap://a.example", nil, &tls.Config{RootCAs: ca.Pool()}, false},
		{"ldaps://a.example", &cert, &tls.Config{RootCAs: ca.Pool()}, true},
		{"ldaps://b.example", &cert, &tls.Config{RootCAs: ca.Pool()}, false},
		{"ldaps://a.example", nil, &tls.Config{RootCAs: ca.Pool()}, false},
	} {
		d, much := people(), strings.Repeat("x", 3*maxPlain) // as TLS lets it say
		d.cert, d.attributes = c.cert, map[string][]string{"mail": {much}}
		d.search = func([]byte) (byte, []string) { return 0, []string{"uid=anna,dc=a"} }
		l, err := net.Listen("tcp", "127.0.0.1:0") // a pipe has no room for an alert
		require.NoError(t, err)
		served := make(chan struct{})
		go func() {
			defer close(served)
			nc, err := l.Accept()
			if err == nil && strings.HasPrefix(c.url, "ldaps") && c.cert != nil {
				nc = tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}})
			}
			if err == nil {
				d.serve(nc)
			}
		}()
		a := &Authenticator{URL: c.url, TLSConfig: c.cfg, DN: "uid=%s,dc=a", SendersAttribute: "mail", Timeout: time.Minute, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
		}}
		id, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		l.Close()
		<-served
		if c.ok {
			require.NoError(t, err)
			assert.Equal(t, []string{much}, id.Senders)
			continue
		}
		require.ErrorIs(t, err, auth.ErrUnavailable)
		assert.Empty(t, d.binds, c.url)
	}
}

// A user is one account and one count of failures, however the name is written.
func TestSpellings(t *testing.T) {
	d := people()
	a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, DN: "uid=%s,dc=a", Dial: d.dial, FailAfter: -1}
	for _, user := range []string{"anna", " anna", "anna  ", "\tanna", "\uff41nna", "anna\u00a0"} {
		id, err := a.Password(t.Context(), auth.Request{}, user, user, "secret")
		require.NoError(t, err, "%q", user)
		assert.Equal(t, "anna", id.Account)
		assert.Equal(t, "anna", a.CanonicalName(user))
	}
	assert.Equal(t, "an na", a.CanonicalName("AN   na"))
	assert.Equal(t, "an\u200bna", a.CanonicalName("an\u200bna"))
	a.Throttle = &auth.Governor{BaseDelay: -1}
	for n := range 10 { // at as many servers
		_, err := auth.NewLogin(a, nil, true).Password(t.Context(), auth.Request{}, strings.Repeat(" ", n)+"anna", fmt.Sprint("guess", n))
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	_, err := auth.NewLogin(a, nil, true).Password(t.Context(), auth.Request{}, "anna", "secret")
	require.ErrorIs(t, err, auth.ErrThrottled)
	a.Throttle = nil
	require.NotNil(t, a.Governor())
	require.Same(t, a.Governor(), a.Governor())
}

// What a user may do is read from the entry.
func TestAttributes(t *testing.T) {
	for _, c := range []struct {
		attributes map[string][]string
		entries    []string
		want       *auth.Identity
		err        error
	}{
		{map[string][]string{"UID": {"a1"}, "mail": {"a@a", "b@a"}, "group": {"g"}}, []string{"uid=anna,dc=a"}, &auth.Identity{Account: "a1", Login: "anna", Senders: []string{"a@a", "b@a"}, Groups: []string{"g"}}, nil},
		{map[string][]string{"uid": {"a1", "a2"}}, []string{"uid=anna,dc=a"}, nil, auth.ErrForbidden},
		{map[string][]string{"uid": {""}}, []string{"uid=anna,dc=a"}, nil, auth.ErrForbidden},
		{nil, []string{"uid=anna,dc=a"}, nil, auth.ErrForbidden},
		{nil, nil, nil, auth.ErrUnavailable},
	} {
		d := people()
		d.attributes, d.search = c.attributes, func([]byte) (byte, []string) { return 0, c.entries }
		a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, DN: "uid=%s,dc=a", Dial: d.dial, AccountAttribute: "uid", SendersAttribute: "mail", GroupsAttribute: "group"}
		id, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		require.ErrorIs(t, err, c.err)
		if c.err == nil {
			assert.Equal(t, c.want, id)
		} else {
			assert.Nil(t, id)
		}
	}
}

// A directory that says too much is not listened to, and one that says nonsense lets
// nobody in.
func TestTooLong(t *testing.T) {
	for raw, want := range map[string]error{
		strings.Repeat(ber(0x30, ber(2, "\x09"), ber(0x64, strings.Repeat(ber(4), 10000))), 400):            ErrTooLong,
		"\x30\x84\x7f\xff\xff\xff" + strings.Repeat("\x04\x83\x0f\xff\xff"+strings.Repeat("x", 0xfffff), 3): ErrTooLong,
		strings.Repeat("\x30\x80", 100000): auth.ErrUnavailable,
		"\x00":                             auth.ErrUnavailable,
		"HTTP/1.1 200 OK\r\n\r\n":          auth.ErrUnavailable,
	} {
		d := &directory{raw: []byte(raw), done: make(chan int, 1)}
		a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, DN: "uid=%s,dc=a", Dial: d.dial}
		_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		assert.ErrorIs(t, err, auth.ErrUnavailable)
		assert.LessOrEqual(t, <-d.done, maxAnswer+1)
		assert.ErrorIs(t, err, want)
	}
}

// Before TLS anybody may answer, and little is listened to: one octet in a thousand
// sequences is decoded into a thousand.
func TestTooLongBeforeTLS(t *testing.T) {
	nested := ber(4, strings.Repeat("x", 1<<15))
	for range 900 {
		nested = ber(0x30, nested)
	}
	for _, scheme := range []string{"ldap", "LDAP"} {
		d := &directory{raw: []byte(nested), done: make(chan int, 1)}
		a := &Authenticator{URL: scheme + "://a.example", DN: "uid=%s,dc=a", Dial: d.dial}
		_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		assert.ErrorIs(t, err, auth.ErrUnavailable)
		assert.ErrorIs(t, err, ErrTooLong)
		assert.LessOrEqual(t, <-d.done, maxPlain+1)
	}
}

// A password with NUL is none: directories that take it for the end see another, or
// no password, which is an anonymous bind.
func TestNUL(t *testing.T) {
	d := people()
	d.bind = func(_, password string) byte {
		if password, _, _ = strings.Cut(password, "\x00"); password == "" || password == "secret" {
			return 0
		}
		return 49
	}
	a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, DN: "uid=%s,dc=a", Dial: d.dial, FailAfter: -1}
	for _, password := range []string{"\x00", "\x00x", "secret\x00x"} {
		_, err := a.Password(t.Context(), auth.Request{}, "", "anna", password)
		require.ErrorIs(t, err, auth.ErrCredentials, "%q", password)
	}
	assert.Empty(t, d.binds)
}

// FuzzAnswers has a directory that answers anything.
func FuzzAnswers(f *testing.F) {
	ok := ber(0x30, ber(2, "\x01"), ber(0x61, ber(10, "\x00"), ber(4), ber(4)))
	f.Add([]byte(ok))
	f.Add([]byte(ber(0x30, ber(2, "\x01"), ber(0x61, ber(10, "\x31"), ber(4), ber(4)))))
	f.Add([]byte(ber(0x30, ber(2, "\x02"), ber(0x64, ber(4, "cn=x"), ber(0x30)))))
	f.Add([]byte("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, DN: "uid=%s,dc=a", FailAfter: -1, Dial: (&directory{raw: raw}).dial}
		id, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		// The library takes any message that has a result for the answer to a bind:
		// those of class application and constructed (RFC 4511 §4.2.2).
		result := slices.ContainsFunc(raw, func(b byte) bool { return b&0xe0 == 0x60 })
		if err == nil && (id.Account != "anna" || !result) {
			t.Fatalf("%q lets %v in", raw, id)
		}
		if err != nil && !errors.Is(err, auth.ErrCredentials) && !errors.Is(err, auth.ErrUnavailable) {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}

// FuzzName: whatever a user is called, filter and name of the entry say nothing
// else, and preparing a name twice changes nothing.
func FuzzName(f *testing.F) {
	for _, name := range []string{"anna", "*", "anna)(uid=*", "o,dd (x)*", "#x", " x ", `a\2c`, "a=b+c=d", "\u0130", "\ufdfa", "a\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, user string) {
		name, ok := prepare(user)
		if !ok {
			return
		}
		again, ok := prepare(name)
		if ok { // it may have become too long
			require.Equal(t, name, again)
		}
		filter, err := ldap.CompileFilter("(uid=" + ldap.EscapeFilter(name) + ")")
		require.NoError(t, err)
		require.EqualValues(t, ldap.FilterEqualityMatch, filter.Tag)
		require.Equal(t, name, filter.Children[1].Value)
		dn, err := ldap.ParseDN("uid=" + ldap.EscapeDN(name) + ",dc=a")
		require.NoError(t, err)
		require.Len(t, dn.RDNs, 2)
		require.Len(t, dn.RDNs[0].Attributes, 1)
		require.Equal(t, name, dn.RDNs[0].Attributes[0].Value)
	})
}

// The directory has no more connections than may be, and who cannot wait is told.
func TestMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialled := 0
		a := &Authenticator{URL: "ldap://a.example", InsecurePlaintext: true, DN: "uid=%s,dc=a", MaxConns: 2}
		a.Dial = func(context.Context, string, string) (net.Conn, error) {
			dialled++
			time.Sleep(2 * time.Second)
			return people().dial(t.Context(), "", "")
		}
		login := func(ctx context.Context) error {
			_, err := a.Password(ctx, auth.Request{}, "", "anna", "secret")
			return err
		}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { assert.NoError(t, login(t.Context())) })
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := login(ctx)
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorIs(t, err, auth.ErrUnavailable)
		require.Equal(t, 2, dialled)
		require.NoError(t, login(t.Context()), "who can wait gets a place")
		wg.Wait()
		require.Equal(t, 3, dialled)
	})
}
