package mda

import (
	"context"
	"io"
	"time"

	"github.com/posta-mail/posta/smtp"
)

// LMTP returns a handler for an smtp.Server in LMTP mode: each recipient is
// looked up when it is named, and gets a result of its own (RFC 2033 §4.2).
// Whoever reaches the server may deliver; keep it off public addresses.
func (a *Agent) LMTP() smtp.Handler { return lmtpHandler{a} }

type lmtpHandler struct{ agent *Agent }

func (h lmtpHandler) NewSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	return &lmtpSession{agent: h.agent, conn: c}, nil
}

type lmtpSession struct {
	agent *Agent
	conn  *smtp.Conn
	from  smtp.Path
	opts  smtp.MailOptions
	to    []smtp.Path
}

func (s *lmtpSession) Mail(ctx context.Context, from smtp.Path, opts smtp.MailOptions) (smtp.Reply, error) {
	s.from, s.opts = from, opts
	return smtp.Reply{}, nil
}

func (s *lmtpSession) Rcpt(ctx context.Context, to smtp.Path, opts smtp.RcptOptions) (smtp.Reply, error) {
	if err := s.agent.Check(ctx, to); err != nil {
		return smtp.Reply{}, err
	}
	s.to = append(s.to, to)
	return smtp.Reply{}, nil
}

func (s *lmtpSession) Data(ctx context.Context, r io.Reader) (smtp.Result, error) {
	staged, err := s.agent.Stage(ctx, r)
	if err != nil {
		s.agent.log().Warn("message could not be taken in", "peer", s.conn.Peer(), "err", err)
		return smtp.Result{}, reply(err)
	}
	defer staged.Discard()
	received := smtp.Received{
		Peer: s.conn.Peer(), By: s.agent.hostname(), With: s.conn.Protocol(), UTF8: s.opts.SMTPUTF8, Date: time.Now(),
	}
	d := &Delivery{From: s.from, Prefix: received.AppendTo(nil), Body: staged}
	return smtp.Result{Recipients: s.agent.Deliver(ctx, d, s.to)}, nil
}

func (s *lmtpSession) Reset() { s.from, s.opts, s.to = smtp.Path{}, smtp.MailOptions{}, nil }
func (s *lmtpSession) Close() {}

func (a *Agent) hostname() string {
	if a.Hostname == "" {
		return "localhost"
	}
	return a.Hostname
}
