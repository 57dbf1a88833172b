package pop3

import (
	"errors"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/store"
)

// Response codes (RFC 2449 §8, RFC 3206).
const (
	codeNone  = ""
	codeAuth  = "[AUTH] "
	codeInUse = "[IN-USE] "
	codeTemp  = "[SYS/TEMP] "
	codePerm  = "[SYS/PERM] "
)

// refusal is a negative reply.
type refusal struct{ code, text string }

// errLock: the exclusive lock was lost to another session.
var errLock = errors.New("pop3: lock of the mailbox lost")

// refusals maps errors to replies; the first that matches counts. It is the
// only place where errors of the store and of logins become replies; their
// own texts are never shown.
var refusals = []struct {
	err error
	refusal
}{
	{errBase64, refusal{codeNone, "Malformed base64"}},
	{errAuthLine, refusal{codeNone, "Authentication line too long"}},
	{errLock, refusal{codeTemp, "Lock of the mailbox lost, nothing was deleted"}},
	{auth.ErrCanceled, refusal{codeNone, "Authentication cancelled"}},
	{auth.ErrMalformed, refusal{codeNone, "Malformed authentication message"}},
	{auth.ErrMechanism, refusal{codeNone, "Mechanism not offered"}},
	{auth.ErrEncryptionRequired, refusal{codeNone, "Encryption required, say STLS first"}},
	{auth.ErrThrottled, refusal{codeTemp, "Too many failures, try again later"}},
	{auth.ErrCredentials, refusal{codeAuth, "Wrong user or password"}},
	{auth.ErrForbidden, refusal{codeAuth, "Wrong user or password"}},
	{auth.ErrUnavailable, refusal{codeTemp, "Temporary authentication failure"}},
	{store.ErrInUse, refusal{codeInUse, "Mailbox is in use by another session"}}, // RFC 2449 §8.1.2
	{store.ErrNotFound, refusal{codePerm, "There is no mailbox for this user"}},
	{store.ErrInvalidName, refusal{codePerm, "There is no mailbox for this user"}},
	{store.ErrReadOnly, refusal{codePerm, "Not permitted"}},
	{store.ErrCorrupt, refusal{codePerm, "Data is damaged"}},
	{store.ErrExpunged, refusal{codeNone, "No such message, it was deleted by another program"}},
}

// refusalOf is the reply for an error.
func refusalOf(err error) refusal {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.refusal
		}
	}
	return refusal{codeTemp, "Temporarily unavailable, try again later"}
}
