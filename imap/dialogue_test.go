package imap_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testauth"
	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/store"
)

// TestDialogues runs testdata/NN-name.txt. A line "#: words" at the top says
// what the server is like:
//
//	login       connections are logged in as anna, and nothing of it is shown;
//	            login=anna,bob: the first as anna, all others as bob
//	select      and have selected INBOX, likewise
//	mail=n      anna's INBOX has n small messages; bob's too
//	eml=file    and then the messages of testdata/file, separated by "\n----\n"
//	tls         STARTTLS is offered; secure: and passwords are not taken without
//	sasl        every mechanism there is, see ableAuth; fewer: some are disabled
//	box=name    anna has this mailbox too
//	max=n       MaxMessageBytes; conns=n: MaxConnsPerAccount
//	accounts=a  there are these accounts too, of carol and team
//	shared=a    SharedAccounts; maxaccounts=n: and MaxAccounts
//	hosts=a,b   URLHosts; submitters=a,b: URLSubmitters
//	minus       LiteralMinus; pipe=n: MaxPipelined; batch=n: MaxAppendMessages, total=n: MaxAppendBytes
//	quota=a/b/c anna may have so many octets, messages and mailboxes
//	metadata    the server has entries; metasize, metacount: their limits
//	jmap=url    JMAP
//	disable=c   Disable
//	notify=n    MaxNotifyMailboxes
//	limit=n     MaxMessages; save=n: MaxSaveMessages
//	command=n   MaxCommandBytes; literals, ranges, nesting, terms, items, bad,
//	            failures: the other bounds of commands
func TestDialogues(t *testing.T) {
	testscript.RunDir(t, "testdata/[0-9]*.txt", dialogueConfig)
}

// dialogueConfig makes the server of a dialogue.
func dialogueConfig(t *testing.T, name string) testscript.Config {
	set := settings(t, name)
	has := func(k string) bool { _, ok := set[k]; return ok }
	number := func(k string) int { n, _ := strconv.Atoi(set[k]); return n }
	authority, cert := certificates()
	w := newWorld(t, func(s *imap.Server) { configure(s, set, cert) })
	if has("accounts") {
		for _, name := range strings.Split(set["accounts"], ",") {
			require.NoError(t, w.st.CreateAccount(context.Background(), name))
		}
	}
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
	if has("quota") {
		var u store.Usage
		_, err := fmt.Sscanf(set["quota"], "%d/%d/%d", &u.Octets, &u.Messages, &u.Mailboxes)
		require.NoError(t, err)
		require.NoError(t, w.st.(store.Quotas).SetQuota(context.Background(), "anna", u))
	}
	dial := w.dial
	if has("login") || has("select") {
		users := strings.Split(cmp.Or(set["login"], "anna"), ",")
		dial = func(ctx context.Context) (net.Conn, error) {
			c, err := w.dial(ctx)
			if err != nil {
				return nil, err
			}
			script := "p1 LOGIN " + users[0] + " secret\r\n"
			if len(users) > 1 {
				users = users[1:]
			}
			last := "p1 OK"
			if has("select") {
				script += "p2 SELECT INBOX\r\n"
				last = "p2 OK"
			}
			return c, prelude(c, script, last)
		}
	}
	trusting := &tls.Config{RootCAs: authority.Pool(), ServerName: "mail.test"}
	if has("sasl") {
		anna, err := authority.Issue("anna.test")
		require.NoError(t, err)
		trusting.Certificates = []tls.Certificate{anna}
	}
	return testscript.Config{Dial: dial, TLS: trusting}
}

// configure sets the fields of a server as a dialogue wants them.
func configure(s *imap.Server, set map[string]string, cert tls.Certificate) {
	has := func(k string) bool { _, ok := set[k]; return ok }
	number := func(k string) int { n, _ := strconv.Atoi(set[k]); return n }
	if has("tls") || has("secure") {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	s.InsecureAuth = !has("secure")
	s.MaxMessageBytes = int64(number("max"))
	s.MaxMessages, s.MaxSaveMessages = number("limit"), number("save")
	s.MaxConnsPerAccount = number("conns")
	s.MaxNotifyMailboxes = number("notify")
	s.LiteralMinus = has("minus")
	if has("hosts") {
		s.URLHosts, s.URLSubmitters = strings.Split(set["hosts"], ","), strings.Split(set["submitters"], ",")
	}
	s.MaxPipelined = number("pipe")
	s.MaxCommandBytes, s.MaxLiterals, s.MaxSetRanges = number("command"), number("literals"), number("ranges")
	s.MaxNesting, s.MaxSearchTerms, s.MaxFetchItems = number("nesting"), number("terms"), number("items")
	s.MaxBadCommands, s.MaxLoginFailures = number("bad"), number("failures")
	s.MaxAppendMessages, s.MaxAppendBytes = number("batch"), int64(number("total"))
	if has("sasl") {
		a, _ := certificates()
		s.Auth, s.ChannelBinding = testauth.Able{}, true
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: a.Pool(), ClientAuth: tls.VerifyClientCertIfGiven}
	}
	if has("fewer") {
		s.DisableAuth, s.ChannelBinding = []string{"login", "XOAUTH2", "SCRAM-SHA-1", "ANONYMOUS"}, false
	}
	if has("noauth") {
		s.Auth = nil
	}
	if has("shared") {
		s.Namespaces.SharedAccounts = strings.Split(set["shared"], ",")
	}
	s.Namespaces.MaxAccounts = number("maxaccounts")
	if has("metadata") {
		s.Metadata = map[string]string{"/shared/Admin": "mailto:postmaster@posta.test", "/shared/comment": "Hello", "/private/x": "never"}
	}
	s.MaxMetadataBytes, s.MaxMetadataEntries = number("metasize"), number("metacount")
	s.JMAP = set["jmap"]
	if has("disable") {
		s.Disable = append(s.Disable, strings.Split(set["disable"], ",")...)
	}
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
