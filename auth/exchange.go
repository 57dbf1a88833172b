package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posta-mail/posta/auth/sasl"
)

// Exchange is one SASL authentication in progress. It belongs to one
// connection and is not safe for concurrent use. One that is not carried on
// can simply be dropped.
type Exchange struct {
	login    *Login
	req      Request
	server   gosasl.Server
	ctx      context.Context // of the Next under way
	identity *Identity
	over     bool
	plus     bool // channel binding is offered on this connection
	// SCRAM runs over two messages: user is set and proving true between them.
	user    string
	proving bool
}

// Start begins an authentication by the mechanism named in req.Mechanism.
// It returns ErrMechanism for one that is not offered here and
// ErrEncryptionRequired for one that would be under TLS. It does not block.
func (l *Login) Start(ctx context.Context, req Request) (*Exchange, error) {
	req.Mechanism = strings.ToUpper(req.Mechanism) // RFC 4422 §3.1: registered in upper case
	if l == nil || l.Auth == nil {
		return nil, ErrMechanism
	}
	o := l.offer(req.Peer)
	m, err := l.find(req.Mechanism, o)
	if err != nil {
		return nil, err
	}
	x := &Exchange{login: l, req: req, ctx: ctx, plus: l.offersPlus(o)}
	if x.server, err = m.server(x); err != nil {
		return nil, classify(err)
	}
	return x, nil
}

// Next takes the client's message, decoded from base64, and returns the
// server's. A nil response at the first call means that the client sent no
// initial response; an empty one is an empty response. When done is true and
// err is nil the user is authenticated; challenge then holds the mechanism's
// final data (SCRAM), and is nil when there is none. A protocol that can
// carry it with success does so; the others (SMTP, RFC 4954 §4; IMAP, RFC
// 9051 §6.2.2; POP3, RFC 5034 §4) send it as one more challenge, read an
// answer that must be empty, and report success then; "*" as that answer
// cancels. Errors are the package's Err values, possibly wrapped, and a ctx
// that ends is ErrUnavailable; after an error the exchange is over. The
// governor may make the call wait.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if x.over {
		return nil, false, fmt.Errorf("%w: exchange is over", ErrMalformed)
	}
	x.ctx = ctx
	g, addr := x.login.governor(), x.req.Peer.Addr()
	final, settled := x.proving, false
	if final {
		// The client may have begun many exchanges before it failed one.
		if err := g.resume(ctx, addr, x.user); err != nil {
			x.over = true
			return nil, false, classify(err)
		}
		defer func() {
			if !settled { // the Authenticator has panicked
				x.over, x.identity = true, nil
				g.Release(addr, x.user)
			}
		}()
	}
	challenge, done, err = x.server.Next(response)
	if done && err == nil && x.identity == nil {
		err = fmt.Errorf("%w: no identity", ErrUnavailable)
	}
	err = classify(err)
	if final {
		settled = true
		g.settle(addr, x.user, "", err)
	}
	if err != nil {
		x.over, x.identity = true, nil
		return nil, false, err
	}
	x.over = done
	return challenge, done, nil
}

// Converse drives an authentication to its end for protocols that carry the
// mechanism's final data as one more challenge, as SMTP and POP3 do. Initial is
// the initial response, nil if there was none; ask sends a challenge and
// returns the client's response, which is never nil without an error. Errors
// are those of Start, Next and ask.
func (l *Login) Converse(ctx context.Context, req Request, initial []byte, ask func(challenge []byte) ([]byte, error)) (*Identity, error) {
	x, err := l.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	for response := initial; ; {
		challenge, done, err := x.Next(ctx, response)
		if err != nil {
			return nil, err
		}
		if done && challenge == nil {
			return x.Identity(), nil
		}
		if response, err = ask(challenge); err != nil {
			return nil, err
		}
		if done { // the answer to final data is empty (RFC 4954 §4)
			if len(response) > 0 {
				return nil, ErrMalformed
			}
			return x.Identity(), nil
		}
	}
}

// Identity is who has been authenticated, nil before that.
func (x *Exchange) Identity() *Identity {
	if !x.over {
		return nil
	}
	return x.identity
}

// classify turns what mechanisms and back ends return into the package's
// errors.
func classify(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{
		ErrCredentials, ErrForbidden, ErrUnavailable, ErrThrottled,
		ErrEncryptionRequired, ErrMechanism, ErrMalformed, ErrCanceled,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	switch {
	case errors.Is(err, sasl.ErrMalformed):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case errors.Is(err, sasl.ErrProof):
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
