package imaptest_test

import (
	"context"
	"io"
	"iter"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/imap/imaptest"
	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/internal/testleak"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/sqlite"
)

func TestMain(m *testing.M) { testleak.Main(m) }

func TestRun(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		st := memory.New()
		defer st.Close()
		imaptest.Run(t, st)
		for name := range st.Accounts(t.Context()) {
			t.Error("is left over:", name)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		st, err := sqlite.Open(t.TempDir())
		require.NoError(t, err)
		defer st.Close()
		imaptest.Run(t, st)
	})
	t.Run("maildir", func(t *testing.T) {
		st, err := maildir.Open(t.TempDir())
		require.NoError(t, err)
		defer st.Close()
		imaptest.Run(t, st)
	})
}

func TestServer(t *testing.T) {
	s := imaptest.NewServer(t, &imap.Server{})
	uids := s.Deliver("anna",
		imaptest.Message{Text: "Subject: a\n\nx\n", Flags: []store.Flag{store.FlagSeen}, Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		imaptest.Message{Text: "Subject: b\r\n\r\ny\r\n", Mailbox: "A/B"})
	require.Equal(t, []store.UID{1, 1}, uids)

	c := imaptest.NewClient(t, s)
	require.Contains(t, c.Greeting, "* OK [CAPABILITY ")
	a := c.Command("LOGIN anna wrong")
	require.Equal(t, imaptest.Answer{Status: "NO", Code: "AUTHENTICATIONFAILED", Text: "Wrong user or password"}, a)
	c.Login("anna", "secret")
	require.Contains(t, c.OK("SELECT INBOX"), "* 1 EXISTS")
	require.Equal(t, []string{"* 1 FETCH (FLAGS (\\Seen) INTERNALDATE \"02-Jan-2026 03:04:05 +0000\" BODY[] {17}\r\nSubject: a\r\n\r\nx\r\n)"},
		c.OK("FETCH %d (FLAGS INTERNALDATE BODY.PEEK[])", 1))
	c.OK("APPEND %s %s", "A/B", imaptest.Literal("Subject: c\r\n\r\n"))
	require.Contains(t, c.OK("STATUS A/B (MESSAGES)")[0], "(MESSAGES 2)")
	c.OK("LOGOUT")
	require.NoError(t, c.Close())

	addr, err := s.ListenTCP()
	require.NoError(t, err)
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	b := make([]byte, 4)
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	require.Equal(t, "* OK", string(b))
}

func TestTLS(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		s := imaptest.NewTLSServer(t, &imap.Server{ImplicitTLS: implicit, Auth: imaptest.Users{"zoe": "pw"}})
		c := imaptest.NewClient(t, s)
		if !implicit {
			require.Equal(t, "PRIVACYREQUIRED", c.Command("LOGIN zoe pw").Code)
			c.StartTLS()
		}
		c.Login("zoe", "pw")
	}
	s := imaptest.NewTLSServer(t, &imap.Server{})
	imaptest.Play(t, s, "S* .*STARTTLS.*\nC: a STARTTLS\nS~ a OK .*\nTLS\nC: b AUTHENTICATE PLAIN ${plain}\nS* b OK .*", map[string]string{"plain": "AGFubmEAc2VjcmV0"})
}

// Users can be met by SCRAM, whose keys are those of their passwords.
func TestUsers(t *testing.T) {
	u := imaptest.Users{"anna": "secret"}
	ctx := t.Context()
	keys, err := u.SCRAMKeys(ctx, auth.Request{}, "anna", "SHA-256")
	require.NoError(t, err)
	other, err := u.SCRAMKeys(ctx, auth.Request{}, "nobody", "SHA-256")
	require.NoError(t, err)
	require.NotEqual(t, keys.StoredKey, other.StoredKey)
	for _, authzid := range []string{"", "anna", "bob"} {
		_, err = u.Authorize(ctx, auth.Request{}, authzid, "anna")
		assert.Equal(t, authzid != "bob", err == nil, authzid)
		_, err = u.Authorize(ctx, auth.Request{}, authzid, "nobody")
		assert.Error(t, err)
	}
}

// What is wrong fails the test of whoever asked.
func TestFailures(t *testing.T) {
	fails := func(want string, f func(t testing.TB, s *imaptest.Server)) {
		t.Helper()
		why := testfail.Run(t, func(t testing.TB) {
			f(t, imaptest.NewServer(t, &imap.Server{}))
		})
		assert.Contains(t, why, want)
	}
	fails("AUTHENTICATIONFAILED", func(t testing.TB, s *imaptest.Server) { imaptest.NewClient(t, s).Login("anna", "x") })
	fails("not found", func(t testing.TB, s *imaptest.Server) { s.Deliver("nobody", imaptest.Message{}) })
	fails("invalid", func(t testing.TB, s *imaptest.Server) { s.Deliver("anna", imaptest.Message{Mailbox: "a//b"}) })
	fails(`got  "a BAD`, func(t testing.TB, s *imaptest.Server) { imaptest.Play(t, s, "S* .*\nC: a FOO\nS: a OK", nil) })
	fails("EOF", func(t testing.TB, s *imaptest.Server) {
		c := imaptest.NewClient(t, s)
		c.OK("LOGOUT")
		c.Response()
	})
}

// flawed is a store whose mailboxes have one defect.
type flawed struct {
	store.Store
	box func(store.Mailbox) store.Mailbox
}

type flawedAccount struct {
	store.Account
	st flawed
}

func (s flawed) Account(ctx context.Context, name, actor string) (store.Account, error) {
	acc, err := s.Store.Account(ctx, name, actor)
	return flawedAccount{acc, s}, err
}

func (a flawedAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	return a.st.box(mb), nil
}

type (
	forgetful struct{ store.Mailbox } // does not take flags away
	clinging  struct{ store.Mailbox } // expunges nothing
	blank     struct{ store.Mailbox } // has nothing in its bodies
	subjects  struct{ store.Mailbox } // knows no subjects
	blankBody struct{ store.Body }
)

func (f forgetful) Flag(ctx context.Context, uids store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
	if u.Op == store.FlagsRemove {
		return store.Flagged{}, nil
	}
	return f.Mailbox.Flag(ctx, uids, u)
}

func (clinging) Expunge(context.Context, store.UIDSet, ...store.Flag) (store.Expunged, error) {
	return store.Expunged{}, nil
}

func (s blank) Open(ctx context.Context, row store.Row) (store.Body, error) {
	b, err := s.Mailbox.Open(ctx, row)
	return blankBody{b}, err
}

func (b blankBody) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.Body.ReadAt(p, off)
	for i := range p[:n] {
		p[i] = ' '
	}
	return n, err
}

func (s subjects) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		for d, err := range s.Mailbox.Details(ctx, rows) {
			o := *d.Outline
			o.Envelope.Subject = ""
			if d.Outline = &o; !yield(d, err) {
				return
			}
		}
	}
}

// Stores with a defect that clients see are found.
func TestRunFinds(t *testing.T) {
	for dialogue, box := range map[string]func(store.Mailbox) store.Mailbox{
		"76-messages": func(mb store.Mailbox) store.Mailbox { return forgetful{mb} },
		"77-clients":  func(mb store.Mailbox) store.Mailbox { return clinging{mb} },
		"78-search":   func(mb store.Mailbox) store.Mailbox { return blank{mb} },
		"79-threads":  func(mb store.Mailbox) store.Mailbox { return subjects{mb} },
	} {
		st := memory.New()
		defer st.Close()
		whole := testfail.Run(t, func(t testing.TB) { imaptest.RunOne(t, st, dialogue) })
		require.Empty(t, whole)
		why := testfail.Run(t, func(t testing.TB) { imaptest.RunOne(t, flawed{st, box}, dialogue) })
		require.Contains(t, why, "dialogues/"+dialogue+".txt:")
		t.Log(why)
	}
}

// Everything is in memory: time stands still while nothing is to be done.
func TestSynctest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := imaptest.NewServer(t, &imap.Server{IdleTimeout: 40 * time.Minute})
		c := imaptest.NewClient(t, s)
		c.Login("anna", "secret")
		time.Sleep(39 * time.Minute)
		c.OK("NOOP")
		time.Sleep(41 * time.Minute)
		require.Contains(t, c.Response(), "* BYE")
	})
}

func TestPlayFiles(t *testing.T) {
	imaptest.PlayFiles(t, "dialogues/78-*.txt", func(t *testing.T, name string) (*imaptest.Server, map[string]string) {
		require.Equal(t, "78-search", name)
		return imaptest.NewServer(t, &imap.Server{}), nil
	})
}
