// Package arc verifies and adds Authenticated Received Chains (ARC: RFC 8617):
// what each of the systems that forwarded a message found out about it, signed
// by them.
//
// A [Verifier] says whether the chain of a message is intact:
//
//	v := &arc.Verifier{}
//	result, err := v.Verify(ctx, message)
//	sets := arc.Trusted{"lists.example.org"}.Sets(result)
//
// An intact chain alone means nothing, because anybody can make one: its
// statements count as far as the sealers are trusted, and [Trusted] tells which
// those are. [Verifier.NewVerification] is the same as an io.Writer, for a
// message that is just coming in.
//
// Nothing is sealed unless the program builds a [Sealer]: forwarders and
// mailing lists add a set with [Sealer.Seal], behind all other changes of the
// message.
//
// Lines end in CRLF. The package needs no mail server and keeps no state
// between messages.
package arc
