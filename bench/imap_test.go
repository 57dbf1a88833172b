package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/sqlite"
)

const messages = 10000

func text(i int) string {
	return fmt.Sprintf("From: Alice <alice@a.test>\r\nTo: Bob <bob@b.test>\r\nSubject: message %d\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@a.test>\r\n\r\n", i, i) +
		strings.Repeat(strings.Repeat("y", 70)+"\r\n", 54)
}

func postaIMAP(b *testing.B, st store.Store) string {
	ctx := context.Background()
	users := password.Memory()
	users.HashMemory, users.HashPasses, users.Iterations = 64, 1, 4096
	if err := users.Add("bob", "secret"); err != nil {
		b.Fatal(err)
	}
	if err := st.CreateAccount(ctx, "bob"); err != nil {
		b.Fatal(err)
	}
	for i := 0; i < messages; i += 100 {
		var targets []store.Target
		for j := range 100 {
			staged, err := st.Stage(ctx, strings.NewReader(text(i+j)))
			if err != nil {
				b.Fatal(err)
			}
			defer staged.Discard()
			targets = append(targets, store.Target{Account: "bob", Mailbox: store.Inbox, Body: staged})
		}
		for _, p := range st.Place(ctx, targets) {
			if p.Err != nil {
				b.Fatal(p.Err)
			}
		}
	}
	l := listen(b)
	srv := &imap.Server{Store: st, Auth: users, InsecureAuth: true}
	go srv.Serve(l)
	b.Cleanup(func() { srv.Close(); st.Close() })
	return l.Addr().String()
}

func goIMAP(b *testing.B) string {
	mem := imapmemserver.New()
	user := imapmemserver.NewUser("bob", "secret")
	user.Create("INBOX", nil)
	mem.AddUser(user)
	for i := range messages {
		s := text(i)
		if _, err := user.Append("INBOX", literal{strings.NewReader(s), int64(len(s))}, &goimap.AppendOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	l := listen(b)
	srv := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		InsecureAuth: true,
		Caps:         goimap.CapSet{goimap.CapIMAP4rev1: {}},
	})
	go srv.Serve(l)
	b.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

type literal struct {
	io.Reader
	size int64
}

func (l literal) Size() int64 { return l.size }

// BenchmarkIMAP times whole commands over a mailbox of 10,000 messages of
// 4 KiB, on loopback.
func BenchmarkIMAP(b *testing.B) {
	for _, s := range []struct {
		name  string
		start func(*testing.B) string
	}{
		{"posta-memory", func(b *testing.B) string { return postaIMAP(b, memory.New()) }},
		{"posta-sqlite", func(b *testing.B) string {
			st, err := sqlite.Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			return postaIMAP(b, st)
		}},
		{"go-imap-memory", goIMAP},
	} {
		addr := s.start(b)
		for _, cmd := range []struct{ name, line string }{
			{"select", "SELECT INBOX"},
			{"uid-flags", "UID FETCH 1:* (UID FLAGS)"},
			{"envelope", "FETCH 1:* ENVELOPE"},
			{"all-bodystructure", "FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"},
			{"header-fields", "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE)]"},
			{"bodies", "FETCH 1:* BODY.PEEK[]"},
			{"search-unseen", "SEARCH UNSEEN"},
			{"search-subject", "SEARCH SUBJECT nowhere"},
			{"search-text", "SEARCH TEXT nowhere"},
			{"store-flags", "STORE 1:* +FLAGS.SILENT (\\Flagged)"},
			{"store-unflag", "STORE 1:* -FLAGS.SILENT (\\Flagged)"},
		} {
			b.Run(cmd.name+"/"+s.name, func(b *testing.B) {
				c := dialIMAP(b, addr)
				defer c.Close()
				b.ReportAllocs()
				for b.Loop() {
					c.do(b, cmd.line)
				}
			})
		}
	}
}

type imapClient struct {
	net.Conn
	r *bufio.Reader
}

func dialIMAP(b *testing.B, addr string) *imapClient {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	c := &imapClient{nc, bufio.NewReaderSize(nc, 256<<10)}
	if _, err := c.r.ReadSlice('\n'); err != nil {
		b.Fatal(err)
	}
	c.do(b, "LOGIN bob secret")
	c.do(b, "SELECT INBOX")
	return c
}

// do says a command and reads, without looking, to its end.
func (c *imapClient) do(b *testing.B, line string) {
	fmt.Fprintf(c, "t %s\r\n", line)
	for {
		l, err := c.r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			b.Fatal(err)
		}
		if len(l) > 2 && l[0] == 't' && l[1] == ' ' {
			if !strings.HasPrefix(string(l), "t OK") {
				b.Fatalf("%s: %s", line, l)
			}
			return
		}
	}
}
