// Package dnsbl asks block lists and allow lists in DNS (RFC 5782) about
// addresses and domains.
//
//	c := &dnsbl.Checker{Lists: []dnsbl.List{{Zone: "bl.example.org"}}}
//	results := c.Addr(ctx, ip)
//	fmt.Println(dnsbl.Score(results) > 0)
//
// All lists are asked at once, and one that does not answer in time has nothing
// to say: a list that is down must not stop mail. What a list answers counts
// only within 127.0.0.0/8, and its error codes (127.255.255.x) are reported and
// not taken for a listing. Lists die, and some then answer everything: Probe
// finds those by the test entries that every list must have, and they are not
// asked again until a later Probe finds them well. Run it, or Watch, at start
// and every hour or so.
package dnsbl
