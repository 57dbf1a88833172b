package tlspolicy_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/mta/tlspolicy"
)

func Example() {
	record, err := tlspolicy.ParseSTSRecord([]string{"v=spf1 -all", "v=STSv1; id=20261123T000000;"})
	fmt.Println(record.ID, err)
	policy, err := tlspolicy.ParsePolicy([]byte("version: STSv1\nmode: enforce\nmx: mx1.example.org\nmx: *.backup.example.org\nmax_age: 604800\n"))
	fmt.Println(policy.Mode, policy.MaxAge, err)
	fmt.Println(policy.Matches("MX1.example.org."), policy.Matches("a.backup.example.org"), policy.Matches("a.b.backup.example.org"))
	// Output:
	// 20261123T000000 <nil>
	// enforce 168h0m0s <nil>
	// true true false
}

func TestSTSRecord(t *testing.T) {
	for _, c := range []struct {
		texts []string
		id    string
		err   error
	}{
		{[]string{"v=STSv1; id=abc123"}, "abc123", nil},
		{[]string{"v=STSv1;id=abc123;"}, "abc123", nil},
		{[]string{"v=STSv1 ; id=abc123 ; "}, "abc123", nil},
		{[]string{"v=STSv1; x-y.z=1; id=a; id=b"}, "a", nil},
		{[]string{"other", "v=STSv1; id=a", "v=STSv10; id=b", "v=STSv2"}, "a", nil},
		{[]string{"v=STSv1", "v=STSv1 x", "v=STSv1; id=a"}, "a", nil},
		{nil, "", tlspolicy.ErrNone},
		{[]string{""}, "", tlspolicy.ErrNone},
		{[]string{"v=stsv1; id=a"}, "", tlspolicy.ErrNone},
		{[]string{" v=STSv1; id=a"}, "", tlspolicy.ErrNone},
		{[]string{"v=STSv1; id=a", "v=STSv1; id=a"}, "", tlspolicy.ErrMultiple},
		{[]string{"v=STSv1"}, "", tlspolicy.ErrSyntax},
		{[]string{"v=STSv1;"}, "", tlspolicy.ErrSyntax},
		{[]string{"v=STSv1; id="}, "", tlspolicy.ErrSyntax},
		{[]string{"v=STSv1; id=a_b"}, "", tlspolicy.ErrSyntax},
		{[]string{"v=STSv1; id=é"}, "", tlspolicy.ErrSyntax},
		{[]string{"v=STSv1; id=" + strings.Repeat("a", 33)}, "", tlspolicy.ErrSyntax},
		{[]string{"v=STSv1; id=a; nonsense"}, "", tlspolicy.ErrSyntax},
		{[]string{"v=STSv1; ID=a"}, "", tlspolicy.ErrSyntax},
	} {
		r, err := tlspolicy.ParseSTSRecord(c.texts)
		assert.ErrorIs(t, err, c.err, "%q", c.texts)
		assert.Equal(t, c.id, r.ID, "%q", c.texts)
		if c.err == nil {
			again, err := tlspolicy.ParseSTSRecord([]string{r.String()})
			assert.NoError(t, err)
			assert.Equal(t, r, again)
		}
	}
}

func TestReportRecord(t *testing.T) {
	for _, c := range []struct {
		texts []string
		uris  []string
		err   error
	}{
		{[]string{"v=TLSRPTv1; rua=mailto:tls@example.org"}, []string{"mailto:tls@example.org"}, nil},
		{[]string{"v=TLSRPTv1;rua=mailto:a@b.c, https://r.example/x?y=1;"}, []string{"mailto:a@b.c", "https://r.example/x?y=1"}, nil},
		{[]string{"v=TLSRPTv1; rua=ftp://x,mailto:,MAILTO:a@b"}, []string{"MAILTO:a@b"}, nil},
		{[]string{"v=TLSRPTv1; rua=ftp://x"}, nil, tlspolicy.ErrSyntax},
		{[]string{"v=TLSRPTv1; rua="}, nil, tlspolicy.ErrSyntax},
		{[]string{"v=TLSRPTv1;"}, nil, tlspolicy.ErrSyntax},
		{[]string{"v=TLSRPTv1; rua=mailto:a@b\r\nBcc: x"}, nil, tlspolicy.ErrSyntax},
		{[]string{"v=TLSRPTv1; rua=mailto:a@b", "v=TLSRPTv1; rua=mailto:a@b"}, nil, tlspolicy.ErrMultiple},
		{[]string{"v=TLSRPTv12"}, nil, tlspolicy.ErrNone},
	} {
		r, err := tlspolicy.ParseReportRecord(c.texts)
		assert.ErrorIs(t, err, c.err, "%q", c.texts)
		assert.Equal(t, c.uris, r.URIs, "%q", c.texts)
		if c.err == nil {
			again, err := tlspolicy.ParseReportRecord([]string{r.String()})
			assert.NoError(t, err)
			assert.Equal(t, r, again)
		}
	}
}

const policyText = "version: STSv1\r\nmode: testing\r\nmx: a.example\r\nmax_age: 86400\r\n"

func TestPolicy(t *testing.T) {
	plain := &tlspolicy.Policy{Mode: tlspolicy.Testing, MX: []string{"a.example"}, MaxAge: 24 * time.Hour}
	for name, c := range map[string]struct {
		text string
		want *tlspolicy.Policy
		err  error
	}{
		"CRLF":          {policyText, plain, nil},
		"LF":            {strings.ReplaceAll(policyText, "\r", ""), plain, nil},
		"no last line":  {strings.TrimSuffix(policyText, "\r\n"), plain, nil},
		"blanks":        {"\n" + strings.ReplaceAll(policyText, ": ", " :\t ") + " \n", plain, nil},
		"extension":     {policyText + "x-1: é\n", plain, nil},
		"first counts":  {policyText + "mode: enforce\nmax_age: 1\nversion: STSv2\n", plain, nil},
		"case":          {strings.Replace(policyText, "a.ex", "A.Ex", 1), plain, nil},
		"long":          {strings.Replace(policyText, "86400", "9999999999", 1), &tlspolicy.Policy{Mode: tlspolicy.Testing, MX: []string{"a.example"}, MaxAge: tlspolicy.MaxAge}, nil},
		"none":          {"version: STSv1\nmode: none\nmax_age: 0\n", &tlspolicy.Policy{Mode: tlspolicy.None}, nil},
		"empty":         {"", nil, tlspolicy.ErrSyntax},
		"version late":  {"mode: none\nmax_age: 0\nversion: STSv1\n", &tlspolicy.Policy{Mode: tlspolicy.None}, nil},
		"no version":    {strings.Replace(policyText, "version", "revision", 1), nil, tlspolicy.ErrSyntax},
		"version 2 1st": {"version: STSv2\n" + policyText, nil, tlspolicy.ErrSyntax},
		"version 2":     {strings.Replace(policyText, "STSv1", "STSv2", 1), nil, tlspolicy.ErrSyntax},
		"mode":          {strings.Replace(policyText, "testing", "Testing", 1), nil, tlspolicy.ErrSyntax},
		"no mode":       {strings.Replace(policyText, "mode", "mood", 1), nil, tlspolicy.ErrSyntax},
		"no max_age":    {strings.Replace(policyText, "max_age", "min_age", 1), nil, tlspolicy.ErrSyntax},
		"negative":      {strings.Replace(policyText, "86400", "-1", 1), nil, tlspolicy.ErrSyntax},
		"digits":        {strings.Replace(policyText, "86400", "12345678901", 1), nil, tlspolicy.ErrSyntax},
		"no digits":     {strings.Replace(policyText, "86400", "", 1), nil, tlspolicy.ErrSyntax},
		"no mx":         {strings.Replace(policyText, "mx", "my", 1), nil, tlspolicy.ErrSyntax},
		"bad mx":        {strings.Replace(policyText, "a.example", "a..example", 1), nil, tlspolicy.ErrSyntax},
		"inner star":    {strings.Replace(policyText, "a.example", "a.*.example", 1), nil, tlspolicy.ErrSyntax},
		"star":          {strings.Replace(policyText, "a.example", "*", 1), nil, tlspolicy.ErrSyntax},
		"no colon":      {policyText + "hello\n", nil, tlspolicy.ErrSyntax},
		"HTML":          {"<!DOCTYPE html>\n<p>Not found</p>\n", nil, tlspolicy.ErrSyntax},
		"control":       {policyText + "x: a\x00b\n", nil, tlspolicy.ErrSyntax},
		"too large":     {policyText + strings.Repeat("\n", tlspolicy.MaxPolicyBytes), nil, tlspolicy.ErrTooLarge},
		"too many":      {policyText + strings.Repeat("mx: b.c\n", tlspolicy.MaxPolicyHosts), nil, tlspolicy.ErrSyntax},
		"as many as go": {policyText + strings.Repeat("mx: b.c\n", tlspolicy.MaxPolicyHosts-1), &tlspolicy.Policy{Mode: tlspolicy.Testing, MX: append([]string{"a.example"}, strings.Split(strings.Repeat("b.c ", tlspolicy.MaxPolicyHosts-2)+"b.c", " ")...), MaxAge: 24 * time.Hour}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := tlspolicy.ParsePolicy([]byte(c.text))
			assert.ErrorIs(t, err, c.err)
			assert.Equal(t, c.want, p)
			if c.err == nil {
				again, err := tlspolicy.ParsePolicy([]byte(p.String()))
				require.NoError(t, err)
				assert.Equal(t, p, again)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	p := &tlspolicy.Policy{Mode: tlspolicy.Enforce, MX: []string{"mx.a.example", "*.b.example"}}
	for mx, want := range map[string]bool{
		"mx.a.example": true, "MX.A.example.": true, "x.b.example": true, "b.example": false, "x.y.b.example": false,
		"xb.example": false, "mx.a.example.evil": false, "": false, ".": false, ".b.example": false,
	} {
		assert.Equal(t, want, p.Matches(mx), "%q", mx)
	}
	assert.False(t, new(tlspolicy.Policy).Matches("a"))
	assert.True(t, (&tlspolicy.Policy{Mode: tlspolicy.None}).Matches("a"))
}

func TestTLSA(t *testing.T) {
	authority, err := testcert.NewAuthority()
	require.NoError(t, err)
	var certs []*x509.Certificate
	for _, name := range []string{"mx.a.example", "mx.b.example"} {
		c, err := authority.Issue(name)
		require.NoError(t, err)
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		require.NoError(t, err)
		certs = append(certs, leaf)
	}
	cert, other := certs[0], certs[1]
	full, half := sha512.Sum512(cert.Raw), sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	for _, r := range []dns.TLSA{
		tlspolicy.RecordFor(cert),
		{Usage: 3, Selector: 0, MatchingType: 0, Data: cert.Raw},
		{Usage: 2, Selector: 1, MatchingType: 0, Data: cert.RawSubjectPublicKeyInfo},
		{Usage: 2, Selector: 0, MatchingType: 2, Data: full[:]},
		{Usage: 3, Selector: 1, MatchingType: 1, Data: half[:]},
	} {
		require.NoError(t, tlspolicy.Usable(r), "%v", r)
		assert.True(t, tlspolicy.Matches(r, cert), "%v", r)
		assert.False(t, tlspolicy.Matches(r, other), "%v", r)
	}
	for _, r := range []dns.TLSA{
		{},
		{Usage: 0, Selector: 1, MatchingType: 1, Data: half[:]},
		{Usage: 1, Selector: 1, MatchingType: 1, Data: half[:]},
		{Usage: 4, Selector: 1, MatchingType: 1, Data: half[:]},
		{Usage: 3, Selector: 2, MatchingType: 1, Data: half[:]},
		{Usage: 3, Selector: 1, MatchingType: 3, Data: half[:]},
		{Usage: 3, Selector: 1, MatchingType: 2, Data: half[:]},
		{Usage: 3, Selector: 1, MatchingType: 1, Data: half[:31]},
		{Usage: 3, Selector: 1, MatchingType: 0, Data: cert.Raw},
		{Usage: 3, Selector: 0, MatchingType: 0, Data: cert.Raw[1:]},
	} {
		assert.ErrorIs(t, tlspolicy.Usable(r), tlspolicy.ErrUnusable, "%v", r)
		assert.False(t, tlspolicy.Matches(r, cert), "%v", r)
	}
}

func FuzzRecords(f *testing.F) {
	for _, s := range []string{"v=STSv1; id=abc123;", "v=TLSRPTv1; rua=mailto:a@b.c,https://x/y", "v=STSv1 ;;id=a", ""} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if r, err := tlspolicy.ParseSTSRecord([]string{a, b}); err == nil {
			again, err := tlspolicy.ParseSTSRecord([]string{r.String()})
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
		if r, err := tlspolicy.ParseReportRecord([]string{a, b}); err == nil {
			again, err := tlspolicy.ParseReportRecord([]string{r.String()})
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(policyText), "a.example")
	f.Add([]byte("version: STSv1\nmode: none\nmax_age: 0\n"), "x")
	f.Add([]byte("version: STSv1\nmode: enforce\nmx: *.b.example\nmx: c\nmax_age: 99999999\nx: y"), "q.b.example.")
	f.Fuzz(func(t *testing.T, body []byte, mx string) {
		p, err := tlspolicy.ParsePolicy(body)
		if err != nil {
			return
		}
		again, err := tlspolicy.ParsePolicy([]byte(p.String()))
		require.NoError(t, err)
		require.Equal(t, p, again)
		require.Equal(t, p.Matches(mx), again.Matches(mx))
	})
}

func FuzzTLSA(f *testing.F) {
	f.Fuzz(func(t *testing.T, usage, selector, matching byte, data []byte) {
		r := dns.TLSA{Usage: usage, Selector: selector, MatchingType: matching, Data: data}
		cert := &x509.Certificate{Raw: data, RawSubjectPublicKeyInfo: data}
		err := tlspolicy.Usable(r)
		if err != nil {
			require.ErrorIs(t, err, tlspolicy.ErrUnusable)
		}
		// The data is the certificate: it matches as it is, and no digest does.
		require.Equal(t, err == nil && matching == 0, tlspolicy.Matches(r, cert))
		require.False(t, tlspolicy.Matches(r, nil))
	})
}
