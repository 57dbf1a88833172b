package mda

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// found is how a destination shows in these tables: account[+detail] or
// →address, and the address for Delivered-To where it differs.
func found(dests []destination) string {
	var out []string
	for _, d := range dests {
		s := "→" + d.to.Address()
		if d.account != "" {
			if s = d.account; d.detail != "" {
				s += " in " + d.detail
			}
			if d.to.Address() != d.account {
				s += " for " + d.to.Address()
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestResolve(t *testing.T) {
	const notHere, loop, noForward, config = "550 5.1.1", "550 5.4.6", "550 5.7.1", "451 4.3.0"
	aliases := map[string][]string{
		"both@example.org":        {"anna@example.org", "otto@example.org"},
		"chain@example.org":       {"Both@Example.ORG", "eva@example.org"},
		"twice@example.org":       {"chain@example.org", "both@example.org", "anna@example.org"},
		"out@example.org":         {"x@else.test"},
		"mixed@example.org":       {"anna@example.org", "x@else.test", "X@else.test"},
		"idn@example.org":         {"x@b\u00fccher.test"},
		"quoted@example.org":      {`"a b"@else.test`},
		"folder@example.org":      {"anna+Lists@example.org"},
		"a@loop.test":             {"b@loop.test"},
		"b@loop.test":             {"c@loop.test"},
		"c@loop.test":             {"a@loop.test"},
		"self@loop.test":          {"self@loop.test"},
		"some@loop.test":          {"a@loop.test", "anna@example.org"},
		"otto@example.org":        {"otto@example.org", "anna@example.org"},
		"eva2@example.org":        {"eva@example.org"},
		"u+x@example.org":         {"u2@example.org"},
		"u2@example.org":          {"u+x@example.org"},
		"@all.test":               {"anna@example.org"},
		"real@all.test":           {"eva+x@example.org"},
		"@self.test":              {"nobody@self.test"},
		"empty@example.org":       {},
		"bad@example.org":         {"anna"},
		"worse@example.org":       {"anna@example.org", "x@else.test>, <y@else.test"},
		"lists+go@example.org":    {"eva2@example.org"},
		"postmaster@example.org":  {"eva+p@example.org"},
		"j\u00fcrgen@example.org": {"anna@example.org"},
	}
	for _, tt := range []struct {
		to, sep string
		deaf    bool // no Submitter
		want    string
	}{
		{to: "anna@example.org", want: "anna@example.org"},
		{to: "ANNA@example.org", want: "anna@example.org for ANNA@example.org"},
		{to: "nobody@example.org", want: notHere},
		{to: "anna@elsewhere.test", want: notHere},
		{to: `"anna@example.org"@example.org`, want: notHere},
		{to: "anna@[192.0.2.1]", want: notHere},

		// Aliases.
		{to: "both@example.org", want: "anna@example.org, otto@example.org"}, // anna is also behind otto
		{to: "BOTH@example.org", want: "anna@example.org, otto@example.org"},
		{to: "chain@example.org", want: "anna@example.org, otto@example.org, eva@example.org"},
		{to: "twice@example.org", want: "anna@example.org, otto@example.org, eva@example.org"},
		{to: "otto@example.org", want: "otto@example.org, anna@example.org"},
		{to: "eva@example.org", want: "eva@example.org"},
		{to: "folder@example.org", want: "anna@example.org in Lists for anna+Lists@example.org"},
		{to: "folder+x@example.org", want: "anna@example.org in Lists for anna+Lists@example.org"},
		{to: "empty@example.org", want: notHere},
		{to: "j\u00fcrgen@example.org", want: "anna@example.org"},

		// Elsewhere.
		{to: "out@example.org", want: "→x@else.test"},
		{to: "mixed@example.org", want: "anna@example.org, →x@else.test"},
		{to: "idn@example.org", want: "→x@xn--bcher-kva.test"},
		{to: "quoted@example.org", want: `→"a b"@else.test`},
		{to: "out@example.org", deaf: true, want: noForward},
		{to: "mixed@example.org", deaf: true, want: noForward},
		{to: "both@example.org", deaf: true, want: "anna@example.org, otto@example.org"},

		// Loops.
		{to: "a@loop.test", want: loop},
		{to: "self@loop.test", want: loop},
		{to: "u2@example.org", want: loop},
		{to: "some@loop.test", want: "anna@example.org"},
		{to: "x@self.test", want: loop},

		// Catch-all: below everything else.
		{to: "whoever@all.test", want: "anna@example.org"},
		{to: "who+ever@all.test", want: "anna@example.org"},
		{to: "real@all.test", want: "eva@example.org in x for eva+x@example.org"},
		{to: "real+y@all.test", want: "eva@example.org in x for eva+x@example.org"},

		// What the configuration has wrong is not the sender's fault.
		{to: "bad@example.org", want: config},
		{to: "worse@example.org", want: config},

		// Subaddresses.
		{to: "anna+Lists@example.org", want: "anna@example.org in Lists for anna+Lists@example.org"},
		{to: "anna+a+b@example.org", want: "anna@example.org in a+b for anna+a+b@example.org"},
		{to: "anna+@example.org", want: "anna@example.org for anna+@example.org"},
		{to: "+anna@example.org", want: notHere},
		{to: "u+x@example.org", want: "u+x@example.org"}, // the full address wins, and a ring of aliases ends at the account it began with
		{to: "U+x@example.org", want: "u+x@example.org"},
		{to: "u@example.org", want: notHere},
		{to: "u+y@example.org", want: notHere},
		{to: "lists+go@example.org", want: "eva@example.org"},
		{to: "anna+x@example.org", sep: "-", want: notHere},
		{to: "anna-x@example.org", want: notHere},
		{to: "anna=x@example.org", sep: "=", want: "anna@example.org in x for anna=x@example.org"},
		{to: "anna--x-y@example.org", sep: "--", want: "anna@example.org in x-y for anna--x-y@example.org"},
		{to: "anna+x@example.org", sep: "=", want: notHere},
		{to: `"anna+../x"@example.org`, want: `anna@example.org in ../x for "anna+../x"@example.org`},

		// Postmaster.
		{to: "postmaster", want: "eva@example.org"},
		{to: "PostMaster", want: "eva@example.org"},
		{to: "Postmaster@example.org", want: "eva@example.org in p for eva+p@example.org"},
		{to: "postmaster@other.test", want: "eva@example.org"},
		{to: "postmaster@all.test", want: "anna@example.org"},
		{to: "postmaster+x@other.test", want: notHere},
		{to: "webmaster@other.test", want: notHere},
	} {
		t.Run(tt.to+tt.sep, func(t *testing.T) {
			a := &Agent{Store: testStore(t), Aliases: aliases, Postmaster: "eva2@Example.org", Separator: tt.sep, Submitter: &submitter{}}
			if tt.deaf {
				a.Submitter = nil
			}
			to := path(t, tt.to)
			dests, err := a.resolve(t.Context(), to)
			got := found(dests)
			if err != nil {
				require.Empty(t, dests)
				got = code(err)
			}
			require.Equal(t, tt.want, got)
			require.Equal(t, code(err), code(a.Check(t.Context(), to)))
		})
	}
}

func TestZeroAgent(t *testing.T) {
	a := &Agent{}
	require.Equal(t, "550 5.1.1", code(a.Check(t.Context(), path(t, "anna@example.org"))))
	require.Equal(t, "550 5.1.1", code(a.Check(t.Context(), path(t, "postmaster"))))
	_, err := a.Stage(t.Context(), strings.NewReader(letter))
	require.ErrorIs(t, err, store.ErrUnavailable)
	st := testStore(t)
	require.Equal(t, []string{"550 5.1.1"}, codes(a.Deliver(t.Context(), &Delivery{Body: stage(t, st, letter)}, paths(t, "anna@example.org"))))
	require.Empty(t, a.Deliver(t.Context(), &Delivery{Body: stage(t, st, letter)}, nil))
	// Without Postmaster nobody is.
	a.Store = st
	require.Equal(t, "550 5.1.1", code(a.Check(t.Context(), path(t, "postmaster"))))
	a.Postmaster = "not an address"
	require.Equal(t, "451 4.3.0", code(a.Check(t.Context(), path(t, "postmaster"))))
	a.Postmaster = "postmaster@nowhere.test"
	require.Equal(t, "550 5.1.1", code(a.Check(t.Context(), path(t, "postmaster"))))
	require.Equal(t, "550 5.1.1", code(a.Check(t.Context(), path(t, "postmaster@nowhere.test"))))
}

// Expansion ends, however deep and wide.
func TestAliasLimits(t *testing.T) {
	st := testStore(t)
	a := &Agent{Store: st, Submitter: &submitter{}, Aliases: map[string][]string{"d20@x.test": {"anna@example.org"}}}
	for i := range 20 {
		a.Aliases[fmt.Sprintf("d%d@x.test", i)] = []string{fmt.Sprintf("d%d@x.test", i+1)}
	}
	require.Equal(t, "550 5.4.6", code(a.Check(t.Context(), path(t, "d0@x.test"))))
	require.Equal(t, "550 5.4.6", code(a.Check(t.Context(), path(t, "d10@x.test"))))
	require.Equal(t, "ok", code(a.Check(t.Context(), path(t, "d11@x.test"))))
	var many []string
	for i := range maxAliasNames {
		many = append(many, fmt.Sprintf("m%d@else.test", i))
	}
	a.Aliases["many@x.test"] = many
	require.Equal(t, "550 5.4.6", code(a.Check(t.Context(), path(t, "many@x.test"))))
	a.Aliases["many@x.test"] = many[1:]
	require.Equal(t, "ok", code(a.Check(t.Context(), path(t, "many@x.test"))))
	// Every alias names all others: work and memory are bounded.
	var all []string
	for i := range 500 {
		all = append(all, fmt.Sprintf("w%d@x.test", i))
	}
	for _, name := range all {
		a.Aliases[name] = append(all[:len(all):len(all)], "anna@example.org")
	}
	require.Equal(t, "550 5.4.6", code(a.Check(t.Context(), path(t, "w0@x.test"))))
}

// directory finds accounts by other names than addresses.
type directory map[string]string

var errLDAP = errors.New("ldap: 192.0.2.1: connection refused")

func (d directory) AccountOf(_ context.Context, address string) (string, bool, error) {
	if strings.HasPrefix(address, "down") {
		return "", false, errLDAP
	}
	account, ok := d[address]
	return account, ok, nil
}

func TestDirectory(t *testing.T) {
	st := testStore(t)
	a := &Agent{Store: st, Directory: directory{
		"Anna.Maier@example.org": "anna@example.org",
		"gone@example.org":       "deleted",
		"odd@example.org":        "",
		"a b@example.org":        "otto@example.org",
	}, Aliases: map[string][]string{"team@example.org": {"Anna.Maier@example.org", "down@example.org"}}}
	for to, want := range map[string]string{
		"Anna.Maier@example.org":   "ok",
		"Anna.Maier+x@example.org": "ok",
		"anna@example.org":         "550 5.1.1", // the directory alone decides
		`"a b"@example.org`:        "ok",
		"odd@example.org":          "550 5.1.1",
		"down@example.org":         "451 4.3.0",
		"team@example.org":         "451 4.3.0",
	} {
		err := a.Check(t.Context(), path(t, to))
		require.Equal(t, want, code(err), to)
		if err != nil {
			require.NotContains(t, err.Error(), "ldap")
		}
	}
	// An account that is not there may come back.
	d := &Delivery{Body: stage(t, st, letter)}
	require.Equal(t, []string{"450 4.2.1", "ok"}, codes(a.Deliver(t.Context(), d, paths(t, "gone@example.org", `"a b"@example.org`))))
	require.Equal(t, "Return-Path: <>\r\nDelivered-To: \"a b\"@example.org\r\n"+letter, mail(t, st, "otto@example.org", store.Inbox)[0])
	d.Junk = true
	require.Equal(t, []string{"450 4.2.1"}, codes(a.Deliver(t.Context(), d, paths(t, "gone@example.org"))))
}

// A store that cannot answer is no reason to refuse for good.
func TestLookupFails(t *testing.T) {
	st := &failingStore{Store: testStore(t), account: map[string]error{"anna@example.org": store.ErrUnavailable, "bad@example.org": store.ErrInvalidName}}
	a := &Agent{Store: st}
	require.Equal(t, "451 4.3.0", code(a.Check(t.Context(), path(t, "anna@example.org"))))
	require.Equal(t, "451 4.3.0", code(a.Check(t.Context(), path(t, "anna+Lists@example.org"))))
	require.Equal(t, "550 5.1.1", code(a.Check(t.Context(), path(t, "bad@example.org"))))
	require.Equal(t, "550 5.1.1", code(a.Check(t.Context(), smtp.Path{Local: strings.Repeat("x", 300), Domain: "example.org"})))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, "451 4.3.0", code((&Agent{Store: testStore(t)}).Check(ctx, path(t, "anna@example.org"))))
}
