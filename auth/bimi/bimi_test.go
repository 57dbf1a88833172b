package bimi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/bimi"
)

// zone answers lookups; an entry "!" is a failure, "…" never comes.
type zone map[string][]string

func (z zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	name, rooted := strings.CutSuffix(name, ".")
	if !rooted {
		return nil, errors.New("the search list of the host would come in")
	}
	texts, ok := z[name]
	switch {
	case !ok:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case texts[0] == "!":
		return nil, errors.New("server failure")
	case texts[0] == "…":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return texts, nil
}

func Example() {
	f := bimi.Finder{Resolver: zone{"default._bimi.a.example": {"v=BIMI1; l=https://a.example/logo.svg; a=https://a.example/mark.pem"}}}
	r := f.Find(context.Background(), bimi.Input{Domain: "news.a.example", OrgDomain: "a.example", Enforced: true})
	fmt.Println(r.Status, r.Domain, r.Record.Location)
	// Output: pass a.example https://a.example/logo.svg
}

func TestRecord(t *testing.T) {
	for txt, want := range map[string]*bimi.Record{
		"v=BIMI1; l=https://a.example/x.svg;":                    {Location: "https://a.example/x.svg", Preference: "brand"},
		"v = BIMI1 ;a= https://a.example/c ;l =HTTPS://a/x;x=1;": {Location: "HTTPS://a/x", Authority: "https://a.example/c", Preference: "brand"},
		"v=BIMI1; l=https://a/x; avp=personal":                   {Location: "https://a/x", Preference: "personal"},
		"v=BIMI1; l=https://a/x; avp=other":                      {Location: "https://a/x", Preference: "brand"},
		"v=BIMI1; l=https://a/x; l=https://b/":                   nil,
		"v=BIMI1; l=https://a/x; x=1; x=1":                       nil,
		"v=BIMI1; l=https://:443/x":                              nil,
		"v=BIMI1; l=; a=":                                        {Preference: "brand"},
		"v=BIMI1; l=;":                                           {Preference: "brand"},
		"":                                                       nil,
		"v=BIMI2; l=https://a/x":                                 nil,
		"v=bimi1; l=https://a/x":                                 nil,
		"l=https://a/x; v=BIMI1":                                 nil,
		"v=BIMI1":                                                nil,
		"v=BIMI1; a=https://a/x":                                 nil,
		"v=BIMI1; l=; a=https://a/x":                             nil,
		"v=BIMI1; l=http://a/x":                                  nil,
		"v=BIMI1; l=https:///x":                                  nil,
		"v=BIMI1; l=https://user@a/x":                            nil,
		"v=BIMI1; l=https://a/x, https://b/x":                    nil,
		"v=BIMI1; l=https://a/x; nonsense":                       nil,
		"v=BIMI1; l=https://a/\r\nx":                             nil,
		"v=BIMI1; l=https://a/" + strings.Repeat("x", 5000):      nil,
	} {
		r, err := bimi.ParseRecord(txt)
		assert.Equal(t, want, r, "%q", txt)
		if want == nil {
			assert.ErrorIs(t, err, bimi.ErrSyntax, "%q", txt)
			continue
		}
		require.NoError(t, err)
		again, err := bimi.ParseRecord(r.String())
		require.NoError(t, err)
		assert.Equal(t, r, again)
	}
}

func TestSelector(t *testing.T) {
	for value, want := range map[string]string{
		" v=BIMI1; s=Brand": "brand", "v=BIMI1;\r\n s=a.b-c_d;": "a.b-c_d",
		"v=BIMI1": "", "s=brand": "", "v=BIMI1; s=": "", "v=BIMI1; s=a..b": "", "v=BIMI1; s=-a": "", "v=BIMI1; s=a/b": "",
		"v=BIMI1; s=" + strings.Repeat("a", 64): "", "v=BIMI1; s=é": "", strings.Repeat(" ", 5000): "",
	} {
		s, err := bimi.ParseSelector(value)
		assert.Equal(t, want, s, "%q", value)
		assert.Equal(t, want == "", err != nil, "%q", value)
	}
}

func TestFind(t *testing.T) {
	good := "v=BIMI1; l=https://a/x"
	for name, c := range map[string]struct {
		zone   zone
		in     bimi.Input
		status bimi.Status
		domain string
		err    error
	}{
		"own":            {zone{"default._bimi.n.a": {good}, "default._bimi.a": {"!"}}, bimi.Input{Domain: "n.a", OrgDomain: "a", Enforced: true}, bimi.Pass, "n.a", nil},
		"organizational": {zone{"default._bimi.a": {"v=spf1", good}}, bimi.Input{Domain: "n.a.", OrgDomain: "a", Enforced: true}, bimi.Pass, "a", nil},
		"selector":       {zone{"x._bimi.a": {good}}, bimi.Input{Domain: "a", Selector: "x", Enforced: true}, bimi.Pass, "a", nil},
		"bad selector":   {zone{"default._bimi.a": {good}}, bimi.Input{Domain: "a", Selector: "x y", Enforced: true}, bimi.Pass, "a", nil},
		"not enforced":   {zone{"default._bimi.a": {"!"}}, bimi.Input{Domain: "a"}, bimi.Skipped, "", nil},
		"no domain":      {zone{}, bimi.Input{Enforced: true}, bimi.Skipped, "", nil},
		"none":           {zone{}, bimi.Input{Domain: "n.a", OrgDomain: "a", Enforced: true}, bimi.None, "", bimi.ErrNone},
		"two":            {zone{"default._bimi.a": {good, good}}, bimi.Input{Domain: "a", OrgDomain: "A", Enforced: true}, bimi.None, "", bimi.ErrNone},
		"two below":      {zone{"default._bimi.n.a": {good, good}, "default._bimi.a": {good}}, bimi.Input{Domain: "n.a", OrgDomain: "a", Enforced: true}, bimi.None, "", bimi.ErrNone},
		"malformed":      {zone{"default._bimi.n.a": {"v=BIMI1"}, "default._bimi.a": {good}}, bimi.Input{Domain: "n.a", OrgDomain: "a", Enforced: true}, bimi.Fail, "n.a", bimi.ErrSyntax},
		"declined":       {zone{"default._bimi.n.a": {"v=BIMI1; l="}, "default._bimi.a": {good}}, bimi.Input{Domain: "n.a", OrgDomain: "a", Enforced: true}, bimi.Declined, "n.a", nil},
		"server failure": {zone{"default._bimi.a": {"!"}}, bimi.Input{Domain: "a", Enforced: true}, bimi.TempError, "", bimi.ErrDNS},
		"no answer":      {zone{"default._bimi.n.a": {"…"}, "default._bimi.a": {good}}, bimi.Input{Domain: "n.a", OrgDomain: "a", Enforced: true}, bimi.TempError, "", context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := bimi.Finder{Resolver: c.zone}
				r := f.Find(t.Context(), c.in)
				assert.Equal(t, c.status, r.Status)
				assert.Equal(t, c.domain, r.Domain)
				assert.ErrorIs(t, r.Err, c.err)
				assert.NotNil(t, r.Record)
				assert.Equal(t, c.status == bimi.Pass, r.Record.Location != "")
			})
		})
	}
	r := new(bimi.Finder).Find(t.Context(), bimi.Input{Domain: "a", Enforced: true})
	assert.Equal(t, bimi.TempError, r.Status)
}

func FuzzRecord(f *testing.F) {
	for _, s := range []string{"v=BIMI1; l=https://a.example/x.svg; a=https://a/b;avp=personal", "v=BIMI1; l=; a=", "v=BIMI1; s=brand"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := bimi.ParseRecord(s); err == nil {
			again, err := bimi.ParseRecord(r.String())
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
		if sel, err := bimi.ParseSelector(s); err == nil {
			require.NotEmpty(t, sel)
		}
	})
}
