// Command journey follows one message through two complete mail systems.
//
// Systems a.test and b.test run in this process, with a DNS of their own.
// alice@a.test submits a message for bob@b.test: login, signature, queue, MX
// lookup, the checks at b.test, filing, and bob reads it over IMAP and POP3.
// Then she writes to nobody@b.test, and a bounce comes back. Each station is
// printed as it happens; the exit status is 1 if one of them did not.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/pop3"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := journey(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "journey: ", err)
		os.Exit(1)
	}
}

// secret is everybody's password here.
const secret = "correct horse battery"

func journey(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "journey")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ca, err := testcert.NewAuthority()
	if err != nil {
		return err
	}
	zone, err := testdns.Listen("127.0.0.1:0", testdns.Zone{})
	if err != nil {
		return err
	}
	defer zone.Close()
	a, err := newSystem(dir, "a.test", "alice", ca, zone, out)
	if err != nil {
		return err
	}
	defer a.store.Close()
	b, err := newSystem(dir, "b.test", "bob", ca, zone, out)
	if err != nil {
		return err
	}
	defer b.store.Close()
	// Both run at one address: each finds the other by its port.
	a.agent.Route.Port, b.agent.Route.Port = b.port("smtp"), a.port("smtp")

	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	for _, s := range []*system{a, b} {
		go func() { ended <- posta.Run(running, s.services...) }()
	}
	err = errors.Join(deliver(ctx, a, b, out), bounce(ctx, a, out))
	stop()
	return errors.Join(err, <-ended, <-ended)
}

// deliver is the way of a message that arrives.
func deliver(ctx context.Context, a, b *system, out io.Writer) error {
	if err := a.send(ctx, "alice@a.test", "bob@b.test", "Lunch", "At noon?\r\n"); err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	if err := b.await(ctx, "bob@b.test", 1); err != nil {
		return fmt.Errorf("filing: %w", err)
	}
	byIMAP, err := b.readIMAP("bob@b.test")
	if err != nil {
		return fmt.Errorf("IMAP: %w", err)
	}
	for _, want := range []string{"spf=pass", "dkim=pass", "dmarc=pass", "Return-Path: <alice@a.test>", "Delivered-To: bob@b.test", "\r\n\r\nAt noon?\r\n"} {
		if !strings.Contains(byIMAP, want) {
			return fmt.Errorf("the message that arrived lacks %q:\n%s", want, byIMAP)
		}
	}
	for line := range strings.SplitSeq(byIMAP[:strings.Index(byIMAP, "\r\n\r\n")], "\r\n") {
		fmt.Fprintf(out, "         | %s\n", line)
	}
	station(out, "b.test", "read over IMAP: %d octets", len(byIMAP))
	byPOP3, err := b.readPOP3("bob@b.test")
	if err != nil {
		return fmt.Errorf("POP3: %w", err)
	}
	if byPOP3 != byIMAP {
		return errors.New("POP3 and IMAP do not show the same message")
	}
	station(out, "b.test", "read over POP3: the same %d octets", len(byPOP3))
	return nil
}

// bounce is the way of one that comes back.
func bounce(ctx context.Context, a *system, out io.Writer) error {
	fmt.Fprintln(out)
	if err := a.send(ctx, "alice@a.test", "nobody@b.test", "Anybody there?", "Hello?\r\n"); err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	if err := a.await(ctx, "alice@a.test", 1); err != nil {
		return fmt.Errorf("bounce: %w", err)
	}
	notice, err := a.readIMAP("alice@a.test")
	if err != nil {
		return fmt.Errorf("bounce over IMAP: %w", err)
	}
	for _, want := range []string{"Return-Path: <>", "report-type=delivery-status", "Final-Recipient: rfc822; nobody@b.test", "Action: failed", "Status: 5.1.1", "Subject: Anybody there?"} {
		if !strings.Contains(notice, want) {
			return fmt.Errorf("the bounce lacks %q:\n%s", want, notice)
		}
	}
	station(out, "a.test", "the bounce has come back: %s", regexp.MustCompile(`Diagnostic-Code: [^\r]*`).FindString(notice))
	return nil
}

// station prints one station.
func station(out io.Writer, domain, format string, args ...any) {
	fmt.Fprintf(out, "%-8s %s\n", domain, fmt.Sprintf(format, args...))
}

// system is a complete mail system for one domain.
type system struct {
	domain    string
	store     *sqlite.Store
	agent     *mta.Agent
	tls       *tls.Config // for its clients
	services  []posta.Service
	listeners map[string]net.Listener
}

func newSystem(dir, domain, user string, ca *testcert.Authority, zone *testdns.Server, out io.Writer) (*system, error) {
	s := &system{domain: domain, listeners: map[string]net.Listener{}}
	host := "mx." + domain
	cert, err := ca.Issue(host)
	if err != nil {
		return nil, err
	}
	s.tls = &tls.Config{ServerName: host, RootCAs: ca.Pool()}
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}}

	if s.store, err = sqlite.Open(filepath.Join(dir, domain)); err != nil {
		return nil, err
	}
	account := user + "@" + domain
	users := password.Memory()
	err = errors.Join(users.Add(account, secret), s.store.CreateAccount(context.Background(), account))
	if err != nil {
		return nil, err
	}
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	if err != nil {
		return nil, err
	}
	record, err := dkim.Record(key)
	if err != nil {
		return nil, err
	}
	zone.Set(domain, testdns.Records{MX: []string{"10 " + host}, TXT: []string{"v=spf1 ip4:127.0.0.1 -all"}})
	zone.Set(host, testdns.Records{A: []string{"127.0.0.1"}})
	zone.Set("k1._domainkey."+domain, testdns.Records{TXT: []string{record}})
	zone.Set("_dmarc."+domain, testdns.Records{TXT: []string{"v=DMARC1; p=reject"}})

	log := slog.New(&stations{domain: domain, out: out})
	local := &mda.Agent{Store: s.store, Hostname: host, Logger: log}
	s.agent = &mta.Agent{
		Hostname: host, Domains: []string{domain}, Local: local, Spool: s.store.Spool(), Logger: log,
		Resolver: &dns.Resolver{Servers: []string{zone.Addr()}},
		Signer:   mta.DKIM(&dkim.Signer{Domain: domain, Selector: "k1", Key: key}),
		Route:    route.Router{AllowPrivate: true},
	}
	err = errors.Join(
		s.listen("smtp", &smtp.Server{Hostname: host, Handler: s.agent.Inbound(), TLSConfig: serverTLS}),
		s.listen("submission", &smtp.Server{Hostname: host, Handler: s.agent.Submission(), Auth: users, RequireAuth: true, TLSConfig: serverTLS}),
		s.listen("imaps", &imap.Server{Store: s.store, Auth: users, TLSConfig: serverTLS, ImplicitTLS: true}),
		s.listen("pop3s", &pop3.Server{Store: s.store, Auth: users, TLSConfig: serverTLS, ImplicitTLS: true}),
	)
	s.services = append(s.services, s.agent)
	return s, err
}

func (s *system) listen(name string, server interface {
	posta.Service
	Serve(net.Listener) error
}) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.listeners[name] = l
	s.services = append(s.services, posta.On(l, server))
	return nil
}

func (s *system) addr(name string) string { return s.listeners[name].Addr().String() }

func (s *system) port(name string) uint16 {
	return uint16(s.listeners[name].Addr().(*net.TCPAddr).Port)
}

// send submits a message as a mail client does.
func (s *system) send(ctx context.Context, from, to, subject, text string) error {
	login, err := sasl.NewSCRAMClient("SHA-256", "", from, secret)
	if err != nil {
		return err
	}
	c, err := smtp.Dial(ctx, s.addr("submission"), &smtp.ClientConfig{
		Hostname: "[127.0.0.1]", TLS: smtp.TLSPolicy{Mode: smtp.TLSVerified, Config: s.tls}, Auth: login,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	sender, err := smtp.ParseAddress(from)
	if err != nil {
		return err
	}
	rcpt, err := smtp.ParseAddress(to)
	if err != nil {
		return err
	}
	msg := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n\r\n%s", from, to, subject, text)
	_, err = c.Send(ctx, &smtp.Envelope{From: sender, To: smtp.To(rcpt)}, strings.NewReader(msg))
	if err != nil {
		return err
	}
	return c.Quit(ctx)
}

// await waits until an INBOX has a number of messages.
func (s *system) await(ctx context.Context, account string, messages int) error {
	acc, err := s.store.Account(ctx, account, account)
	if err != nil {
		return err
	}
	wake := acc.Watch(ctx)
	for {
		box, err := acc.Mailbox(ctx, store.Inbox)
		if err != nil {
			return err
		}
		info, err := box.Info(ctx)
		if err != nil || info.Messages >= messages {
			return err
		}
		if _, ok := <-wake; !ok {
			return ctx.Err()
		}
	}
}

// readIMAP fetches message 1 of INBOX.
func (s *system) readIMAP(user string) (string, error) {
	c, err := tls.Dial("tcp", s.addr("imaps"), s.tls)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(c, "a LOGIN %s \"%s\"\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\nd LOGOUT\r\n", user, secret)
	r := bufio.NewReader(c)
	literal := regexp.MustCompile(`BODY\[\] \{(\d+)\}\r\n$`)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(line, "d ") {
			return "", errors.New("no message in the answer")
		}
		if m := literal.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return "", err
			}
			b := make([]byte, n)
			_, err = io.ReadFull(r, b)
			return string(b), err
		}
	}
}

// readPOP3 retrieves message 1.
func (s *system) readPOP3(user string) (string, error) {
	c, err := tls.Dial("tcp", s.addr("pop3s"), s.tls)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	for _, cmd := range []string{"", "USER " + user, "PASS " + secret, "RETR 1"} {
		if cmd != "" {
			fmt.Fprintf(c, "%s\r\n", cmd)
		}
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
			return "", fmt.Errorf("%q: %q %w", cmd, line, err)
		}
	}
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == ".\r\n" {
			return b.String(), nil
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

// stations is a slog.Handler that prints what the packages log as stations of
// the journey.
type stations struct {
	domain string
	out    io.Writer
}

// told are the log messages that are stations, in the words of this program.
var told = map[string]string{
	"queued":    "queue: on disk for every recipient",
	"submitted": "submission: user and sender checked, signed, 250",
	"delivered": "delivery: MX found, handed over under TLS",
	"accepted":  "inbound: recipient known, SPF, DKIM and DMARC checked, 250",
	"delivery":  "mda: filed",
	"refused":   "delivery: the other side refused",
	"notice":    "bounce composed for the sender",
}

func (s *stations) Enabled(context.Context, slog.Level) bool { return true }

func (s *stations) Handle(_ context.Context, r slog.Record) error {
	text, ok := told[r.Message]
	if !ok {
		return nil
	}
	var details []string
	remote := true
	r.Attrs(func(a slog.Attr) bool {
		remote = remote && (a.Key != "remote" || a.Value.String() != "")
		if a.Key == "id" || a.Key == "to" || a.Key == "remote" || a.Key == "about" {
			details = append(details, a.String())
		}
		return true
	})
	if !remote {
		return nil // delivered to a mailbox here, which the mda has told already
	}
	station(s.out, s.domain, "%s (%s)", text, strings.Join(details, " "))
	return nil
}

func (s *stations) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s *stations) WithGroup(string) slog.Handler      { return s }
