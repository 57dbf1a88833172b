package spf_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

// scenario is one document of the openspf suite.
type scenario struct {
	Description string
	Tests       map[string]suiteCase
	Zonedata    map[string][]yaml.Node
}

type suiteCase struct {
	Helo, Host, Mailfrom, Explanation string
	Result                            stringList
}

type stringList []string

func (l *stringList) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode((*[]string)(l))
	}
	*l = stringList{n.Value}
	return nil
}

func loadSuite(t *testing.T) []scenario {
	dir := os.Getenv("POSTA_VECTORS")
	if dir == "" {
		t.Skip("POSTA_VECTORS is not set: it names the folder with the public test vectors")
	}
	f, err := os.Open(filepath.Join(dir, "spf", "rfc7208-tests.yml"))
	require.NoError(t, err)
	defer f.Close()
	var suite []scenario
	for d := yaml.NewDecoder(f); ; {
		var s scenario
		err := d.Decode(&s)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		suite = append(suite, s)
	}
	return suite
}

// suiteZone translates zone data: records typed SPF mean TXT unless a TXT is
// given, TXT: NONE takes them back, TIMEOUT makes all other types time out.
func suiteZone(t *testing.T, data map[string][]yaml.Node) testdns.Zone {
	z := testdns.Zone{}
	for name, nodes := range data {
		var r testdns.Records
		var old [][]string // type SPF
		hasTXT, timeout := false, false
		for _, n := range nodes {
			if n.Kind == yaml.ScalarNode {
				require.Equal(t, "TIMEOUT", n.Value)
				timeout = true
				continue
			}
			var m map[string]yaml.Node
			require.NoError(t, n.Decode(&m))
			for typ, v := range m {
				var list stringList
				require.NoError(t, list.UnmarshalYAML(&v))
				switch typ {
				case "SPF":
					old = append(old, list)
				case "TXT":
					hasTXT = true
					if list[0] != "NONE" {
						r.TXTStrings = append(r.TXTStrings, list)
					}
				case "A", "AAAA":
					r.A = append(r.A, list...)
				case "MX":
					host := list[1]
					if host == "" {
						host = "."
					}
					r.MX = append(r.MX, list[0]+" "+host)
				case "PTR":
					r.PTR = append(r.PTR, list...)
				case "CNAME":
					r.CNAME = list[0]
				default:
					t.Fatalf("record type %s", typ)
				}
			}
		}
		if !hasTXT {
			r.TXTStrings = old
		}
		if timeout {
			r.Fail = map[string]testdns.Failure{"A": testdns.Timeout, "AAAA": testdns.Timeout, "MX": testdns.Timeout, "PTR": testdns.Timeout}
			if len(r.TXTStrings) == 0 {
				r.Fail["TXT"] = testdns.Timeout
			}
		}
		z[name] = r
	}
	return z
}

// TestRFC7208Suite runs the openspf suite, one subtest per case, straight on the
// zone data and over DNS messages.
func TestRFC7208Suite(t *testing.T) {
	cases := 0
	for _, s := range loadSuite(t) {
		zone := suiteZone(t, s.Zonedata)
		for name, c := range s.Tests {
			cases++
			t.Run(s.Description+"/"+name, func(t *testing.T) {
				t.Run("zone", func(t *testing.T) { runCase(t, testdns.NewResolver(zone), c) })
				t.Run("dns", func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						srv := testdns.InMemory(zone)
						defer srv.Close()
						runCase(t, &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial}, c)
					})
				})
			})
		}
	}
	assert.Equal(t, 203, cases)
}

func runCase(t *testing.T, r spf.Resolver, c suiteCase) {
	checker := &spf.Checker{Resolver: r}
	res := checker.Check(t.Context(), netip.MustParseAddr(c.Host), c.Helo, c.Mailfrom)
	trace := ""
	for _, s := range res.Trace() {
		trace += fmt.Sprintf("\n%+v", s)
	}
	assert.Contains(t, c.Result, res.Status.String(), "%v%s", res.Err, trace)
	if c.Explanation != "" {
		want := c.Explanation
		if want == "DEFAULT" { // the receiver's own text
			want = ""
		}
		assert.Equal(t, want, res.Explanation, trace)
	}
	if res.Status == spf.TempError || res.Status == spf.PermError {
		assert.Error(t, res.Err)
	}
	checkHeader(t, res.ReceivedSPF("mx.example.org"))
}
