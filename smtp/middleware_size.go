package smtp

import (
	"context"
	"io"

	"github.com/posta-mail/posta/auth"
)

// LimitSize bounds messages by who sends them. limit is how many octets a
// message may have, as Session.Data reads them; zero and less mean no bound but
// the Server's MaxMessageBytes, which holds in any case and is what SIZE
// advertises.
// id is nil for who has not logged in. More is 552 5.3.4: at MAIL if the client
// declares it (RFC 1870 §6.1), otherwise when it has come. The inner Session then
// reads that error, and cannot accept the message. limit is asked at MAIL and
// must be safe for concurrent use.
func LimitSize(limit func(id *auth.Identity) int64) Middleware {
	return wrapSessions(func(inner Session, c *Conn) Session {
		return &sizeLimiter{Wrapper: Wrapper{inner}, conn: c, limit: limit}
	})
}

type sizeLimiter struct {
	Wrapper
	conn  *Conn
	limit func(*auth.Identity) int64
	max   int64 // of this transaction
}

func (s *sizeLimiter) Mail(ctx context.Context, from Path, opts MailOptions) (Reply, error) {
	s.max = s.limit(s.conn.Identity())
	if s.max > 0 && opts.Size > s.max {
		return Reply{}, tooBig()
	}
	return s.Wrapper.Mail(ctx, from, opts)
}

func (s *sizeLimiter) Data(ctx context.Context, r io.Reader) (Result, error) {
	if s.max <= 0 {
		return s.Wrapper.Data(ctx, r)
	}
	m := &meter{r: r, limit: s.max, tooBig: tooBig()}
	res, err := s.Wrapper.Data(ctx, m)
	if _, failed := m.finish(err); failed != nil && (err == nil || failed == m.tooBig) {
		return Result{}, failed
	}
	return res, err
}

func tooBig() *Error { return Errorf(552, EnhancedCode{5, 3, 4}, "Message too big for you") }
