package dmarc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDestinations(t *testing.T) {
	zone := `_dmarc.a.example v=DMARC1; p=none
a.example._report._dmarc.agreed.test v=DMARC1
a.example._report._dmarc.p.test v=DMARC1; p=reject; rua=mailto:other@p.test,https://p.test/
a.example._report._dmarc.both.test v=DMARC1; rua=mailto:other@both.test,mailto:x@elsewhere.test
a.example._report._dmarc.web.test v=DMARC1; rua=https://web.test/
a.example._report._dmarc.away.test v=DMARC1; rua=mailto:x@elsewhere.test
a.example._report._dmarc.spf.test v=spf1
*.dummy v=DMARC1
a.example._report._dmarc.down.test !
_dmarc.own.a.example v=DMARC1; p=none; psd=n
_dmarc.broken.example !`
	for uri, c := range map[string]struct {
		want string // addresses
		err  error
	}{
		"mailto:d@a.example":                {"d@a.example", nil},
		"MAILTO:d@B.a.Example":              {"d@b.a.example", nil},
		"mailto:d%2Bx@a.example?subject=hi": {"d+x@a.example", nil},
		"mailto:d@own.a.example":            {"", ErrNotAgreed},
		"mailto:d@agreed.test":              {"!d@agreed.test", nil},
		"mailto:d@p.test":                   {"!other@p.test", nil},
		"mailto:d@away.test":                {"", ErrNotAgreed},
		"mailto:d@both.test":                {"", ErrNotAgreed},
		"mailto:d@web.test":                 {"", ErrDestination},
		"mailto:d@spf.test":                 {"", ErrNotAgreed},
		"mailto:d@none.test":                {"", ErrNotAgreed},
		"mailto:d@down.test":                {"", ErrDNS},
		"mailto:d@broken.example":           {"", ErrDNS},
		"https://a.example/x":               {"", ErrDestination},
		"mailto:d":                          {"", ErrDestination},
		"mailto:@a.example":                 {"", ErrDestination},
		"mailto:d@a.example,e@a.example":    {"", ErrDestination},
		"mailto:d%0D%0A@a.example":          {"", ErrDestination},
		"mailto:d@a..example":               {"", ErrDestination},
		"mailto:%zz@a.example":              {"", ErrDestination},
		"":                                  {"", ErrDestination},
	} {
		e := &Evaluator{Resolver: parseZone(zone)}
		got, errs := e.Destinations(t.Context(), "a.example", []string{uri})
		var all []string
		for _, d := range got {
			mark := ""
			if d.External {
				mark = "!"
			}
			all = append(all, mark+d.Address)
		}
		assert.Equal(t, c.want, strings.Join(all, " "), uri)
		if c.err == nil {
			assert.Empty(t, errs, uri)
		} else if assert.Len(t, errs, 1, uri) {
			assert.ErrorIs(t, errs[0], c.err, uri)
		}
	}
	e := &Evaluator{Resolver: parseZone(zone)}
	many := make([]string, 100)
	for i := range many {
		many[i] = "mailto:d@a.example"
	}
	got, _ := e.Destinations(t.Context(), "a.example", many)
	assert.Len(t, got, MaxDestinations)
	_, errs := e.Destinations(t.Context(), "a..b", many)
	assert.ErrorIs(t, errs[0], ErrAuthorDomain)
}

func FuzzMailto(f *testing.F) {
	f.Add("mailto:d%2Bx@a.example?subject=hi")
	f.Fuzz(func(t *testing.T, uri string) {
		address, host, err := mailto(uri)
		if err == nil {
			assert.True(t, strings.HasSuffix(address, "@"+host))
			assert.False(t, strings.ContainsAny(address, "\r\n ,<>"))
		}
	})
}

// TestFailureDestinations: the other organization's ruf counts, not its rua.
func TestFailureDestinations(t *testing.T) {
	e := &Evaluator{Resolver: parseZone("a.example._report._dmarc.p.test v=DMARC1; rua=mailto:agg@p.test; ruf=mailto:fail@p.test")}
	got, errs := e.FailureDestinations(t.Context(), "a.example", []string{"mailto:d@p.test"})
	assert.Empty(t, errs)
	assert.Equal(t, []Destination{{URI: "mailto:fail@p.test", Address: "fail@p.test", External: true}}, got)
	got, _ = e.Destinations(t.Context(), "a.example", []string{"mailto:d@p.test"})
	assert.Equal(t, []Destination{{URI: "mailto:agg@p.test", Address: "agg@p.test", External: true}}, got)
}
