// Package verify answers for one message: is it from who it says?
//
// A [Verifier] runs everything that message authentication has to say, SPF,
// DKIM, ARC and DMARC, over one message at once, while it comes in, and with
// one cache and one budget for DNS:
//
//	v := &verify.Verifier{Hostname: "mx.example.org"}
//	results, err := v.Verify(ctx, verify.Envelope{Remote: ip, HELO: helo, MailFrom: from}, message)
//	fmt.Println(results.DMARC.Status, results.Recommend().Action)
//
// A server that has the message in pieces calls [Verifier.Begin] when MAIL has
// been accepted, writes the pieces to what it returns, and asks for the Results
// at the end. They hold each check's own result, the Authentication-Results
// field (RFC 8601), and what to do with the message, by the standards and with
// the reason.
//
// Whoever wants one check alone finds it in the packages beside this one.
package verify
