package smtp

import (
	"context"
	"io"

	"github.com/posta-mail/posta/auth"
)

// Handler decides what a Server does with its connections. Safe for
// concurrent use.
type Handler interface {
	// NewSession is called once for every connection, before the greeting.
	// An *Error refuses it: its reply (421, 521 or 554) takes the greeting's
	// place. ctx ends with the connection.
	NewSession(ctx context.Context, c *Conn) (Session, error)
}

// Session is one client's connection as the Handler sees it. Its methods are
// called one after the other, never at the same time; ctx ends when the
// connection does. An error that is an *Error (or wraps one) is the reply; any
// other is logged and answered 451 4.3.0 without its text.
//
// The Server keeps the order of commands, the syntax and its own limits; a
// Session sees only what has passed them.
type Session interface {
	// Mail begins a transaction.
	Mail(ctx context.Context, from Path, opts MailOptions) error
	// Rcpt adds a recipient; it is one of the transaction's if nil is returned.
	Rcpt(ctx context.Context, to Path, opts RcptOptions) error
	// Data receives the message, CRLF line ends and dots unstuffed, and
	// takes durable responsibility for it when it returns without error
	// (RFC 5321 §6.1). The result says so for all recipients or each.
	// An error of r is to be returned, wrapped or not: the message is
	// incomplete, and the Server knows the reply. What is not read is discarded.
	Data(ctx context.Context, r io.Reader) (Result, error)
	// Reset ends the transaction, whatever ended it: RSET, EHLO, STARTTLS,
	// the reply to the message, the connection's end. It may be called
	// without one.
	Reset()
	// Close is the last call.
	Close()
}

// Result is what became of a message.
type Result struct {
	// Reply is the answer to the message; the zero value is 250 2.0.0 OK.
	Reply Reply
	// Recipients, in LMTP, has one entry for each accepted recipient in
	// order: nil is success (RFC 2033 §4.2). Empty: all succeeded. In SMTP
	// it is ignored: there a message is accepted for all or for none.
	Recipients []error
}

// Path is a reverse-path or forward-path (RFC 5321 §4.1.2).
type Path struct {
	// Local is the local-part with quoting undone; case is kept.
	Local string
	// Domain is lower case, an A-label if it was internationalised; an
	// address literal keeps its brackets. Empty for the null path and for
	// the bare <Postmaster>.
	Domain string
}

// IsNull reports whether the path is <>.
func (p Path) IsNull() bool { return p == Path{} }

// MailOptions are the parameters of MAIL.
type MailOptions struct {
	Size     int64    // SIZE (RFC 1870), 0 if not declared
	Body     BodyType // BODY (RFC 6152)
	SMTPUTF8 bool     // RFC 6531
	// Auth is the AUTH parameter (RFC 4954 §5): nil if absent, pointing to
	// "" for AUTH=<>. To be trusted only from authenticated peers.
	Auth *string
}

// RcptOptions are the parameters of RCPT. There are none yet.
type RcptOptions struct{}

// BodyType is the value of BODY.
type BodyType string

// Body types; the empty string means that BODY was not given.
const (
	Body7Bit     BodyType = "7BIT"
	Body8BitMIME BodyType = "8BITMIME"
)

// Envelope is a message's sender and recipients.
type Envelope struct {
	Peer     auth.Peer
	Identity *auth.Identity // nil if not logged in
	From     Path
	MailOptions
	To []Path
}
