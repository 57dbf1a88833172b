package mta

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// Inbound returns the handler for mail from the world (RFC 5321): recipients
// must be local, whoever the client is; messages are checked, marked with
// Received and Authentication-Results, and filed. A message that fails DMARC
// with a policy of quarantine or reject is filed as junk: RFC 9989 §7.4 wants
// no rejection on that ground alone.
func (a *Agent) Inbound() smtp.Handler { return inboundHandler{a, nil} }

// Relay returns the handler for mail from a network's own machines: like
// Inbound, but connections for which trusted returns true may send to
// everywhere. Decide by Peer.Remote or by a client certificate in Peer.TLS; what
// a peer says of itself, as in HELO, proves nothing. A nil trusted trusts nobody.
func (a *Agent) Relay(trusted func(auth.Peer) bool) smtp.Handler { return inboundHandler{a, trusted} }

type inboundHandler struct {
	agent   *Agent
	trusted func(auth.Peer) bool
}

func (h inboundHandler) NewSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	h.agent.setup()
	s := &inboundSession{agent: h.agent, conn: c, trusted: h.trusted}
	j := h.agent.ask(ctx, h.agent.Checks, &Transaction{Phase: AtConnect, Peer: c.Peer()})
	if j.refusal != nil {
		return nil, j.refusal
	}
	s.connected = j
	return s, nil
}

type inboundSession struct {
	agent     *Agent
	conn      *smtp.Conn
	trusted   func(auth.Peer) bool
	connected judgement // of the connection, for all its transactions
	judgement           // of this transaction so far
	from      smtp.Path
	opts      smtp.MailOptions
	to        []smtp.Path
}

func (s *inboundSession) transaction(p Phase) *Transaction {
	return &Transaction{Phase: p, Peer: s.conn.Peer(), Identity: s.conn.Identity(), From: s.from, Options: s.opts, To: s.to}
}

// consult asks the checks and keeps what they want done later.
func (s *inboundSession) consult(ctx context.Context, t *Transaction) error {
	j := s.agent.ask(ctx, s.agent.Checks, t)
	s.quarantine = s.quarantine || j.quarantine
	s.discard = s.discard || j.discard
	s.header = append(s.header, j.header...)
	return j.refusal
}

func (s *inboundSession) Mail(ctx context.Context, from smtp.Path, opts smtp.MailOptions) error {
	s.Reset()
	s.from, s.opts = from, opts
	return s.consult(ctx, s.transaction(AtMail))
}

func (s *inboundSession) Rcpt(ctx context.Context, to smtp.Path, opts smtp.RcptOptions) error {
	switch {
	case s.agent.isLocal(to) && s.agent.Local != nil:
		if err := s.agent.Local.Check(ctx, to); err != nil {
			return err
		}
	case s.agent.isLocal(to) || !s.mayRelay():
		return errRelay
	}
	t := s.transaction(AtRcpt)
	t.To = append(t.To[:len(t.To):len(t.To)], to)
	if err := s.consult(ctx, t); err != nil {
		return err
	}
	s.to = t.To
	return nil
}

// mayRelay asks anew for each recipient: a client may have proved itself by
// TLS meanwhile.
func (s *inboundSession) mayRelay() bool {
	return s.trusted != nil && s.agent.Queue.Spool != nil && s.trusted(s.conn.Peer())
}

func (s *inboundSession) Data(ctx context.Context, r io.Reader) (smtp.Result, error) {
	id := newID(time.Now())
	m, err := s.receive(ctx, id, r)
	if err != nil {
		return smtp.Result{}, err
	}
	defer m.body.Discard()
	if s.discard {
		s.agent.log().Info("discarded", "id", id, "from", s.from, "peer", s.conn.Peer())
		return queued(id), nil
	}
	if err := s.agent.route(ctx, m); err != nil {
		return smtp.Result{}, err
	}
	s.agent.log().Info("accepted", "id", id, "from", s.from, "recipients", len(s.to), "peer", s.conn.Peer(), "junk", m.junk)
	return queued(id), nil
}

// queued is the reply that names the message.
func queued(id string) smtp.Result {
	return smtp.Result{Reply: smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "OK, queued as " + id}}
}

// receive takes the message in and checks it.
func (s *inboundSession) receive(ctx context.Context, id string, r io.Reader) (*accepted, error) {
	a := s.agent
	v := a.verify(ctx, s.conn.Peer(), s.from)
	defer v.close()
	h, rest, err := message.ReadHeader(io.TeeReader(r, v), nil)
	if err != nil {
		return nil, err
	}
	if err := a.checkHeader(h); err != nil {
		return nil, err
	}
	clean := h.Without(func(f message.Field) bool {
		return f.Is("Return-Path") || f.Is(authres.FieldName) && authres.Remove(f.Raw(), a.hostname())
	})
	staged, err := a.stage(ctx, io.MultiReader(bytes.NewReader(clean), rest))
	if err != nil {
		return nil, err
	}
	m, err := s.assess(ctx, id, h, v, staged)
	if err != nil {
		_ = staged.Discard()
		return nil, err
	}
	return m, nil
}

// assess asks the checks about the whole message and writes the trace.
func (s *inboundSession) assess(ctx context.Context, id string, h *message.Header, v *verification, staged store.Staged) (*accepted, error) {
	results := v.results(ctx, h)
	t := s.transaction(AtData)
	t.Header, t.Message, t.Size, t.Results = h, staged, staged.Size(), results
	if err := s.consult(ctx, t); err != nil {
		return nil, err
	}
	junk := s.quarantine || s.connected.quarantine || results.quarantine()
	s.discard = s.discard || s.connected.discard
	received := smtp.Received{
		Peer: s.conn.Peer(), By: s.agent.hostname(), With: s.conn.Protocol(), UTF8: s.opts.SMTPUTF8, ID: id, Date: time.Now(),
	}
	if len(s.to) == 1 {
		received.For = s.to[0].Address()
	}
	prefix := received.AppendTo(nil)
	prefix = append(prefix, results.field(s.agent.hostname(), s.from, s.conn.Peer(), s.opts.SMTPUTF8)...)
	prefix = append(prefix, s.connected.header...)
	prefix = append(prefix, s.header...)
	return &accepted{id: id, from: s.from, options: s.opts, to: s.to, prefix: prefix, body: staged, junk: junk}, nil
}

// checkHeader refuses what must not be taken in.
func (a *Agent) checkHeader(h *message.Header) error {
	if h.Truncated() {
		return errHeader
	}
	hops := a.MaxHops
	if hops <= 0 {
		hops = 100
	}
	if len(h.All("Received")) >= hops {
		return errLoop
	}
	return nil
}

var errHeader = smtp.Errorf(552, smtp.EnhancedCode{5, 3, 4}, "Message header too large")

func (s *inboundSession) Reset() {
	s.judgement = judgement{}
	s.from, s.opts, s.to = smtp.Path{}, smtp.MailOptions{}, nil
}

func (s *inboundSession) Close() {}
