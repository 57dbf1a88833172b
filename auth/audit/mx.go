package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/posta-mail/posta/dns"
)

// mx judges where mail for the domain goes.
func (in *inspection) mx() {
	answer, err := lookup(in, in.domain, in.a.Resolver.MX)
	if err != nil && !dns.IsNotFound(err) {
		in.failed(SubjectMX, in.domain, err)
		return
	}
	if len(answer.Records) == 0 {
		in.noMX(err)
		return
	}
	in.authMX = answer.Authentic
	null, addrs := false, 0
	for _, r := range answer.Records {
		in.found(SubjectMX, in.domain, fmt.Sprintf("%d %s", r.Preference, absolute(r.Host)))
		if strings.TrimSuffix(r.Host, ".") == "" { // RFC 7505 §3
			null = true
			continue
		}
		addrs += in.mailServer(r)
	}
	switch {
	case null && len(answer.Records) > 1:
		in.find(Finding{Code: MXNullMixed, Subject: SubjectMX, Name: in.domain, Text: "a null MX says that no mail is taken, the others say where to"})
	case null:
		in.nullMX = true
		if !in.opt.NoMail {
			in.find(Finding{Code: MXNull, Subject: SubjectMX, Name: in.domain, Text: "the domain takes no mail"})
		}
	case addrs == 1:
		in.find(Finding{Code: MXSingle, Subject: SubjectMX, Name: in.domain, Text: "all mail servers together have one address: when it is down, mail waits"})
	}
}

// noMX judges a domain without MX records.
func (in *inspection) noMX(err error) {
	var de *dns.Error
	if errors.As(err, &de) && de.Kind == dns.NXDomain {
		in.find(Finding{Code: MXMissing, Subject: SubjectMX, Name: in.domain, Text: "the domain does not exist"})
		return
	}
	ip, err := lookup(in, in.domain, in.a.Resolver.IP)
	switch {
	case err != nil && !dns.IsNotFound(err):
		in.failed(SubjectMX, in.domain, err)
	case len(ip.Records) > 0:
		in.hosts = []string{in.domain}
		in.find(Finding{Code: MXImplicit, Subject: SubjectMX, Name: in.domain, Text: "there is no MX record: mail goes to the domain's own address", Should: "MX 10 " + absolute(in.domain)})
	case in.opt.NoMail:
		in.find(Finding{Code: MXNull, Subject: SubjectMX, Name: in.domain, Text: "mail to it is tried for days; a null MX ends that at once", Should: "MX 0 ."})
		in.nullMX = true
	default:
		in.find(Finding{Code: MXMissing, Subject: SubjectMX, Name: in.domain, Text: "neither an MX record nor an address: no mail can come"})
	}
}

// mailServer judges one host and returns how many addresses it has.
func (in *inspection) mailServer(r dns.MX) int {
	host := strings.TrimSuffix(r.Host, ".")
	if _, err := netip.ParseAddr(host); err == nil {
		in.find(Finding{Code: MXLiteral, Subject: SubjectMX, Name: in.domain, Record: host, Text: "an MX record names a host, not an address: " + host})
		return 0
	}
	if slices.Contains(in.hosts, host) { // with two preferences
		return 0
	}
	in.hosts = append(in.hosts, host)
	if alias, err := lookup(in, host, in.a.Resolver.CNAME); err == nil && len(alias.Records) > 0 {
		in.find(Finding{Code: MXCNAME, Subject: SubjectMX, Name: host, Text: "the mail server is an alias; some senders refuse to follow it", Should: fmt.Sprintf("MX %d %s", r.Preference, absolute(alias.Records[0]))})
	}
	ip, err := lookup(in, host, in.a.Resolver.IP)
	switch {
	case err != nil && !dns.IsNotFound(err):
		in.failed(SubjectMX, host, err)
	case len(ip.Records) == 0:
		in.find(Finding{Code: MXNoAddress, Subject: SubjectMX, Name: host, Text: "the mail server has no address"})
	}
	return len(ip.Records)
}

// absolute writes a name with its final dot.
func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }
