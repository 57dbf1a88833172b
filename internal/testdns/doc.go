// Package testdns is a DNS server for tests, serving records written down as Go
// values, with failures on demand:
//
//	srv := testdns.New(t, testdns.Zone{
//		"example.org":    {MX: []string{"10 mx.example.org"}, TXT: []string{"v=spf1 mx -all"}},
//		"mx.example.org": {A: []string{"192.0.2.1", "2001:db8::1"}},
//		"192.0.2.1":      {PTR: []string{"mx.example.org"}},
//	})
//	r := &dns.Resolver{Servers: []string{srv.Addr()}}
//	srv.Fail("example.org", "TXT", testdns.ServFail)
//
// New and Listen serve UDP and TCP on a socket; InMemory has no socket and is
// reached through Server.Dial alone, which also works inside a synctest bubble.
// NewResolver answers the lookups of net.Resolver straight from a zone, without
// messages and without delay, and honours the same failures.
//
// A zone answers as a recursive resolver would: it follows CNAMEs, knows empty
// non-terminals and wildcards (RFC 4592), tells NXDOMAIN from NODATA and sends a
// SOA record with both.
package testdns
