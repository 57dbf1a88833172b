package dmarc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRecord(t *testing.T) {
	base := func(change func(*Record)) *Record {
		r := &Record{Policy: Reject, PSD: PSDUnknown, FailureOptions: "0"}
		change(r)
		return r
	}
	for _, c := range []struct {
		txt  string
		want *Record
	}{
		{"v=DMARC1; p=reject", base(func(*Record) {})},
		{"v=DMARC1;p=reject;", base(func(*Record) {})},
		{"v = DMARC1 ; p\t=\treject ;; ", base(func(*Record) {})},
		{"v=DMARC1; p=Reject", base(func(*Record) {})},
		{"v=DMARC1; adkim=s; aspf=S; p=reject", base(func(r *Record) { r.StrictDKIM, r.StrictSPF = true, true })},
		{"v=DMARC1; p=reject; adkim=x; aspf=strict; psd=maybe; t=1; fo=q", base(func(*Record) {})},
		{"v=DMARC1; p=reject; unknown=1; pct=50; rf=afrf; ri=3600", base(func(*Record) {})},
		{"v=DMARC1; p=reject; junk; =x", base(func(*Record) {})},
		{"v=DMARC1; p=reject; p=none; t=n; t=y", base(func(*Record) {})},
		{"v=DMARC1; sp=none; np=quarantine; p=reject; psd=n; t=y", base(func(r *Record) {
			r.Subdomains, r.NonExistent, r.PSD, r.Testing = None, Quarantine, PSDNo, true
		})},
		{"v=DMARC1; p=reject; psd=y", base(func(r *Record) { r.PSD = PSDYes })},
		{"v=DMARC1; p=reject; rua=mailto:a@example.com, mailto:b@example.net!10m ,https://example.org/r,,nonsense,mailto:x; ruf=mailto:f@example.com",
			base(func(r *Record) {
				r.AggregateURIs = []string{"mailto:a@example.com", "mailto:b@example.net", "https://example.org/r"}
				r.FailureURIs = []string{"mailto:f@example.com"}
			})},
		{"v=DMARC1; p=reject; fo=1:d:S; ruf=mailto:f@example.com", base(func(r *Record) { r.FailureOptions, r.FailureURIs = "1ds", []string{"mailto:f@example.com"} })},
		{"v=DMARC1; p=reject; fo=1:d:S", base(func(*Record) {})},
		{"v=DMARC1; p=reject; ruf=nonsense; fo=1", base(func(*Record) {})},
		{"v=DMARC1; p=reject; ruf=mailto:f@example.com; fo=0:1", base(func(r *Record) { r.FailureURIs = []string{"mailto:f@example.com"} })},
		{"v=DMARC1; p=reject; ruf=mailto:f@example.com; fo=d:d", base(func(r *Record) { r.FailureURIs = []string{"mailto:f@example.com"} })},
		// RFC 9989 §4.10.1.
		{"v=DMARC1", base(func(r *Record) { r.Policy, r.Unusable = None, true })},
		{"v=DMARC1;", base(func(r *Record) { r.Policy, r.Unusable = None, true })},
		{"v=DMARC1; p=block", base(func(r *Record) { r.Policy, r.Unusable = None, true })},
		{"v=DMARC1; p=reject; sp=block", base(func(r *Record) { r.Policy, r.Unusable = None, true })},
		{"v=DMARC1; p=reject; sp=none; np=", base(func(r *Record) { r.Policy, r.Unusable = None, true })},
		{"v=DMARC1; rua=nonsense", base(func(r *Record) { r.Policy, r.Unusable = None, true })},
		{"v=DMARC1; rua=mailto:a@example.com", base(func(r *Record) { r.Policy, r.AggregateURIs = None, []string{"mailto:a@example.com"} })},
		{"v=DMARC1; p=reject; sp=block; np=reject; rua=mailto:a@example.com", base(func(r *Record) {
			r.Policy, r.AggregateURIs = None, []string{"mailto:a@example.com"}
		})},
	} {
		got, err := ParseRecord(c.txt)
		require.NoError(t, err, c.txt)
		assert.Equal(t, c.want, got, c.txt)
		if !c.want.Unusable {
			again, err := ParseRecord(got.String())
			require.NoError(t, err)
			assert.Equal(t, c.want, again, got.String())
		}
	}
	for _, txt := range []string{
		"", "v=spf1 -all", "p=reject; v=DMARC1", "v=dmarc1; p=reject", "V=DMARC1; p=reject", "v=DMARC2; p=reject",
		"v=DMARC1 p=reject", "DMARC1; p=reject", ";v=DMARC1", " v=DMARC1; p=reject", "v=DMARC1; n=" + strings.Repeat("x", 8<<10),
	} {
		_, err := ParseRecord(txt)
		assert.ErrorIs(t, err, ErrNotDMARC, "%.40q", txt)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; aspf=r; psd=n; t=y; rua=mailto:a@example.com!10m,https://x; ruf=mailto:b@c; fo=1:d:s")
	f.Add("v = DMARC1;p=;;=;rua=,!,mailto:@")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := ParseRecord(txt)
		if err != nil {
			return
		}
		require.Contains(t, []Policy{None, Quarantine, Reject}, r.Policy)
		if r.Unusable {
			require.Equal(t, None, r.Policy)
			require.Empty(t, r.AggregateURIs)
			return
		}
		again, err := ParseRecord(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
