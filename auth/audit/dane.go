package audit

import (
	"fmt"
	"strings"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/mta/tlspolicy"
)

// dane judges the TLSA records of the mail servers.
func (in *inspection) dane() {
	var with, without []string
	for _, h := range in.hosts {
		name := dns.TLSAName(h, "tcp", 25)
		answer, err := lookup(in, name, in.a.Resolver.TLSA)
		switch {
		case err != nil && !dns.IsNotFound(err):
			// RFC 7672 §2.1.1: senders that do DANE skip such a host.
			in.failed(SubjectDANE, name, err)
		case len(answer.Records) == 0:
			without = append(without, h)
		default:
			with = append(with, h)
			in.tlsa(name, answer)
		}
	}
	switch {
	case len(with) > 0 && len(without) > 0:
		in.find(Finding{Code: DANEPartial, Subject: SubjectDANE, Name: in.domain, Text: "mail servers without TLSA records: " + strings.Join(without, ", ") + "; whoever is in between leads mail there"})
	case len(without) > 0:
		in.find(Finding{Code: DANEMissing, Subject: SubjectDANE, Name: in.domain, Text: "no mail server has TLSA records"})
	}
	if len(with) > 0 && !in.authMX {
		in.find(Finding{Code: DANEInsecure, Subject: SubjectDANE, Name: in.domain, Text: "the MX records are not signed (or the resolver does not validate): TLSA records do not count then"})
	}
}

func (in *inspection) tlsa(name string, answer dns.Answer[dns.TLSA]) {
	usable, reason := 0, error(nil)
	for _, r := range answer.Records {
		in.found(SubjectDANE, name, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.MatchingType, r.Data))
		if err := tlspolicy.Usable(r); err != nil {
			reason = err
			continue
		}
		usable++
	}
	switch {
	case usable == 0:
		in.find(Finding{Code: DANEUnusable, Subject: SubjectDANE, Name: name, Text: "no record can be used for mail: " + reason.Error()})
	case !answer.Authentic && in.authMX:
		in.find(Finding{Code: DANEInsecure, Subject: SubjectDANE, Name: name, Text: "the TLSA records are not signed: they do not count"})
	}
}
