package mta

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/smtp"
)

// Inbound returns the handler for mail from the world (RFC 5321): recipients
// must be local, whoever the client is; messages are checked, marked with
// Received and Authentication-Results, and filed.
//
// A message that fails DMARC with a policy of quarantine or reject is filed as
// junk: RFC 9989 §7.4 wants no rejection on that ground alone. So is one whose
// From names several domains or an impossible one, for which DMARC has no
// answer (§5.3.1). Agent.Verify.Policy goes further, and a Check that wants more
// refuses by Transaction.Results.
func (a *Agent) Inbound() smtp.Handler { return inboundHandler{a, nil} }

// Relay returns the handler for mail from a network's own machines: like
// Inbound, but connections for which trusted returns true may send to
// everywhere, and their mail is not junk for failing DMARC. Decide by
// Peer.Remote or by a client certificate in Peer.TLS; what a peer says of itself,
// as in HELO, proves nothing. A nil trusted trusts nobody.
func (a *Agent) Relay(trusted func(auth.Peer) bool) smtp.Handler { return inboundHandler{a, trusted} }

type inboundHandler struct {
	agent   *Agent
	trusted func(auth.Peer) bool
}

func (h inboundHandler) NewSession(ctx context.Context, c *smtp.Conn) (smtp.Session, error) {
	h.agent.setup()
	s := &inboundSession{session{agent: h.agent, conn: c, checks: h.agent.Checks}, h.trusted}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

type inboundSession struct {
	session
	trusted func(auth.Peer) bool
}

func (s *inboundSession) Mail(ctx context.Context, from smtp.Path, opts smtp.MailOptions) (smtp.Reply, error) {
	s.Reset()
	return smtp.Reply{}, s.begin(ctx, from, opts)
}

func (s *inboundSession) Rcpt(ctx context.Context, to smtp.Path, opts smtp.RcptOptions) (smtp.Reply, error) {
	a := s.agent
	switch {
	case !a.isLocal(to):
		if !s.mayRelay() {
			return smtp.Reply{}, errRelay
		}
		if a.Queue.Spool == nil {
			return smtp.Reply{}, errNoQueue
		}
	case a.Local == nil && to.Domain == "":
		return smtp.Reply{}, errRelay // a mere relay has no postmaster
	case a.Local == nil:
		return smtp.Reply{}, errNotConfigured
	default:
		if err := a.Local.Check(ctx, to); err != nil {
			return smtp.Reply{}, err
		}
	}
	return smtp.Reply{}, s.add(ctx, to)
}

// mayRelay asks anew each time: a client may have proved itself by TLS
// meanwhile.
func (s *inboundSession) mayRelay() bool { return s.trusted != nil && s.trusted(s.conn.Peer()) }

func (s *inboundSession) Data(ctx context.Context, r io.Reader) (smtp.Result, error) {
	m, err := s.receive(ctx, newID(time.Now()), r)
	if err != nil {
		return smtp.Result{}, err
	}
	defer m.body.Discard()
	res, err := s.finish(ctx, m)
	if err == nil && !m.discard {
		s.agent.log().Info("accepted", "id", m.id, "from", m.from, "recipients", len(m.to), "peer", s.conn.Peer(), "junk", m.junk)
	}
	return res, err
}

// receive takes the message in and checks it.
func (s *inboundSession) receive(ctx context.Context, id string, r io.Reader) (*accepted, error) {
	a := s.agent
	v := a.verify(ctx, s.conn.Peer(), s.from, s.opts.SMTPUTF8)
	defer v.close()
	h, rest, release, err := a.readHeader(r, v)
	defer release()
	if err != nil {
		return nil, err
	}
	if err := a.checkHeader(h); err != nil {
		return nil, err
	}
	head := a.without(h, nil)
	staged, err := a.stage(ctx, io.MultiReader(bytes.NewReader(head), rest))
	if err != nil {
		return nil, err
	}
	m := s.accept(id, staged)
	results := v.results(ctx)
	m.added = a.authResults(results)
	if results != nil && !s.mayRelay() {
		d := results.Recommend()
		m.junk, err = dispose(d)
		a.count(results, d, s.to[0], h)
	}
	if err == nil {
		err = s.examine(ctx, m, head, results)
	}
	if err != nil {
		_ = staged.Discard()
		return nil, err
	}
	m.prefix = append(s.received(id), m.added...)
	return m, nil
}
