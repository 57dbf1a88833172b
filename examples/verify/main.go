// Command verify says whether a message is genuine, or what is wrong with what
// a domain publishes for its mail.
//
//	verify -ip 192.0.2.1 -helo mx.a.example -from alice@a.example message.eml
//	verify -domain example.org -selectors mail,2026
//
// Without a file the message is read from standard input; without -ip the
// newest Received field tells who sent it, and without -from its Return-Path.
// -dns names the resolver to ask, host:port. Exit status 0: nothing is wrong; 1:
// something is; 2: it could not be found out.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/audit"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/message"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	status, err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
	}
	os.Exit(status)
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) (status int, err error) {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	ip := flags.String("ip", "", "the client's `address`; default: from Received")
	helo := flags.String("helo", "", "the `name` the client gave; default: from Received")
	from := flags.String("from", "", "the `sender` of MAIL FROM; default: from Return-Path")
	server := flags.String("dns", "", "the resolver to ask, `host:port`; default: the system's")
	trusted := flags.String("trusted", "", "`domains` whose ARC seals are believed, by commas")
	domain := flags.String("domain", "", "judge what this `domain` publishes instead")
	selectors := flags.String("selectors", "", "the selectors of the domain's DKIM keys, by commas")
	noMail := flags.Bool("no-mail", false, "the domain has no mail")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, nil
	case err != nil:
		return 2, err
	case flags.NArg() > 1:
		return 2, fmt.Errorf("one file, behind the flags, not %q", flags.Args())
	}
	resolver := &dns.Resolver{}
	if *server != "" {
		resolver.Servers = []string{*server}
	}
	if *domain != "" {
		return inspect(ctx, resolver, *domain, audit.Options{Selectors: list(*selectors), NoMail: *noMail}, out)
	}
	raw, err := read(flags.Args(), in)
	if err != nil {
		return 2, err
	}
	env, err := envelope(raw, *ip, *helo, *from)
	if err != nil {
		return 2, err
	}
	v := &verify.Verifier{Hostname: "verify.example", Resolver: resolver, Trusted: arc.Trusted(list(*trusted)), DKIM: dkim.Verifier{AcceptLF: true}}
	results, err := v.Verify(ctx, env, bytes.NewReader(raw))
	if err != nil {
		return 2, err
	}
	return show(out, results)
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func read(args []string, in io.Reader) ([]byte, error) {
	if len(args) == 0 {
		return io.ReadAll(io.LimitReader(in, 64<<20))
	}
	return os.ReadFile(args[0])
}

// envelope fills in what was not given from the message itself.
func envelope(raw []byte, ip, helo, from string) (env verify.Envelope, err error) {
	h := message.ParseHeader(raw)
	env = verify.Envelope{HELO: helo, MailFrom: strings.Trim(from, "<>"), UTF8: true}
	newest := message.ParseReceived(h.Get("Received"))
	switch {
	case ip != "":
		if env.Remote, err = netip.ParseAddr(ip); err != nil {
			return env, err
		}
	case newest.FromAddr.IsValid():
		env.Remote = newest.FromAddr
	}
	if helo == "" {
		env.HELO = newest.From
	}
	if from == "" {
		env.MailFrom = strings.Trim(strings.TrimSpace(h.Get("Return-Path")), "<>")
	}
	return env, nil
}

// show prints the verdict for people.
func show(out io.Writer, r *verify.Results) (status int, err error) {
	line := func(what string, status any, format string, args ...any) {
		fmt.Fprintf(out, "%-6s %-10v %s\n", what, status, strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
	why := func(err error) string {
		if err == nil {
			return ""
		}
		return "(" + err.Error() + ")"
	}
	if r.IPRev != nil {
		line("client", r.IPRev.Status, "%s %s %s", r.IPRev.IP, r.IPRev.Name, why(r.IPRev.Err))
	}
	if r.Envelope.Remote.IsValid() {
		line("SPF", r.SPF.Status, "%q from %v: %s %s", r.SPF.Sender, r.Envelope.Remote, r.SPF.Mechanism, why(r.SPF.Err))
		_, steps, _ := strings.Cut(r.SPF.Explain(), "\n")
		for step := range strings.Lines(steps) {
			fmt.Fprint(out, "       ", step)
		}
	} else {
		line("SPF", r.SPF.Status, "the address it came from is not known: give it by -ip")
	}
	if len(r.DKIM) == 0 {
		line("DKIM", dkim.StatusNone, "no signature")
	}
	for _, d := range r.DKIM {
		if d.Domain == "" {
			line("DKIM", d.Status, "a signature that cannot be read %s", why(d.Err))
			continue
		}
		line("DKIM", d.Status, "%s signs with %s, %s, %d bits %s", d.Domain, d.Selector, d.Algorithm, d.KeyBits, why(d.Err))
	}
	for _, s := range r.ARC.Sets {
		line("ARC", s.Seal.Status, "set %d by %s", s.Instance, s.Seal.Domain)
	}
	if r.ARC.Instance > 0 {
		line("ARC", r.ARC.Status, "the chain %s", why(r.ARC.Err))
	}
	policy := "no policy"
	if r.DMARC.Published != "" {
		policy = fmt.Sprintf("policy %q of %q; aligned: SPF %v, DKIM %v", r.DMARC.Published, r.DMARC.PolicyDomain, r.DMARC.AlignedSPF, r.DMARC.AlignedDKIM)
	}
	line("DMARC", r.DMARC.Status, "author %q, %s %s", r.DMARC.Domain, policy, why(r.DMARC.Err))
	d := r.Recommend()
	line("so", d.Action, "%s", d.Reason)
	field, err := r.Field()
	if err != nil {
		return 2, err
	}
	fmt.Fprintf(out, "\n%s", field)
	switch {
	case d.Action != verify.Accept || d.Reason != "":
		return 1, nil
	case r.DMARC.Status == dmarc.StatusTempError:
		return 2, nil
	}
	return 0, nil
}

// inspect judges a domain.
func inspect(ctx context.Context, resolver *dns.Resolver, domain string, opt audit.Options, out io.Writer) (status int, err error) {
	a := audit.Auditor{Resolver: resolver, HTTP: &http.Client{Timeout: 20 * time.Second}}
	report := a.Audit(ctx, domain, opt)
	if _, err := report.WriteTo(out); err != nil {
		return 2, err
	}
	switch {
	case report.Has(audit.LookupFailed), report.Has(audit.BadDomain):
		return 2, nil
	case report.Worst() > audit.Note:
		return 1, nil
	}
	return 0, nil
}
