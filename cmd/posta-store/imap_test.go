package main

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

const secret = "s3cret pass"

// imapServer serves an empty account of anna's and returns the address.
func imapServer(t *testing.T) (addr string, st store.Store) {
	t.Helper()
	pem, key, err := testcert.SelfSigned("mail.example.org")
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pem, key)
	require.NoError(t, err)
	users := password.Memory()
	require.NoError(t, users.Add("anna", secret))
	st = memory.New()
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	srv := &imap.Server{Store: st, Auth: users, Governor: &auth.Governor{Off: true}, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, InsecureAuth: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go srv.Serve(l)
	t.Cleanup(func() { srv.Shutdown(context.Background()); st.Close() })
	return l.Addr().String(), st
}

func TestIMAP(t *testing.T) {
	addr, _ := imapServer(t)
	dir, state := filled(t, 9), filepath.Join(t.TempDir(), "state")
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\r\nmore\n"), 0o600))
	r := posta(t, "export", "-store", dir, "-account", "anna", "-imap", "imap://anna@"+addr, "-insecure", "-password-file", file, "-checkpoint", state)
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "done: 2 mailboxes, 9 messages")
	r = posta(t, "export", "-store", dir, "-account", "anna", "-imap", "imap://anna@"+addr, "-insecure", "-password-file", file, "-checkpoint", state, "-json")
	require.Equal(t, exitOK, r.code, r.err)
	all := r.events(t)
	assert.EqualValues(t, 0, all[len(all)-1]["messages"])
	assert.EqualValues(t, 9, all[len(all)-1]["earlier"])

	t.Setenv(passwordEnv, secret)
	other := filepath.Join(t.TempDir(), "other")
	r = posta(t, "import", "-store", other, "-account", "anna", "-create", "-imap", "imap://anna@"+addr+"/", "-insecure")
	require.Equal(t, exitOK, r.code, r.err)
	r = posta(t, "stat", "-store", other)
	assert.Regexp(t, `INBOX +5 messages`, r.out)
	assert.Regexp(t, `Work +4 messages`, r.out)
	r = posta(t, "import", "-store", other, "-account", "bert", "-create", "-imap", "imap://anna@"+addr, "-insecure", "-mailbox", "work")
	require.Equal(t, exitOK, r.code, r.err)
	assert.Contains(t, r.out, "done: 1 mailboxes, 4 messages")

	// Nothing is sent to a server that cannot prove its name, nor in the clear.
	for _, url := range []string{"imap://anna@" + addr, "imaps://anna@" + addr} {
		r = posta(t, "import", "-store", other, "-account", "anna", "-imap", url)
		assert.Equal(t, exitFailure, r.code)
		assert.Contains(t, r.err, "tls: ", url)
	}
	t.Setenv(passwordEnv, "wrong "+secret)
	r = posta(t, "import", "-store", other, "-account", "anna", "-imap", "imap://anna@"+addr, "-insecure", "-json")
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.err, "refuses")
	assert.NotContains(t, r.err+r.out, secret)
}

func TestIMAPUsage(t *testing.T) {
	dir := filled(t, 1)
	t.Setenv(passwordEnv, "")
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\nsecond\n"), 0o600))
	for _, args := range [][]string{
		{"-imap", "imaps://anna@host"}, // no password
		{"-imap", "imaps://anna:" + "geheim" + "@host"}, {"-imap", "imaps://anna:geheim@host:%"}, {"-imap", "imaps://host"}, {"-imap", "imaps://anna@"}, {"-imap", "http://anna@host"},
		{"-imap", "imaps://anna@host?x=y"}, {"-imap", "imaps://anna@host", "-insecure"}, {"-imap", "imaps://anna@host", "-mbox", "x"}, {"-imap", "anna@host"},
	} {
		r := posta(t, append([]string{"export", "-store", dir, "-account", "anna"}, args...)...)
		assert.Equal(t, exitUsage, r.code, args)
		assert.NotContains(t, r.err, "geheim")
		assert.NotEmpty(t, r.err)
	}
	for _, file := range []string{empty, empty + "missing"} {
		r := posta(t, "export", "-store", dir, "-account", "anna", "-imap", "imaps://anna@host", "-password-file", file)
		assert.Equal(t, exitFailure, r.code)
		assert.NotContains(t, r.err, "second")
	}
}
