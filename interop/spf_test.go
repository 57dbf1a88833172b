package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	blitiri "blitiri.com.ar/go/spf"
	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/auth/spf"
)

// spfZone has records by type and name; "!" alone is a server failure.
type spfZone map[string]map[string][]string

func (z spfZone) get(typ, name string) ([]string, error) {
	values := z[typ][strings.ToLower(strings.TrimSuffix(name, "."))]
	switch {
	case len(values) == 0:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case values[0] == "!":
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	}
	return values, nil
}

func (z spfZone) LookupTXT(_ context.Context, name string) ([]string, error) {
	return z.get("TXT", name)
}

func (z spfZone) LookupMX(_ context.Context, name string) (mxs []*net.MX, err error) {
	hosts, err := z.get("MX", name)
	for _, h := range hosts {
		mxs = append(mxs, &net.MX{Pref: 10, Host: h + "."})
	}
	return mxs, err
}

func (z spfZone) LookupNetIP(_ context.Context, network, name string) (ips []netip.Addr, err error) {
	typ := map[string]string{"ip4": "A", "ip6": "AAAA"}[network]
	texts, err := z.get(typ, name)
	for _, s := range texts {
		ips = append(ips, netip.MustParseAddr(s))
	}
	return ips, err
}

func (z spfZone) LookupIPAddr(ctx context.Context, name string) (ips []net.IPAddr, err error) {
	four, err := z.LookupNetIP(ctx, "ip4", name)
	six, _ := z.LookupNetIP(ctx, "ip6", name) // fails where the other does
	for _, ip := range append(four, six...) {
		ips = append(ips, net.IPAddr{IP: ip.AsSlice()})
	}
	if len(ips) > 0 {
		return ips, nil
	}
	return nil, err
}

// LookupAddr has its names under the address itself.
func (z spfZone) LookupAddr(_ context.Context, addr string) (names []string, err error) {
	texts, err := z.get("PTR", addr)
	for _, s := range texts {
		names = append(names, s+".")
	}
	return names, err
}

// forPython has reverse names in place of addresses.
func (z spfZone) forPython() spfZone {
	out := spfZone{"TXT": z["TXT"], "MX": z["MX"], "A": z["A"], "AAAA": z["AAAA"], "PTR": {}}
	for addr, names := range z["PTR"] {
		ip := netip.MustParseAddr(addr)
		var labels []string
		if ip.Is4() {
			for _, b := range ip.As4() {
				labels = append([]string{fmt.Sprint(b)}, labels...)
			}
			labels = append(labels, "in-addr")
		} else {
			for _, b := range ip.As16() {
				labels = append([]string{fmt.Sprintf("%x", b&15), fmt.Sprintf("%x", b>>4)}, labels...)
			}
			labels = append(labels, "ip6")
		}
		out["PTR"][strings.Join(labels, ".")+".arpa"] = names
	}
	return out
}

const spfDomains = 6

func spfName(r *rand.Rand) string {
	names := []string{"d%d.test", "d%d.test", "d%d.test", "h%d.test", "h%d.test", "none%d.test"}
	return fmt.Sprintf(names[r.IntN(len(names))], r.IntN(spfDomains))
}

// spfTerm is a term that somebody may publish.
func spfTerm(r *rand.Rand) string {
	cidr := []string{"", "", "", "/24", "//64", "/30//126", "/0"}
	wrong := r.IntN(40) == 0
	if wrong {
		cidr = []string{"/33", "/", "//129", "/024"}
	}
	domain := func() string {
		specs := []string{spfName(r), spfName(r), spfName(r), "%{d}", "%{o}", "%{h}", "%{l}.test", "%{d2}", "%{l1r-}.h1.test", "%{ir}.%{v}.test", "%{L}%%.test", "%{x}", "nodot", "%{p}"}
		if r.IntN(3) > 0 {
			return specs[0]
		}
		i := r.IntN(len(specs))
		if s := specs[i]; wrong || s != "%{x}" && s != "nodot" {
			return s
		}
		return specs[1]
	}
	q := []string{"", "", "", "-", "~", "?", "+"}[r.IntN(7)]
	switch r.IntN(16) {
	case 0, 1:
		return q + fmt.Sprintf("ip4:192.0.2.%d", r.IntN(4)) + []string{"", "/31", "/32", "/8"}[r.IntN(4)]
	case 2:
		return q + fmt.Sprintf("ip6:2001:db8::%d", r.IntN(4)) + []string{"", "/127", "/32"}[r.IntN(3)]
	case 3:
		return q + "a" + cidr[r.IntN(len(cidr))]
	case 4, 5:
		return q + "a:" + domain() + cidr[r.IntN(len(cidr))]
	case 6:
		return q + "mx" + cidr[r.IntN(len(cidr))]
	case 7:
		return q + "mx:" + domain() + cidr[r.IntN(len(cidr))]
	case 8, 9, 10:
		return q + "include:" + domain()
	case 11:
		return q + "exists:" + domain()
	case 12:
		return q + []string{"ptr", "ptr:" + domain()}[r.IntN(2)]
	case 13:
		return []string{"redirect=", "exp=", "other="}[r.IntN(3)] + domain()
	case 14:
		if !wrong {
			return []string{"A", "INCLUDE:d1.test", "unknown=%{i}"}[r.IntN(3)]
		}
		return []string{"nonsense", "ip4:1.2.3", "a::x.test", "all:x.test", "redirect:x.test", "ip4"}[r.IntN(6)]
	}
	return q + "all"
}

func spfGenerate(r *rand.Rand) spfZone {
	z := spfZone{"TXT": {}, "MX": {}, "A": {}, "AAAA": {}, "PTR": {}}
	for i := range spfDomains {
		d, h := fmt.Sprintf("d%d.test", i), fmt.Sprintf("h%d.test", i)
		rec := []string{"v=spf1", "v=spf1", "v=spf1", "V=SPF1", "v=spf1 "}[r.IntN(5)]
		for range 1 + r.IntN(5) {
			rec += " " + spfTerm(r)
		}
		switch r.IntN(20) {
		case 0:
			z["TXT"][d] = []string{rec, rec}
		case 1:
			z["TXT"][d] = []string{"!"}
		case 2:
			z["TXT"][d] = []string{"v=spf10 all"}
		default:
			z["TXT"][d] = []string{"something else", rec}
		}
		for _, name := range []string{d, h} {
			for n := range r.IntN(3) {
				z["A"][name] = append(z["A"][name], fmt.Sprintf("192.0.2.%d", (i+n)%4))
			}
			if r.IntN(2) == 0 {
				z["AAAA"][name] = []string{fmt.Sprintf("2001:db8::%d", r.IntN(4))}
			}
			for n := range []int{0, 1, 2, 11}[r.IntN(4)] {
				z["MX"][name] = append(z["MX"][name], fmt.Sprintf("h%d.test", (i+n)%spfDomains))
			}
		}
		if r.IntN(10) == 0 {
			z["A"][h], z["AAAA"][h] = []string{"!"}, []string{"!"}
		}
	}
	for _, ip := range []string{"192.0.2.0", "192.0.2.1", "192.0.2.2", "2001:db8::1"} {
		for range r.IntN(3) {
			z["PTR"][ip] = append(z["PTR"][ip], fmt.Sprintf("h%d.test", r.IntN(spfDomains)))
		}
	}
	return z
}

// spfDifference says why another implementation may differ from ours, by section
// of RFC 7208; empty if it may not.
func spfDifference(peer, status, text string, ours *spf.Result) string {
	voids, failures, ptr := 0, 0, false
	for _, s := range ours.Trace() {
		term := strings.ToLower(s.Term)
		ptr = ptr || strings.Contains(term, "ptr") || strings.Contains(term, "%{p}")
		for _, l := range s.Lookups {
			if l.Type != "TXT" && l.Void() {
				voids++
			} else if l.Err != nil && !l.Void() {
				failures++
			}
			ptr = ptr || l.Type == "TXT" && strings.Contains(strings.ToLower(strings.Join(l.Answers(), " ")), "%{p}")
		}
	}
	var syntax *spf.SyntaxError
	switch {
	case peer == "pyspf" && strings.Contains(text, "trivial recursion"):
		return "§5.2: what includes itself is an error when it is evaluated, not before"
	case peer == "pyspf" && strings.Contains(text, "Void lookup limit") && voids > 0:
		return "§4.6.4: terms without a result are counted, not lookups"
	case peer == "pyspf" && (strings.Contains(text, "unknown= MUST appear at most once") || strings.Contains(text, "other= MUST appear at most once")):
		return "§6: only redirect and exp must not appear twice"
	case status == "temperror" && strings.Contains(strings.ToLower(ours.Mechanism), "mx"):
		return "§5.4: hosts after the one that matches are not looked up"
	case peer == "pyspf" && status == "temperror" && ptr:
		return "§5.5: names of a client that cannot be looked up are passed over; macros are expanded when their term is evaluated"
	case peer == "blitiri" && errors.As(ours.Err, &syntax):
		return "§4.6: syntax is checked before anything is evaluated"
	case peer == "blitiri" && errors.Is(ours.Err, spf.ErrVoidLookupLimit):
		return "§4.6.4: every kind of term counts"
	}
	return ""
}

// TestSPFTogether evaluates generated policies with pyspf and blitiri's library.
func TestSPFTogether(t *testing.T) {
	t.Parallel()
	python := startLines(t, []string{debianPython, "-c", "import spf"}, debianPython, filepath.Join("testdata", "spf_python.py"))
	r := rand.New(rand.NewPCG(7208, 8616))
	counts := map[string]int{}
	statuses := map[spf.Status]int{}
	for n := range 5000 {
		z := spfGenerate(r)
		ip := []string{"192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.200", "2001:db8::1", "2001:db8::2"}[r.IntN(6)]
		from := []string{"user", "d1", "a-b", "strong.bad"}[r.IntN(4)] + fmt.Sprintf("@d%d.test", r.IntN(spfDomains))
		helo := "h1.test"
		ours := (&spf.Checker{Resolver: z}).Check(t.Context(), netip.MustParseAddr(ip), helo, from)
		statuses[ours.Status]++
		compare := func(peer, status, text string) {
			if status == ours.Status.String() {
				counts[peer+" agrees"]++
				return
			}
			why := spfDifference(peer, status, text, &ours)
			counts[peer+" "+why]++
			if !assert.NotEmpty(t, why, "%d: %s says %s: %s\n%s", n, peer, status, text, ours.Explain()) && counts[peer+" "] > 10 {
				t.FailNow()
			}
		}
		var theirs struct{ Status, Text string }
		python.ask(t, map[string]any{"ip": ip, "from": from, "helo": helo, "zone": z.forPython()}, &theirs)
		compare("pyspf", theirs.Status, theirs.Text)
		other, err := blitiri.CheckHostWithSender(net.ParseIP(ip), helo, from, blitiri.WithResolver(z), blitiri.WithContext(t.Context()))
		compare("blitiri", string(other), fmt.Sprint(err))
	}
	assert.Len(t, statuses, 7, "all results occur")
	for what, n := range counts {
		t.Log(n, what)
	}
}
