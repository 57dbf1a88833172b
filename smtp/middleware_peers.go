package smtp

import (
	"context"

	"github.com/posta-mail/posta/auth"
)

// CheckPeers asks about every connection before it is greeted. An error sends
// the client away: an *Error of 421, 521 or 554 takes the greeting's place as it
// is, other codes become 421 or 554 by their class, and an error that is none is
// logged and answered 421 4.3.0. check gets the connection as it is before EHLO:
// with its addresses, with TLS if that is implicit. It must be safe for
// concurrent use; ctx ends with the connection, but no sooner, so that a check
// that asks others should bound its time itself.
func CheckPeers(check func(ctx context.Context, p auth.Peer) error) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx context.Context, c *Conn) (Session, error) {
			if err := check(ctx, c.Peer()); err != nil {
				return nil, err
			}
			return next.NewSession(ctx, c)
		})
	}
}
