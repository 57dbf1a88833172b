package imap

import (
	"context"
	"errors"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// reply is the tagged end of a command (RFC 9051 §7.1).
type reply struct {
	status string // OK, NO, BAD; empty: the session ends without one
	code   string // response code without brackets; may be empty
	text   string
}

func ok(text string) reply           { return reply{"OK", "", text} }
func okCode(code, text string) reply { return reply{"OK", code, text} }
func no(code, text string) reply     { return reply{"NO", code, text} }
func bad(text string) reply          { return reply{"BAD", "", text} }

// gone ends the session; what had to be said has been said.
var gone = reply{}

// syntax is the reply to a command that could not be parsed.
func syntax(p *wire.Parser) reply { return bad(p.Err().Error()) }

// append writes the reply as a line.
func (r reply) append(b, tag []byte) []byte {
	b = append(b, tag...)
	b = append(b, ' ')
	b = append(b, r.status...)
	b = append(b, ' ')
	if r.code != "" {
		b = append(b, '[')
		b = append(b, r.code...)
		b = append(b, "] "...)
	}
	b = wire.AppendText(b, r.text)
	return append(b, "\r\n"...)
}

// failed is the one place where the store's errors become replies. What is
// wrapped is logged where it says more, and never shown.
func (s *session) failed(err error) reply {
	kinds := []struct {
		err  error
		code string // RFC 5530 unless told otherwise
		text string
		log  bool
	}{
		{store.ErrNotFound, "NONEXISTENT", "No such mailbox", false},
		{store.ErrExists, "ALREADYEXISTS", "Mailbox already exists", false},
		{store.ErrInvalidName, "CANNOT", "Invalid mailbox name", false},
		{wire.ErrMailboxName, "CANNOT", "Mailbox name is not properly encoded", false},
		{store.ErrOverQuota, "OVERQUOTA", "Over quota", false},
		{store.ErrLimit, "LIMIT", "Limit reached", false},
		{store.ErrInvalid, "CANNOT", "Not possible", false},
		{store.ErrConflict, "INUSE", "Changed by another session, try again", false},
		{store.ErrInUse, "INUSE", "In use", false},
		{store.ErrReadOnly, "NOPERM", "Not permitted", false},
		{store.ErrExpunged, "EXPUNGEISSUED", "Some messages have been expunged", false},
		{store.ErrNoSpace, "OVERQUOTA", "No space left", true},
		{store.ErrUnavailable, "UNAVAILABLE", "Temporarily unavailable", true},
		{store.ErrCorrupt, "CORRUPTION", "Data is damaged", true},
		{store.ErrHistoryGone, "CANNOT", "History no longer kept", true},
		{context.Canceled, "UNAVAILABLE", "Interrupted", false},
		{context.DeadlineExceeded, "UNAVAILABLE", "Timed out", true},
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			if k.log {
				s.srv.log.Error("store failed", "server", "imap", "peer", s.peer(), "account", s.accountName(), "err", err)
			}
			return no(k.code, k.text)
		}
	}
	s.srv.log.Error("store failed", "server", "imap", "peer", s.peer(), "account", s.accountName(), "err", err)
	return no("SERVERBUG", "Internal error")
}

// failedTo is failed for a destination: one that does not exist may be created
// (RFC 9051 §6.3.12, §6.4.7).
func (s *session) failedTo(err error) reply {
	if errors.Is(err, store.ErrNotFound) {
		return no("TRYCREATE", "No such mailbox")
	}
	return s.failed(err)
}

// refusedLogin maps the errors of authentication (RFC 5530 §3).
func refusedLogin(err error) reply {
	switch {
	case errors.Is(err, auth.ErrCredentials):
		return no("AUTHENTICATIONFAILED", "Wrong user or password")
	case errors.Is(err, auth.ErrForbidden):
		return no("AUTHORIZATIONFAILED", "Not permitted")
	case errors.Is(err, auth.ErrThrottled):
		return no("UNAVAILABLE", "Too many failures, try again later")
	case errors.Is(err, auth.ErrEncryptionRequired):
		return no("PRIVACYREQUIRED", "Encryption required")
	case errors.Is(err, auth.ErrMechanism):
		return no("CANNOT", "Mechanism not available")
	case errors.Is(err, auth.ErrMalformed):
		return bad("Malformed authentication exchange")
	case errors.Is(err, auth.ErrCanceled):
		return bad("Authentication cancelled")
	}
	return no("UNAVAILABLE", "Authentication is temporarily unavailable")
}
