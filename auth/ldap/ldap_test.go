package ldap

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

func TestConfig(t *testing.T) {
	for name, a := range map[string]*Authenticator{
		"zero":      {},
		"no place":  {URL: "ldaps://a.example"},
		"no user":   {URL: "ldaps://a.example", DN: "uid=x"},
		"two users": {URL: "ldaps://a.example", DN: "uid=%s,cn=%s"},
		"fixed":     {URL: "ldaps://a.example", Base: "dc=a", Filter: "(uid=x)"},
	} {
		_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		assert.ErrorIs(t, err, auth.ErrUnavailable, name)
		assert.ErrorIs(t, err, ErrConfig, name)
	}
	a := &Authenticator{URL: "ldap://127.0.0.1:1", DN: "uid=%s,dc=a"}
	for _, user := range []string{"", "a\x00b", string(make([]byte, 300))} {
		_, err := a.Password(t.Context(), auth.Request{}, "", user, "secret")
		assert.ErrorIs(t, err, auth.ErrCredentials)
	}
	_, err := a.Password(t.Context(), auth.Request{}, "", "anna", "")
	assert.ErrorIs(t, err, auth.ErrCredentials, "no password is no login")
	_, err = a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
	assert.ErrorIs(t, err, auth.ErrUnavailable, "nobody is there")
}

// TestSilent has a server that says nothing.
func TestSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, scheme := range []string{"ldap://", "ldaps://"} {
		a := &Authenticator{URL: scheme + l.Addr().String(), DN: "uid=%s,dc=a", Timeout: 200 * time.Millisecond}
		began := time.Now()
		_, err = a.Password(t.Context(), auth.Request{}, "", "anna", "secret")
		assert.ErrorIs(t, err, auth.ErrUnavailable)
		assert.Less(t, time.Since(began), 5*time.Second)
	}
}

func TestHost(t *testing.T) {
	for url, want := range map[string]string{"ldap://a.example": "a.example", "ldap://a.example:1389/": "a.example", "ldap://[::1]:389": "::1", "ldap://[::1]": "::1"} {
		assert.Equal(t, want, host(url))
	}
}
