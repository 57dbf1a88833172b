// Package dkim signs messages and verifies their signatures (DKIM: RFC 6376
// with RFC 8301, RFC 8463, RFC 8616).
//
// A [Verifier] answers for each DKIM-Signature field of a message whether the
// domain it names takes responsibility for it; the message is read once,
// however many signatures it has. [Verifier.NewVerification] is the same as an
// io.Writer, for a message that is just coming in. [Sign] makes signatures with
// one key or several, [NewSigning] is its io.Writer.
//
// Keys are made by [GenerateKey], kept as PEM ([MarshalKey], [ParseKey]) and
// published as the text that [Record] returns, in a zone file as [ZoneLine].
// [Rotation] computes over time which keys sign, which must stay published and
// which may go.
//
// Messages are taken byte for byte: lines end in CRLF (RFC 6376 §5.3). What
// other signing schemes over the same primitives need is exported too:
// [ParseTags], [Canonicalization], [BodyHasher], [KeyRecord].
//
// The package needs no mail server and keeps no state between messages.
package dkim
