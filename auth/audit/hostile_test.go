package audit_test

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/audit"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mta/tlspolicy"
)

// TestShould follows the advice: the record then parses, says so, and what was
// found is gone.
func TestShould(t *testing.T) {
	for name, c := range map[string]struct {
		name  string
		texts []string
		code  audit.Code
		want  string
	}{
		"all, and a name with it":  {"a.example", []string{"v=spf1 include:-all.example all"}, audit.SPFPassAll, "v=spf1 include:-all.example -all"},
		"+all":                     {"a.example", []string{"v=spf1 a:x+all.example  +all"}, audit.SPFPassAll, "v=spf1 a:x+all.example -all"},
		"?ALL":                     {"a.example", []string{"V=SPF1 mx ?ALL"}, audit.SPFNeutral, "V=SPF1 mx ~all"},
		"no end":                   {"a.example", []string{"v=spf1 mx"}, audit.SPFNoEnd, "v=spf1 mx ~all"},
		"two":                      {"a.example", []string{"v=spf1 mx a -all", "v=spf1 mx ip4:192.0.2.9 ~all"}, audit.SPFMultiple, "v=spf1 mx a ip4:192.0.2.9 ~all"},
		"two with redirect":        {"a.example", []string{"v=spf1 redirect=other.example", "v=spf1 mx -all"}, audit.SPFMultiple, "v=spf1 include:other.example mx -all"},
		"two with two redirects":   {"a.example", []string{"v=spf1 redirect=other.example exp=x.example", "v=spf1 REDIRECT=x.example exp=y.example"}, audit.SPFMultiple, "v=spf1 include:other.example exp=x.example include:x.example -all"},
		"two, one broken":          {"a.example", []string{"v=spf1 mx -all", "v=spf1 foo -all"}, audit.SPFMultiple, ""},
		"two, one broken by UTF-8": {"a.example", []string{"v=spf1 mx -all", "v=spf1 redirect=\u023a\u023a\u023a"}, audit.SPFMultiple, ""},

		"none":            {"_dmarc.a.example", []string{"v=DMARC1; p=none; rua=mailto:d@a.example"}, audit.DMARCNone, "v=DMARC1; p=quarantine; rua=mailto:d@a.example"},
		"no p":            {"_dmarc.a.example", []string{"v=DMARC1; rua=mailto:d@a.example"}, audit.DMARCNone, "v=DMARC1; p=quarantine; rua=mailto:d@a.example"},
		"no p, and below": {"_dmarc.a.example", []string{"v=DMARC1; sp=bad; p=reject; rua=mailto:d@a.example!10m"}, audit.DMARCNone, "v=DMARC1; p=quarantine; rua=mailto:d@a.example"},
		"sp":              {"_dmarc.a.example", []string{"v=DMARC1; p=none; sp=none; np=reject; rua=mailto:d@a.example"}, audit.DMARCNone, "v=DMARC1; p=quarantine; np=reject; rua=mailto:d@a.example"},
		"bad rua":         {"_dmarc.a.example", []string{"v=DMARC1; p=reject; rua=nobody;"}, audit.DMARCNoReports, "v=DMARC1; p=reject; rua=mailto:dmarc@a.example"},
	} {
		t.Run(name, func(t *testing.T) {
			find := func(texts []string) *audit.Finding {
				z, w := good(t)
				z["x.example"] = testdns.Records{TXT: []string{"v=spf1 ip4:192.0.2.77 -all"}}
				z["-all.example"], z["x+all.example"] = z["x.example"], testdns.Records{A: []string{"192.0.2.7"}}
				r := z[c.name]
				r.TXT = texts
				z[c.name] = r
				for _, f := range inspect(t, z, w, audit.Options{Selectors: []string{"k"}}).Findings {
					if f.Code == c.code {
						return &f
					}
				}
				return nil
			}
			f := find(c.texts)
			require.NotNil(t, f)
			assert.Equal(t, c.want, f.Should)
			if c.want != "" {
				assert.Nil(t, find([]string{c.want}))
			}
		})
	}
}

// TestSameHost has one mail server with two preferences: it is judged once.
func TestSameHost(t *testing.T) {
	z, w := good(t)
	z["a.example"] = testdns.Records{MX: []string{"10 mx1.a.example", "20 mx1.a.example"}, TXT: z["a.example"].TXT}
	r := inspect(t, z, w, audit.Options{Selectors: []string{"k"}})
	assert.Equal(t, []audit.Code{audit.MXSingle}, codes(r))
	n := 0
	for _, p := range r.Records {
		if p.Subject == audit.SubjectDANE {
			n++
		}
	}
	assert.Equal(t, 1, n)
}

// TestSetupElsewhere sends the reports to another organization.
func TestSetupElsewhere(t *testing.T) {
	s := setup(t)
	s.Reports = "a@R\u00e9ports.example"
	records, err := s.Records()
	require.NoError(t, err)
	z := zoneOf(t, records)
	r := inspect(t, z, web{stsURL: s.STSPolicy().String()}, audit.Options{Selectors: []string{"r", "e"}})
	assert.Equal(t, []audit.Code{audit.DMARCExternal}, codes(r))
	for _, f := range r.Findings {
		z[f.Name] = testdns.Records{TXT: []string{f.Should}}
	}
	i := len(records) - 1
	for ; records[i].Type != "TXT" || !records[i].Elsewhere; i-- {
		require.Positive(t, i)
	}
	assert.Equal(t, r.Findings[0].Name+".", records[i].Name)
	assert.Equal(t, r.Findings[0].Should, records[i].Data)
	r = inspect(t, z, web{stsURL: s.STSPolicy().String()}, audit.Options{Selectors: []string{"r", "e"}})
	assert.Empty(t, r.Findings)
}

// liar answers every question with the same records.
type liar struct {
	texts []string
	host  string
	n     int
}

func (l *liar) MX(context.Context, string) (dns.Answer[dns.MX], error) {
	l.n++
	return dns.Answer[dns.MX]{Records: []dns.MX{{Preference: 1, Host: l.host}, {Preference: 2, Host: "m." + l.host}}}, nil
}

func (l *liar) IP(context.Context, string) (dns.Answer[netip.Addr], error) {
	l.n++
	return dns.Answer[netip.Addr]{}, nil
}

func (l *liar) TXT(context.Context, string) (dns.Answer[string], error) {
	l.n++
	return dns.Answer[string]{Records: l.texts}, nil
}

func (l *liar) CNAME(context.Context, string) (dns.Answer[string], error) {
	l.n++
	return dns.Answer[string]{Records: []string{l.host}}, nil
}

func (l *liar) TLSA(context.Context, string) (dns.Answer[dns.TLSA], error) {
	l.n++
	return dns.Answer[dns.TLSA]{Records: []dns.TLSA{{Usage: 3, Data: []byte(l.host)}}}, nil
}

// FuzzReport has records of anything: lookups are bounded, the report is text
// that prints, and what it advises is a record.
func FuzzReport(f *testing.F) {
	f.Add("v=spf1 include:a.example redirect=%{d} all", "V=SPF1 exp=x exp=y ?all", "h")
	f.Add("v=spf1 include:x.%{i}.example +all", "v=DMARC1; p=none; sp=bad; rua=mailto:a@b!1,x:y", "\x1b[2J\r\n")
	f.Add("v=DMARC1; p=reject; rua=mailto:a%40b@c.example,mailto:@,mailto:a@b?subject=x@y", "v=DKIM1; p=", "a..b")
	f.Add("v=STSv1; id=1;", "v=TLSRPTv1; rua=mailto:a@b", "192.0.2.1")
	f.Add("v=BIMI1; l=http://x", "k=x; p=!", ".")
	f.Add("v=spf1 redirect=\u023a\u023a", "v=spf1 \xff", "")
	f.Fuzz(func(t *testing.T, a, b, host string) {
		l := &liar{texts: []string{a, b}, host: host}
		if b == "" {
			l.texts = l.texts[:1]
		}
		auditor := audit.Auditor{Resolver: l, HTTP: &http.Client{Transport: web{}}, MaxLookups: 60}
		r := auditor.Audit(t.Context(), "a.example", audit.Options{Selectors: []string{"k"}})
		require.LessOrEqual(t, l.n, 60)
		require.Equal(t, l.n, r.Lookups)
		var out bytes.Buffer
		_, err := r.WriteTo(&out)
		require.NoError(t, err)
		require.True(t, utf8.Valid(out.Bytes()))
		for _, c := range out.String() {
			require.True(t, c == '\n' || c >= ' ' && c < 0x7F || c == '…' || c == '§', "%q", c)
		}
		for _, f := range r.Findings {
			require.NotZero(t, f.Severity)
			switch {
			case f.Should == "":
			case f.Subject == audit.SubjectSPF:
				_, err := spf.Parse(f.Should)
				require.NoError(t, err, "%+v", f)
			case f.Subject == audit.SubjectDMARC && f.Code != audit.DMARCExternal:
				p, err := dmarc.ParseRecord(f.Should)
				require.NoError(t, err, "%+v", f)
				require.False(t, p.Unusable, "%+v", f)
			case f.Subject == audit.SubjectSTS && f.Code == audit.STSMissing:
				_, err := tlspolicy.ParseSTSRecord([]string{f.Should})
				require.NoError(t, err, "%+v", f)
			}
		}
	})
}

// FuzzSetup: what is to be published is a zone in which every record is one
// line, and which the parsers of its records take.
func FuzzSetup(f *testing.F) {
	f.Add("a.example", "mx.a.example", "include:b.example", "s", "r@b.example", "x1")
	f.Add("b\u00fccher.example", "m", "ip4:192.0.2.0/24 +all", "2026._x", `"a b"@c.example`, "")
	f.Add("a\n.example", "m;x", "mx\n", "s\t", "a\r\nb@c", "1;")
	f.Add("a.example", "m", "exists:%{l}.\"x\\", "s", "a!b,c;d%e@f.example", "1")
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, domain, host, sender, selector, reports, id string) {
		s := &audit.Setup{Domain: domain, Hosts: []audit.Host{{Name: host, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
			Senders: []string{sender}, Keys: []audit.Key{{Selector: selector, Key: key}}, Reports: reports, STSID: id}
		records, err := s.Records()
		if err != nil {
			require.ErrorIs(t, err, audit.ErrSetup)
			return
		}
		var out bytes.Buffer
		require.NoError(t, audit.WriteZone(&out, records))
		for line := range strings.Lines(out.String()) {
			for _, c := range strings.TrimSuffix(line, "\n") {
				require.True(t, c == '\t' || c >= ' ' && c < 0x7F, "%q", line)
			}
		}
		require.LessOrEqual(t, strings.Count(out.String(), "\n"), len(records)+1)
		for _, r := range records {
			if r.Type != "TXT" {
				continue
			}
			switch {
			case strings.HasPrefix(r.Data, "v=spf1"):
				_, err = spf.Parse(r.Data)
			case strings.HasPrefix(r.Data, "v=DMARC1"):
				_, err = dmarc.ParseRecord(r.Data)
			case strings.HasPrefix(r.Data, "v=DKIM1"):
				_, err = dkim.ParseKeyRecord(r.Data)
			case strings.HasPrefix(r.Data, "v=STSv1"):
				_, err = tlspolicy.ParseSTSRecord([]string{r.Data})
			default:
				_, err = tlspolicy.ParseReportRecord([]string{r.Data})
			}
			require.NoError(t, err, r.Data)
		}
	})
}
