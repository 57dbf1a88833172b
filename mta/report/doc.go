// Package report collects what was seen of other domains' mail and tells them,
// and reads what others tell: aggregate reports of DMARC (RFC 9990), and
// failure reports (RFC 9991) for those who decide to send any.
//
//	c := &report.Collector{Store: &report.Memory{}}
//	c.Add(report.Observation{Published: published, URIs: record.AggregateURIs, Row: row})
//	err := sender.Run(ctx)
//
// Mail that nobody asked for makes a bad name: a [Sender] sends only about
// domains that its Allow names, from an address of its own, within caps, and to
// other organizations only where they have agreed. Whoever implements
// [Submitter] signs with DKIM.
//
// Days, caps and the way out are not DMARC's alone: reports about TLS (RFC 8460)
// can use the same, with windows of their own. They are not written yet.
//
// [Parse] takes a message and gives the reports in it.
package report
