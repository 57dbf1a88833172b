// Package tlspolicy reads what a domain says about TLS to its mail servers:
// MTA-STS (RFC 8461), TLS reporting (RFC 8460) and DANE (RFC 7672).
//
// It has the parsers of the records and of the policy file. They look nothing
// up: a caller hands over what DNS or the web server said.
//
//	record, err := tlspolicy.ParseSTSRecord(texts)    // TXT of _mta-sts.example.org
//	policy, err := tlspolicy.ParsePolicy(body)        // of https://mta-sts.example.org/.well-known/mta-sts.txt
//	ok := policy.Matches("mx1.example.org")
//
// All functions are safe for concurrent use and take any input.
package tlspolicy
