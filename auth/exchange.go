package auth

import (
	"context"
)

// Exchange is one SASL authentication in progress. It belongs to one
// connection and is not safe for concurrent use.
type Exchange struct {
	identity *Identity
}

// Start begins an authentication by the mechanism named in req.Mechanism.
// It returns ErrMechanism for one that is not offered here and
// ErrEncryptionRequired for one that would be under TLS.
func (l *Login) Start(ctx context.Context, req Request) (*Exchange, error) {
	return nil, ErrMechanism
}

// Next takes the client's message, decoded from base64, and returns the
// server's. A nil response at the first call means that the client sent no
// initial response; an empty one is an empty response. When done is true and
// err is nil the user is authenticated; challenge then holds the mechanism's
// final data (SCRAM), for protocols that can carry it with success, and nil
// when there is none. Errors are the package's Err values, possibly wrapped;
// after an error the exchange is over. The governor may make the call wait.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	return nil, false, ErrMalformed
}

// Identity is who has been authenticated, nil before that.
func (x *Exchange) Identity() *Identity { return x.identity }
