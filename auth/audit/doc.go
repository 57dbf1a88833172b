// Package audit judges what a domain publishes for its mail, and says what it
// should publish.
//
// An [Auditor] looks up MX, SPF, DKIM keys, DMARC, MTA-STS, TLSRPT, DANE and
// BIMI, and reports what is wrong, with the RFC that says so and what the
// record should read:
//
//	a := audit.Auditor{Resolver: &dns.Resolver{}, HTTP: http.DefaultClient}
//	report := a.Audit(ctx, "example.org", audit.Options{Selectors: []string{"mail"}})
//	report.WriteTo(os.Stdout)
//
// The other way round, a [Setup] describes a mail system, and its Records are
// what its operator has to publish, as values or as text for a zone file. A
// domain that publishes them has no findings.
//
// Everything is read by the same parsers that the verifying packages use, so
// that a record is good here if it is good there.
package audit
