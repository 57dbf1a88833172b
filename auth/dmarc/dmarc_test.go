package dmarc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// zone is a DNS of TXT records by name. A name exists if it or one below it
// has a record; "!" as a record makes the query fail.
type zone struct {
	records map[string][]string
	queries []string
}

// parseZone reads lines "name text".
func parseZone(text string) *zone {
	z := &zone{records: map[string][]string{}}
	for line := range strings.Lines(text) {
		if name, txt, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			z.records[name] = append(z.records[name], txt)
		}
	}
	return z
}

// notFound is a DNS error that knows whether the name exists.
type notFound struct {
	*net.DNSError
	nx bool
}

func (e notFound) NXDOMAIN() bool { return e.nx }
func (e notFound) Unwrap() error  { return e.DNSError }

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	z.queries = append(z.queries, name)
	r := z.records[name]
	if len(r) == 1 && r[0] == "!" {
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	}
	if len(r) > 0 {
		return r, nil
	}
	nx := true
	for other := range z.records {
		nx = nx && !within(other, name)
	}
	return nil, notFound{&net.DNSError{Err: "no such host", Name: name, IsNotFound: true}, nx}
}

// plainZone is a zone whose errors do not tell NXDOMAIN, as with net.Resolver.
type plainZone struct {
	*zone
	hosts map[string]string // "A", "MX" or "!" by name
}

func (z plainZone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	r, err := z.zone.LookupTXT(ctx, name)
	var nf notFound
	if errors.As(err, &nf) {
		err = nf.DNSError
	}
	return r, err
}

func (z plainZone) other(name, kind string) error {
	z.queries = append(z.queries, kind+" "+name)
	switch z.hosts[name] {
	case kind:
		return nil
	case "!":
		return io.ErrUnexpectedEOF
	}
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z plainZone) LookupHost(_ context.Context, name string) ([]string, error) {
	return nil, z.other(name, "A")
}

func (z plainZone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, z.other(name, "MX")
}

func TestAuthorDomain(t *testing.T) {
	for _, c := range []struct {
		from []string
		want string
		err  error
	}{
		{[]string{" Alice <alice@Example.COM>"}, "example.com", nil},
		{[]string{"alice@example.com."}, "example.com", nil},
		{[]string{"alice@bücher.example"}, "xn--bcher-kva.example", nil},
		{[]string{"a@example.com,\r\n b@EXAMPLE.com"}, "example.com", nil},
		{[]string{"Team: a@example.com, b@example.com;"}, "example.com", nil},
		{[]string{`"ceo@bank.example" <x@evil.example>`}, "evil.example", nil},
		{[]string{"a@example.com, b@example.org"}, "", ErrManyAuthors},
		{[]string{"<a@example.com> <b@example.org>"}, "", ErrManyAuthors},
		{[]string{"a@example.com", "a@example.com"}, "", ErrManyAuthors},
		{[]string{"a@example.com, b@[192.0.2.1]"}, "", ErrManyAuthors},
		{[]string{"b@[192.0.2.1]"}, "", ErrAuthorDomain},
		{[]string{"a@exa$mple.com"}, "", ErrAuthorDomain},
		{[]string{"a@" + strings.Repeat("x", 64) + ".com"}, "", ErrAuthorDomain},
		{nil, "", ErrNoAuthor},
		{[]string{""}, "", ErrNoAuthor},
		{[]string{"root"}, "", ErrNoAuthor},
		{[]string{"Undisclosed:;"}, "", ErrNoAuthor},
	} {
		got, err := AuthorDomain(c.from)
		assert.ErrorIs(t, err, c.err, "%q", c.from)
		assert.Equal(t, c.want, got, "%q", c.from)
		if c.err != nil {
			e := &Evaluator{Resolver: parseZone("")}
			r := e.Evaluate(context.Background(), Input{From: c.from})
			assert.Equal(t, StatusPermError, r.Status)
			assert.Equal(t, None, r.Policy)
			assert.ErrorIs(t, r.Err, c.err)
			assert.Equal(t, c.err.Error(), r.Reason())
		}
	}
}

func TestTreeWalkQueries(t *testing.T) {
	for _, c := range []struct{ domain, queries string }{
		// The example of RFC 9989 §4.10.
		{"a.b.c.d.e.f.g.h.i.j.mail.example.com", "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com " +
			"i.j.mail.example.com j.mail.example.com mail.example.com example.com com"},
		// RFC 9989 §5.1.8.
		{"mail.a.b.c.d.e.f.g.example.com", "mail.a.b.c.d.e.f.g.example.com c.d.e.f.g.example.com d.e.f.g.example.com e.f.g.example.com " +
			"f.g.example.com g.example.com example.com com"},
		{"1.2.3.4.5.6.example.com", "1.2.3.4.5.6.example.com 2.3.4.5.6.example.com 3.4.5.6.example.com 4.5.6.example.com 5.6.example.com 6.example.com example.com com"},
		{"1.2.3.4.5.example.com", "1.2.3.4.5.example.com 2.3.4.5.example.com 3.4.5.example.com 4.5.example.com 5.example.com example.com com"},
		{"example.com", "example.com com"},
		{"com", "com"},
		{strings.Repeat("x.", 98) + "example.com", strings.Repeat("x.", 98) + "example.com x.x.x.x.x.example.com x.x.x.x.example.com x.x.x.example.com " +
			"x.x.example.com x.example.com example.com com"},
	} {
		z := parseZone("")
		d, err := (&Evaluator{Resolver: z}).Discover(context.Background(), c.domain)
		require.NoError(t, err)
		assert.Nil(t, d.Record)
		assert.Empty(t, d.PolicyDomain)
		assert.Equal(t, c.domain, d.OrgDomain, "without records a domain is its own")
		want := strings.Fields(c.queries)
		for i := range want {
			want[i] = "_dmarc." + want[i]
		}
		assert.Equal(t, want, z.queries)
		assert.LessOrEqual(t, len(z.queries), 8)
	}
}

func TestDiscover(t *testing.T) {
	for _, c := range []struct{ name, zone, domain, org, policy string }{
		{"own record", "_dmarc.example.com v=DMARC1; p=none", "example.com", "example.com", "example.com"},
		{"upper case", "_dmarc.example.com v=DMARC1; p=none", "EXAMPLE.com.", "example.com", "example.com"},
		{"RFC 9989 §4.10.2, first example", `_dmarc.mail.example.com v=DMARC1; p=none
			_dmarc.example.com v=DMARC1; p=reject`, "a.mail.example.com", "example.com", "example.com"},
		{"RFC 9989 §4.10.2, second example: psd=n", `_dmarc.mail.example.com v=DMARC1; p=none; psd=n
			_dmarc.example.com v=DMARC1; p=reject`, "a.mail.example.com", "mail.example.com", "mail.example.com"},
		{"RFC 9989 §4.10.2, last example: psd=y", "_dmarc.com v=DMARC1; p=reject; psd=y", "a.mail.example.com", "example.com", "com"},
		{"psd=y two labels up", "_dmarc.example.com v=DMARC1; p=reject; psd=y", "mail.example.com", "mail.example.com", "example.com"},
		{"psd=y at the start is no suffix of itself", "_dmarc.gov.example v=DMARC1; p=reject; psd=y", "gov.example", "gov.example", "gov.example"},
		{"organization below a suffix", `_dmarc.example.com v=DMARC1; p=none
			_dmarc.com v=DMARC1; p=reject; psd=y`, "a.example.com", "example.com", "example.com"},
		{"a record between is not for a subdomain", `_dmarc.mail.example.com v=DMARC1; p=none
			_dmarc.com v=DMARC1; p=reject; psd=y`, "a.mail.example.com", "example.com", "com"},
		{"own record, organization above", `_dmarc.a.example.com v=DMARC1; p=none
			_dmarc.example.com v=DMARC1; p=reject`, "a.example.com", "example.com", "a.example.com"},
		{"own record with psd=n ends the walk", `_dmarc.a.example.com v=DMARC1; p=none; psd=n
			_dmarc.example.com v=DMARC1; p=reject`, "a.example.com", "a.example.com", "a.example.com"},
		{"two records are none", `_dmarc.a.example.com v=DMARC1; p=none
			_dmarc.a.example.com v=DMARC1; p=reject
			_dmarc.example.com v=DMARC1; p=reject`, "a.example.com", "example.com", "example.com"},
		{"other records do not count", `_dmarc.example.com v=spf1 -all
			_dmarc.example.com v=DMARC1; p=reject`, "example.com", "example.com", "example.com"},
		{"only other records", "_dmarc.example.com v=spf1 -all", "example.com", "example.com", ""},
		{"a zone cut jumped over is not found", `_dmarc.b.c.d.e.f.g.example.com v=DMARC1; p=none; psd=n
			_dmarc.example.com v=DMARC1; p=reject`, "mail.a.b.c.d.e.f.g.example.com", "example.com", "example.com"},
		{"suffix below the jump", "_dmarc.c.d.e.f.g.example.com v=DMARC1; p=none; psd=y", "mail.a.b.c.d.e.f.g.example.com", "b.c.d.e.f.g.example.com", "c.d.e.f.g.example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := (&Evaluator{Resolver: parseZone(c.zone)}).Discover(context.Background(), c.domain)
			require.NoError(t, err)
			assert.Equal(t, c.org, d.OrgDomain)
			assert.Equal(t, c.policy, d.PolicyDomain)
			assert.Equal(t, c.policy != "", d.Record != nil)
		})
	}
	e := &Evaluator{Resolver: parseZone("_dmarc.com !")}
	_, err := e.Discover(context.Background(), "example.com")
	assert.ErrorIs(t, err, ErrDNS)
	_, err = e.Discover(context.Background(), "exa mple.com")
	assert.ErrorIs(t, err, ErrAuthorDomain)
}

const orgZone = "_dmarc.example.com v=DMARC1; p=reject"

func TestEvaluate(t *testing.T) {
	for _, c := range []struct {
		name, zone, from, spf, dkim string // "" is no pass; dkim is a list
		status                      Status
		spfOK, dkimOK               bool
	}{
		// RFC 9989 §4.4, table 1.
		{"relaxed by the organization", orgZone, "news.example.com", "", "foo.example.com", StatusPass, false, true},
		{"identical", orgZone, "news.example.com", "", "news.example.com", StatusPass, false, true},
		{"another organization", orgZone, "news.example.com", "", "foo.example.net", StatusFail, false, false},
		{"spf", orgZone, "example.com", "bounces.example.com", "", StatusPass, true, false},
		{"both", orgZone, "example.com", "example.com", "mail.example.com", StatusPass, true, true},
		{"nothing confirmed", orgZone, "example.com", "", "", StatusFail, false, false},
		{"one of many", orgZone, "example.com", "", "a.example b.example example.com", StatusPass, false, true},
		{"case and U-labels", "_dmarc.xn--bcher-kva.example v=DMARC1; p=none", "bücher.example", "XN--BCHER-kva.example", "BÜCHER.example", StatusPass, true, true},
		{"suffix of the name only", orgZone, "example.com", "", "notexample.com", StatusFail, false, false},
		{"top-level domain", orgZone, "example.com", "com", "com", StatusFail, false, false},
		{"invalid identifier", orgZone, "example.com", "", "exa..mple.com", StatusFail, false, false},
		{"strict dkim", orgZone + "; adkim=s", "example.com", "mail.example.com", "mail.example.com", StatusPass, true, false},
		{"strict spf", orgZone + "; aspf=s", "example.com", "mail.example.com", "", StatusFail, false, false},
		{"strict and identical", orgZone + "; aspf=s; adkim=s", "example.com", "example.com", "example.com", StatusPass, true, true},
		{"identifier in a zone of its own", orgZone + "\n_dmarc.dept.example.com v=DMARC1; p=none; psd=n", "example.com", "", "a.dept.example.com", StatusFail, false, false},
		{"author in a zone of its own", orgZone + "\n_dmarc.dept.example.com v=DMARC1; p=none; psd=n", "dept.example.com", "", "example.com", StatusFail, false, false},
		{"two within it", orgZone + "\n_dmarc.dept.example.com v=DMARC1; p=none; psd=n", "dept.example.com", "", "a.b.dept.example.com", StatusPass, false, true},
		{"below a suffix", "_dmarc.com v=DMARC1; p=reject; psd=y", "a.example.com", "example.com", "b.example.com", StatusPass, true, true},
		{"different owners below a suffix", "_dmarc.com v=DMARC1; p=reject; psd=y", "a.example.com", "other.com", "", StatusFail, false, false},
		{"the suffix itself does not align", "_dmarc.com v=DMARC1; p=reject; psd=y", "a.example.com", "com", "", StatusFail, false, false},
		{"identifier above the author", "_dmarc.a.example.com v=DMARC1; p=reject\n" + orgZone, "a.example.com", "", "example.com", StatusPass, false, true},
		{"parent without record does not align", "_dmarc.a.example.com v=DMARC1; p=reject", "a.example.com", "", "example.com", StatusFail, false, false},
		{"no record", "", "example.com", "example.com", "", StatusNone, false, false},
		{"unusable record", "_dmarc.example.com v=DMARC1; p=what", "example.com", "example.com", "", StatusPermError, false, false},
		{"policy query fails", "_dmarc.example.com !", "example.com", "example.com", "", StatusTempError, false, false},
		{"query above fails, not needed", "_dmarc.com !\n" + orgZone, "example.com", "example.com", "", StatusPass, true, false},
		{"query above fails, strict", "_dmarc.com !\n" + orgZone + "; aspf=s", "example.com", "a.example.com", "", StatusFail, false, false},
		{"query above fails, other domain", "_dmarc.com !\n" + orgZone, "example.com", "example.net", "", StatusFail, false, false},
		{"query above fails, needed", "_dmarc.com !\n" + orgZone, "example.com", "a.example.com", "", StatusTempError, false, false},
		{"query above fails, another aligns", "_dmarc.com !\n" + orgZone, "example.com", "a.example.com", "example.com", StatusPass, false, true},
		{"identifier's query fails", "_dmarc.a.example.com !\n" + orgZone, "example.com", "", "a.example.com", StatusTempError, false, false},
		{"walk to the organization fails", "_dmarc.com !\n" + orgZone, "a.example.com", "a.example.com", "", StatusTempError, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{From: []string{"x@" + c.from}, SPF: Identifier{Domain: c.spf, Pass: c.spf != ""}}
			for _, d := range strings.Fields(c.dkim) {
				in.DKIM = append(in.DKIM, Identifier{Domain: d, Pass: true}, Identifier{Domain: c.from, Pass: false})
			}
			for _, plain := range []bool{false, true} {
				e := &Evaluator{Resolver: parseZone(c.zone)}
				if plain {
					e.Resolver = plainZone{zone: parseZone(c.zone)}
				}
				r := e.Evaluate(context.Background(), in)
				assert.Equal(t, c.status, r.Status, r.Err)
				assert.Equal(t, c.spfOK, r.AlignedSPF)
				assert.Equal(t, c.dkimOK, r.AlignedDKIM)
				assert.Equal(t, c.status == StatusTempError || c.status == StatusPermError, r.Err != nil)
				assert.Equal(t, c.status == StatusTempError, errors.Is(r.Err, ErrDNS))
				if c.status != StatusFail {
					assert.Equal(t, None, r.Policy)
				}
				assert.NotEmpty(t, r.Domain)
			}
		})
	}
}

// TestOpen has checks that a DNS failure left open (RFC 9989 §5.3.6).
func TestOpen(t *testing.T) {
	open := func(d string) Identifier { return Identifier{Domain: d, Open: true} }
	pass := func(d string) Identifier { return Identifier{Domain: d, Pass: true} }
	for _, c := range []struct {
		name string
		zone string
		spf  Identifier
		dkim []Identifier
		want Status
	}{
		{"it would decide", orgZone, open("a.example.com"), nil, StatusTempError},
		{"a signature would decide", orgZone, Identifier{}, []Identifier{{Domain: "example.com"}, open("example.com")}, StatusTempError},
		{"it would not be aligned", orgZone, open("example.net"), []Identifier{open("example.org")}, StatusFail},
		{"not strictly aligned", orgZone + "; aspf=s", open("a.example.com"), nil, StatusFail},
		{"another passes", orgZone, open("example.com"), []Identifier{pass("example.com")}, StatusPass},
		{"there is no policy", "", open("example.com"), nil, StatusNone},
		{"it cannot be known whether it is aligned", "_dmarc.a.example.com !\n" + orgZone, open("a.example.com"), nil, StatusTempError},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &Evaluator{Resolver: parseZone(c.zone)}
			r := e.Evaluate(context.Background(), Input{From: []string{"x@example.com"}, SPF: c.spf, DKIM: c.dkim})
			assert.Equal(t, c.want, r.Status)
			assert.Equal(t, c.want == StatusFail, r.Policy != None)
			assert.Equal(t, c.want == StatusTempError, errors.Is(r.Err, ErrDNS))
		})
	}
}

func TestPolicyChoice(t *testing.T) {
	for _, c := range []struct {
		name, record, more, from string
		published, policy        Policy
		tag                      string
	}{
		{"p", "p=reject; sp=none; np=none", "", "example.com", Reject, Reject, "p"},
		{"p for a subdomain", "p=quarantine", "", "a.example.com", Quarantine, Quarantine, "p"},
		{"sp", "p=reject; sp=quarantine", "a.example.com v=spf1", "a.example.com", Quarantine, Quarantine, "sp"},
		{"sp for a missing subdomain without np", "p=reject; sp=quarantine", "", "a.example.com", Quarantine, Quarantine, "sp"},
		{"np for a missing subdomain", "p=none; sp=none; np=reject", "", "a.example.com", Reject, Reject, "np"},
		{"np without sp", "p=none; np=reject", "", "a.b.example.com", Reject, Reject, "np"},
		{"np not for an existing subdomain", "p=none; np=reject", "a.example.com v=spf1", "a.example.com", None, None, "p"},
		{"a name above an existing one exists", "p=none; np=reject", "x.a.example.com v=spf1", "a.example.com", None, None, "p"},
		{"np not for the domain itself", "p=none; np=reject", "", "example.com", None, None, "p"},
		{"own record of a subdomain", "p=reject; sp=none", "_dmarc.a.example.com v=DMARC1; p=quarantine; sp=none", "a.example.com", Quarantine, Quarantine, "p"},
		{"test mode, reject", "p=reject; t=y", "", "example.com", Reject, Quarantine, "p"},
		{"test mode, quarantine", "p=quarantine; t=y", "", "example.com", Quarantine, None, "p"},
		{"test mode, none", "p=none; t=y", "", "example.com", None, None, "p"},
		{"test mode, sp", "p=none; sp=reject; t=y", "", "a.example.com", Reject, Quarantine, "sp"},
		{"bad sp with rua", "p=reject; sp=what; rua=mailto:a@example.com", "", "example.com", None, None, "p"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &Evaluator{Resolver: parseZone("_dmarc.example.com v=DMARC1; " + c.record + "\n" + c.more)}
			r := e.Evaluate(context.Background(), Input{From: []string{"x@" + c.from}})
			assert.Equal(t, StatusFail, r.Status)
			assert.Equal(t, c.published, r.Published)
			assert.Equal(t, c.tag, r.Tag)
			assert.Equal(t, c.policy, r.Policy)
			assert.Equal(t, strings.Contains(c.record, "t=y"), r.Testing)
			want := c.policy
			if want == Reject {
				want = Quarantine // RFC 9989 §7.4
			}
			assert.Equal(t, want, r.Handling(false))
			assert.Equal(t, c.policy, r.Handling(true))

			r = e.Evaluate(context.Background(), Input{From: []string{"x@" + c.from}, SPF: Identifier{Domain: c.from, Pass: true}})
			assert.Equal(t, StatusPass, r.Status)
			assert.Equal(t, None, r.Policy)
			assert.Equal(t, c.published, r.Published)
		})
	}
}

// TestExistence: with a resolver that does not tell NXDOMAIN, other lookups
// stand in.
func TestExistence(t *testing.T) {
	const record = "_dmarc.example.com v=DMARC1; p=none; np=reject\n"
	for _, c := range []struct {
		name, zone, host string
		status           Status
		policy           Policy
	}{
		{"nothing", "", "", StatusFail, Reject},
		{"TXT", "a.example.com hello", "", StatusFail, None},
		{"address", "", "A", StatusFail, None},
		{"mail exchanger", "", "MX", StatusFail, None},
		{"failure", "", "!", StatusTempError, None},
		{"TXT failure", "a.example.com !", "", StatusTempError, None},
	} {
		z := plainZone{parseZone(record + c.zone), map[string]string{"a.example.com": c.host}}
		e := &Evaluator{Resolver: z}
		r := e.Evaluate(context.Background(), Input{From: []string{"x@a.example.com"}})
		assert.Equal(t, c.status, r.Status, c.name)
		assert.Equal(t, c.policy, r.Policy, c.name)
		// It is no reason to hold up a message that is confirmed.
		r = e.Evaluate(context.Background(), Input{From: []string{"x@a.example.com"}, SPF: Identifier{Domain: "example.com", Pass: true}})
		assert.Equal(t, StatusPass, r.Status, c.name)
	}
	// An answer below the domain shows that it exists: one query less.
	z := parseZone(record + "x._dmarc.a.example.com y")
	r := (&Evaluator{Resolver: z}).Evaluate(context.Background(), Input{From: []string{"x@a.example.com"}})
	assert.Equal(t, None, r.Policy)
	assert.NotContains(t, z.queries, "a.example.com")
}

func TestQueriesAreBounded(t *testing.T) {
	z := parseZone(orgZone)
	in := Input{From: []string{"x@" + strings.Repeat("a.", 98) + "example.com"}}
	for i := range 1000 {
		in.DKIM = append(in.DKIM, Identifier{Domain: fmt.Sprintf("%d.x.example.org", i), Pass: true})
	}
	r := (&Evaluator{Resolver: z}).Evaluate(context.Background(), in)
	assert.Equal(t, StatusFail, r.Status)
	assert.Len(t, z.queries, 8, "domains elsewhere need no query")

	z = parseZone(orgZone)
	in = Input{From: []string{"x@example.com"}}
	for i := range 1000 {
		in.DKIM = append(in.DKIM, Identifier{Domain: fmt.Sprintf("1.2.3.4.5.6.7.8.s%d.example.com", i), Pass: true})
	}
	// Each would align, so that the first ends it.
	r = (&Evaluator{Resolver: z}).Evaluate(context.Background(), in)
	assert.Equal(t, StatusPass, r.Status)
	assert.LessOrEqual(t, len(z.queries), 2+8)
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Evaluator{Resolver: resolverFunc(func(ctx context.Context) ([]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})}
		start := time.Now()
		r := e.Evaluate(context.Background(), Input{From: []string{"a@b.c.example.com"}})
		assert.Equal(t, DefaultTimeout, time.Since(start))
		assert.Equal(t, StatusTempError, r.Status)
		assert.ErrorIs(t, r.Err, context.DeadlineExceeded)
		assert.Equal(t, "dns failure", r.Reason())
	})
}

type resolverFunc func(ctx context.Context) ([]string, error)

func (f resolverFunc) LookupTXT(ctx context.Context, _ string) ([]string, error) { return f(ctx) }

// FuzzEvaluate: whatever domains and records are, queries stay bounded and an
// Organizational Domain is the domain or above it.
func FuzzEvaluate(f *testing.F) {
	f.Add("a.b.example.com", "example.com", "com", "v=DMARC1; p=reject; psd=y")
	f.Add("1.2.3.4.5.6.7.8.9.example.com", "x.5.6.7.8.9.example.com", "5.6.7.8.9.example.com", "v=DMARC1; np=reject; p=none; psd=n")
	f.Add("bücher.example", "xn--bcher-kva.example", "bücher.example", "v=DMARC1; p=none; t=y")
	f.Fuzz(func(t *testing.T, from, dkim, at, txt string) {
		z := &zone{records: map[string][]string{"_dmarc." + at: {txt}}}
		e := &Evaluator{Resolver: z}
		r := e.Evaluate(context.Background(), Input{From: []string{"x@" + from}, DKIM: []Identifier{{Domain: dkim, Pass: true}}})
		require.LessOrEqual(t, len(z.queries), 8+8+1)
		require.NotEmpty(t, r.Status)
		require.True(t, r.Status == StatusFail || r.Policy == None)
		require.Equal(t, r.Record == nil, r.PolicyDomain == "")
		if r.OrgDomain != "" {
			require.True(t, within(r.Domain, r.OrgDomain))
		}
		if r.Status == StatusPass {
			require.True(t, r.AlignedDKIM)
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	z := parseZone(orgZone)
	e := &Evaluator{Resolver: z}
	in := Input{From: []string{"Alice <alice@news.example.com>"}, SPF: Identifier{Domain: "bounce.example.com", Pass: true}, DKIM: []Identifier{{Domain: "example.com", Pass: true}}}
	b.ReportAllocs()
	for b.Loop() {
		z.queries = z.queries[:0]
		if r := e.Evaluate(context.Background(), in); r.Status != StatusPass {
			b.Fatal(r)
		}
	}
}
