package interop

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	dovecotauth "github.com/posta-mail/posta/auth/dovecot"
)

// TestDovecotUsers asks a Dovecot who its users are.
func TestDovecotUsers(t *testing.T) {
	t.Parallel()
	d := startDovecot(t, "service auth {\n  unix_listener auth-client {\n    mode = 0666\n  }\n}\n")
	c := &dovecotauth.Client{Address: filepath.Join(filepath.Dir(d.home), "run", "auth-client")}
	defer c.Close()
	req := auth.Request{Service: auth.SMTP}
	for range 3 {
		id, err := c.Password(t.Context(), req, "", "anna", dovecotPassword)
		require.NoError(t, err)
		assert.Equal(t, "anna", id.Account)
	}
	_, err := c.Password(t.Context(), req, "", "anna", "wrong")
	assert.ErrorIs(t, err, auth.ErrCredentials)
	_, err = c.Password(t.Context(), req, "", "nobody-of-that-name", "wrong")
	assert.ErrorIs(t, err, auth.ErrCredentials)
	_, err = c.Password(t.Context(), req, "bob", "anna", dovecotPassword)
	assert.Error(t, err, "anna is no master user")
	d.stop(t)
	_, err = c.Password(t.Context(), req, "", "anna", dovecotPassword)
	assert.ErrorIs(t, err, auth.ErrUnavailable)
}

// TestDovecotElsewhere: whom Dovecot would not let in itself, but send to another
// server or away, is not let in, whatever it says of the password.
func TestDovecotElsewhere(t *testing.T) {
	t.Parallel()
	for name, fields := range map[string]string{
		"proxy":   "nopassword=y proxy=y host=127.0.0.9",
		"nologin": "password=other nologin=y reason=moved",
	} {
		d := startDovecot(t, "passdb {\n  driver = static\n  args = "+fields+"\n}\nservice auth {\n  unix_listener auth-client {\n    mode = 0666\n  }\n}\n")
		c := &dovecotauth.Client{Address: filepath.Join(filepath.Dir(d.home), "run", "auth-client")}
		id, err := c.Password(t.Context(), auth.Request{Service: auth.IMAP}, "", "carl", "other")
		assert.ErrorIs(t, err, auth.ErrCredentials, name)
		assert.Nil(t, id, name)
		id, err = c.Password(t.Context(), auth.Request{Service: auth.IMAP}, "", "anna", dovecotPassword)
		require.NoError(t, err, name)
		assert.Equal(t, "anna", id.Account)
		c.Close()
		d.stop(t)
	}
}
