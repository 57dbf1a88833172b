// Package dns looks up what a mail system needs to know: MX, TXT, A and AAAA,
// PTR, TLSA, SRV and CNAME records, through one or more recursive resolvers.
//
// It differs from net.Resolver where mail needs more: NXDOMAIN is told from
// NODATA and both from a temporary failure (Error), every answer carries its
// canonical name, remaining TTL and the resolver's DNSSEC verdict (Result), and
// answers, also negative ones, are cached within fixed bounds.
//
// The zero Resolver is ready to use. Two families of methods lie on it: MX, TXT,
// IP, PTR, TLSA, SRV and CNAME return an Answer; LookupMX, LookupTXT,
// LookupNetIP, LookupHost, LookupAddr and LookupCNAME have the signatures and
// the error conventions of net.Resolver, so that a consumer's small interface
// accepts both types.
//
// # DNSSEC
//
// The package does not validate signatures. It asks for the AD bit (RFC 4035
// §3.2.3, RFC 6840 §5.7) and believes it, so Authentic means something only
// where the resolver validates and the path to it can be trusted (loopback, or
// a network of one's own). Probe tells at start whether the resolvers validate.
package dns
