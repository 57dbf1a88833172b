package mta

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

// Submission returns the handler for mail from this system's users (RFC 6409).
// Without a login it accepts nothing, whatever the server's own settings. Both
// the envelope's sender and the From field must belong to the user. A missing
// Date or Message-ID is added, Bcc removed, the result signed. Messages to
// this system's domains are filed at once, others queued.
func (a *Agent) Submission() smtp.Handler { return submissionHandler{a} }

type submissionHandler struct{ agent *Agent }

func (h submissionHandler) NewSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	h.agent.setup()
	return &submissionSession{agent: h.agent, conn: c}, nil
}

type submissionSession struct {
	agent *Agent
	conn  *smtp.Conn
	judgement
	from smtp.Path
	opts smtp.MailOptions
	to   []smtp.Path
}

// Replies of submission.
var (
	errSender    = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "Sender address does not belong to you")
	errFrom      = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "From address does not belong to you")
	errFromCount = smtp.Errorf(554, smtp.EnhancedCode{5, 6, 0}, "Message must have exactly one From field with an address")
	errNoDomain  = smtp.Errorf(553, smtp.EnhancedCode{5, 1, 3}, "Address needs a domain")
	errSign      = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 0}, "Message cannot be signed now")
)

func (s *submissionSession) transaction(p Phase) *Transaction {
	return &Transaction{Phase: p, Peer: s.conn.Peer(), Identity: s.conn.Identity(), From: s.from, Options: s.opts, To: s.to}
}

func (s *submissionSession) consult(ctx context.Context, t *Transaction) error {
	j := s.agent.ask(ctx, s.agent.SubmissionChecks, t)
	s.discard = s.discard || j.discard
	s.header = append(s.header, j.header...)
	return j.refusal
}

func (s *submissionSession) Mail(ctx context.Context, from smtp.Path, opts smtp.MailOptions) error {
	s.Reset()
	id := s.conn.Identity()
	if id == nil {
		return errNotLoggedIn
	}
	// The null path is for receipts (RFC 8098 §3); From is checked all the same.
	if !from.IsNull() && !id.MaySend(from.Address()) {
		return errSender
	}
	s.from, s.opts = from, opts
	return s.consult(ctx, s.transaction(AtMail))
}

func (s *submissionSession) Rcpt(ctx context.Context, to smtp.Path, opts smtp.RcptOptions) error {
	a := s.agent
	switch {
	case s.conn.Identity() == nil:
		return errNotLoggedIn
	case a.isLocal(to):
		if a.Local == nil {
			return errNotConfigured
		}
		if err := a.Local.Check(ctx, to); err != nil {
			return err
		}
	case to.Domain == "":
		return errNoDomain // RFC 6409 §6.2
	case a.Queue.Spool == nil:
		return errNoQueue
	}
	t := s.transaction(AtRcpt)
	t.To = append(t.To[:len(t.To):len(t.To)], to)
	if err := s.consult(ctx, t); err != nil {
		return err
	}
	s.to = t.To
	return nil
}

func (s *submissionSession) Data(ctx context.Context, r io.Reader) (smtp.Result, error) {
	a, id := s.agent, newID(time.Now())
	identity := s.conn.Identity()
	if identity == nil {
		return smtp.Result{}, errNotLoggedIn
	}
	h, rest, err := message.ReadHeader(r, nil)
	if err != nil {
		return smtp.Result{}, err
	}
	if err := a.checkHeader(h); err != nil {
		return smtp.Result{}, err
	}
	author, err := checkAuthors(h, identity)
	if err != nil {
		return smtp.Result{}, err
	}
	head, err := a.completeHeader(h, time.Now())
	if err != nil {
		return smtp.Result{}, err
	}
	staged, err := a.stage(ctx, io.MultiReader(bytes.NewReader(head), rest))
	if err != nil {
		return smtp.Result{}, err
	}
	defer staged.Discard()
	t := s.transaction(AtData)
	t.Header, t.Message, t.Size = h, staged, staged.Size()
	if err := s.consult(ctx, t); err != nil {
		return smtp.Result{}, err
	}
	if s.discard {
		return queued(id), nil
	}
	received := smtp.Received{
		Peer: s.conn.Peer(), By: a.hostname(), With: s.conn.Protocol(), UTF8: s.opts.SMTPUTF8, ID: id, Date: time.Now(),
	}
	prefix := append(received.AppendTo(nil), s.header...)
	if a.Signer != nil {
		sig, err := a.Signer.Sign(ctx, author, io.NewSectionReader(staged, 0, staged.Size()))
		if err != nil {
			a.log().Error("signing failed", "id", id, "domain", author, "err", err)
			return smtp.Result{}, errSign
		}
		prefix = append(prefix, sig...)
	}
	m := &accepted{id: id, from: s.from, options: s.opts, to: s.to, prefix: prefix, body: staged}
	if err := a.route(ctx, m); err != nil {
		return smtp.Result{}, err
	}
	a.log().Info("submitted", "id", id, "user", identity.Login, "from", s.from, "recipients", len(s.to), "peer", s.conn.Peer())
	return queued(id), nil
}

// checkAuthors demands that every address of From, and Sender if there is
// one, belongs to the user, and returns the first author's domain.
func checkAuthors(h *message.Header, id *auth.Identity) (domain string, err error) {
	from := h.All("From")
	if len(from) != 1 {
		return "", errFromCount // RFC 5322 §3.6
	}
	domain, err = checkMailboxes(from[0], id)
	if err != nil {
		return "", err
	}
	for _, f := range h.All("Sender") {
		if _, err := checkMailboxes(f, id); err != nil {
			return "", err
		}
	}
	return domain, nil
}

func checkMailboxes(f message.Field, id *auth.Identity) (domain string, err error) {
	list, _ := message.ParseAddressList(f.Value())
	for _, addr := range list {
		if !addr.IsMailbox() {
			continue
		}
		path, err := smtp.ParseAddress(addr.Addr())
		if err != nil {
			return "", errFromCount
		}
		if !id.MaySend(path.Address()) {
			return "", errFrom
		}
		if domain == "" {
			domain = path.Domain
		}
	}
	if domain == "" {
		return "", errFromCount
	}
	return domain, nil
}

// completeHeader adds what a message must have and takes out what must not
// travel (RFC 6409 §8).
func (a *Agent) completeHeader(h *message.Header, now time.Time) ([]byte, error) {
	var add []byte
	var err error
	put := func(name, value string) {
		if err == nil && !h.Has(name) {
			add, err = message.WriteField(add, name, value)
		}
	}
	put("Date", message.FormatDate(now))
	put("Message-ID", message.NewMessageID(a.hostname()))
	if err != nil {
		return nil, err
	}
	rest := h.Without(func(f message.Field) bool {
		return f.Is("Bcc") || f.Is("Resent-Bcc") || f.Is("Return-Path") || strings.EqualFold(f.Name(), "X-Bcc")
	})
	return append(add, rest...), nil
}

func (s *submissionSession) Reset() {
	s.judgement = judgement{}
	s.from, s.opts, s.to = smtp.Path{}, smtp.MailOptions{}, nil
}

func (s *submissionSession) Close() {}
