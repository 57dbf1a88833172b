package smtp

import (
	"context"
	"io"
	"time"

	"github.com/posta-mail/posta/auth"
)

// Handler decides what a Server does with its connections. Safe for
// concurrent use.
type Handler interface {
	// NewSession is called once for every connection, before the greeting.
	// An *Error refuses it: its reply (421, 521 or 554) takes the greeting's
	// place. ctx ends with the connection, as a Session says.
	NewSession(ctx context.Context, c *Conn) (Session, error)
}

// Session is one client's connection as the Handler sees it. Its methods are
// called one after the other, never at the same time. An error that is an
// *Error (or wraps one) is the reply; any other is logged and answered 451
// 4.3.0 without its text.
//
// ctx ends when the connection does, and also within about two seconds when the
// client goes away during a call: it has then no use for the reply, and will
// send a message again whose reply it has not seen. To close only its own
// direction is to go, as with net/http. A client that vanishes without closing
// is found by TCP's keepalive, after minutes. All that holds on Unix systems
// (Linux apart, only once what the client has sent is read) and for TCP, Unix
// sockets, and TLS over them; elsewhere, and for a net.Conn that hides its
// socket, the Server learns it from its next read. Once a client is gone, the
// rest of what it has sent is not looked at.
//
// The Server keeps the order of commands, the syntax and its own limits; a
// Session sees only what has passed them. What it can do beyond the core it
// says by being an [Extender].
type Session interface {
	// Mail begins a transaction. With a nil error the Reply is the answer; its
	// zero value is 250 2.1.0.
	Mail(ctx context.Context, from Path, opts MailOptions) (Reply, error)
	// Rcpt adds a recipient; it is one of the transaction's if the error is nil.
	// The zero Reply is 250 2.1.5; 251 says that the address is another's.
	Rcpt(ctx context.Context, to Path, opts RcptOptions) (Reply, error)
	// Data receives the message and takes durable responsibility for it when it
	// returns without error (RFC 5321 §6.1). The Result says so for all
	// recipients or each, with the text of the reply, such as an id.
	//
	// r has the octets of the message, no more and no fewer: lines end with
	// CRLF, stuffed dots and the final one are gone; by BDAT they are as sent,
	// with a CRLF added if the last line has none. At io.EOF, and not before, all
	// has come and is in order, so that what was read until then counts what
	// the message has. An error of r is to be returned, wrapped or not: the
	// message is incomplete, and the Server knows the reply, which it gives
	// whatever Data returns. What is not read is discarded. r fails once Data has
	// returned, and may be read by one goroutine at a time.
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
	// Reply is the answer to the message, for example with the queue's id as its
	// text; the zero value, and one that is no success, is 250 2.0.0 OK.
	Reply Reply
	// Recipients, in LMTP, has one entry for each accepted recipient in
	// order: nil is success, with Reply as the answer (RFC 2033 §4.2). Empty: all
	// succeeded; too short: those without an entry get 451 4.3.0. In SMTP it is
	// ignored: there a message is accepted for all or for none.
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

// MailOptions are the parameters of MAIL. The zero value has none. Those that
// need an [Extension] arrive only where the Session has it, and are sent by a
// Client only where the server offers it. In JSON, fields that are zero are left
// out.
type MailOptions struct {
	Size     int64    `json:",omitzero"` // SIZE (RFC 1870), 0 if not declared
	Body     BodyType `json:",omitzero"` // BODY (RFC 6152, RFC 3030)
	SMTPUTF8 bool     `json:",omitzero"` // RFC 6531
	// Auth is the AUTH parameter (RFC 4954 §5): nil if absent, pointing to
	// "" for AUTH=<>. To be trusted only from authenticated peers.
	Auth *string `json:",omitzero"`
	// Return is RET: what of the message a report of failure shall contain
	// (RFC 3461 §4.3); empty if not given.
	Return Return `json:",omitzero"`
	// EnvelopeID is ENVID, decoded (RFC 3461 §4.4): up to 100 printable
	// characters; empty if not given.
	EnvelopeID string `json:",omitzero"`
	// RequireTLS is REQUIRETLS (RFC 8689): only over verified TLS, to the end.
	RequireTLS bool `json:",omitzero"`
	// HoldUntil is when the message may be released, from HOLDFOR or HOLDUNTIL
	// (RFC 4865); zero: at once.
	HoldUntil time.Time `json:",omitzero"`
	// DeliverBy is BY (RFC 2852); its zero value if not given.
	DeliverBy DeliverBy `json:",omitzero"`
	// Priority is MT-PRIORITY (RFC 6710), -9 to 9; 0 is also what a message
	// without it has.
	Priority int `json:",omitzero"`
	// Params are the values of parameters that the Session's own Extensions
	// have added, by name in upper case; "" for one without value.
	Params map[string]string `json:",omitzero"`
}

// RcptOptions are the parameters of RCPT. The zero value has none.
type RcptOptions struct {
	// Notify is NOTIFY (RFC 3461 §4.1); 0 if not given, which is for failures
	// and perhaps delays.
	Notify Notify
	// Original is ORCPT, decoded (RFC 3461 §4.2).
	Original OriginalRecipient
	// ValidSince is RRVS (RFC 7293).
	ValidSince ValidSince
	// Params are as in MailOptions.
	Params map[string]string
}

// Recipient is a recipient with its parameters.
type Recipient struct {
	Path
	RcptOptions
}

// To makes recipients without parameters.
func To(paths ...Path) []Recipient {
	list := make([]Recipient, len(paths))
	for i, p := range paths {
		list[i].Path = p
	}
	return list
}

// Return is the value of RET.
type Return string

// What a report of failure contains; empty: as the reporting system likes.
const (
	ReturnFull    Return = "FULL"
	ReturnHeaders Return = "HDRS"
)

// Notify is a set of occasions for a report to the sender, the value of NOTIFY.
type Notify uint8

// Occasions. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// OriginalRecipient is the value of ORCPT. The zero value means that it was
// not given.
type OriginalRecipient struct {
	Type    string // of address, such as "rfc822" or "utf-8" (RFC 6533 §3)
	Address string
}

// DeliverBy is the value of BY: when a message is to be delivered at the latest.
// The zero value means that there is no such time.
type DeliverBy struct {
	Deadline time.Time
	// Return gives the message back after Deadline; otherwise its delay is
	// reported and it is tried further (RFC 2852 §4).
	Return bool
	Trace  bool // report each system it passes to that does not have BY
}

// ValidSince is the value of RRVS: the mailbox must have been the same
// person's since Time. The zero value means that it was not given.
type ValidSince struct {
	Time time.Time
	// Continue allows a next system that does not know RRVS (RFC 7293 §3.1).
	Continue bool
}

// BodyType is the value of BODY.
type BodyType string

// Body types; the empty string means that BODY was not given.
const (
	Body7Bit     BodyType = "7BIT"
	Body8BitMIME BodyType = "8BITMIME"
	BodyBinary   BodyType = "BINARYMIME" // by BDAT only (RFC 3030 §3)
)

// Envelope is a message's sender and recipients.
type Envelope struct {
	Peer     auth.Peer
	Identity *auth.Identity // nil if not logged in
	From     Path
	MailOptions
	To []Recipient
}
