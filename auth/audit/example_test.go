package audit_test

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/posta-mail/posta/auth/audit"
	"github.com/posta-mail/posta/auth/dmarc"
)

func ExampleSetup() {
	s := audit.Setup{
		Domain: "example.org",
		Hosts:  []audit.Host{{Name: "mx.example.org", Preference: 10, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		Policy: dmarc.Reject,
		STSID:  "1",
	}
	records, err := s.Records()
	if err != nil {
		fmt.Println(err)
		return
	}
	audit.WriteZone(os.Stdout, records)
	// Output:
	// example.org.	3600	IN	MX	10 mx.example.org.
	// mx.example.org.	3600	IN	A	192.0.2.1
	// example.org.	3600	IN	TXT	"v=spf1 mx -all"
	// mx.example.org.	3600	IN	TXT	"v=spf1 a -all"
	// _dmarc.example.org.	3600	IN	TXT	"v=DMARC1; p=reject; rua=mailto:postmaster@example.org"
	// _smtp._tls.example.org.	3600	IN	TXT	"v=TLSRPTv1; rua=mailto:postmaster@example.org"
	// _mta-sts.example.org.	3600	IN	TXT	"v=STSv1; id=1;"
	// mta-sts.example.org.	3600	IN	A	192.0.2.1
	// ; to be set in zones of others:
	// ; 1.2.0.192.in-addr.arpa.	3600	IN	PTR	mx.example.org.
}
