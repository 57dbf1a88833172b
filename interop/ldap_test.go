package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/ldap"
)

const ldapEntries = `dn: dc=a,dc=test
objectClass: dcObject
objectClass: organization
o: a
dc: a

dn: ou=people,dc=a,dc=test
objectClass: organizationalUnit
ou: people

dn: uid=anna,ou=people,dc=a,dc=test
objectClass: inetOrgPerson
uid: anna
cn: Anna
sn: A
mail: anna@a.test
mail: a@a.test
employeeType: staff
userPassword: secret

dn: uid=o\,dd (x)*,ou=people,dc=a,dc=test
objectClass: inetOrgPerson
uid: o,dd (x)*
cn: Odd
sn: O
userPassword: secret

dn: cn=Twin One,ou=people,dc=a,dc=test
objectClass: inetOrgPerson
uid: twin
cn: Twin One
sn: T
userPassword: secret

dn: cn=Twin Two,ou=people,dc=a,dc=test
objectClass: inetOrgPerson
uid: twin
cn: Twin Two
sn: T
userPassword: secret
`

// startSlapd runs a private OpenLDAP and returns its URLs.
func startSlapd(t *testing.T) (plain, secure string) {
	t.Helper()
	peer(t, "slapd", "slapadd")
	dir, err := os.MkdirTemp(workDir, "ldap")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	conf := write(t, filepath.Join(dir, "slapd.conf"), fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
TLSCertificateFile %[2]s
TLSCertificateKeyFile %[3]s
access to attrs=userPassword by anonymous auth by * none
access to * by * read
database mdb
suffix "dc=a,dc=test"
rootdn "cn=admin,dc=a,dc=test"
rootpw admin
directory %[1]s/db
`, dir, certFile(), keyFile()))
	run(t, ldapEntries, "slapadd", "-f", conf)
	ports := freePorts(t, 2)
	plain, secure = "ldap://localhost:"+ports[0], "ldaps://localhost:"+ports[1]
	cmd := exec.Command("slapd", "-d", "0", "-f", conf, "-h", "ldap://127.0.0.1:"+ports[0]+" ldaps://127.0.0.1:"+ports[1])
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return plain, secure
}

// TestLDAP binds as users of an OpenLDAP.
func TestLDAP(t *testing.T) {
	t.Parallel()
	plain, secure := startSlapd(t)
	byName := &ldap.Authenticator{URL: secure, TLSConfig: trusting(t), DN: "uid=%s,ou=people,dc=a,dc=test"}
	login := func(a *ldap.Authenticator, authzid, user, password string) (*auth.Identity, error) {
		return a.Password(t.Context(), auth.Request{}, authzid, user, password)
	}
	require.Eventually(t, func() bool { _, err := login(byName, "", "anna", "secret"); return err == nil }, 20*time.Second, 50*time.Millisecond)
	bySearch := &ldap.Authenticator{URL: plain, TLSConfig: trusting(t), Base: "dc=a,dc=test", SearchDN: "cn=admin,dc=a,dc=test", SearchPassword: "admin",
		Filter: "(|(uid=%s)(mail=%s))", AccountAttribute: "uid", SendersAttribute: "mail", GroupsAttribute: "employeeType"}
	for name, a := range map[string]*ldap.Authenticator{"by name": byName, "by search": bySearch} {
		for _, c := range []struct {
			authzid, user, password string
			err                     error
		}{
			{"", "anna", "secret", nil}, {"", "ANNA", "secret", nil}, {"anna", "anna", "secret", nil}, {"bob", "anna", "secret", auth.ErrForbidden},
			{"", "anna", "wrong", auth.ErrCredentials}, {"", "anna", "", auth.ErrCredentials}, {"", "nobody", "secret", auth.ErrCredentials},
			{"", "o,dd (x)*", "secret", nil}, {"", "*", "secret", auth.ErrCredentials}, {"", "anna,ou=people", "secret", auth.ErrCredentials},
			{"", "anna)(uid=*", "secret", auth.ErrCredentials}, {"", "twin", "secret", auth.ErrCredentials},
		} {
			id, err := login(a, c.authzid, c.user, c.password)
			assert.ErrorIs(t, err, c.err, "%s: %q", name, c.user)
			if c.err == nil && assert.NoError(t, err, "%s: %q", name, c.user) {
				assert.NotEmpty(t, id.Account)
			}
		}
	}
	// OpenLDAP takes these for one name too: they are one account.
	for _, user := range []string{" anna", "ANNA  ", "\uff41nna"} {
		for _, a := range []*ldap.Authenticator{byName, bySearch} {
			id, err := login(a, "", user, "secret")
			require.NoError(t, err, "%q", user)
			assert.Equal(t, "anna", id.Account, "%q", user)
		}
	}
	id, err := login(bySearch, "", "a@a.test", "secret")
	require.NoError(t, err)
	assert.Equal(t, &auth.Identity{Account: "anna", Login: "a@a.test", Senders: []string{"anna@a.test", "a@a.test"}, Groups: []string{"staff"}}, id)

	_, err = login(&ldap.Authenticator{URL: plain, DN: byName.DN}, "", "anna", "secret")
	assert.ErrorIs(t, err, auth.ErrUnavailable, "a certificate that nobody trusts")
	_, err = login(&ldap.Authenticator{URL: plain, InsecurePlaintext: true, DN: byName.DN}, "", "anna", "secret")
	assert.NoError(t, err)
	_, err = login(&ldap.Authenticator{URL: plain, TLSConfig: trusting(t), Base: "dc=a,dc=test", SearchDN: "cn=admin,dc=a,dc=test", SearchPassword: "wrong"}, "", "anna", "secret")
	assert.ErrorIs(t, err, auth.ErrUnavailable)
}
