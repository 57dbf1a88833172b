// Package spf answers whether a host may send mail in the name of a domain, by
// the Sender Policy Framework (RFC 7208) with the internationalised names of
// RFC 8616.
//
// Checker.Check does a whole check:
//
//	res := new(spf.Checker).Check(ctx, ip, helo, mailFrom)
//	fmt.Println(res.Status, res.Explanation)
//	fmt.Print(res.Explain())
//
// The Result can write itself as a Received-SPF field, which ParseReceived reads,
// and explain itself to people. Parse reads one record without any lookup, for
// tools that show or test what a domain publishes.
//
// The lookups go through a small Resolver interface. *net.Resolver fits; so does
// the resolver of package dns, which has a cache.
//
// SPF knows two identities: the MAIL FROM address, and the HELO name when the
// sender is null (RFC 7208 §2.3, §2.4). Neither is the From field that people
// see: only DMARC connects the two.
package spf
