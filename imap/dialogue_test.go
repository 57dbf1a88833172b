package imap_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/store"
)

// TestDialogues runs testdata/NN-name.txt. A line "#: words" at the top says
// what the server is like:
//
//	login       connections are logged in as anna, and nothing of it is shown
//	select      and have selected INBOX, likewise
//	mail=n      anna's INBOX has n small messages; bob's too
//	eml=file    and then the messages of testdata/file, separated by "\n----\n"
//	tls         STARTTLS is offered; secure: and passwords are not taken without
//	box=name    anna has this mailbox too
//	max=n       MaxMessageBytes; conns=n: MaxConnsPerAccount
func TestDialogues(t *testing.T) {
	testscript.RunDir(t, "testdata/[0-9]*.txt", func(t *testing.T, name string) testscript.Config {
		set := settings(t, name)
		has := func(k string) bool { _, ok := set[k]; return ok }
		number := func(k string) int { n, _ := strconv.Atoi(set[k]); return n }
		authority, cert := certificates()
		w := newWorld(t, func(s *imap.Server) {
			if has("tls") || has("secure") {
				s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			s.InsecureAuth = !has("secure")
			s.MaxMessageBytes = int64(number("max"))
			s.MaxConnsPerAccount = number("conns")
			if has("noauth") {
				s.Auth = nil
			}
		})
		w.fill("anna", store.Inbox, number("mail"))
		w.fill("bob", store.Inbox, number("mail"))
		if has("eml") {
			b, err := os.ReadFile("testdata/" + set["eml"])
			require.NoError(t, err)
			for i, m := range strings.Split(string(b), "\n----\n") {
				m = strings.ReplaceAll(strings.ReplaceAll(m, `\0`, "\x00"), "\n", "\r\n")
				w.deliver("anna", store.Inbox, m, w.since.Add(time.Duration(i)*time.Hour))
			}
		}
		if has("box") {
			acc, err := w.st.Account(context.Background(), "anna", "anna")
			require.NoError(t, err)
			for _, b := range strings.Split(set["box"], ",") {
				_, err = acc.Create(context.Background(), b, store.CreateOptions{})
				require.NoError(t, err)
			}
		}
		dial := w.dial
		if has("login") || has("select") {
			dial = func(ctx context.Context) (net.Conn, error) {
				c, err := w.dial(ctx)
				if err != nil {
					return nil, err
				}
				script := "p1 LOGIN anna secret\r\n"
				last := "p1 OK"
				if has("select") {
					script += "p2 SELECT INBOX\r\n"
					last = "p2 OK"
				}
				return c, prelude(c, script, last)
			}
		}
		return testscript.Config{Dial: dial, TLS: &tls.Config{RootCAs: authority.Pool(), ServerName: "mail.test"}}
	})
}

// prelude sends a script and reads until the line that begins with last.
func prelude(c net.Conn, script, last string) error {
	if _, err := io.WriteString(c, script); err != nil {
		return err
	}
	one := bufio.NewReaderSize(oneByte{c}, 16) // nothing is read ahead
	for {
		line, err := one.ReadString('\n')
		if err != nil || strings.HasPrefix(line, last) {
			return err
		}
	}
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }
