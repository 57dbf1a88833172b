package smtp

import (
	"context"
	"io"
	"strings"
)

// Receive returns a Handler that passes each message, with its envelope, to
// fn. It takes recipients for whom accept returns true and answers the others
// 550 5.7.1; a nil accept takes none, so that nobody becomes an open relay by
// leaving it out. fn follows the rules of Session.Data: it takes durable
// responsibility when it returns nil. Both must be safe for concurrent use. env
// and its recipients belong to fn.
func Receive(accept func(to Path) bool, fn func(ctx context.Context, env *Envelope, r io.Reader) error) Handler {
	return &receiver{accept, fn}
}

// ForDomains is a recipient policy for Receive: every address in one of the
// domains (A-labels, in any case), and <Postmaster>.
func ForDomains(domains ...string) func(to Path) bool {
	set := make(map[string]bool, len(domains))
	for _, d := range domains {
		set[strings.ToLower(d)] = true
	}
	return func(to Path) bool { return to.Domain == "" || set[to.Domain] }
}

type receiver struct {
	accept func(Path) bool
	fn     func(context.Context, *Envelope, io.Reader) error
}

func (h *receiver) NewSession(_ context.Context, c *Conn) (Session, error) {
	return &receiverSession{receiver: h, conn: c}, nil
}

type receiverSession struct {
	*receiver
	conn *Conn
	env  *Envelope
}

func (s *receiverSession) Mail(_ context.Context, from Path, opts MailOptions) (Reply, error) {
	s.env = &Envelope{Peer: s.conn.Peer(), Identity: s.conn.Identity(), From: from, MailOptions: opts}
	return Reply{}, nil
}

func (s *receiverSession) Rcpt(_ context.Context, to Path, opts RcptOptions) (Reply, error) {
	if s.accept == nil || !s.accept(to) {
		return Reply{}, Errorf(550, EnhancedCode{5, 7, 1}, "Not accepted here")
	}
	s.env.To = append(s.env.To, Recipient{to, opts})
	return Reply{}, nil
}

func (s *receiverSession) Data(ctx context.Context, r io.Reader) (Result, error) {
	return Result{}, s.fn(ctx, s.env, r)
}

func (s *receiverSession) Reset() { s.env = nil }
func (s *receiverSession) Close() {}
