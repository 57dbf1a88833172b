// Command mailserver is a complete mail system in one file: submission with
// login, DKIM signatures, queue and MX delivery, mail from the world with SPF,
// DKIM and DMARC checks, local delivery, LMTP, IMAP and POP3.
//
//	go run ./examples/mailserver
//
// listens on loopback and prints two commands to try. Users are kept in
// DATA/users and changed with
//
//	go run ./examples/mailserver -data DATA users list
//	go run ./examples/mailserver -data DATA users set NAME    (password on standard input)
//	go run ./examples/mailserver -data DATA users remove NAME
package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/pop3"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/sqlite"
)

// config is what the flags say.
type config struct {
	data, hostname, cert, key, resolver, smarthost, separator, store string
	domains, users                                                   list
	mxPort                                                           uint
	insecureAuth, unlimited                                          bool
	addrs                                                            map[string]*string
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// listeners are the flags that name addresses, in the order they are printed.
var listeners = []struct{ name, addr, usage string }{
	{"smtp", "127.0.0.1:2525", "mail from the world"},
	{"submission", "127.0.0.1:2587", "mail from users, STARTTLS"},
	{"submissions", "127.0.0.1:2465", "mail from users, TLS"},
	{"lmtp", "127.0.0.1:2424", "local delivery"},
	{"imap", "127.0.0.1:2143", "IMAP, STARTTLS"},
	{"imaps", "127.0.0.1:2993", "IMAP, TLS"},
	{"pop3", "127.0.0.1:2110", "POP3, STLS"},
	{"pop3s", "127.0.0.1:2995", "POP3, TLS"},
}

func parseFlags(args []string) (*config, []string, error) {
	c := &config{addrs: map[string]*string{}}
	fs := flag.NewFlagSet("mailserver", flag.ContinueOnError)
	fs.StringVar(&c.data, "data", "posta-data", "`DIR` for mail, users, keys and certificates")
	fs.StringVar(&c.hostname, "hostname", "localhost", "`NAME` of this system")
	fs.Var(&c.domains, "domain", "a domain whose mail ends here (repeatable; default posta.test)")
	fs.Var(&c.users, "user", "`NAME:PASSWORD` (repeatable; without @ of the first domain; default: demo users)")
	for _, l := range listeners {
		c.addrs[l.name] = fs.String(l.name, l.addr, l.usage+" (`ADDR`; empty: off)")
	}
	fs.StringVar(&c.cert, "cert", "", "certificate `FILE`, PEM (default: self-signed for localhost)")
	fs.StringVar(&c.key, "key", "", "key `FILE`, PEM")
	fs.StringVar(&c.resolver, "resolver", "", "DNS server `HOST:PORT` (default: the system's)")
	fs.UintVar(&c.mxPort, "mx-port", 25, "port of MX hosts; other than 25 permits private addresses too, for tests")
	fs.StringVar(&c.smarthost, "smarthost", "", "send everything to `HOST:PORT` instead of MX hosts")
	fs.BoolVar(&c.insecureAuth, "insecure-auth", false, "allow plaintext login without TLS")
	fs.BoolVar(&c.unlimited, "unlimited", false, "no connection and rate limits by address")
	fs.StringVar(&c.separator, "separator", "+", "`C` between user and folder in addresses")
	fs.StringVar(&c.store, "store", "sqlite", "`memory|sqlite`")
	if err := fs.Parse(args); err != nil {
		return nil, nil, err
	}
	if len(c.domains) == 0 {
		c.domains = list{"posta.test"}
	}
	if c.mxPort == 0 || c.mxPort > 65535 {
		return nil, nil, fmt.Errorf("-mx-port %d is not a port", c.mxPort)
	}
	return c, fs.Args(), nil
}

func main() {
	c, args, err := parseFlags(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	run := func() error { return serve(context.Background(), c, log, os.Stdout) }
	if len(args) > 0 && args[0] == "users" {
		run = func() error { return changeUsers(c, args[1:], os.Stdin, os.Stdout) }
	} else if len(args) > 0 {
		run = func() error { return fmt.Errorf("unknown command %q", args[0]) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mailserver:", err)
		os.Exit(1)
	}
}

// fullStore is a store with a queue.
type fullStore interface {
	store.Store
	store.Spooler
}

func openStore(c *config, log *slog.Logger) (fullStore, error) {
	switch c.store {
	case "memory":
		return memory.New(), nil
	case "sqlite":
		return sqlite.Options{Logger: log}.Open(filepath.Join(c.data, "mail"))
	}
	return nil, fmt.Errorf("-store %q is neither memory nor sqlite", c.store)
}

// serve wires everything and runs it until a signal.
func serve(ctx context.Context, c *config, log *slog.Logger, out io.Writer) error {
	if err := os.MkdirAll(c.data, 0o700); err != nil {
		return err
	}
	open, err := openListeners(c)
	if err != nil {
		return err
	}
	defer closeAll(open)
	st, err := openStore(c, log)
	if err != nil {
		return err
	}
	defer st.Close()
	users, shown, err := openUsers(ctx, c, st, log)
	if err != nil {
		return err
	}
	certs, err := certificates(c)
	if err != nil {
		return err
	}
	signer, err := signingKeys(c, log)
	if err != nil {
		return err
	}

	resolver := &dns.Resolver{Logger: log}
	if c.resolver != "" {
		resolver.Servers = []string{c.resolver}
	}
	local := &mda.Agent{Store: st, Hostname: c.hostname, Separator: cmp.Or(c.separator, "-"), Logger: log, Postmaster: shown[0].name}
	for _, d := range c.domains {
		// RFC 5321 §4.5.1: postmaster must be reachable at each domain.
		if local.Aliases == nil {
			local.Aliases = map[string][]string{}
		}
		local.Aliases["postmaster@"+strings.ToLower(d)] = []string{shown[0].name}
	}
	agent := &mta.Agent{
		Hostname: c.hostname, Domains: c.domains, Local: local, Spool: st.Spool(), Signer: signer, Resolver: resolver, Logger: log,
		Route: route.Router{Port: uint16(c.mxPort), AllowPrivate: c.mxPort != 25, Smarthost: c.smarthost},
	}
	local.Submitter = agent

	perAddr, perAccount, rate := 0, 0, 600
	if c.unlimited {
		perAddr, perAccount, rate = -1, -1, -1
	}
	tlsConfig := certs.TLSConfig()
	newSMTP := func(handler smtp.Handler) *smtp.Server {
		return &smtp.Server{Hostname: c.hostname, Handler: handler, TLSConfig: tlsConfig, MaxConnsPerAddr: perAddr, ConnRate: rate, Logger: log}
	}
	newSubmission := func(implicit bool) *smtp.Server {
		s := newSMTP(agent.Submission())
		s.Auth, s.RequireAuth, s.InsecureAuth, s.ImplicitTLS = users, true, c.insecureAuth, implicit
		return s
	}
	newIMAP := func(implicit bool) *imap.Server {
		return &imap.Server{Store: st, Auth: users, TLSConfig: tlsConfig, ImplicitTLS: implicit, InsecureAuth: c.insecureAuth,
			MaxConnsPerAddr: perAddr, MaxConnsPerAccount: perAccount, ConnRate: rate, Logger: log}
	}
	newPOP3 := func(implicit bool) *pop3.Server {
		return &pop3.Server{Store: st, Auth: users, TLSConfig: tlsConfig, ImplicitTLS: implicit, InsecureAuth: c.insecureAuth, Hostname: c.hostname,
			MaxConnsPerAddr: perAddr, ConnRate: rate, Logger: log}
	}
	lmtp := newSMTP(local.LMTP())
	lmtp.LMTP = true
	servers := map[string]server{
		"smtp": newSMTP(agent.Inbound()), "submission": newSubmission(false), "submissions": newSubmission(true), "lmtp": lmtp,
		"imap": newIMAP(false), "imaps": newIMAP(true), "pop3": newPOP3(false), "pop3s": newPOP3(true),
	}

	var services []posta.Service
	for _, l := range listeners {
		if nl := open[l.name]; nl != nil {
			fmt.Fprintf(out, "%-12s %-22s %s\n", l.name, nl.Addr(), l.usage)
			services = append(services, posta.On(nl, servers[l.name]))
		}
	}
	// Last, so that what the servers still take in is delivered as far as it goes.
	services = append(services, agent)
	printUsage(c, shown, out)
	err = posta.Run(ctx, services...)
	return errors.Join(err, users.Flush(context.WithoutCancel(ctx)))
}

// openListeners comes first: nothing is made in the data folder, and no
// password thought up, if an address is taken.
func openListeners(c *config) (map[string]net.Listener, error) {
	open := map[string]net.Listener{}
	for _, l := range listeners {
		addr := c.addrs[l.name]
		if *addr == "" {
			continue
		}
		nl, err := net.Listen("tcp", *addr)
		if err != nil {
			closeAll(open)
			return nil, err
		}
		open[l.name], *addr = nl, nl.Addr().String()
	}
	return open, nil
}

func closeAll(open map[string]net.Listener) {
	for _, l := range open {
		_ = l.Close()
	}
}

// server is what all protocol servers have in common.
type server interface {
	posta.Service
	Serve(net.Listener) error
}

// account is a user that this run was given or made.
type account struct{ name, password string }

// openUsers opens the users file, adds the users of this run, and makes sure
// that everybody has an account in the store.
func openUsers(ctx context.Context, c *config, st store.Store, log *slog.Logger) (*password.Users, []account, error) {
	users := usersFile(c)
	users.Logger = log
	var shown []account
	for _, u := range c.users {
		name, pw, ok := strings.Cut(u, ":")
		if !ok || name == "" || pw == "" {
			return nil, nil, fmt.Errorf("-user %q is not NAME:PASSWORD", u)
		}
		shown = append(shown, account{address(c, name), pw})
	}
	if _, err := os.Stat(filepath.Join(c.data, "users")); len(shown) == 0 && errors.Is(err, os.ErrNotExist) {
		shown = []account{{address(c, "alice"), rand.Text()[:12]}, {address(c, "bob"), rand.Text()[:12]}}
	}
	for _, a := range shown {
		if err := users.Set(password.User{Name: a.name}, a.password); err != nil {
			return nil, nil, fmt.Errorf("user %s: %w", a.name, err)
		}
	}
	known, err := users.List()
	if err != nil {
		return nil, nil, err
	}
	for _, u := range known {
		if err := createAccount(ctx, st, u.Account); err != nil {
			return nil, nil, err
		}
		if len(shown) < 2 {
			shown = append(shown, account{name: u.Name})
		}
	}
	if len(shown) == 0 {
		return nil, nil, errors.New("there are no users: name one with -user, or use the command users set")
	}
	return users, shown, nil
}

func usersFile(c *config) *password.Users {
	users := password.File(filepath.Join(c.data, "users"))
	users.DefaultDomain = strings.ToLower(c.domains[0])
	return users
}

// address is the full form of a user's name.
func address(c *config, name string) string {
	if strings.Contains(name, "@") {
		return strings.ToLower(name)
	}
	return strings.ToLower(name + "@" + c.domains[0])
}

// createAccount makes an account with the mailboxes that clients look for
// (RFC 6154), unless it is there.
func createAccount(ctx context.Context, st store.Store, name string) error {
	switch err := st.CreateAccount(ctx, name); {
	case errors.Is(err, store.ErrExists):
		return nil
	case err != nil:
		return err
	}
	acc, err := st.Account(ctx, name, name)
	if err != nil {
		return err
	}
	return store.AddMailboxes(ctx, acc, store.DefaultMailboxes())
}

// changeUsers is the command "users".
func changeUsers(c *config, args []string, in io.Reader, out io.Writer) error {
	users := usersFile(c)
	switch {
	case len(args) == 1 && args[0] == "list":
		known, err := users.List()
		for _, u := range known {
			fmt.Fprintln(out, u.Name)
		}
		return err
	case len(args) == 2 && args[0] == "set":
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		if err := os.MkdirAll(c.data, 0o700); err != nil {
			return err
		}
		name, secret := address(c, args[1]), strings.TrimRight(line, "\r\n")
		err = users.SetPassword(name, secret)
		if errors.Is(err, password.ErrUnknown) || errors.Is(err, os.ErrNotExist) {
			err = users.Add(name, secret)
		}
		return err
	case len(args) == 2 && args[0] == "remove":
		return users.Remove(address(c, args[1]))
	}
	return errors.New("usage: users list | users set NAME | users remove NAME")
}

// certificates are the given ones, or a self-signed one kept in the data folder.
func certificates(c *config) (*posta.Certificates, error) {
	if c.cert != "" || c.key != "" {
		return posta.LoadCertificates(c.cert, c.key)
	}
	cert, key := filepath.Join(c.data, "cert.pem"), filepath.Join(c.data, "key.pem")
	if _, err := os.Stat(key); errors.Is(err, os.ErrNotExist) {
		certPEM, keyPEM, err := testcert.SelfSigned("localhost", "127.0.0.1", "::1", c.hostname)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(os.WriteFile(cert, certPEM, 0o644), os.WriteFile(key, keyPEM, 0o600)); err != nil {
			return nil, err
		}
	}
	return posta.LoadCertificates(cert, key)
}

// dkimSelector is the name of this program's keys in the DNS.
const dkimSelector = "posta"

// signingKeys loads or makes a key for each domain.
func signingKeys(c *config, log *slog.Logger) (mta.Signer, error) {
	var keys []*dkim.Signer
	for _, d := range c.domains {
		file := filepath.Join(c.data, "dkim-"+filepath.Base(strings.ToLower(d))+".pem")
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			b, err = newKey(file)
		}
		if err != nil {
			return nil, err
		}
		key, err := dkim.ParseKey(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		record, err := dkim.Record(key)
		if err != nil {
			return nil, err
		}
		log.Info("DKIM key", "domain", d, "publish", dkimSelector+"._domainkey."+d, "TXT", record)
		keys = append(keys, &dkim.Signer{Domain: d, Selector: dkimSelector, Key: key})
	}
	return mta.DKIM(keys...), nil
}

func newKey(file string) ([]byte, error) {
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	if err != nil {
		return nil, err
	}
	b, err := dkim.MarshalKey(key)
	if err != nil {
		return nil, err
	}
	return b, os.WriteFile(file, b, 0o600)
}

// printUsage tells how to try the system.
func printUsage(c *config, shown []account, out io.Writer) {
	login := func(a account) string { return a.name + ":" + cmp.Or(a.password, "PASSWORD") }
	from, to := shown[0], shown[len(shown)-1]
	fmt.Fprintln(out)
	for _, a := range shown {
		if a.password != "" {
			fmt.Fprintf(out, "user %s, password %s\n", a.name, a.password)
		}
	}
	if addr := *c.addrs["submission"]; addr != "" {
		fmt.Fprintf(out, "\nsend:\n  printf 'From: %s\\r\\nTo: %s\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' | curl -sS -k --ssl-reqd --url smtp://%s --user %s --mail-from %s --mail-rcpt %s -T -\n",
			from.name, to.name, addr, login(from), from.name, to.name)
	}
	if addr := *c.addrs["imaps"]; addr != "" {
		fmt.Fprintf(out, "\nread:\n  curl -sS -k --url 'imaps://%s/INBOX;UID=1' --user %s\n", addr, login(to))
	}
	fmt.Fprintln(out)
}
