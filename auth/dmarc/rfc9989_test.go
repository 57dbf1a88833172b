package dmarc

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRFC9989Records has the records of RFC 9989 B.2 as their zone files join
// them.
func TestRFC9989Records(t *testing.T) {
	const rua, third = "mailto:dmarc-feedback@example.com", "mailto:tld-test@thirdparty.example.net"
	for section, c := range map[string]struct {
		txt  string
		want Record
	}{
		"B.2.1": {"v=DMARC1; p=none; " + "rua=mailto:dmarc-feedback@example.com", Record{Policy: None, AggregateURIs: []string{rua}}},
		"B.2.2": {"v=DMARC1; p=none; " + "rua=mailto:dmarc-feedback@example.com; " + "ruf=mailto:auth-reports@example.com",
			Record{Policy: None, AggregateURIs: []string{rua}, FailureURIs: []string{"mailto:auth-reports@example.com"}}},
		"B.2.3": {"v=DMARC1; p=none; " + "rua=mailto:dmarc-feedback@example.com; " + "ruf=mailto:auth-reports@thirdparty.example.net",
			Record{Policy: None, AggregateURIs: []string{rua}, FailureURIs: []string{"mailto:auth-reports@thirdparty.example.net"}}},
		"B.2.5, testing": {"v=DMARC1; p=quarantine; " + "rua=mailto:dmarc-feedback@example.com," + "mailto:tld-test@thirdparty.example.net; " + "t=y",
			Record{Policy: Quarantine, AggregateURIs: []string{rua, third}, Testing: true}},
		"B.2.5, in earnest": {"v=DMARC1; p=reject; " + "rua=mailto:dmarc-feedback@example.com," + "mailto:tld-test@thirdparty.example.net",
			Record{Policy: Reject, AggregateURIs: []string{rua, third}}},
		"B.3.1": {"v=DMARC1; p=reject; aspf=r;\n rua=mailto:dmarc-feedback@example.com", Record{Policy: Reject}},
	} {
		c.want.PSD, c.want.FailureOptions = PSDUnknown, "0"
		if section == "B.3.1" { // printed over two lines; a record has no line end
			c.txt, c.want.AggregateURIs = strings.ReplaceAll(c.txt, "\n", ""), []string{rua}
		}
		got, err := ParseRecord(c.txt)
		require.NoError(t, err, section)
		assert.Equal(t, &c.want, got, section)
	}
}

// TestRFC9989Alignment has the examples of RFC 9989 B.1. SPF and DKIM pass.
func TestRFC9989Alignment(t *testing.T) {
	for _, c := range []struct {
		section, from, spf, dkim string
		relaxed, strict          Status
	}{
		{"B.1.1, example 1", "example.com", "example.com", "", StatusPass, StatusPass},
		{"B.1.1, example 2", "example.com", "child.example.com", "", StatusPass, StatusFail},
		{"B.1.1, example 3", "child.example.com", "example.net", "", StatusFail, StatusFail},
		{"B.1.2, example 1", "example.com", "", "example.com", StatusPass, StatusPass},
		{"B.1.2, example 2", "child.example.com", "", "example.com", StatusPass, StatusFail},
		{"B.1.2, example 3", "child.example.com", "", "example.net", StatusFail, StatusFail},
	} {
		for tags, want := range map[string]Status{"": c.relaxed, "; aspf=s; adkim=s": c.strict} {
			e := &Evaluator{Resolver: parseZone(orgZone + tags)}
			r := e.Evaluate(context.Background(), Input{
				From: []string{"sender@" + c.from},
				SPF:  Identifier{Domain: c.spf, Pass: c.spf != ""}, DKIM: []Identifier{{Domain: c.dkim, Pass: c.dkim != ""}},
			})
			assert.Equal(t, want, r.Status, c.section+tags)
			assert.Equal(t, want == StatusPass && c.spf != "", r.AlignedSPF, c.section+tags)
			assert.Equal(t, want == StatusPass && c.dkim != "", r.AlignedDKIM, c.section+tags)
			assert.Equal(t, "example.com", r.PolicyDomain, c.section+tags)
			if want == StatusFail {
				assert.Equal(t, Reject, r.Policy, c.section+tags)
			}
			// Without a pass there is no alignment.
			r = e.Evaluate(context.Background(), Input{From: []string{"sender@" + c.from}, SPF: Identifier{Domain: c.spf}, DKIM: []Identifier{{Domain: c.dkim}}})
			assert.Equal(t, StatusFail, r.Status, c.section+tags)
		}
	}
}

// TestRFC9989Walks has the examples of RFC 9989 B.3 and B.4: for each domain its
// Organizational Domain and the queries for it, then what comes of the message.
func TestRFC9989Walks(t *testing.T) {
	const simple = `_dmarc.example.com v=DMARC1; p=reject
		_dmarc.signing.example.com v=DMARC1; p=none`
	const bank = `_dmarc.bank.example v=DMARC1; p=none; psd=y
		_dmarc.giant.bank.example v=DMARC1; p=reject`
	type walk struct{ domain, org, queries string }
	deep := walk{"a.b.c.d.e.f.g.h.i.j.k.example.com", "example.com", "a.b.c.d.e.f.g.h.i.j.k.example.com g.h.i.j.k.example.com h.i.j.k.example.com " +
		"i.j.k.example.com j.k.example.com k.example.com example.com com"}
	org := walk{"example.com", "example.com", "example.com com"}
	signing := walk{"signing.example.com", "example.com", "signing.example.com example.com com"}
	for _, c := range []struct {
		section, zone    string
		from, spf, dkim  walk
		policyDomain     string
		spfOK, dkimOK    bool
		policyIfNonePass Policy
	}{
		{"B.3.1", "_dmarc.example.com v=DMARC1; p=reject; aspf=r; rua=mailto:dmarc-feedback@example.com",
			org, walk{"mail.example.com", "example.com", "mail.example.com example.com com"}, org, "example.com", true, true, Reject},
		{"B.4.1", simple, org, org, signing, "example.com", true, true, Reject},
		{"B.4.2", simple, deep, org, signing, "example.com", true, true, Reject},
		{"B.4.3", bank, walk{"giant.bank.example", "giant.bank.example", "giant.bank.example bank.example"},
			walk{"mail.giant.bank.example", "giant.bank.example", "mail.giant.bank.example giant.bank.example bank.example"},
			walk{"mail.mega.bank.example", "mega.bank.example", "mail.mega.bank.example mega.bank.example bank.example"},
			"giant.bank.example", true, false, Reject},
	} {
		t.Run(c.section, func(t *testing.T) {
			for _, w := range []walk{c.from, c.spf, c.dkim} {
				z := parseZone(c.zone)
				d, err := (&Evaluator{Resolver: z}).Discover(context.Background(), w.domain)
				require.NoError(t, err)
				assert.Equal(t, w.org, d.OrgDomain)
				assert.Equal(t, "_dmarc."+strings.ReplaceAll(w.queries, " ", " _dmarc."), strings.Join(z.queries, " "))
			}
			spf, dkim := Identifier{Domain: c.spf.domain, Pass: true}, []Identifier{{Domain: c.dkim.domain, Pass: true}}
			e := &Evaluator{Resolver: parseZone(c.zone)}
			r := e.Evaluate(context.Background(), Input{From: []string{"x@" + c.from.domain}, SPF: spf, DKIM: dkim})
			assert.Equal(t, StatusPass, r.Status)
			assert.Equal(t, c.spfOK, r.AlignedSPF)
			assert.Equal(t, c.dkimOK, r.AlignedDKIM)
			assert.Equal(t, c.policyDomain, r.PolicyDomain)
			r = e.Evaluate(context.Background(), Input{From: []string{"x@" + c.from.domain}})
			assert.Equal(t, StatusFail, r.Status)
			assert.Equal(t, c.policyIfNonePass, r.Policy)
			r = e.Evaluate(context.Background(), Input{From: []string{"x@" + c.from.domain}, DKIM: dkim})
			assert.Equal(t, c.dkimOK, r.Status == StatusPass)
		})
	}
}

// TestRFC9989Destinations has the reports of RFC 9989 B.2.3 to B.2.5.
func TestRFC9989Destinations(t *testing.T) {
	const records = "_dmarc.example.com v=DMARC1; p=none\n_dmarc.test.example.com v=DMARC1; p=quarantine; t=y\n"
	const own, third = "mailto:dmarc-feedback@example.com", "mailto:auth-reports@thirdparty.example.net"
	addresses := func(list []Destination) (out []string) {
		for _, d := range list {
			out = append(out, d.Address)
		}
		return out
	}
	const agreed = "example.com._report._dmarc.thirdparty.example.net v=DMARC1;"
	for _, c := range []struct {
		section, zone, domain string
		rua, ruf              []string
		aggregate, failure    []string
		refused               int
	}{
		{"B.2.2", "", "example.com", []string{own}, []string{"mailto:auth-reports@example.com"}, []string{"dmarc-feedback@example.com"}, []string{"auth-reports@example.com"}, 0},
		{"B.2.3, before the third party agrees", "", "example.com", []string{own}, []string{third}, []string{"dmarc-feedback@example.com"}, nil, 1},
		{"B.2.3", agreed, "example.com", []string{own}, []string{third}, []string{"dmarc-feedback@example.com"}, []string{"auth-reports@thirdparty.example.net"}, 0},
		{"B.2.4", agreed + " rua=mailto:aggregate-reports@thirdparty.example.net; ruf=mailto:failure-reports@thirdparty.example.net", "example.com",
			[]string{own}, []string{third}, []string{"dmarc-feedback@example.com"}, []string{"failure-reports@thirdparty.example.net"}, 0},
		{"B.2.5", "test." + agreed, "test.example.com", []string{own, "mailto:tld-test@thirdparty.example.net"}, nil,
			[]string{"dmarc-feedback@example.com", "tld-test@thirdparty.example.net"}, nil, 0},
		{"B.2.5, agreed for the domain above only", agreed, "test.example.com", []string{own, "mailto:tld-test@thirdparty.example.net"}, nil,
			[]string{"dmarc-feedback@example.com"}, nil, 1},
	} {
		e := &Evaluator{Resolver: parseZone(records + c.zone)}
		got, errs := e.Destinations(context.Background(), c.domain, c.rua)
		assert.Equal(t, c.aggregate, addresses(got), c.section)
		got, more := e.FailureDestinations(context.Background(), c.domain, c.ruf)
		assert.Equal(t, c.failure, addresses(got), c.section)
		assert.Len(t, append(errs, more...), c.refused, c.section)
	}
}

// written is the DNS Tree Walk and what follows from it, written down from RFC
// 9989 §4.10 to §4.10.2 step by step: the names that are asked, the
// Organizational Domain and where the policy is. kinds are the records by how
// many labels of the domain their names have.
func written(domain string, kinds map[int]string) (asked []string, org, policy string) {
	labels := strings.Split(domain, ".")
	x := len(labels)
	name := func(n int) string { return strings.Join(labels[x-n:], ".") }
	targets := []int{x} // step 1
	next := x - 1       // step 4
	if x >= 8 {
		next = 7
	}
	for n := next; n >= 1; n-- { // step 7
		targets = append(targets, n)
	}
	var set []int
	for _, n := range targets {
		asked = append(asked, "_dmarc."+name(n))
		if k := kinds[n]; k == "u" || k == "y" || k == "n" {
			set = append(set, n)
			if k != "u" { // steps 2 and 6
				break
			}
		}
	}
	org = domain
	if len(set) > 0 { // §4.10.2, point 3
		org = name(set[len(set)-1])
	}
	for _, n := range set {
		if kinds[n] == "n" { // point 1
			org = name(n)
			break
		}
		if kinds[n] == "y" && n != x { // point 2
			org = name(n + 1)
			break
		}
	}
	at := map[string]bool{}
	for _, n := range set {
		at[name(n)] = true
	}
	switch { // §4.10.1
	case at[domain]:
		policy = domain
	case at[org]:
		policy = org
	case len(set) > 0 && kinds[set[len(set)-1]] == "y":
		policy = name(set[len(set)-1])
	}
	return asked, org, policy
}

// TestTreeWalk goes through domains of 1 to 12 labels with two records of every
// kind at every depth: psd=u, y and n, two records at one name, another kind of
// record, and a query that fails.
func TestTreeWalk(t *testing.T) {
	texts := map[string]string{
		"u": "v=DMARC1; p=reject", "y": "v=DMARC1; p=reject; psd=y", "n": "v=DMARC1; p=reject; psd=n",
		"two": "v=DMARC1; p=reject\nv=DMARC1; p=none", "other": "v=spf1 -all", "fails": "!",
	}
	names := strings.Split("l.k.j.i.h.g.f.e.d.c.b.a", ".")
	walks := 0
	for labels := 1; labels <= len(names); labels++ {
		domain := strings.Join(names[len(names)-labels:], ".")
		for first := range labels {
			for second := range first + 1 {
				for kind := range texts {
					for other := range texts {
						kinds := map[int]string{first + 1: kind, second + 1: other}
						z := &zone{records: map[string][]string{}}
						for n, k := range kinds {
							z.records["_dmarc."+strings.Join(names[len(names)-n:], ".")] = strings.Split(texts[k], "\n")
						}
						asked, org, policy := written(domain, kinds)
						failed := false
						for i, name := range asked {
							if r := z.records[name]; len(r) == 1 && r[0] == "!" {
								asked, failed = asked[:i+1], true
								break
							}
						}
						d, err := (&Evaluator{Resolver: z}).Discover(context.Background(), domain)
						at := fmt.Sprint(domain, " ", kinds)
						walks++
						require.Equal(t, asked, z.queries, at)
						require.LessOrEqual(t, len(asked), 8, at)
						if failed {
							require.ErrorIs(t, err, ErrDNS, at)
							continue
						}
						require.NoError(t, err, at)
						require.Equal(t, org, d.OrgDomain, at)
						require.Equal(t, policy, d.PolicyDomain, at)
						require.Equal(t, policy != "", d.Record != nil, at)
					}
				}
			}
		}
	}
	require.Equal(t, 36*(1+3+6+10+15+21+28+36+45+55+66+78), walks)
}
