package mda

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// junkMailbox is made when the first message goes there and no mailbox has
// the attribute.
const (
	junkMailbox = "Junk"
	junkUse     = `\Junk`
)

// ErrPartial is wrapped by the result of a recipient, an alias, when some of
// those behind it have the message already. Trying again with the same ID
// files only what is missing; with another they get it twice.
var ErrPartial = errors.New("mda: delivered to a part of the alias")

// Deliver files a message for each recipient and returns one result per
// recipient, in order: nil when it is filed durably, else an error with an
// *smtp.Error whose code says whether trying again makes sense; see also
// ErrPartial. What an alias sends elsewhere goes once everything else of it
// is filed, so that trying again does not send it twice.
func (a *Agent) Deliver(ctx context.Context, d *Delivery, to []smtp.Path) []error {
	results := make([]error, len(to))
	plan := plan{agent: a, delivery: d, filed: map[string]int{}}
	for i, rcpt := range to {
		dests, err := a.resolve(ctx, rcpt)
		if err != nil {
			results[i] = err
			continue
		}
		for _, dest := range dests {
			if err := plan.add(ctx, i, dest); err != nil {
				results[i] = worse(results[i], err)
			}
		}
	}
	plan.run(ctx, results)
	for i, err := range results {
		a.log().Info("delivery", "id", d.ID, "from", d.From.String(), "to", to[i].String(), "err", err)
	}
	return results
}

// plan collects the placements of one message.
type plan struct {
	agent    *Agent
	delivery *Delivery
	header   *message.Header
	targets  []store.Target
	rcpts    [][]int        // whom each target is for
	filed    map[string]int // account and mailbox → target: once per mailbox
	remote   []smtp.Path
	remoteOf []int
}

func (p *plan) add(ctx context.Context, rcpt int, dest destination) error {
	if err := p.checkLoop(dest.to.Address()); err != nil {
		return err
	}
	if dest.account == "" {
		p.remote = append(p.remote, dest.to)
		p.remoteOf = append(p.remoteOf, rcpt)
		return nil
	}
	mailbox, err := p.agent.mailboxFor(ctx, dest, p.delivery.Junk)
	if err != nil {
		return reply(err)
	}
	key := dest.account + "\x00" + mailbox
	if i, ok := p.filed[key]; ok {
		p.rcpts[i] = append(p.rcpts[i], rcpt)
		return nil
	}
	p.filed[key] = len(p.targets)
	p.targets = append(p.targets, store.Target{
		Account: dest.account,
		Mailbox: mailbox,
		Body:    p.delivery.Body,
		Prefix:  p.prefix(dest),
		Date:    p.delivery.Date,
		Token:   token(p.delivery.ID, mailbox),
	})
	p.rcpts = append(p.rcpts, []int{rcpt})
	return nil
}

// checkLoop refuses a message that has been delivered to this address before
// (RFC 9228 §4).
func (p *plan) checkLoop(addr string) error {
	if p.header == nil {
		h, _, err := message.ReadHeader(io.MultiReader(bytes.NewReader(p.delivery.Prefix), io.NewSectionReader(p.delivery.Body, 0, p.delivery.Body.Size())), nil)
		if err != nil {
			return reply(err)
		}
		p.header = h
	}
	for _, f := range p.header.All("Delivered-To") {
		if strings.EqualFold(strings.Trim(f.Value(), "<> "), addr) {
			return smtp.Errorf(554, smtp.EnhancedCode{5, 4, 6}, "Mail loop: already delivered to this address")
		}
	}
	return nil
}

// prefix is the header that final delivery adds, outermost first.
func (p *plan) prefix(dest destination) []byte {
	var b bytes.Buffer
	// RFC 5321 §4.4: Return-Path holds what MAIL FROM said.
	b.WriteString("Return-Path: <")
	if !p.delivery.From.IsNull() {
		b.WriteString(clean(p.delivery.From.Address()))
	}
	b.WriteString(">\r\nDelivered-To: " + clean(dest.to.Address()) + "\r\n")
	b.Write(p.delivery.Prefix)
	return b.Bytes()
}

// clean keeps control characters out of header lines, whoever made the path.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// run places everything and merges the results into those per recipient.
func (p *plan) run(ctx context.Context, results []error) {
	if len(p.targets)+len(p.remote) == 0 {
		return
	}
	filed := make([]bool, len(results)) // somebody behind the recipient has it
	for i, placed := range p.agent.Store.Place(ctx, p.targets) {
		for _, r := range p.rcpts[i] {
			if placed.Err == nil {
				filed[r] = true
			} else {
				results[r] = worse(results[r], reply(placed.Err))
			}
		}
	}
	p.submit(ctx, results, filed)
	for i, err := range results {
		if err != nil && filed[i] {
			results[i] = fmt.Errorf("%w: %w", ErrPartial, err)
		}
	}
}

// submit sends on what goes elsewhere, in one call: all of it is on its way,
// or none. A recipient who is tried again for another reason waits until then.
func (p *plan) submit(ctx context.Context, results []error, filed []bool) {
	var to []smtp.Path
	var whose []int
	seen := map[smtp.Path]bool{}
	for i, path := range p.remote {
		r := p.remoteOf[i]
		if results[r] != nil && smtp.AsError(results[r]).Temporary() {
			continue
		}
		whose = append(whose, r)
		if !seen[path] {
			seen[path] = true
			to = append(to, path)
		}
	}
	if len(to) == 0 {
		return
	}
	// A redirect keeps the sender, a null one too (RFC 5228 §4.2).
	err := p.agent.Submitter.Submit(ctx, p.delivery.ID, p.delivery.From, to, p.delivery.Prefix, p.delivery.Body)
	for _, r := range whose {
		if err == nil {
			filed[r] = true
		} else {
			results[r] = worse(results[r], reply(err))
		}
	}
}

// worse keeps the result that stands for several: a temporary failure before
// a permanent one, since trying again repairs what can be repaired and files
// nothing twice.
func worse(a, b error) error {
	if a == nil {
		return b
	}
	if b != nil && smtp.AsError(b).Temporary() {
		return b
	}
	return a
}

// mailboxFor chooses the mailbox of a destination.
func (a *Agent) mailboxFor(ctx context.Context, dest destination, junk bool) (string, error) {
	if !junk && dest.detail == "" {
		return store.Inbox, nil
	}
	acc, err := a.Store.Account(ctx, dest.account, dest.account)
	if err != nil {
		return "", err
	}
	if junk {
		return a.junk(ctx, acc)
	}
	return detailMailbox(ctx, acc, dest.detail)
}

// detailMailbox is the mailbox that a detail names, or INBOX. It must be there:
// senders are not to create any, nor to file what looks as if the user had
// written it.
func detailMailbox(ctx context.Context, acc store.Account, detail string) (string, error) {
	name, err := store.CanonicalName(detail)
	if err != nil {
		return store.Inbox, nil
	}
	mb, err := acc.Mailbox(ctx, name)
	var info store.MailboxInfo
	if err == nil {
		info, err = mb.Info(ctx)
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Inbox, nil
	case err != nil:
		return "", err
	case strings.EqualFold(info.SpecialUse, `\Sent`), strings.EqualFold(info.SpecialUse, `\Drafts`):
		return store.Inbox, nil
	}
	return name, nil
}

func (a *Agent) junk(ctx context.Context, acc store.Account) (string, error) {
	boxes, err := acc.Mailboxes(ctx)
	if err != nil {
		return "", err
	}
	for _, b := range boxes {
		if strings.EqualFold(b.SpecialUse, junkUse) {
			return b.Name, nil
		}
	}
	_, err = acc.Create(ctx, junkMailbox, store.CreateOptions{SpecialUse: junkUse})
	switch {
	case errors.Is(err, store.ErrExists):
	case err != nil:
		return "", err
	default:
		// Many clients show only what is subscribed. That it is not is no
		// reason to keep the message waiting.
		if err := acc.Subscribe(ctx, junkMailbox, true); err != nil {
			a.log().Warn("mailbox for junk not subscribed", "account", acc.Name(), "err", err)
		}
	}
	return junkMailbox, nil
}

// token tells one placement from another within an account.
func token(id, mailbox string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(mailbox))
	return id + "/" + base64.RawURLEncoding.EncodeToString(sum[:9])
}

// reply maps an error to what LMTP or SMTP answers: the only place where the
// store's errors become replies of delivery.
func reply(err error) error {
	var e *smtp.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, store.ErrOverQuota):
		return smtp.Errorf(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full")
	case errors.Is(err, store.ErrNoSpace):
		return smtp.Errorf(452, smtp.EnhancedCode{4, 3, 1}, "System storage full")
	case errors.Is(err, store.ErrNotFound):
		return smtp.Errorf(450, smtp.EnhancedCode{4, 2, 1}, "Mailbox unavailable, try again later")
	}
	return smtp.Errorf(451, smtp.EnhancedCode{4, 3, 0}, "Local error, try again later")
}
