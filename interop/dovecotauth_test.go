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
