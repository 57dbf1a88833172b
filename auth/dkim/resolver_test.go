package dkim

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

// TestWithResolver fetches keys over the wire: a record in several strings, a
// name that exists without one, none at all, and a failing server.
func TestWithResolver(t *testing.T) {
	key, err := GenerateKey(RSASHA256)
	require.NoError(t, err)
	text := record(t, key)
	require.Greater(t, len(text), 255)
	srv := testdns.New(t, testdns.Zone{
		"good._domainkey.example.com":  {TXT: []string{text}},
		"other._domainkey.example.com": {A: []string{"192.0.2.1"}},
		"bad._domainkey.example.com":   {TXT: []string{text}},
	})
	srv.Fail("bad._domainkey.example.com", "TXT", testdns.ServFail)
	v := &Verifier{Resolver: &dns.Resolver{Servers: []string{srv.Addr()}, Attempts: 1}, Clock: at(1_700_000_100)}
	var signers []*Signer
	for _, sel := range []string{"good", "other", "none", "bad"} {
		s := testSigner()
		s.Key, s.Selector = key, sel
		signers = append(signers, s)
	}
	rs, err := v.Verify(context.Background(), strings.NewReader(signed(t, plainMessage, signers...)))
	require.NoError(t, err)
	require.Len(t, rs, 4)
	assert.NoError(t, rs[0].Err)
	assert.ErrorIs(t, rs[1].Err, ErrNoKey)
	assert.ErrorIs(t, rs[2].Err, ErrNoKey)
	assert.ErrorIs(t, rs[3].Err, ErrKeyUnavailable)
	assert.Equal(t, StatusTempError, rs[3].Status)
}
