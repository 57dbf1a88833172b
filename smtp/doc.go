// Package smtp is a server and a client for SMTP (RFC 5321), message
// submission (RFC 6409) and LMTP (RFC 2033).
//
// Three lines receive mail for a domain:
//
//	h := smtp.Receive(smtp.ForDomains("example.org"), func(ctx context.Context, env *smtp.Envelope, r io.Reader) error { … })
//	srv := &smtp.Server{Addr: ":25", Hostname: "mx.example.org", Handler: h}
//	err := srv.ListenAndServe()
//
// and one sends it:
//
//	res, err := smtp.SendMail(ctx, "mx.example.org:25", nil, env, body)
//
// # What is where
//
// A [Server] talks to clients and calls a [Handler] for the decisions: who may
// send what to whom, and what becomes of a message. It knows neither queue nor
// mailbox. It keeps the order of commands, the syntax, the limits and "login
// required"; the Handler's [Session], one for each connection, sees only what
// has passed them. [Receive] makes a Handler of a function, [Chain] puts
// [Middleware] around one: [LogMessages], [CheckPeers], [CheckRecipients],
// [LimitSize], and what others write with a [Wrapper]. A [Trace] sees what is
// said on all connections, ready ones write it down ([Transcript],
// [LogTranscript]), and Server.ConnState sees each connection to its end.
//
// To send, take [Mailer] for a message now and then, [Transport] for many at
// once over connections that are kept, and [Client] for all the rest. A
// [TLSPolicy] says in all of them when to encrypt and whom to take for the
// server.
//
// The Server offers PIPELINING, SIZE, 8BITMIME, SMTPUTF8, CHUNKING,
// ENHANCEDSTATUSCODES, LIMITS, STARTTLS and AUTH. A Session that is an
// [Extender] adds to them: [DSN], [RequireTLS], [BinaryMIME], [FutureRelease],
// [DeliverByDeadline], [MTPriority] and [RRVS], whose parameters the package
// knows, or keywords, parameters and commands of its own, each an [Extension].
// Left out are ETRN and ATRN (RFC 1985, RFC 2645), whose clients have other
// ways to mail that waits today; BURL (RFC 4468), which needs an IMAP client
// within the submission server; MTRK and NO-SOLICITING (RFC 3885, RFC 3865),
// which nobody came to use. An Extension can add any of them.
//
// A [Client] makes transactions with another server, one after the other over
// one connection, with a result for each recipient; a [Transport] keeps
// connections for many senders. A [TLSPolicy] says when to encrypt and whom to
// take for the server. Errors are [*CommandError] and, where a server has
// refused, [*Error] within; [IsTemporary] tells what is worth another try.
//
// The wire is strict in both directions: only CRLF ends a line, and only
// CRLF.CRLF a message.
//
// Package smtptest, next to this one, is the kit for tests: servers in memory,
// servers that misbehave on request, recorders and dialogues.
package smtp
