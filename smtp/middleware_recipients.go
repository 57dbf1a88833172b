package smtp

import (
	"context"
	"fmt"
)

// CheckRecipients asks about every recipient before the inner Session does. If
// exists says false the reply is 550 5.1.1, which counts against the Server's
// MaxUnknownRecipients; on error it is the reply of an *Error, else 451 4.3.0
// (what went wrong is logged). exists is asked about <Postmaster> too, which has
// no domain and must be accepted (RFC 5321 §4.5.1). It must be safe for
// concurrent use.
func CheckRecipients(exists func(ctx context.Context, to Path) (bool, error)) Middleware {
	return wrapSessions(func(inner Session, _ *Conn) Session {
		return &recipientChecker{Wrapper{inner}, exists}
	})
}

type recipientChecker struct {
	Wrapper
	exists func(context.Context, Path) (bool, error)
}

func (s *recipientChecker) Rcpt(ctx context.Context, to Path, opts RcptOptions) (Reply, error) {
	ok, err := s.exists(ctx, to)
	switch {
	case err != nil:
		return Reply{}, fmt.Errorf("checking recipient: %w", err)
	case !ok:
		return Reply{}, Errorf(550, EnhancedCode{5, 1, 1}, "No such user here")
	}
	return s.Wrapper.Rcpt(ctx, to, opts)
}
