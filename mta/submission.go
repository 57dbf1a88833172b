package mta

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/smtp"
)

// Submission returns the handler for mail from this system's users (RFC 6409).
// Without a login it accepts nothing, whatever the server's own settings. The
// envelope's sender, From and Sender must belong to the user; a From that is
// malformed, so that others might read another author in it, is refused. A
// missing Date or Message-ID is added, Bcc removed, the result signed. Messages
// to this system's domains are filed at once, others queued.
func (a *Agent) Submission() smtp.Handler { return submissionHandler{a} }

type submissionHandler struct{ agent *Agent }

func (h submissionHandler) NewSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	h.agent.setup()
	s := &submissionSession{session{agent: h.agent, conn: c, checks: h.agent.SubmissionChecks}}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

type submissionSession struct{ session }

var (
	errNotLoggedIn = smtp.Errorf(530, smtp.EnhancedCode{5, 7, 0}, "Authentication required")
	errNoDomain    = smtp.Errorf(553, smtp.EnhancedCode{5, 1, 3}, "Address needs a domain")
	errSign        = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 0}, "Message cannot be signed now")
	errUnsignable  = smtp.Errorf(554, smtp.EnhancedCode{5, 6, 0}, "Message header is malformed")
)

func (s *submissionSession) Mail(ctx context.Context, from smtp.Path, opts smtp.MailOptions) (smtp.Reply, error) {
	s.Reset()
	id := s.conn.Identity()
	if id == nil {
		return smtp.Reply{}, errNotLoggedIn
	}
	// The null path is for receipts (RFC 8098 §3); From is checked all the same.
	if !from.IsNull() && !id.MaySend(from.Address()) {
		return smtp.Reply{}, errSender
	}
	return smtp.Reply{}, s.begin(ctx, from, opts)
}

func (s *submissionSession) Rcpt(ctx context.Context, to smtp.Path, opts smtp.RcptOptions) (smtp.Reply, error) {
	a := s.agent
	switch {
	case s.conn.Identity() == nil:
		return smtp.Reply{}, errNotLoggedIn
	case a.isLocal(to):
		if a.Local == nil {
			return smtp.Reply{}, errNotConfigured
		}
		if err := a.Local.Check(ctx, to); err != nil {
			return smtp.Reply{}, err
		}
	case to.Domain == "":
		return smtp.Reply{}, errNoDomain // RFC 6409 §6.2
	case a.Queue.Spool == nil:
		return smtp.Reply{}, errNoQueue
	}
	return smtp.Reply{}, s.add(ctx, to)
}

func (s *submissionSession) Data(ctx context.Context, r io.Reader) (smtp.Result, error) {
	identity := s.conn.Identity()
	if identity == nil {
		return smtp.Result{}, errNotLoggedIn
	}
	m, err := s.receive(ctx, newID(time.Now()), r)
	if err != nil {
		return smtp.Result{}, err
	}
	defer m.body.Discard()
	res, err := s.finish(ctx, m)
	if err == nil && !m.discard {
		s.agent.log().Info("submitted", "id", m.id, "user", identity.Login, "from", m.from, "recipients", len(m.to), "peer", s.conn.Peer())
	}
	return res, err
}

// receive takes the message in, checks and signs it.
func (s *submissionSession) receive(ctx context.Context, id string, r io.Reader) (*accepted, error) {
	a := s.agent
	h, rest, release, err := a.readHeader(r, nil)
	defer release()
	if err != nil {
		return nil, err
	}
	if err := a.checkHeader(h); err != nil {
		return nil, err
	}
	author, err := checkAuthors(h, s.conn.Identity())
	if err != nil {
		return nil, err
	}
	head, err := a.complete(h, time.Now())
	if err != nil {
		return nil, err
	}
	staged, err := a.stage(ctx, io.MultiReader(bytes.NewReader(head), rest))
	if err != nil {
		return nil, err
	}
	m := s.accept(id, staged)
	err = s.examine(ctx, m, head, nil)
	if err == nil && !m.discard {
		err = a.signMessage(ctx, m, author)
	}
	if err != nil {
		_ = staged.Discard()
		return nil, err
	}
	m.prefix = append(s.received(id), m.added...)
	return m, nil
}

// signMessage puts signatures over the message and the fields that checks have
// added above those.
func (a *Agent) signMessage(ctx context.Context, m *accepted, author string) error {
	if a.Signer == nil {
		return nil
	}
	whole := io.MultiReader(bytes.NewReader(m.added), io.NewSectionReader(m.body, 0, m.body.Size()))
	fields, err := a.Signer.Sign(ctx, author, whole)
	switch {
	case err == nil && soundHeader(fields):
		m.added = append(bytes.Clone(fields), m.added...)
		return nil
	case errors.Is(err, dkim.ErrFromCount), errors.Is(err, dkim.ErrBareNewline), errors.Is(err, dkim.ErrHeaderTooLarge), errors.Is(err, dkim.ErrFolded):
		return errUnsignable
	case err == nil:
		err = errSignature
	}
	a.log().Error("signing failed", "id", m.id, "domain", author, "err", err)
	return errSign
}

// errSignature: a Signer returned something else than fields.
var errSignature = errors.New("mta: signature is no header field")
