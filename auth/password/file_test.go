package password

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// line is a user's line with a cheap hash of "secret".
func line(t testing.TB, name string) string {
	t.Helper()
	u := cheap(Memory())
	require.NoError(t, u.Add(name, "secret"))
	return u.doc.lines[0]
}

func TestFileKeepsWhatPeopleWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	bob, carol := line(t, "bob"), line(t, "carol")
	text := "\ufeff# our users\r\n\r\nposta-users 1\r\n  # sales\n" + "\t" + strings.ReplaceAll(bob, " ", "\t ") + " \r\n\n" + carol + "\n# end"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o640))

	u, err := Open(path)
	require.NoError(t, err)
	cheap(u)
	_, err = check(t, u, "", "bob", "secret")
	require.NoError(t, err)
	require.NoError(t, u.Add("dave", "x"))
	require.NoError(t, u.Remove("carol"))
	require.NoError(t, u.Set(User{Name: "bob", Groups: []string{"sales"}}, ""))

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	require.Len(t, lines, 9)
	assert.Regexp(t, `^posta-users 1 secret=[A-Za-z0-9+/]{43}=$`, lines[0])
	assert.Equal(t, []string{"# our users", "", "  # sales", bob + " groups=sales", "", "# end"}, lines[1:7])
	assert.Regexp(t, `^dave password=\$argon2id\$v=19\$m=64,t=1,p=1\$\S{22}\$\S{43} scram=SCRAM-SHA-256\$4096:\S{24}\$\S{44}:\S{44}$`, lines[7])
	assert.Empty(t, lines[8])

	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o640), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1, "temporary files are left")
}

func TestFileErrors(t *testing.T) {
	bob := line(t, "bob")
	for name, tc := range map[string]struct {
		text, reason string
		line         int
	}{
		"no header":       {bob, `the first line must be "posta-users 1"`, 1},
		"version":         {"posta-users 2\n", "version", 1},
		"header":          {"posta-users 1 x=1\n", "unexpected", 1},
		"two secrets":     {"posta-users 1 secret=MDEyMzQ1Njc4OWFiY2RlZg== secret=MDEyMzQ1Njc4OWFiY2RlZg==\n", "unexpected", 1},
		"short secret":    {"posta-users 1 secret=MDEy\n", "secret", 1},
		"twice":           {"posta-users 1\n" + bob + "\n" + strings.Replace(bob, "bob", "BOB", 1), `"bob" is there twice`, 3},
		"no password":     {"posta-users 1\n\nbob account=x\n", "no password", 3},
		"unknown key":     {"posta-users 1\n" + bob + " x=y\n", "not known", 2},
		"no value":        {"posta-users 1\n" + bob + " x\n", "no value", 2},
		"repeated key":    {"posta-users 1\n" + bob + " account=a account=b\n", "comes twice", 2},
		"empty account":   {"posta-users 1\n" + bob + " account=\n", "empty", 2},
		"empty group":     {"posta-users 1\n" + bob + " groups=a,,b\n", "element", 2},
		"sender":          {"posta-users 1\n" + bob + " senders=bob\n", "no domain", 2},
		"escape":          {"posta-users 1\n" + bob + " account=%2\n", "digits", 2},
		"escape 2":        {"posta-users 1\n" + bob + " account=%zz\n", "digits", 2},
		"escape 3":        {"posta-users 1\n" + bob + " account=%ff\n", "UTF-8", 2},
		"name":            {"posta-users 1\n" + "@x password=\n", "not a user name", 2},
		"not UTF-8":       {"posta-users 1\nb\xffb password=\n", "UTF-8", 2},
		"long line":       {"posta-users 1\n#" + strings.Repeat("x", maxLine) + "\n", "longer", 2},
		"plain":           {"posta-users 1\nbob password=secret\n", "not a hash", 2},
		"memory bomb":     {"posta-users 1\nbob password=$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\n", "m=", 2},
		"passes bomb":     {"posta-users 1\nbob password=$argon2id$v=19$m=64,t=4294967295,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\n", "t=", 2},
		"no lanes":        {"posta-users 1\nbob password=$argon2id$v=19$m=64,t=1,p=0$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\n", "p=", 2},
		"short hash":      {"posta-users 1\nbob password=$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFz\n", "salt or hash", 2},
		"no parameters":   {"posta-users 1\nbob password=$argon2id$v=19$m=64$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA\n", "parameters", 2},
		"few iterations":  {"posta-users 1\nbob scram=SCRAM-SHA-256$1:c2FsdHNhbHQ=$YQ==:YQ==\n", "iterations", 2},
		"many iterations": {"posta-users 1\nbob scram=SCRAM-SHA-256$2147483648:c2FsdHNhbHQ=$YQ==:YQ==\n", "iterations", 2},
		"SCRAM hash":      {"posta-users 1\nbob scram=SCRAM-MD5$4096:c2FsdHNhbHQ=$YQ==:YQ==\n", "not SCRAM", 2},
		"SCRAM base64":    {"posta-users 1\nbob scram=SCRAM-SHA-256$4096:c2FsdHNhbHQ=$!:YQ==\n", "base64", 2},
		"SCRAM length":    {"posta-users 1\nbob scram=SCRAM-SHA-256$4096:c2FsdHNhbHQ=$YQ==:YQ==\n", "length", 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users")
			require.NoError(t, os.WriteFile(path, []byte(tc.text), 0o600))
			var log bytes.Buffer
			u := File(path)
			u.Logger = slog.New(slog.NewTextHandler(&log, nil))
			var format *FormatError
			require.ErrorAs(t, u.Load(), &format)
			assert.Equal(t, tc.line, format.Line)
			assert.Contains(t, format.Reason, tc.reason)
			assert.Equal(t, path, format.Path)
			_, err := check(t, u, "", "bob", "secret")
			require.ErrorIs(t, err, auth.ErrUnavailable)
			require.ErrorAs(t, err, &format)
			_, err = u.SCRAMKeys(t.Context(), auth.Request{}, "bob", "SHA-256")
			require.ErrorIs(t, err, auth.ErrUnavailable)
			require.ErrorAs(t, cheap(u).Add("carol", "x"), &format)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, tc.text, string(after), "a file that is not understood was replaced")
			assert.Contains(t, log.String(), "nobody can log in")
		})
	}
}

func TestFileMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	u, err := Open(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = check(t, u, "", "bob", "secret")
	require.ErrorIs(t, err, auth.ErrUnavailable)
	_, err = u.List()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, cheap(u).Add("bob", "secret"))
	_, err = check(t, u, "", "bob", "secret")
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	require.Error(t, File(t.TempDir()).Load(), "a folder")
	_, err = Open(filepath.Join(path, "x"))
	require.Error(t, err)
	require.Error(t, cheap(File(filepath.Join(path, "x"))).Add("bob", "secret"))

	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	u, err = Open(empty)
	require.NoError(t, err)
	_, err = check(t, u, "", "bob", "secret")
	require.ErrorIs(t, err, auth.ErrCredentials)
}

// What another process or a person writes is seen, also when neither size nor
// time tell.
func TestFileReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	other := cheap(File(path))
	require.NoError(t, other.Add("bob", "one"))
	u := cheap(File(path))
	u.CheckEvery = time.Nanosecond
	_, err := check(t, u, "", "bob", "one")
	require.NoError(t, err)

	require.NoError(t, other.Set(User{Name: "bob"}, "two"))
	_, err = check(t, u, "", "bob", "one")
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = check(t, u, "", "bob", "two")
	require.NoError(t, err)

	before, err := os.Stat(path)
	require.NoError(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(data, []byte("bob "), []byte("eve "), 1), 0o600))
	require.NoError(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
	_, err = check(t, u, "", "eve", "two")
	require.NoError(t, err, "an edit in place within the same tick")

	// Once the file is old, it is not read again.
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	_, err = check(t, u, "", "eve", "two")
	require.NoError(t, err)
	st := u.stamp
	_, data, err = readIfChanged(path, st, true, time.Now())
	require.NoError(t, err)
	assert.Nil(t, data)

	require.NoError(t, os.Remove(path))
	_, err = check(t, u, "", "eve", "two")
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.NoError(t, other.Add("carol", "three"))
	_, err = check(t, u, "", "carol", "three")
	require.NoError(t, err)

	// Looks at the file are rate-limited.
	u.CheckEvery = time.Hour
	require.NoError(t, os.Remove(path))
	_, err = check(t, u, "", "carol", "three")
	require.NoError(t, err)
	require.ErrorIs(t, u.Load(), fs.ErrNotExist)
	_, err = check(t, u, "", "carol", "three")
	require.ErrorIs(t, err, auth.ErrUnavailable)
}

// The fake salts of unknown users must outlive the process.
func TestFileSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, cheap(File(path)).Add("bob", "one"))
	a, err := File(path).SCRAMKeys(t.Context(), auth.Request{}, "eve", "SHA-256")
	require.NoError(t, err)
	require.NoError(t, cheap(File(path)).Add("carol", "one"))
	b, err := File(path).SCRAMKeys(t.Context(), auth.Request{}, "eve", "SHA-256")
	require.NoError(t, err)
	a.More, b.More = nil, nil // functions
	assert.Equal(t, a, b)
}

func TestFileSymlink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	require.NoError(t, cheap(File(target)).Add("bob", "one"))
	require.NoError(t, os.Symlink(target, link))
	require.NoError(t, cheap(File(link)).Add("carol", "one"))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&fs.ModeSymlink)
	list, err := File(target).List()
	require.NoError(t, err)
	assert.Len(t, list, 2)

	// A link to a file that is not there yet, by way of another in another folder.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	require.NoError(t, os.Symlink("a/b", filepath.Join(dir, "sub")))
	require.NoError(t, os.Symlink("sub/../next", filepath.Join(dir, "first")))
	require.NoError(t, os.Symlink("b/users", filepath.Join(dir, "a", "next")))
	require.NoError(t, cheap(File(filepath.Join(dir, "first"))).Add("dave", "one"))
	info, err = os.Lstat(filepath.Join(dir, "a", "b", "users"))
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
	info, err = os.Lstat(filepath.Join(dir, "first"))
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&fs.ModeSymlink)

	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	require.Error(t, cheap(File(filepath.Join(dir, "loop"))).Add("dave", "one"))
}

// A file that is too large is not read, nor is it written.
func TestFileTooBig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	u := cheap(File(path))
	require.NoError(t, u.Add("bob", "one"))
	require.NoError(t, os.Truncate(path, maxFile+1)) // a hole, which takes no room
	require.ErrorIs(t, u.Load(), ErrTooBig)
	_, err := check(t, u, "", "bob", "one")
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.ErrorIs(t, err, ErrTooBig)
	require.ErrorIs(t, u.Add("carol", "one"), ErrTooBig)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.EqualValues(t, maxFile+1, info.Size())
}

// Lines are found again after others have gone.
func TestLinesMove(t *testing.T) {
	u := cheap(Memory())
	for _, name := range []string{"a", "b", "c", "d"} {
		require.NoError(t, u.Add(name, "x"))
	}
	require.NoError(t, u.Remove("b"))
	require.NoError(t, u.Set(User{Name: "c", Groups: []string{"g"}}, ""))
	require.NoError(t, u.Remove("a"))
	require.NoError(t, u.Set(User{Name: "d", Groups: []string{"g"}}, ""))
	require.NoError(t, u.Remove("c"))
	require.NoError(t, u.Add("e", "x"))
	require.Len(t, u.doc.lines, 2)
	assert.Regexp(t, "^d .* groups=g$", u.doc.lines[0])
	assert.Regexp(t, "^e ", u.doc.lines[1])
}

// Who keeps the lock keeps nobody for ever.
func TestFileLocked(t *testing.T) {
	if !lockable {
		return
	}
	path := filepath.Join(t.TempDir(), "users")
	u := cheap(File(path))
	require.NoError(t, u.Add("bob", "one"))
	unlock, err := lockFolder(filepath.Dir(path), time.Second)
	require.NoError(t, err)
	u.patience = 20 * time.Millisecond
	require.ErrorIs(t, u.Add("carol", "one"), ErrLocked)
	_, err = check(t, u, "", "bob", "one")
	require.NoError(t, err)
	unlock()
	u.patience = time.Minute
	require.NoError(t, u.Add("carol", "one"))
}

// Writers in several Users over one file, as several processes would have,
// lose nothing, and readers see whole files only.
func TestFileConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, cheap(File(path)).Add("bob", "secret"))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			u := cheap(File(path))
			for i := range 5 {
				assert.NoError(t, u.Add(fmt.Sprintf("user%d.%d", w, i), "x"))
			}
		})
		wg.Go(func() {
			u := cheap(File(path))
			u.CheckEvery = time.Nanosecond
			for range 50 {
				_, err := check(t, u, "", "bob", "secret")
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	list, err := File(path).List()
	require.NoError(t, err)
	assert.Len(t, list, 21)
}

// full is a line with every field.
func full(t testing.TB) string {
	t.Helper()
	u := cheap(Memory())
	u.MoreSCRAM = []string{"SHA-1"}
	require.NoError(t, u.Set(User{Name: "bob", Account: "b", Senders: []string{"@x"}, Groups: []string{"g"}, AppsOnly: true}, "secret"))
	for _, scopes := range [][]auth.Service{nil, {auth.IMAP, auth.ManageSieve}} {
		_, secret, err := u.AddApp("bob", App{Name: "a b,c;d|e", Scopes: scopes})
		require.NoError(t, err)
		_, err = u.Password(t.Context(), from(auth.IMAP, "2001:db8::1"), "", "bob", secret)
		require.NoError(t, err)
	}
	require.NoError(t, u.Flush(t.Context()))
	o := NewTOTP()
	_, err := u.SetTOTP("bob", o, o.Code(time.Now()))
	require.NoError(t, err)
	return u.doc.lines[0]
}

// All of a user's fields come back as they were.
func TestFullEntry(t *testing.T) {
	text := full(t)
	e, err := parseEntry(text)
	require.NoError(t, err)
	assert.Equal(t, text, encodeEntry(e))
	assert.Len(t, e.apps, 2)
	assert.Equal(t, "a b,c;d|e", e.apps[0].Name)
	assert.Equal(t, []auth.Service{auth.IMAP, auth.ManageSieve}, e.apps[1].Scopes)
	assert.True(t, e.AppsOnly)
	assert.Len(t, e.recovery, recoveryCodes)

	_, err = parse("f", []byte(magic+" 1\n"+text+"\n"))
	var format *FormatError
	require.ErrorAs(t, err, &format)
	assert.Contains(t, format.Reason, "need the secret")

	// A field that is damaged is an error, and shows no secret.
	for _, field := range strings.Fields(text)[1:] {
		for at := strings.Index(field, "=") + 1; at < len(field); at += 7 {
			damaged := strings.Replace(text, field, field[:at]+"!"+field[at+1:], 1)
			if e, err := parseEntry(damaged); err == nil {
				assert.NotContains(t, field, "totp=")
				_, err = parseEntry(encodeEntry(e))
				assert.NoError(t, err)
			} else {
				assert.NotContains(t, err.Error(), base32Secret.EncodeToString(secretIn(text)))
			}
		}
	}
}

func secretIn(text string) []byte {
	e, _ := parseEntry(text)
	return e.second.Secret
}

func TestEntryErrors(t *testing.T) {
	bob, hash := line(t, "bob"), base64.StdEncoding.EncodeToString(make([]byte, 32))
	one := func(fields string) string { return "apps=" + fields }
	many := strings.TrimSuffix(strings.Repeat("aaaaaa;x;;;;;"+hash+";,", 2), ",")
	var all []string
	for i := range MaxApps + 1 {
		all = append(all, fmt.Sprintf("aaaaa%c;x;;;;;%s;", alphabet[i], hash))
	}
	require.NoError(t, errOf(parseEntry(bob+" "+one("aaaaaa;x;imap+pop;2026-01-02T03:04:05Z;2026-01-02T03:04:05+01:00;192.0.2.1;"+hash+";"))))
	require.NoError(t, errOf(parseEntry(bob+" "+one(strings.Join(all[:MaxApps], ",")))))
	for _, bad := range []string{
		one(""), one("aaaaaa"), one("aaaaaa;x;;;;;;"), one("aaaaa;x;;;;;" + hash + ";"), one("AAAAAA;x;;;;;" + hash + ";"),
		one("aaaaaa;;;;;;" + hash + ";"), one("aaaaaa;x%0A;;;;;" + hash + ";"), one("aaaaaa;x;xmpp;;;;" + hash + ";"), one("aaaaaa;x;;yesterday;;;" + hash + ";"),
		one("aaaaaa;x;;;never;;" + hash + ";"), one("aaaaaa;x;;;;fe80::1%eth0;" + hash + ";"), one("aaaaaa;x;;;;1.2.3;" + hash + ";"), one("aaaaaa;x;;;;;" + hash + ";SCRAM"),
		one(many), one(strings.Join(all, ",")), "apps-only=no", "apps-only=",
		"totp=", "totp=SHA1:6:30:GEZDGNBVGY3TQOJQ", "totp=MD5:6:30:GEZDGNBVGY3TQOJQ:0", "totp=SHA1:6:0:GEZDGNBVGY3TQOJQ:0", "totp=SHA1:6:30:GEZDGNBVGY3TQOJQ:-1", "totp=SHA1:6:30:GE:0",
		"recovery=", "recovery=AAAA", "recovery=" + strings.TrimSuffix(strings.Repeat(hash+",", recoveryCodes+1), ","),
		"scram=SCRAM-SHA-1$4096:c2FsdHNhbHQ=$YQ==:YQ==",
	} {
		_, err := parseEntry(bob + " " + bad)
		assert.Error(t, err, bad)
	}
	_, err := parseKeys(strings.Repeat(strings.Split(bob, "scram=")[1]+",", 2)[:2*len(strings.Split(bob, "scram=")[1])+1], ",")
	assert.ErrorContains(t, err, "twice")
}

func errOf(_ *entry, err error) error { return err }

// Whatever an app password is called, the file says nothing else.
func FuzzAppName(f *testing.F) {
	for _, name := range []string{"Bob's phone", "a;b,c d%20|", "x senders=@", "\u2028", "\u00a0", "=\t"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		u := cheap(Memory())
		u.Iterations = -1
		require.NoError(t, u.Add("bob", "x"))
		a, _, err := u.AddApp("bob", App{Name: name})
		if err != nil {
			require.ErrorIs(t, err, ErrName)
			return
		}
		d, err := parse("f", u.doc.encode())
		require.NoError(t, err)
		require.Len(t, d.users, 1)
		e := d.users["bob"]
		require.Len(t, e.apps, 1)
		require.Equal(t, a, e.apps[0].App)
		require.Nil(t, e.Senders)
	})
}

func FuzzParse(f *testing.F) {
	f.Add("posta-users 1 secret=MDEyMzQ1Njc4OWFiY2RlZg==\n# x\n" + line(f, "bob@example.org") + " account=a%20b senders=@x,y@z groups=\n")
	f.Add("posta-users 1\n" + line(f, "bob") + "\n\n" + line(f, "b\u00fc@b\u00fccher.example"))
	f.Add("posta-users 1 secret=MDEyMzQ1Njc4OWFiY2RlZg==\n" + full(f))
	f.Add("# nothing\n")
	f.Add("bob password=$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parse("f", []byte(text))
		if err != nil {
			return
		}
		again, err := parse("f", d.encode())
		require.NoError(t, err, "%q", d.encode())
		require.Equal(t, len(d.users), len(again.users))
		for name, e := range d.users {
			other := again.users[name]
			require.Equal(t, e, other)
			// What we write ourselves means the same.
			mine, err := parseEntry(encodeEntry(e))
			require.NoError(t, err)
			mine.text, mine.at, mine.line = e.text, e.at, e.line
			require.Equal(t, e, mine)
		}
	})
}

// An administrator's tool must not take the file away from the server, nor
// leave it open to others.
func TestFileOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, cheap(File(path)).Add("bob", "one"))
	require.NoError(t, os.Chown(path, 1234, 1235))
	require.NoError(t, os.Chmod(path, 0o644))
	var log bytes.Buffer
	u := cheap(File(path))
	u.Logger = slog.New(slog.NewTextHandler(&log, nil))
	require.NoError(t, u.Load())
	assert.Contains(t, log.String(), "can be read by others")
	require.NoError(t, u.Add("carol", "one"))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o640), info.Mode().Perm())
	assert.Contains(t, fmt.Sprintf("%+v", info.Sys()), "Uid:1234 Gid:1235")
}
