package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store/sqlite"
	"github.com/posta-mail/posta/store/transfer"
)

// dovecot is a running Dovecot whose every user has one password.
type dovecot struct {
	server
	imap, imaps string
	lmtp        string // if the settings have dovecotLMTP
	home        string // folder of the users' folders
}

// dovecotLMTP are the settings that add LMTP.
const dovecotLMTP = `
protocols = imap lmtp
service lmtp {
  inet_listener lmtp {
    port = @LMTP@
  }
}
lmtp_save_to_detail_mailbox = no
protocol lmtp {
  auth_username_format = %n
}
`

// dovecotSlash is the usual separator, with a storage that takes any name.
const dovecotSlash = "namespace inbox {\n  inbox = yes\n  separator = /\n  location = sdbox:~/sdbox\n}\n"

const dovecotPassword = `secret "42"\`

// startDovecot runs a private Dovecot in the foreground until the end of the
// test. Settings are added to its configuration.
func startDovecot(t *testing.T, settings string) *dovecot {
	t.Helper()
	peer(t, "dovecot")
	if _, err := os.Stat("/usr/lib/dovecot/imap-login"); err != nil {
		missing(t, "Dovecot's IMAP server is not installed")
	}
	dir, err := os.MkdirTemp(workDir, "dovecot")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	mail := filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(mail, 0o700))
	// As root it changes to users who may do less; mail is never root's.
	self, err := user.Current()
	require.NoError(t, err)
	owner, login := self, self.Username
	internal := self.Username
	if os.Getuid() == 0 {
		owner, err = user.Lookup("nobody")
		require.NoError(t, err)
		login, internal = "dovenull", "dovecot"
		uid, _ := strconv.Atoi(owner.Uid)
		gid, _ := strconv.Atoi(owner.Gid)
		require.NoError(t, os.Chown(mail, uid, gid))
	}
	ports := freePorts(t, 3)
	conf := write(t, filepath.Join(dir, "dovecot.conf"), strings.NewReplacer("@DIR@", dir, "@UID@", owner.Uid, "@GID@", owner.Gid,
		"@LOGIN@", login, "@INTERNAL@", internal, "@IMAP@", ports[0], "@IMAPS@", ports[1], "@CERT@", certFile(), "@KEY@", keyFile()).Replace(`
base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = /dev/stderr
protocols = imap
listen = 127.0.0.1
default_internal_user = @INTERNAL@
default_login_user = @LOGIN@
default_vsz_limit = 0
mail_location = maildir:@DIR@/home/%n
mail_home = @DIR@/home/%n
mail_uid = @UID@
mail_gid = @GID@
first_valid_uid = 1
first_valid_gid = 1
ssl = required
ssl_cert = <@CERT@
ssl_key = <@KEY@
auth_mechanisms = plain login
passdb {
  driver = passwd-file
  args = @DIR@/users
}
userdb {
  driver = static
  args = uid=@UID@ gid=@GID@ home=@DIR@/home/%n
}
service imap-login {
  chroot =
  inet_listener imap {
    port = @IMAP@
  }
  inet_listener imaps {
    port = @IMAPS@
    ssl = yes
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
`)+strings.ReplaceAll(settings, "@LMTP@", ports[2]))
	users := write(t, filepath.Join(dir, "users"), "anna:{PLAIN}"+dovecotPassword+"\nbert:{PLAIN}"+dovecotPassword+"\n")
	require.NoError(t, os.Chmod(users, 0o644))
	d := &dovecot{imap: "127.0.0.1:" + ports[0], imaps: "127.0.0.1:" + ports[1], lmtp: "127.0.0.1:" + ports[2], home: mail}
	d.start(t, "dovecot", []string{"-F", "-c", conf}, nil)
	t.Cleanup(func() {
		d.stop(t)
		if t.Failed() {
			t.Logf("Dovecot:\n%s", tail(d.out.String(), 4000))
		}
	})
	require.Eventually(t, func() bool {
		select {
		case <-d.ended:
			return true
		default:
		}
		c, err := tls.Dial("tcp", d.imaps, trusting(t))
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 30*time.Second, 100*time.Millisecond, "Dovecot did not start:\n%s", d.out)
	select {
	case <-d.ended:
		t.Fatalf("Dovecot ended: %v\n%s", d.err, d.out)
	default:
	}
	return d
}

// freePorts are ports that were free a moment ago.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		ports = append(ports, port)
	}
	return ports
}

// connect logs in.
func (d *dovecot) connect(t *testing.T, user string, security transfer.IMAPSecurity) *transfer.IMAPSession {
	t.Helper()
	c := transfer.IMAP{Addr: d.imaps, Security: security, User: user, Password: dovecotPassword, TLS: trusting(t), Timeout: time.Minute}
	if security != transfer.IMAPTLS {
		c.Addr = d.imap
	}
	s, err := c.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// letters are messages with everything that could get lost on the way through
// IMAP.
func letters(n int) (all []moved) {
	head := "From: a@example.org\r\nSubject: %d\r\n\r\n"
	all = []moved{
		{"INBOX", "", 1700000000, fmt.Sprintf(head, 0) + "plain\r\n"},
		{"INBOX", `$Forwarded \Flagged \Seen work`, 1700000001, fmt.Sprintf(head, 1) + "From me\r\n\r\n.\r\n"},
		{"INBOX", `\Answered \Deleted \Draft`, 946684800, fmt.Sprintf(head, 2)},
		{"INBOX", "", 1700000003, fmt.Sprintf(head, 3) + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 50_000)},
		{"Work", "", 1700000004, fmt.Sprintf(head, 4) + "8 bit \xff\xfe\r\n"},
		{"Work/Plans & more", `\Seen`, 1700000005, fmt.Sprintf(head, 5)},
		{"a.b/Entwürfe", "", 1700000006, fmt.Sprintf(head, 6)},
		{`quo"te\d`, "", 1700000007, fmt.Sprintf(head, 7)},
	}
	for i := range n {
		all = append(all, moved{"many", []string{"", `\Seen`}[i%2], 1700000000 + int64(i/7), fmt.Sprintf(head, 100+i/2)})
	}
	return all
}

// TestDovecotTransfer exports to a Dovecot, which another client then reads, and
// imports from it.
func TestDovecotTransfer(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]string{
		"slash": dovecotSlash,
		"dot":   "namespace inbox {\n  inbox = yes\n  separator = .\n}\n",
		"both":  "namespace inbox {\n  inbox = yes\n  separator = /\n}\n", // and a dot is in no name
	} {
		t.Run(name, func(t *testing.T) {
			d := startDovecot(t, settings)
			from := account(t, letters(300)...)
			sink := d.connect(t, "anna", transfer.IMAPTLS)
			r := copyMail(t, from, sink, transfer.Options{})
			assert.Equal(t, int64(308), r.Messages)
			r = copyMail(t, from, sink, transfer.Options{})
			assert.Zero(t, r.Messages, "again")
			assert.Equal(t, int64(308), r.Duplicates)
			d.compare(t, "INBOX", contents(t, from))

			to := account(t)
			r = copyMail(t, d.connect(t, "anna", transfer.IMAPStartTLS), to, transfer.Options{})
			assert.Equal(t, int64(308), r.Messages)
			want := contents(t, from)
			if name != "slash" {
				// A dot separates levels there, on disk at least.
				for i := range want {
					want[i].box = strings.Replace(want[i].box, "a.b/", "a_b/", 1)
				}
			}
			assert.ElementsMatch(t, want, contents(t, to))
		})
	}
}

// compare reads a mailbox by another client.
func (d *dovecot) compare(t *testing.T, box string, want []moved) {
	t.Helper()
	c, err := imapclient.DialTLS(d.imaps, &imapclient.Options{TLSConfig: trusting(t)})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Login("anna", dovecotPassword).Wait())
	_, err = c.Select(box, &imap.SelectOptions{ReadOnly: true}).Wait()
	require.NoError(t, err)
	all := imap.SeqSet{}
	all.AddRange(1, 0)
	body := &imap.FetchItemBodySection{Peek: true}
	got, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{body}}).Collect()
	require.NoError(t, err)
	i := 0
	for _, m := range want {
		if m.box != box {
			continue
		}
		require.Less(t, i, len(got))
		assert.Equal(t, m.text, short(got[i].FindBodySection(body)))
		assert.Equal(t, m.date, got[i].InternalDate.Unix())
		var flags []string
		for _, f := range got[i].Flags {
			if f != `\Recent` {
				flags = append(flags, string(f))
			}
		}
		assert.ElementsMatch(t, strings.Fields(m.flags), flags)
		i++
	}
	assert.Len(t, got, i)
}

// stopping is a source that ends with an error after some messages.
type stopping struct {
	transfer.Source
	messages int
	err      error
}

func (s *stopping) Messages(ctx context.Context, f transfer.Folder, after string) iter.Seq2[*transfer.Message, error] {
	return func(yield func(*transfer.Message, error) bool) {
		for m, err := range s.Source.Messages(ctx, f, after) {
			if s.messages--; s.messages < 0 {
				yield(nil, s.err)
				return
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// TestDovecotResume ends copies in the middle, again and again: nothing is
// missing then, nothing there twice.
func TestDovecotResume(t *testing.T) {
	t.Parallel()
	d := startDovecot(t, dovecotSlash)
	from, to := account(t, letters(200)...), account(t)
	stopped := errors.New("stopped")
	copyIn := func(a transfer.Source, b transfer.Sink, state string, messages int) (done bool) {
		_, err := transfer.Copy(t.Context(), &stopping{a, messages, stopped}, b, transfer.Options{Checkpoint: state})
		if err != nil {
			require.ErrorIs(t, err, stopped)
		}
		for _, end := range []any{a, b} {
			if c, ok := end.(io.Closer); ok {
				c.Close() // a user may have ten connections
			}
		}
		return err == nil
	}
	stops := 0
	for state := filepath.Join(t.TempDir(), "state"); !copyIn(from, d.connect(t, "bert", transfer.IMAPTLS), state, 37); stops++ {
		require.Less(t, stops, 300)
	}
	back := 0
	for state := filepath.Join(t.TempDir(), "state"); !copyIn(d.connect(t, "bert", transfer.IMAPTLS), to, state, 37); back++ {
		require.Less(t, back, 300)
	}
	assert.Equal(t, 5, stops)
	assert.Equal(t, 5, back)
	t.Logf("stopped %d times on the way there, %d times on the way back", stops, back)
	assert.ElementsMatch(t, contents(t, from), contents(t, to))
}

// TestPostaStoreIMAP runs the command itself against Dovecot: the password is
// nowhere but in the environment or in a file.
func TestPostaStoreIMAP(t *testing.T) {
	t.Parallel()
	d := startDovecot(t, dovecotSlash)
	bin := filepath.Join(workDir, "posta-store")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/posta-mail/posta/cmd/posta-store").CombinedOutput()
	require.NoError(t, err, "%s", out)
	copyMail(t, account(t, letters(50)...), d.connect(t, "anna", transfer.IMAPTLS), transfer.Options{})
	posta := func(env string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Env = append(os.Environ(), env, "SSL_CERT_FILE="+certFile())
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		return string(out), err
	}
	dir := filepath.Join(t.TempDir(), "store")
	text, err := posta("POSTA_IMAP_PASSWORD="+dovecotPassword, "import", "-store", dir, "-account", "anna", "-create", "-imap", "imaps://anna@"+d.imaps)
	require.NoError(t, err)
	assert.Contains(t, text, " 58 messages")
	file := write(t, filepath.Join(t.TempDir(), "password"), dovecotPassword+"\n")
	text, err = posta("X=", "export", "-store", dir, "-account", "anna", "-imap", "imap://bert@"+d.imap, "-password-file", file)
	require.NoError(t, err)
	assert.Contains(t, text, " 58 messages")
	_, err = posta("POSTA_IMAP_PASSWORD=wrong", "import", "-store", dir, "-account", "anna", "-imap", "imaps://anna@"+d.imaps)
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit))
	assert.Equal(t, 3, exit.ExitCode())
	st, err := sqlite.Options{ReadOnly: true}.Open(dir)
	require.NoError(t, err)
	defer st.Close()
	to := account(t)
	copyMail(t, d.connect(t, "bert", transfer.IMAPTLS), to, transfer.Options{})
	assert.ElementsMatch(t, contents(t, transfer.Account{Store: st, Name: "anna"}), contents(t, to))
}
