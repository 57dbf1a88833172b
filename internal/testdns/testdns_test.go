package testdns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var zone = Zone{
	"example.org":            {A: []string{"192.0.2.1"}, MX: []string{"20 b.example.org", "10 A.example.org."}},
	"*.wild.example.org":     {TXT: []string{"wild"}},
	"known.wild.example.org": {A: []string{"192.0.2.2"}},
	"deep.under.example.org": {A: []string{"192.0.2.3"}},
	"alias.example.org":      {CNAME: "example.org"},
	"loop.example.org":       {CNAME: "loop.example.org"},
	"caa.example.org":        {RR: []string{`CAA 0 issue "ca.example"`}},
	"broken.example.org":     {A: []string{"192.0.2.4"}, Fail: map[string]Failure{"MX": ServFail}},
	"2001:db8::1":            {PTR: []string{"host.example.org"}},
	"back\\slash.\x01.test":  {TXT: []string{`a\b` + "\xff"}},
}

// ask sends one message to a listening server.
func ask(t *testing.T, s *Server, network, name string, qtype uint16) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg)
	m.SetQuestion(wireName(name), qtype)
	m.SetEdns0(1232, true)
	c := &mdns.Client{Net: network, Timeout: time.Second}
	r, _, err := c.Exchange(m, s.Addr())
	require.NoError(t, err)
	return r
}

func TestServer(t *testing.T) {
	s := New(t, zone)
	for _, network := range []string{"udp", "tcp"} {
		r := ask(t, s, network, "EXAMPLE.org", mdns.TypeA)
		require.Len(t, r.Answer, 1)
		assert.Equal(t, "192.0.2.1", r.Answer[0].(*mdns.A).A.String())
		assert.False(t, r.AuthenticatedData)

		r = ask(t, s, network, "nowhere.example.org", mdns.TypeA)
		assert.Equal(t, mdns.RcodeNameError, r.Rcode)
		assert.IsType(t, &mdns.SOA{}, r.Ns[0])
		for _, name := range []string{"under.example.org", "caa.example.org"} {
			r = ask(t, s, network, name, mdns.TypeA)
			assert.Equal(t, mdns.RcodeSuccess, r.Rcode, name)
			assert.Empty(t, r.Answer)
		}
		r = ask(t, s, network, "caa.example.org", mdns.TypeCAA)
		assert.Len(t, r.Answer, 1)
		r = ask(t, s, network, "alias.example.org", mdns.TypeA)
		assert.Len(t, r.Answer, 2)
		r = ask(t, s, network, "loop.example.org", mdns.TypeA)
		assert.Equal(t, mdns.RcodeServerFailure, r.Rcode)
		r = ask(t, s, network, "broken.example.org", mdns.TypeMX)
		assert.Equal(t, mdns.RcodeServerFailure, r.Rcode)
		r = ask(t, s, network, "broken.example.org", mdns.TypeA)
		assert.Len(t, r.Answer, 1)
		r = ask(t, s, network, ".", mdns.TypeNS)
		assert.Len(t, r.Answer, 1)
	}
	assert.Equal(t, 2, s.Count("example.org", "A"))
	assert.Equal(t, 0, s.Count("example.org", "MX"))
	assert.Equal(t, 20, s.Count("", ""))
	assert.Equal(t, Query{"A", "example.org"}, s.Queries()[0])

	s.SetAuthentic(true)
	s.SetNegativeTTL(-1)
	s.Set("new.example.org", Records{TXT: []string{"now"}, Insecure: true})
	s.Remove("example.org")
	r := ask(t, s, "udp", "new.example.org", mdns.TypeTXT)
	assert.Len(t, r.Answer, 1)
	assert.False(t, r.AuthenticatedData)
	r = ask(t, s, "udp", "alias.example.org", mdns.TypeA)
	assert.Equal(t, mdns.RcodeSuccess, r.Rcode, "there are names below it")
	assert.True(t, r.AuthenticatedData)
	assert.Empty(t, r.Ns)
	assert.Panics(t, func() { s.Set("x.test", Records{A: []string{"no address"}}) })
}

func TestListenErrors(t *testing.T) {
	for _, r := range []Records{
		{A: []string{"x"}}, {MX: []string{"mx"}}, {MX: []string{"x mx"}}, {TLSA: []string{"3 1 1 zz"}}, {SRV: []string{"1 2 3"}}, {RR: []string{"NOTYPE x"}},
	} {
		_, err := Listen("127.0.0.1:0", Zone{"x.test": r})
		assert.Error(t, err, "%+v", r)
		assert.Panics(t, func() { InMemory(Zone{"x.test": r}) })
		assert.Panics(t, func() { NewResolver(Zone{"x.test": r}) })
	}
	_, err := Listen("192.0.2.1:0", nil) // not an address of this host
	assert.Error(t, err)
	s := InMemory(nil)
	require.NoError(t, s.Close())
	_, err = s.Dial(t.Context(), "udp", "x")
	assert.ErrorIs(t, err, net.ErrClosed)
}

func TestDatagramFailures(t *testing.T) {
	s := InMemory(zone)
	defer s.Close()
	exchange := func(f Failure, network string) (answers [][]byte) {
		s.Fail("example.org", "A", f)
		q := new(mdns.Msg)
		q.SetQuestion("example.org.", mdns.TypeA)
		q.Id = 7
		wire, err := q.Pack()
		require.NoError(t, err)
		return s.respond(t.Context(), wire, network == "tcp")
	}
	id := func(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
	assert.Len(t, exchange(None, "udp"), 1)
	assert.Empty(t, exchange(Timeout, "udp"))
	assert.Empty(t, exchange(Timeout, "tcp"))
	spoof := exchange(Spoof, "udp")
	require.Len(t, spoof, 3)
	assert.NotEqual(t, uint16(7), id(spoof[0]))
	assert.Equal(t, uint16(7), id(spoof[1]))
	assert.Len(t, exchange(Spoof, "tcp"), 1)
	assert.NotEqual(t, uint16(7), id(exchange(WrongID, "tcp")[0]))
	assert.Error(t, new(mdns.Msg).Unpack(exchange(Garbage, "tcp")[0]))
	truncated := new(mdns.Msg)
	require.NoError(t, truncated.Unpack(exchange(Truncate, "udp")[0]))
	assert.True(t, truncated.Truncated)
	assert.Empty(t, truncated.Answer)
	require.NoError(t, truncated.Unpack(exchange(Truncate, "tcp")[0]))
	assert.False(t, truncated.Truncated)
	assert.Empty(t, s.respond(t.Context(), []byte("nonsense"), false))

	c, err := s.Dial(t.Context(), "tcp", s.Addr())
	require.NoError(t, err)
	c.Close()
	_, err = c.Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestResolver(t *testing.T) {
	r := NewResolver(zone)
	ctx := t.Context()
	txt, err := r.LookupTXT(ctx, "any.WILD.example.org.")
	require.NoError(t, err)
	assert.Equal(t, []string{"wild"}, txt)
	_, err = r.LookupTXT(ctx, "known.wild.example.org")
	assert.Error(t, err, "a known name hides the wildcard")
	_, err = r.LookupTXT(ctx, "x.known.wild.example.org")
	assert.Error(t, err, "so does one in between")
	txt, err = r.LookupTXT(ctx, "back\\slash.\x01.test")
	require.NoError(t, err)
	assert.Equal(t, []string{`a\b` + "\xff"}, txt)
	mx, err := r.LookupMX(ctx, "example.org")
	require.NoError(t, err)
	assert.Equal(t, []*net.MX{{Host: "A.example.org.", Pref: 10}, {Host: "b.example.org.", Pref: 20}}, mx)
	names, err := r.LookupAddr(ctx, "2001:db8:0::1")
	require.NoError(t, err)
	assert.Equal(t, []string{"host.example.org."}, names)

	cases := []struct {
		name                          string
		f                             Failure
		notFound, nx, temporary, time bool
	}{
		{"nowhere.example.org", None, true, true, false, false},
		{"under.example.org", None, true, false, false, false},
		{"a..org", None, true, false, false, false},
		{"example.org", NXDomain, true, true, false, false},
		{"example.org", NoData, true, false, false, false},
		{"example.org", ServFail, false, false, true, false},
		{"example.org", Refused, false, false, true, false},
		{"example.org", Timeout, false, false, true, true},
	}
	for _, c := range cases {
		if c.f != None {
			r.Fail(c.name, "", c.f)
		}
		_, err := r.LookupNetIP(ctx, "ip", c.name)
		var d *net.DNSError
		require.ErrorAs(t, err, &d, c.name)
		assert.Equal(t, c.notFound, d.IsNotFound, "%+v", c)
		assert.Equal(t, c.temporary, d.IsTemporary, "%+v", c)
		assert.Equal(t, c.time, d.IsTimeout, "%+v", c)
		var nx interface{ NXDOMAIN() bool }
		require.ErrorAs(t, err, &nx)
		assert.Equal(t, c.nx, nx.NXDOMAIN(), "%+v", c)
	}
	r.Fail("example.org", "", None)
	ips, err := r.LookupNetIP(ctx, "ip4", "example.org")
	require.NoError(t, err)
	assert.Equal(t, "192.0.2.1", ips[0].String())
}

func TestResolverDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewResolver(zone)
		r.Delay("example.org", time.Minute)
		start := time.Now()
		_, err := r.LookupMX(t.Context(), "example.org")
		require.NoError(t, err)
		assert.Equal(t, time.Minute, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = r.LookupMX(ctx, "example.org")
		assert.True(t, errors.Is(err, context.DeadlineExceeded))
		var d *net.DNSError
		require.ErrorAs(t, err, &d)
		assert.True(t, d.IsTimeout)
	})
}
