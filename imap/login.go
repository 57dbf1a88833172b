package imap

import (
	"encoding/base64"
	"errors"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// loginCommand is LOGIN (RFC 9051 §6.2.3).
func (s *session) loginCommand(p *wire.Parser) reply {
	c := p.Login()
	if p.End() != nil {
		return syntax(p)
	}
	if !wire.ASCII(c.User) || !wire.ASCII(c.Password) {
		return bad("LOGIN is for ASCII only") // RFC 9755 §5: AUTHENTICATE carries UTF-8
	}
	if !s.canLogin() {
		return s.loginFailed(auth.ErrUnavailable)
	}
	id, err := s.srv.login.Password(s.ctx, auth.Request{Peer: s.peer(), Service: auth.IMAP}, c.User, c.Password)
	if err != nil {
		return s.loginFailed(err)
	}
	return s.loggedIn(id)
}

// authenticate is AUTHENTICATE (RFC 9051 §6.2.2), with an initial response
// (RFC 4959).
func (s *session) authenticate(p *wire.Parser) reply {
	c := p.Authenticate()
	if p.End() != nil {
		return syntax(p)
	}
	if !s.canLogin() {
		return s.loginFailed(auth.ErrMechanism)
	}
	x, err := s.srv.login.Start(s.ctx, auth.Request{Peer: s.peer(), Service: auth.IMAP, Mechanism: c.Mechanism})
	if err != nil {
		return s.loginFailed(err)
	}
	var response []byte
	if c.HasInitial {
		response = []byte{}
		if c.Initial != "=" { // RFC 4959 §3: an empty one
			if response, err = decode64(c.Initial); err != nil {
				return s.loginFailed(err)
			}
		}
	}
	for {
		challenge, done, err := x.Next(s.ctx, response)
		if err != nil {
			return s.loginFailed(err)
		}
		if done && challenge == nil {
			return s.loggedIn(x.Identity())
		}
		if response, err = s.challenge(challenge); err != nil {
			return s.loginFailed(err)
		}
		if s.state == stateLogout {
			return gone
		}
		if done {
			if len(response) > 0 {
				return s.loginFailed(auth.ErrMalformed)
			}
			return s.loggedIn(x.Identity())
		}
	}
}

// challenge sends a challenge and reads the response. A connection that is lost
// ends the session and is no error.
func (s *session) challenge(data []byte) ([]byte, error) {
	s.out.put("+ ")
	s.out.b = base64.StdEncoding.AppendEncode(s.out.b, data)
	s.out.put("\r\n")
	_ = s.conn.Idle(s.patience())
	line, err := s.in.ReadLine(guestCommand)
	s.pace()
	if err != nil {
		s.readFailed(err)
		return nil, nil
	}
	if string(line) == "*" {
		return nil, auth.ErrCanceled
	}
	return decode64(string(line))
}

// decode64 never returns nil without error: nil means no response at all.
func decode64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, auth.ErrMalformed
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// loginFailed answers and counts an attempt that failed.
func (s *session) loginFailed(err error) reply {
	if errors.Is(err, auth.ErrCredentials) || errors.Is(err, auth.ErrForbidden) || errors.Is(err, auth.ErrThrottled) {
		s.failures++
	}
	s.srv.log.Info("login failed", "server", "imap", "peer", s.peer(), "err", err)
	s.traceLogin(nil, err)
	return refusedLogin(err)
}

func (s *session) traceLogin(id *auth.Identity, err error) {
	if t := s.srv.Trace; t != nil && t.Login != nil {
		t.Login(s.peer(), id, err)
	}
}

// loggedIn opens the account of a user who has been proved.
func (s *session) loggedIn(id *auth.Identity) reply {
	acc, err := s.srv.Store.Account(s.ctx, id.Account, id.Account)
	if err != nil {
		s.srv.log.Warn("account of user cannot be opened", "server", "imap", "peer", s.peer(), "account", id.Account, "err", err)
		s.traceLogin(nil, err)
		if errors.Is(err, store.ErrNotFound) {
			return no("CONTACTADMIN", "There is no mailbox for this user")
		}
		return s.failed(err)
	}
	if !s.srv.sharing.enter(acc.Name(), s.srv.lim.perAccount) {
		return no("LIMIT", "Too many connections of this user")
	}
	s.acc, s.id = acc, id
	s.guard = store.Guard{Store: s.srv.Store, Actor: id.Account, Groups: id.Groups}
	s.conn.SetIdentity(id)
	s.enter(stateUser, nil)
	s.srv.log.Info("logged in", "server", "imap", "peer", s.peer(), "account", id.Account)
	s.traceLogin(id, nil)
	return okCode("CAPABILITY "+string(s.appendCapabilities(nil)), "Logged in")
}

// startTLS is STARTTLS (RFC 9051 §6.2.1).
func (s *session) startTLS(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	if s.peer().Secure() {
		return bad("Already encrypted")
	}
	if s.srv.tls == nil {
		return bad("TLS is not available")
	}
	s.out.begin()
	s.out.b = ok("Begin TLS negotiation now").append(s.out.b, s.tag)
	if s.out.flush() != nil {
		return gone
	}
	if err := s.conn.StartTLS(s.ctx, s.srv.tls); err != nil {
		s.srv.log.Info("TLS handshake failed", "server", "imap", "peer", s.peer(), "err", err)
		s.enter(stateLogout, nil)
		return gone
	}
	// RFC 9051 §6.2.1: what was sent ahead of the handshake is forgotten.
	s.in.Reset(source{s})
	return gone
}
