package mta

import (
	"context"
	"time"

	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// session is what Inbound and Submission have in common: a connection, the
// transaction so far, and what the checks have said of both.
type session struct {
	agent     *Agent
	conn      *smtp.Conn
	checks    []Check
	connected judgement // of the connection, for all its transactions
	judgement           // of this transaction so far
	from      smtp.Path
	opts      smtp.MailOptions
	to        []smtp.Path
	named     map[smtp.Path]bool // what is in to
}

// connect asks the checks about the connection.
func (s *session) connect(ctx context.Context) error {
	s.connected = s.agent.ask(ctx, s.checks, &Transaction{Phase: AtConnect, Peer: s.conn.Peer()})
	return s.connected.refusal
}

func (s *session) transaction(p Phase) *Transaction {
	return &Transaction{Phase: p, Peer: s.conn.Peer(), Identity: s.conn.Identity(), From: s.from, Options: s.opts, To: s.to}
}

// consult asks the checks and keeps what they want done later. A refusal
// leaves no trace: the recipient or sender it is about does not count. Once a
// message is to be dropped nobody is asked any more.
func (s *session) consult(ctx context.Context, t *Transaction) error {
	if s.discard || s.connected.discard {
		return nil
	}
	j := s.agent.ask(ctx, s.checks, t)
	if j.refusal != nil {
		return j.refusal
	}
	s.quarantine = s.quarantine || j.quarantine
	s.discard = j.discard
	s.header = append(s.header, j.header...)
	return nil
}

// begin is MAIL.
func (s *session) begin(ctx context.Context, from smtp.Path, opts smtp.MailOptions) error {
	// RFC 4954 §5: what a client says in AUTH= is not passed on in this
	// system's name.
	opts.Auth = nil
	s.from, s.opts = from, opts
	return s.consult(ctx, s.transaction(AtMail))
}

// add is RCPT for a recipient that may be taken. One that is named twice gets
// the message once.
func (s *session) add(ctx context.Context, to smtp.Path) error {
	if s.named[to] {
		return nil
	}
	s.to = append(s.to, to)
	if err := s.consult(ctx, s.transaction(AtRcpt)); err != nil {
		s.to = s.to[:len(s.to)-1]
		return err
	}
	if s.named == nil {
		s.named = map[smtp.Path]bool{}
	}
	s.named[to] = true
	return nil
}

// examine asks the checks about the whole message.
func (s *session) examine(ctx context.Context, m *accepted, head []byte, results *verify.Results) error {
	t := s.transaction(AtData)
	t.Header, t.Message, t.Size, t.Results = message.ParseHeader(head), m.body, m.body.Size(), results
	if err := s.consult(ctx, t); err != nil {
		return err
	}
	m.junk = m.junk || s.quarantine || s.connected.quarantine
	m.discard = s.discard || s.connected.discard
	m.added = append(append(m.added, s.connected.header...), s.header...)
	return nil
}

// accept begins to be responsible for a staged body.
func (s *session) accept(id string, body store.Staged) *accepted {
	return &accepted{id: id, from: s.from, options: s.opts, to: s.to, body: body}
}

// received is the trace field (RFC 5321 §4.4).
func (s *session) received(id string) []byte {
	r := smtp.Received{
		Peer: s.conn.Peer(), By: s.agent.hostname(), With: s.conn.Protocol(), UTF8: s.opts.SMTPUTF8, ID: id, Date: time.Now(),
	}
	if len(s.to) == 1 {
		r.For = s.to[0].Address()
	}
	return r.AppendTo(nil)
}

// finish gives an accepted message to the router and answers the client.
func (s *session) finish(ctx context.Context, m *accepted) (smtp.Result, error) {
	a := s.agent
	done := smtp.Result{Reply: smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "OK, queued as " + m.id}}
	if m.discard {
		a.log().Info("discarded", "id", m.id, "from", m.from, "peer", s.conn.Peer())
		return done, nil
	}
	if err := a.route(ctx, m); err != nil {
		return smtp.Result{}, err
	}
	env := &smtp.Envelope{Peer: s.conn.Peer(), Identity: s.conn.Identity(), From: m.from, MailOptions: m.options, To: smtp.To(m.to...)}
	a.traceAccepted(ctx, m, env)
	return done, nil
}

// Reset implements smtp.Session.
func (s *session) Reset() {
	s.judgement = judgement{}
	s.from, s.opts, s.to, s.named = smtp.Path{}, smtp.MailOptions{}, nil, nil
}

// Close implements smtp.Session.
func (s *session) Close() {}
