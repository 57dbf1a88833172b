// Command forwarder sends mail for addresses of its own on to where their
// owners read it, so that it is believed there: the envelope sender is rewritten
// (SRS), since the sender's SPF record does not list this system; what was found
// out about the message as it came is sealed (ARC); and nothing of the message
// is changed, so that its DKIM signatures hold.
package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/srs"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store/sqlite"
)

var (
	errUnknown = smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "No such address here")
	errSender  = smtp.Errorf(550, smtp.EnhancedCode{5, 1, 7}, "Mail from this sender cannot be sent on")
	errJunk    = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "Not sent on, since it may be forged")
)

// selector is where the key's record is: s1._domainkey.DOMAIN.
const selector = "s1"

// forwarder is an mta.Local: what the agent's own domain means.
type forwarder struct {
	agent   *mta.Agent
	srs     srs.Rewriter
	sealer  arc.Sealer
	aliases map[string]string // from lower-case addresses of the domain
}

// newForwarder makes the forwarder of a domain, whose SPF record lists this host
// and which has the key's record. The agent comes with its Spool
// and Stager.
func newForwarder(domain string, key crypto.Signer, secret []byte, aliases map[string]string, agent *mta.Agent) *forwarder {
	f := &forwarder{
		agent:   agent,
		srs:     srs.Rewriter{Domain: domain, Secrets: [][]byte{secret}},
		sealer:  arc.Sealer{Signer: &dkim.Signer{Domain: domain, Selector: selector, Key: key}},
		aliases: aliases,
	}
	agent.Domains, agent.Local = []string{domain}, f
	agent.Checks = append(agent.Checks, mta.CheckFunc(f.bouncesOnly), mta.CheckFunc(f.seal))
	return f
}

// Check refuses recipients that are neither aliases nor senders rewritten here.
func (f *forwarder) Check(_ context.Context, to smtp.Path) error {
	_, err := f.next(to)
	return err
}

// Deliver hands a message to the queue for where its recipients lead.
func (f *forwarder) Deliver(ctx context.Context, d *mda.Delivery, to []smtp.Path) []error {
	results := make([]error, len(to))
	var next []smtp.Path
	for i, rcpt := range to {
		path, err := f.next(rcpt)
		if results[i] = err; err == nil && !slices.Contains(next, path) {
			next = append(next, path)
		}
	}
	if len(next) == 0 {
		return results
	}
	if err := f.send(ctx, d, next); err != nil {
		for i := range results {
			results[i] = err
		}
	}
	return results
}

func (f *forwarder) send(ctx context.Context, d *mda.Delivery, to []smtp.Path) error {
	if d.Junk {
		return errJunk // others would take this system for its sender
	}
	from, err := rewritten(f.srs.Forward(d.From.Address()))
	if err != nil {
		return errSender
	}
	return f.agent.Submit(ctx, d.ID, from, to, d.Prefix, d.Body)
}

// next is where mail for an address of ours goes.
func (f *forwarder) next(to smtp.Path) (smtp.Path, error) {
	address := to.Address()
	if to.IsPostmaster() {
		address = "postmaster@" + f.srs.Domain // RFC 5321 §4.5.1
	}
	next, ok := f.aliases[strings.ToLower(address)]
	var err error
	if srs.Is(address) {
		next, err = f.srs.Reverse(address)
		ok = err == nil
	}
	if !ok {
		return smtp.Path{}, errUnknown
	}
	return smtp.ParseAddress(next)
}

func rewritten(address string, err error) (smtp.Path, error) {
	if err != nil || address == "" {
		return smtp.Path{}, err // bounces have the null sender, also when sent on
	}
	return smtp.ParseAddress(address)
}

// bouncesOnly keeps others from writing to a sender through us.
func (f *forwarder) bouncesOnly(_ context.Context, t *mta.Transaction) mta.Verdict {
	if t.Phase == mta.AtRcpt && !t.From.IsNull() && srs.Is(t.To[len(t.To)-1].Address()) {
		return mta.Verdict{Action: mta.Reject, Reply: errUnknown, Reason: "no bounce"}
	}
	return mta.Verdict{}
}

// seal puts an ARC set on top. A message that cannot be sealed, for instance
// since its chain has failed before, goes without.
func (f *forwarder) seal(ctx context.Context, t *mta.Transaction) mta.Verdict {
	if t.Phase != mta.AtData || t.Results == nil {
		return mta.Verdict{}
	}
	set, err := f.sealer.Seal(ctx, &t.Results.ARC, t.Results.Header(), io.NewSectionReader(t.Message, 0, t.Size))
	if err != nil {
		f.agent.Logger.Info("not sealed", "from", t.From, "err", err)
	}
	return mta.Verdict{Header: set}
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	secret := os.Getenv("SRS_SECRET")
	if secret == "" {
		return errors.New("no secret in SRS_SECRET: any long random text that stays the same")
	}
	const domain = "forward.example"
	key, err := loadKey("forwarder-key.pem", domain)
	if err != nil {
		return err
	}
	st, err := sqlite.Open("forwarder-data")
	if err != nil {
		return err
	}
	defer st.Close()
	agent := &mta.Agent{Hostname: "mx." + domain, Spool: st.Spool(), Stager: st, Logger: slog.Default()}
	newForwarder(domain, key, []byte(secret), map[string]string{
		"ann@" + domain:        "ann@mail.example",
		"postmaster@" + domain: "ann@mail.example",
	}, agent)
	srv := &smtp.Server{Addr: "127.0.0.1:2525", Hostname: agent.Hostname, Handler: agent.Inbound()}
	return posta.Run(ctx, srv, agent)
}

// loadKey reads the key, or makes one and prints the record to publish.
func loadKey(name, domain string) (crypto.Signer, error) {
	data, err := os.ReadFile(name)
	if err == nil {
		return dkim.ParseKey(data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
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
	line, err := dkim.ZoneLine(domain, selector, record, time.Hour)
	if err != nil {
		return nil, err
	}
	if data, err = dkim.MarshalKey(key); err != nil {
		return nil, err
	}
	fmt.Println(line)
	return key, os.WriteFile(name, data, 0o600)
}
