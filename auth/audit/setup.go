package audit

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/mta/tlspolicy"
)

// ErrSetup is the kind of all errors of [Setup.Records].
var ErrSetup = errors.New("audit: setup")

// Host is a mail server.
type Host struct {
	// Name is the host's name, as HELO and its certificate say it.
	Name string
	// Preference is that of its MX record; equals share the load.
	Preference uint16
	// Addrs are its addresses.
	Addrs []netip.Addr
	// Certificate is the server's, for its TLSA record. Nil: no such record.
	// Publish one only where the zone is signed (RFC 7672 §1.3).
	Certificate *x509.Certificate
}

// Key is a DKIM key.
type Key struct {
	// Selector is the name under which it is published.
	Selector string
	// Key is the public key, or the crypto.Signer that holds the private one.
	Key any
	// Revoked publishes the selector without its key (RFC 6376 §3.6.1).
	Revoked bool
}

// Setup describes a mail system, whose Records are what its operator has to
// publish. Domain is needed; everything else has a careful default.
type Setup struct {
	// Domain is the domain of the addresses.
	Domain string
	// Hosts receive the domain's mail and send it. None: the domain has no
	// mail, and its records say so.
	Hosts []Host
	// Senders are further SPF mechanisms, such as "include:bulk.example" or
	// "ip4:192.0.2.0/24".
	Senders []string
	// Keys are the DKIM keys, old ones included for as long as mail signed
	// with them may be under way.
	Keys []Key
	// Policy is that of DMARC. Empty: reject without Hosts, else quarantine.
	// Whoever is not sure what is sent in the domain's name begins with none.
	Policy dmarc.Policy
	// Reports is the address that DMARC and TLS reports go to. Empty:
	// postmaster@Domain. One in another domain needs a record there, which is
	// Elsewhere.
	Reports string
	// STS is the mode of the MTA-STS policy. Empty: enforce; tlspolicy.None
	// leaves it out.
	STS tlspolicy.Mode
	// STSAddrs are the addresses of the web server that serves the policy.
	// Empty: those of the first host.
	STSAddrs []netip.Addr
	// STSID is the policy's id. Empty: made from its text's time, so that it
	// must be set where records are made again and again.
	STSID string
	// TTL is that of all records, in whole seconds, at most 2³¹-1 (RFC 2181 §8).
	// 0: one hour.
	TTL time.Duration
}

// Record is a DNS record to publish.
type Record struct {
	// Name is absolute, with its final dot.
	Name string
	TTL  time.Duration
	// Type is the record type's mnemonic, such as "TXT".
	Type string
	// Data is the record's data: a TXT record's text as it is, others as in a
	// zone file.
	Data string
	// Elsewhere says that the record belongs to another zone, usually the
	// provider's, who has to be asked for it (PTR), or that of Reports.
	Elsewhere bool
}

// Records returns what to publish. The error is ErrSetup with the reason: a
// name, an address, a mechanism, a key or a TTL that cannot be.
func (s *Setup) Records() ([]Record, error) {
	domain, err := hostName(s.Domain)
	if err != nil {
		return nil, err
	}
	b := &records{ttl: s.TTL, setup: s, domain: domain}
	if b.ttl <= 0 {
		b.ttl = time.Hour
	}
	if b.ttl/time.Second > 1<<31-1 {
		return nil, fmt.Errorf("%w: TTL %v", ErrSetup, b.ttl)
	}
	for _, step := range []func() error{b.hosts, b.spf, b.dkim, b.dmarc, b.sts, b.tlsa, b.reverse} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	for _, r := range b.all { // each part may be a name, and the whole too long
		if _, err := hostName(r.Name); err != nil {
			return nil, err
		}
	}
	return b.all, nil
}

// STSPolicy returns the MTA-STS policy to serve at
// https://mta-sts.DOMAIN/.well-known/mta-sts.txt as text/plain, nil if there is
// to be none.
func (s *Setup) STSPolicy() *tlspolicy.Policy {
	if s.STS == tlspolicy.None || len(s.Hosts) == 0 {
		return nil
	}
	p := &tlspolicy.Policy{Mode: s.STS, MaxAge: 14 * 24 * time.Hour}
	if p.Mode == "" {
		p.Mode = tlspolicy.Enforce
	}
	for _, h := range s.Hosts {
		if name, err := hostName(h.Name); err == nil {
			p.MX = append(p.MX, name)
		}
	}
	return p
}

// records gathers them.
type records struct {
	setup  *Setup
	domain string
	ttl    time.Duration
	all    []Record
}

func (b *records) add(name, kind, data string) {
	b.all = append(b.all, Record{Name: absolute(name), TTL: b.ttl, Type: kind, Data: data})
}

func (b *records) addrs(name string, addrs []netip.Addr) error {
	for _, a := range addrs {
		kind := "A"
		switch {
		case !a.IsValid() || a.Zone() != "":
			return fmt.Errorf("%w: address %q of %s", ErrSetup, a, name)
		case !a.Unmap().Is4():
			kind = "AAAA"
		}
		b.add(name, kind, a.Unmap().String())
	}
	return nil
}

// hosts are the MX records and addresses.
func (b *records) hosts() error {
	if len(b.setup.Hosts) == 0 {
		b.add(b.domain, "MX", "0 .") // RFC 7505 §3
		return nil
	}
	for _, h := range b.setup.Hosts {
		name, err := hostName(h.Name)
		if err != nil {
			return err
		}
		if len(h.Addrs) == 0 {
			return fmt.Errorf("%w: %s has no address", ErrSetup, name)
		}
		b.add(b.domain, "MX", fmt.Sprintf("%d %s", h.Preference, absolute(name)))
	}
	for _, h := range b.setup.Hosts {
		name, _ := hostName(h.Name)
		if err := b.addrs(name, h.Addrs); err != nil {
			return err
		}
	}
	return nil
}

// spf has a policy for the domain and one for each host, since bounces are
// checked by HELO (RFC 7208 §2.3, §10.1.3).
func (b *records) spf() error {
	terms := []string{"v=spf1"}
	if len(b.setup.Hosts) > 0 {
		terms = append(terms, "mx")
	}
	text := strings.Join(append(append(terms, b.setup.Senders...), "-all"), " ")
	if _, err := spf.Parse(text); err != nil {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	b.add(b.domain, "TXT", text)
	for _, h := range b.setup.Hosts {
		if name, _ := hostName(h.Name); name != b.domain {
			b.add(name, "TXT", "v=spf1 a -all")
		}
	}
	return nil
}

func (b *records) dkim() error {
	seen := make(map[string]bool)
	for _, k := range b.setup.Keys {
		selector, err := hostName(k.Selector)
		if err != nil {
			return err
		}
		if seen[selector] { // RFC 6376 §3.6.2.2: which one counts is not defined
			return fmt.Errorf("%w: two keys of selector %s", ErrSetup, selector)
		}
		seen[selector] = true
		text := "v=DKIM1; p="
		if !k.Revoked {
			key := k.Key
			if s, ok := key.(crypto.Signer); ok {
				key = s.Public()
			}
			if text, err = dkim.Record(key); err != nil {
				return fmt.Errorf("%w: selector %s: %w", ErrSetup, selector, err)
			}
		}
		b.add(selector+"._domainkey."+b.domain, "TXT", text)
	}
	return nil
}

// reports is the address for reports, its domain as A-label since a URI has no
// other; one that cannot be stays and is refused by the records' parsers.
func (b *records) reports() string {
	if b.setup.Reports == "" {
		return "postmaster@" + b.domain
	}
	at := strings.LastIndexByte(b.setup.Reports, '@') + 1
	host, err := hostName(b.setup.Reports[at:])
	if err != nil {
		return b.setup.Reports
	}
	return b.setup.Reports[:at] + host
}

func (b *records) dmarc() error {
	p := b.setup.Policy
	switch {
	case p == "" && len(b.setup.Hosts) == 0:
		p = dmarc.Reject
	case p == "":
		p = dmarc.Quarantine
	}
	text, uris := "v=DMARC1; p="+string(p), 0
	if len(b.setup.Hosts) > 0 || b.setup.Reports != "" {
		text, uris = text+"; rua=mailto:"+escapeURI(b.reports()), 1
	}
	if r, err := dmarc.ParseRecord(text); err != nil || r.Policy != p || r.Unusable || len(r.AggregateURIs) != uris {
		return fmt.Errorf("%w: DMARC policy %q or address %q", ErrSetup, p, b.reports())
	}
	b.add("_dmarc."+b.domain, "TXT", text)
	return b.agreement()
}

// agreement is the record by which another domain takes the reports (RFC 9990
// §4).
func (b *records) agreement() error {
	host, err := hostName(b.reports()[strings.LastIndexByte(b.reports(), '@')+1:])
	if err != nil {
		return err
	}
	if host == b.domain || strings.HasSuffix(host, "."+b.domain) {
		return nil
	}
	b.add(b.domain+"._report._dmarc."+host, "TXT", "v=DMARC1")
	b.all[len(b.all)-1].Elsewhere = true
	return nil
}

// sts has MTA-STS and the reports about TLS.
func (b *records) sts() error {
	if len(b.setup.Hosts) == 0 {
		return nil
	}
	r := tlspolicy.ReportRecord{URIs: []string{"mailto:" + escapeURI(b.reports())}}
	if _, err := tlspolicy.ParseReportRecord([]string{r.String()}); err != nil {
		return fmt.Errorf("%w: address %q", ErrSetup, b.reports())
	}
	b.add("_smtp._tls."+b.domain, "TXT", r.String())
	p := b.setup.STSPolicy()
	if p == nil {
		return nil
	}
	if _, err := tlspolicy.ParsePolicy([]byte(p.String())); err != nil {
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	record := tlspolicy.STSRecord{ID: b.setup.STSID}
	if record.ID == "" {
		record.ID = time.Now().UTC().Format("20060102T150405")
	}
	if _, err := tlspolicy.ParseSTSRecord([]string{record.String()}); err != nil {
		return fmt.Errorf("%w: MTA-STS id %q", ErrSetup, record.ID)
	}
	b.add("_mta-sts."+b.domain, "TXT", record.String())
	web := b.setup.STSAddrs
	if len(web) == 0 {
		web = b.setup.Hosts[0].Addrs
	}
	return b.addrs("mta-sts."+b.domain, web)
}

func (b *records) tlsa() error {
	for _, h := range b.setup.Hosts {
		if h.Certificate == nil {
			continue
		}
		name, _ := hostName(h.Name)
		r := tlspolicy.RecordFor(h.Certificate)
		b.add(dns.TLSAName(name, "tcp", 25), "TLSA", fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.MatchingType, r.Data))
	}
	return nil
}

// reverse has the names of the addresses, without which much mail is refused
// (RFC 8601 §3, iprev). They are in the zone of whoever gave the address.
func (b *records) reverse() error {
	for _, h := range b.setup.Hosts {
		name, _ := hostName(h.Name)
		for _, a := range h.Addrs {
			b.add(dns.ReverseName(a.Unmap()), "PTR", absolute(name))
			b.all[len(b.all)-1].Elsewhere = true
		}
	}
	return nil
}

// hostName is a name as it is published.
func hostName(name string) (string, error) {
	canonical, err := dns.CanonicalName(name)
	if err != nil || canonical == "." {
		return "", fmt.Errorf("%w: name %q", ErrSetup, name)
	}
	for _, r := range canonical {
		if !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '.' || r == '_') {
			return "", fmt.Errorf("%w: name %q", ErrSetup, name)
		}
	}
	return canonical, nil
}

// escapeURI escapes what has a meaning in lists of URIs (RFC 9989 §4.7, RFC
// 8460 §3).
func escapeURI(address string) string {
	return strings.NewReplacer("%", "%25", ",", "%2C", "!", "%21", ";", "%3B", " ", "%20", `"`, "%22").Replace(address)
}
