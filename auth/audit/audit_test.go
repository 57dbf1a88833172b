package audit_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/audit"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mta/tlspolicy"
)

// web answers requests by URL; what is not there is 404.
type web map[string]string

func (w web) RoundTrip(req *http.Request) (*http.Response, error) {
	body, ok := w[req.URL.String()]
	res := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, Body: io.NopCloser(strings.NewReader(body)), Request: req}
	switch {
	case !ok:
		res.StatusCode = 404
	case strings.HasPrefix(body, "<"):
		res.Header.Set("Content-Type", "text/html")
	case strings.HasPrefix(body, "https:"):
		res.StatusCode = 302
		res.Header.Set("Location", body)
	}
	return res, nil
}

const stsURL = "https://mta-sts.a.example/.well-known/mta-sts.txt"

// good is a domain without findings.
func good(t *testing.T) (testdns.Zone, web) {
	key, err := dkim.GenerateKey(dkim.Ed25519SHA256)
	require.NoError(t, err)
	record, err := dkim.Record(key)
	require.NoError(t, err)
	tlsa := "3 1 1 " + strings.Repeat("ab", 32)
	return testdns.Zone{
			"a.example":               {MX: []string{"10 mx1.a.example", "20 mx2.a.example"}, TXT: []string{"v=spf1 mx -all"}},
			"mx1.a.example":           {A: []string{"192.0.2.1"}},
			"mx2.a.example":           {A: []string{"192.0.2.2"}},
			"k._domainkey.a.example":  {TXT: []string{record}},
			"_dmarc.a.example":        {TXT: []string{"v=DMARC1; p=reject; rua=mailto:d@a.example"}},
			"_mta-sts.a.example":      {TXT: []string{"v=STSv1; id=1;"}},
			"_smtp._tls.a.example":    {TXT: []string{"v=TLSRPTv1; rua=mailto:d@a.example"}},
			"_25._tcp.mx1.a.example":  {TLSA: []string{tlsa}},
			"_25._tcp.mx2.a.example":  {TLSA: []string{tlsa}},
			"default._bimi.a.example": {TXT: []string{"v=BIMI1; l=https://a.example/l.svg"}},
			"other.example":           {TXT: []string{"v=spf1 ip4:192.0.2.9 -all"}},
			"loop.example":            {TXT: []string{"v=spf1 include:loop.example -all"}},
			"broken.example":          {TXT: []string{"v=spf1 foo -all"}},
			"alias.a.example":         {CNAME: "mx1.a.example"},
			"empty.a.example":         {},
		}, web{
			stsURL: (&tlspolicy.Policy{Mode: tlspolicy.Enforce, MX: []string{"*.a.example"}, MaxAge: 30 * 24 * time.Hour}).String(),
		}
}

func inspect(t *testing.T, z testdns.Zone, w web, opt audit.Options) *audit.Report {
	t.Helper()
	server := testdns.New(t, z)
	server.SetAuthentic(true)
	a := audit.Auditor{Resolver: &dns.Resolver{Servers: []string{server.Addr()}}}
	if w != nil {
		a.HTTP = &http.Client{Transport: w}
	}
	return a.Audit(t.Context(), "a.example", opt)
}

func codes(r *audit.Report) []audit.Code {
	found := make(map[audit.Code]bool)
	for _, f := range r.Findings {
		found[f.Code] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func TestGood(t *testing.T) {
	z, w := good(t)
	r := inspect(t, z, w, audit.Options{Selectors: []string{"k"}})
	assert.Empty(t, r.Findings)
	assert.Len(t, r.Records, 11)
	assert.Positive(t, r.Lookups)
	var b bytes.Buffer
	n, err := r.WriteTo(&b)
	require.NoError(t, err)
	assert.EqualValues(t, b.Len(), n)
	assert.True(t, strings.HasPrefix(b.String(), "a.example: nothing to mend\n"), b.String())
}

func rsaRecord(t *testing.T, bits int) string {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	r, err := dkim.Record(key)
	require.NoError(t, err)
	return r
}

// TestFindings breaks the good domain in one way each.
func TestFindings(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	txt := func(s ...string) testdns.Records { return testdns.Records{TXT: s} }
	spf := func(text string, mx ...string) testdns.Zone {
		if len(mx) == 0 {
			mx = []string{"10 mx1.a.example", "20 mx2.a.example"}
		}
		return testdns.Zone{"a.example": {MX: mx, TXT: []string{text}}}
	}
	dmarcs := func(s ...string) testdns.Zone { return testdns.Zone{"_dmarc.a.example": txt(s...)} }
	keys := func(s ...string) testdns.Zone { return testdns.Zone{"k._domainkey.a.example": txt(s...)} }
	sts := func(s string) web { return web{stsURL: s} }
	includes := func(n int) testdns.Zone {
		z := spf("v=spf1 include:i0.example -all")
		for i := range n {
			z[fmt.Sprintf("i%d.example", i)] = txt(fmt.Sprintf("v=spf1 include:i%d.example -all", i+1))
		}
		z[fmt.Sprintf("i%d.example", n)] = txt("v=spf1 -all")
		return z
	}
	many := []string{}
	for i := range 11 {
		many = append(many, fmt.Sprintf("%d mx1.a.example", i))
	}
	const policy = "version: STSv1\nmode: enforce\nmx: *.a.example\nmax_age: 2592000\n"
	const key = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
	for name, c := range map[string]struct {
		zone testdns.Zone // replaces the good one's names
		drop []string
		web  web
		opt  audit.Options
		want []audit.Code
	}{
		"MX gone, address there": {zone: testdns.Zone{"a.example": {A: []string{"192.0.2.1"}, TXT: []string{"v=spf1 a -all"}}}, want: []audit.Code{audit.DANEMissing, audit.MXImplicit, audit.STSMX}},
		"nothing there":          {zone: testdns.Zone{"a.example": {TXT: []string{"v=spf1 -all"}}}, want: []audit.Code{audit.MXMissing}},
		"null MX":                {zone: spf("v=spf1 -all", "0 ."), want: []audit.Code{audit.MXNull}},
		"null MX beside others":  {zone: spf("v=spf1 mx -all", "0 .", "10 mx1.a.example"), want: []audit.Code{audit.MXNullMixed}},
		"MX without address":     {zone: spf("v=spf1 ip4:192.0.2.1 -all", "10 gone.a.example", "20 mx1.a.example", "20 mx2.a.example"), want: []audit.Code{audit.DANEPartial, audit.MXNoAddress}},
		"MX an address":          {zone: spf("v=spf1 -all", "10 192.0.2.1", "20 mx1.a.example", "20 mx2.a.example"), want: []audit.Code{audit.MXLiteral}},
		"MX an alias":            {zone: spf("v=spf1 -all", "10 alias.a.example", "20 mx2.a.example"), want: []audit.Code{audit.DANEPartial, audit.MXCNAME}},
		"one MX":                 {zone: spf("v=spf1 mx -all", "10 mx1.a.example"), want: []audit.Code{audit.MXSingle}},

		"no SPF":            {zone: testdns.Zone{"a.example": {MX: []string{"10 mx1.a.example", "20 mx2.a.example"}}}, want: []audit.Code{audit.SPFMissing}},
		"two SPF":           {zone: testdns.Zone{"a.example": {MX: []string{"10 mx1.a.example", "20 mx2.a.example"}, TXT: []string{"v=spf1 a -all", "v=spf1 mx -all"}}}, want: []audit.Code{audit.SPFMultiple}},
		"SPF syntax":        {zone: spf("v=spf1 foo -all"), want: []audit.Code{audit.SPFSyntax}},
		"SPF 10 lookups":    {zone: includes(9), want: []audit.Code{audit.SPFNear}},
		"SPF 11 lookups":    {zone: includes(10), want: []audit.Code{audit.SPFLookups}},
		"SPF 100 lookups":   {zone: includes(100), want: []audit.Code{audit.SPFLookups}},
		"SPF void":          {zone: spf("v=spf1 a:empty.a.example a:gone.a.example mx:gone.a.example -all"), want: []audit.Code{audit.SPFDead, audit.SPFVoid}},
		"SPF include none":  {zone: spf("v=spf1 include:mx1.a.example -all"), want: []audit.Code{audit.SPFDead}},
		"SPF include bad":   {zone: spf("v=spf1 include:broken.example -all"), want: []audit.Code{audit.SPFSyntax}},
		"SPF many MX":       {zone: spf("v=spf1 mx -all", many...), want: []audit.Code{audit.MXSingle, audit.SPFMXHosts}},
		"SPF +all":          {zone: spf("v=spf1 mx all"), want: []audit.Code{audit.SPFPassAll}},
		"SPF ?all":          {zone: spf("v=spf1 mx ?all"), want: []audit.Code{audit.SPFNeutral}},
		"SPF no all":        {zone: spf("v=spf1 mx"), want: []audit.Code{audit.SPFNoEnd}},
		"SPF behind all":    {zone: spf("v=spf1 -all mx"), want: []audit.Code{audit.SPFAfterAll}},
		"SPF ptr":           {zone: spf("v=spf1 ptr -all"), want: []audit.Code{audit.SPFPTR}},
		"SPF loop":          {zone: spf("v=spf1 include:a.example -all"), want: []audit.Code{audit.SPFLoop}},
		"SPF loop below":    {zone: spf("v=spf1 include:loop.example -all"), want: []audit.Code{audit.SPFLoop}},
		"SPF redirect":      {zone: spf("v=spf1 redirect=other.example"), want: nil},
		"SPF redirect loop": {zone: spf("v=spf1 redirect=a.example"), want: []audit.Code{audit.SPFLoop}},
		"SPF macros":        {zone: spf("v=spf1 exists:%{i}.a.example include:%{d1}.x -all"), want: nil},
		"SPF long":          {zone: spf("v=spf1 " + strings.Repeat("ip4:192.0.2.1 ", 40) + "-all"), want: []audit.Code{audit.SPFLong}},
		"sends nothing":     {zone: testdns.Zone{"a.example": {MX: []string{"0 ."}, TXT: []string{"v=spf1 mx -all"}}}, opt: audit.Options{NoMail: true, Selectors: []string{"k"}}, want: []audit.Code{audit.SPFNoMail}},

		"no selectors":   {opt: audit.Options{BIMISelector: "default"}, want: []audit.Code{audit.DKIMNoSelectors}},
		"no key":         {drop: []string{"k._domainkey.a.example"}, want: []audit.Code{audit.DKIMMissing}},
		"two keys":       {zone: keys(key, key+" "), want: []audit.Code{audit.DKIMMultiple}},
		"key syntax":     {zone: keys("v=DKIM1; p=!"), want: []audit.Code{audit.DKIMSyntax}},
		"key revoked":    {zone: keys("v=DKIM1; p="), want: []audit.Code{audit.DKIMRevoked}},
		"key short":      {zone: keys(rsaRecord(t, 768)), want: []audit.Code{audit.DKIMShort}},
		"key weak":       {zone: keys(rsaRecord(t, 1024)), want: []audit.Code{audit.DKIMWeak}},
		"key in test":    {zone: keys(strings.Replace(key, "p=", "t=y; p=", 1)), want: []audit.Code{audit.DKIMTesting}},
		"key for others": {zone: keys(strings.Replace(key, "p=", "s=tlsrpt; p=", 1)), want: []audit.Code{audit.DKIMUnusable}},
		"key with SHA-1": {zone: keys(strings.Replace(key, "p=", "h=sha1; p=", 1)), want: []audit.Code{audit.DKIMUnusable}},
		"key of no type": {zone: keys("v=DKIM1; k=x; p=AAAA"), want: []audit.Code{audit.DKIMUnusable}},

		"no DMARC":         {drop: []string{"_dmarc.a.example"}, want: []audit.Code{audit.BIMIPolicy, audit.DMARCMissing}},
		"two DMARC":        {zone: dmarcs("v=DMARC1; p=reject", "v=DMARC1; p=none"), want: []audit.Code{audit.BIMIPolicy, audit.DMARCMultiple}},
		"DMARC without p":  {zone: dmarcs("v=DMARC1; sp=reject"), want: []audit.Code{audit.BIMIPolicy, audit.DMARCUnusable}},
		"DMARC none":       {zone: dmarcs("v=DMARC1; p=none; rua=mailto:d@a.example"), want: []audit.Code{audit.BIMIPolicy, audit.DMARCNone}},
		"DMARC sp":         {zone: dmarcs("v=DMARC1; p=reject; sp=none; rua=mailto:d@a.example"), want: []audit.Code{audit.BIMIPolicy, audit.DMARCSubdomains}},
		"DMARC no rua":     {zone: dmarcs("v=DMARC1; p=reject"), want: []audit.Code{audit.DMARCNoReports}},
		"DMARC elsewhere":  {zone: dmarcs("v=DMARC1; p=reject; rua=mailto:d@r.example"), want: []audit.Code{audit.DMARCExternal}},
		"DMARC agreed":     {zone: testdns.Zone{"_dmarc.a.example": txt("v=DMARC1; p=reject; rua=mailto:d@r.example"), "a.example._report._dmarc.r.example": txt("v=DMARC1;")}, want: nil},
		"DMARC below":      {zone: dmarcs("v=DMARC1; p=reject; rua=mailto:d@x.a.example"), want: nil},
		"DMARC pct":        {zone: dmarcs("v=DMARC1; p=reject; pct=50; rua=mailto:d@a.example"), want: []audit.Code{audit.DMARCOldTags}},
		"DMARC in test":    {zone: dmarcs("v=DMARC1; p=reject; t=y; rua=mailto:d@a.example"), want: []audit.Code{audit.BIMIPolicy, audit.DMARCTesting}},
		"DMARC from above": {drop: []string{"_dmarc.a.example"}, zone: testdns.Zone{"_dmarc.example": txt("v=DMARC1; p=reject; psd=y; rua=mailto:d@a.example")}, want: []audit.Code{audit.DMARCInherited}},

		"no STS":           {drop: []string{"_mta-sts.a.example"}, want: []audit.Code{audit.STSMissing}},
		"two STS":          {zone: testdns.Zone{"_mta-sts.a.example": txt("v=STSv1; id=1", "v=STSv1; id=2")}, want: []audit.Code{audit.STSMultiple}},
		"STS syntax":       {zone: testdns.Zone{"_mta-sts.a.example": txt("v=STSv1; id=-")}, want: []audit.Code{audit.STSSyntax}},
		"STS not served":   {web: web{}, want: []audit.Code{audit.STSFetch}},
		"STS as HTML":      {web: sts("<html>"), want: []audit.Code{audit.STSFetch}},
		"STS redirected":   {web: web{stsURL: "https://a.example/x", "https://a.example/x": policy}, want: []audit.Code{audit.STSFetch}},
		"STS malformed":    {web: sts("version: STSv2\n"), want: []audit.Code{audit.STSPolicy}},
		"STS too large":    {web: sts(policy + strings.Repeat("\n", 70<<10)), want: []audit.Code{audit.STSPolicy}},
		"STS without host": {web: sts(strings.Replace(policy, "*", "mx1", 1)), want: []audit.Code{audit.STSMX}},
		"STS in test":      {web: sts(strings.Replace(policy, "enforce", "testing", 1)), want: []audit.Code{audit.STSTesting}},
		"STS none":         {web: sts(strings.Replace(policy, "enforce", "none", 1)), want: []audit.Code{audit.STSNone}},
		"STS short":        {web: sts(strings.Replace(policy, "2592000", "3600", 1)), want: []audit.Code{audit.STSAge}},

		"no TLSRPT":     {drop: []string{"_smtp._tls.a.example"}, want: []audit.Code{audit.TLSRPTMissing}},
		"two TLSRPT":    {zone: testdns.Zone{"_smtp._tls.a.example": txt("v=TLSRPTv1; rua=mailto:a@b", "v=TLSRPTv1; rua=mailto:c@d")}, want: []audit.Code{audit.TLSRPTMultiple}},
		"TLSRPT syntax": {zone: testdns.Zone{"_smtp._tls.a.example": txt("v=TLSRPTv1; rua=ftp://x")}, want: []audit.Code{audit.TLSRPTSyntax}},
		"no DANE":       {drop: []string{"_25._tcp.mx1.a.example", "_25._tcp.mx2.a.example"}, want: []audit.Code{audit.DANEMissing}},
		"DANE for one":  {drop: []string{"_25._tcp.mx1.a.example"}, want: []audit.Code{audit.DANEPartial}},
		"DANE unusable": {zone: testdns.Zone{"_25._tcp.mx1.a.example": {TLSA: []string{"1 1 1 " + strings.Repeat("ab", 32)}}}, want: []audit.Code{audit.DANEUnusable}},
		"DANE unsigned": {zone: testdns.Zone{"_25._tcp.mx1.a.example": {TLSA: []string{"3 1 1 " + strings.Repeat("ab", 32)}, Insecure: true}}, want: []audit.Code{audit.DANEInsecure}},
		"MX unsigned":   {zone: testdns.Zone{"a.example": {MX: []string{"10 mx1.a.example", "20 mx2.a.example"}, TXT: []string{"v=spf1 mx -all"}, Insecure: true}}, want: []audit.Code{audit.DANEInsecure}},
		"no BIMI":       {drop: []string{"default._bimi.a.example"}, want: nil},
		"two BIMI":      {zone: testdns.Zone{"default._bimi.a.example": txt("v=BIMI1; l=", "v=BIMI1; l=")}, want: []audit.Code{audit.BIMIMultiple}},
		"BIMI syntax":   {zone: testdns.Zone{"default._bimi.a.example": txt("v=BIMI1; l=http://x")}, want: []audit.Code{audit.BIMISyntax}},
	} {
		t.Run(name, func(t *testing.T) {
			z, w := good(t)
			for _, n := range c.drop {
				delete(z, n)
			}
			maps.Copy(z, c.zone)
			if c.web != nil {
				w = c.web
			}
			opt := c.opt
			if opt.Selectors == nil && opt.BIMISelector == "" {
				opt.Selectors = []string{"k"}
			}
			r := inspect(t, z, w, opt)
			assert.Equal(t, c.want, codes(r))
			for _, f := range r.Findings {
				assert.NotEmpty(t, f.Text)
				assert.NotEmpty(t, f.Name)
				assert.NotZero(t, f.Severity)
			}
		})
	}
}

// TestCodes makes sure that every finding there can be has a severity.
func TestCodes(t *testing.T) {
	z, w := good(t)
	r := inspect(t, z, nil, audit.Options{Selectors: []string{"k"}})
	assert.Equal(t, []audit.Code{audit.STSNotFetched}, codes(r))
	assert.Equal(t, audit.Note, r.Worst())
	_ = w
}

func TestBadDomain(t *testing.T) {
	a := audit.Auditor{Resolver: &dns.Resolver{Servers: []string{"127.0.0.1:1"}}}
	for _, d := range []string{"", ".", "a..b", strings.Repeat("a", 300), "a b\x00c.."} {
		r := a.Audit(t.Context(), d, audit.Options{})
		assert.True(t, r.Has(audit.BadDomain), "%q", d)
		assert.Zero(t, r.Lookups)
	}
}

func TestBudget(t *testing.T) {
	z, w := good(t)
	server := testdns.New(t, z)
	for most := 1; most < 20; most++ {
		a := audit.Auditor{Resolver: &dns.Resolver{Servers: []string{server.Addr()}}, HTTP: &http.Client{Transport: w}, MaxLookups: most}
		r := a.Audit(t.Context(), "a.example", audit.Options{Selectors: []string{"k"}})
		assert.LessOrEqual(t, r.Lookups, most)
		assert.Equal(t, r.Lookups == most && most < 16, r.Has(audit.Budget), "%d lookups", most)
	}
}

func TestNoAnswer(t *testing.T) {
	z, w := good(t)
	server := testdns.New(t, z)
	for name := range z {
		for _, typ := range []string{"MX", "TXT", "A", "TLSA"} {
			server.Fail(name, typ, testdns.ServFail)
		}
	}
	a := audit.Auditor{Resolver: &dns.Resolver{Servers: []string{server.Addr()}}, HTTP: &http.Client{Transport: w}}
	r := a.Audit(t.Context(), "a.example", audit.Options{Selectors: []string{"k"}})
	assert.Equal(t, []audit.Code{audit.LookupFailed}, codes(r))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r = a.Audit(ctx, "a.example", audit.Options{Selectors: []string{"k"}})
	assert.Equal(t, []audit.Code{audit.LookupFailed}, codes(r))
}

func TestReportIsClean(t *testing.T) {
	z, w := good(t)
	z["a.example"] = testdns.Records{TXT: []string{"v=spf1 \x1b[2J\r\nfoo " + strings.Repeat("x", 3000)}}
	var b bytes.Buffer
	_, err := inspect(t, z, w, audit.Options{}).WriteTo(&b)
	require.NoError(t, err)
	assert.NotContains(t, b.String(), "\x1b")
	assert.NotContains(t, b.String(), "\r")
	for line := range strings.Lines(b.String()) {
		assert.Less(t, len(line), 1500)
	}
}

// setup is a whole mail system.
func setup(t *testing.T) *audit.Setup {
	authority, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := authority.Issue("mx1.a.example")
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	long, err := dkim.GenerateKey(dkim.RSASHA256)
	require.NoError(t, err)
	short, err := dkim.GenerateKey(dkim.Ed25519SHA256)
	require.NoError(t, err)
	return &audit.Setup{
		Domain: "A.example",
		Hosts: []audit.Host{
			{Name: "mx1.a.example", Preference: 10, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, Certificate: leaf},
			{Name: "mx2.a.example.", Preference: 20, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, Certificate: leaf},
		},
		Senders: []string{"ip4:192.0.2.128/25"},
		Keys:    []audit.Key{{Selector: "r", Key: long}, {Selector: "e", Key: short.Public()}},
		Reports: "reports,all@a.example",
	}
}

// zoneOf reads a zone text as a name server does.
func zoneOf(t *testing.T, records []audit.Record) testdns.Zone {
	var b bytes.Buffer
	require.NoError(t, audit.WriteZone(&b, records))
	z := make(testdns.Zone)
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, ";") {
			continue
		}
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 5)
		require.Len(t, f, 5, line)
		r := z[strings.TrimSuffix(f[0], ".")]
		r.RR = append(r.RR, f[1]+" "+f[2]+" "+f[3]+" "+f[4])
		z[strings.TrimSuffix(f[0], ".")] = r
	}
	return z
}

// TestSetup publishes what a Setup says, by the text of its zone, and audits it.
func TestSetup(t *testing.T) {
	for name, change := range map[string]func(*audit.Setup){
		"whole":   func(s *audit.Setup) {},
		"default": func(s *audit.Setup) { s.Reports, s.Senders = "", nil },
		"reject":  func(s *audit.Setup) { s.Policy, s.STSID, s.TTL = dmarc.Reject, "x1", time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t)
			change(s)
			records, err := s.Records()
			require.NoError(t, err)
			r := inspect(t, zoneOf(t, records), web{stsURL: s.STSPolicy().String()}, audit.Options{Selectors: []string{"r", "e"}})
			assert.Empty(t, r.Findings)
		})
	}
	t.Run("no mail", func(t *testing.T) {
		records, err := (&audit.Setup{Domain: "a.example"}).Records()
		require.NoError(t, err)
		assert.Len(t, records, 3)
		r := inspect(t, zoneOf(t, records), nil, audit.Options{NoMail: true})
		assert.Empty(t, r.Findings)
	})
}

func TestSetupErrors(t *testing.T) {
	for name, change := range map[string]func(*audit.Setup){
		"no domain":        func(s *audit.Setup) { s.Domain = "" },
		"domain":           func(s *audit.Setup) { s.Domain = "a b" },
		"host":             func(s *audit.Setup) { s.Hosts[0].Name = "a\nb" },
		"no address":       func(s *audit.Setup) { s.Hosts[0].Addrs = nil },
		"address":          func(s *audit.Setup) { s.Hosts[0].Addrs = []netip.Addr{{}} },
		"mechanism":        func(s *audit.Setup) { s.Senders = []string{"foo:bar"} },
		"selector":         func(s *audit.Setup) { s.Keys[0].Selector = "" },
		"key":              func(s *audit.Setup) { s.Keys[0].Key = 7 },
		"policy":           func(s *audit.Setup) { s.Policy = "nothing" },
		"STS mode":         func(s *audit.Setup) { s.STS = "x" },
		"STS id":           func(s *audit.Setup) { s.STSID = "a b" },
		"report":           func(s *audit.Setup) { s.Reports = "a\r\nb" },
		"report, no mail":  func(s *audit.Setup) { s.Reports, s.Hosts = "a\r\nb@a.example", nil },
		"report to nobody": func(s *audit.Setup) { s.Reports, s.Hosts = "a.example", nil },
		"one selector":     func(s *audit.Setup) { s.Keys[1].Selector = "R." },
		"TTL":              func(s *audit.Setup) { s.TTL = 1 << 62 },
		"long name":        func(s *audit.Setup) { s.Keys[0].Selector = strings.Repeat("a.", 119) + "a" },
	} {
		t.Run(name, func(t *testing.T) {
			s := setup(t)
			change(s)
			_, err := s.Records()
			assert.ErrorIs(t, err, audit.ErrSetup)
		})
	}
}

func TestZoneText(t *testing.T) {
	r := audit.Record{Name: "a.", Type: "TXT", TTL: time.Minute, Data: "a\"b\\c\x00é" + strings.Repeat("x", 300)}
	parts := strings.SplitN(r.String(), "\t", 5)
	assert.Equal(t, "a.\t60\tIN\tTXT", strings.Join(parts[:4], "\t"))
	assert.True(t, strings.HasPrefix(parts[4], `"a\"b\\c\000\195\169xx`), parts[4])
	assert.Equal(t, 2, strings.Count(parts[4], `" "`)+1)
}
