package interop

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/auth/sasl"
)

// doveadm runs "doveadm pw"; its last line is the answer.
func doveadm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("doveadm", append([]string{"-O", "pw"}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

var somePasswords = []string{"x", "correct horse", "p\u00e4ssw\u00f6rd \u2603", "a$b:c{d}e%f,g;h", strings.Repeat("long ", 24)}

// Users of Dovecot log in with what it has stored of their passwords.
func TestDovecotPasswords(t *testing.T) {
	peer(t, "doveadm")
	for _, scheme := range strings.Fields("ARGON2ID ARGON2I PBKDF2 SHA512-CRYPT SHA256-CRYPT BLF-CRYPT CRYPT SSHA SSHA256 SSHA512") {
		t.Run(scheme, func(t *testing.T) {
			for _, p := range somePasswords {
				users := password.Memory()
				users.ReadOnly = true
				require.NoError(t, users.SetHash(password.User{Name: "bob"}, doveadm(t, "-s", scheme, "-p", p)))
				_, err := users.Password(t.Context(), auth.Request{}, "", "bob", p)
				require.NoError(t, err, "%q", p)
				_, err = users.Password(t.Context(), auth.Request{}, "", "bob", "!"+p)
				require.ErrorIs(t, err, auth.ErrCredentials)
			}
		})
	}
}

// Dovecot takes what we have stored, so that there is a way back.
func TestPasswordsForDovecot(t *testing.T) {
	peer(t, "doveadm")
	path := filepath.Join(t.TempDir(), "users")
	users := password.File(path)
	for i, p := range somePasswords {
		require.NoError(t, users.Add(fmt.Sprint("user", i), p))
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for i, p := range somePasswords {
		_, rest, ok := strings.Cut(string(data), fmt.Sprintf("user%d password=", i))
		require.True(t, ok)
		assert.Contains(t, doveadm(t, "-t", "{ARGON2ID}"+strings.Fields(rest)[0], "-p", p), "verified", "%q", p)
	}
}

// SCRAM keys are the same as Dovecot's.
func TestDovecotSCRAMKeys(t *testing.T) {
	peer(t, "doveadm")
	for _, hash := range []string{"SHA-1", "SHA-256"} {
		for _, p := range somePasswords {
			text, ok := strings.CutPrefix(doveadm(t, "-s", "SCRAM-"+hash, "-p", p), "{SCRAM-"+hash+"}")
			require.True(t, ok)
			f := strings.Split(text, ",")
			require.Len(t, f, 4)
			iterations, err := strconv.Atoi(f[0])
			require.NoError(t, err)
			salt, err := base64.StdEncoding.DecodeString(f[1])
			require.NoError(t, err)
			k, err := sasl.DeriveSCRAMKeys(hash, p, salt, iterations)
			require.NoError(t, err)
			assert.Equal(t, f[2:], []string{base64.StdEncoding.EncodeToString(k.StoredKey), base64.StdEncoding.EncodeToString(k.ServerKey)}, "%s %q", hash, p)
		}
	}
}
