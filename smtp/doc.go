// Package smtp is a server and a client for SMTP (RFC 5321), message
// submission (RFC 6409) and LMTP (RFC 2033).
//
// A [Server] talks to clients and calls a [Handler] for the decisions: who
// may send what to whom, and what becomes of a message. It knows neither
// queue nor mailbox. A [Client] makes transactions with another server. The
// wire is strict in both: only CRLF ends a line, and only CRLF.CRLF a message.
//
// The Server offers PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING,
// ENHANCEDSTATUSCODES, STARTTLS and AUTH; a Session that is an [Extender] adds
// to them. [Receive] makes a Handler of a function.
package smtp
