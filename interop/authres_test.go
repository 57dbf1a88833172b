package interop

import (
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type authresResult struct {
	Method  string      `json:"method"`
	Value   string      `json:"value"`
	Comment string      `json:"comment"`
	Reason  string      `json:"reason"`
	Props   [][3]string `json:"props"`
}

type authresQuestion struct {
	Op      string          `json:"op"`
	Text    string          `json:"text,omitempty"`
	ID      string          `json:"id,omitempty"`
	Results []authresResult `json:"results"`
}

type authresAnswer struct {
	ID, Text, Error string
	Results         []authresResult
}

// authresText is a value from a message, as an attacker may make it.
func authresText(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return authresPlain(r)
	case 1:
		list := []string{`"a b"@c.example`, "a b", "a;b=c", "x; dkim=pass header.d=bank.example", `q"uo\te`, "(c", "c)", "a/b+c==", "=", "a=b",
			"[192.0.2.1]", "2001:db8::1", "a@b@c", ".", "..", "a.", "'", "a,b", "<a@b.c>"}
		return list[r.IntN(len(list))]
	case 2:
		list := []string{"x\r\nEvil: 1", "\r\n\r\nbody", "tab\there", "nul\x00", "caf\xc3\xa9", "\xff"}
		return list[r.IntN(len(list))]
	}
	b := make([]byte, 1+r.IntN(12))
	for i := range b {
		b[i] = byte(' ' + r.IntN(0x5f))
	}
	return string(b)
}

// authresPlain is a value that needs no quotes.
func authresPlain(r *rand.Rand) string {
	list := []string{"example.com", "a@b.example", "@example.org", "mail.example.net", "192.0.2.1", "sel-1", "x_y"}
	return list[r.IntN(len(list))]
}

// authresHeader is a header with some results of every method. What must be
// quoted is last in its result, because authres for Python drops quoted values
// that something follows (RFC 8601 §2.2 lets any number of them follow).
func authresHeader(r *rand.Rand) *authres.Header {
	plain, text := func() string { return authresPlain(r) }, func() string { return authresText(r) }
	addr := netip.MustParseAddr([]string{"192.0.2.1", "2001:db8::7"}[r.IntN(2)])
	h := &authres.Header{ServID: []string{"mx.example.org", "x", "a-b.c_d"}[r.IntN(3)]}
	all := []authres.Result{
		authres.SPF("pass", plain(), text()), authres.DKIM("fail", plain(), plain(), plain(), "rsa-sha256", text()), authres.DMARC("temperror", text(), ""),
		authres.ARC("pass", "0", addr), authres.IPRev("permerror", addr, text()), authres.Auth("pass", plain(), text()),
		authres.DNSWL("pass", plain(), netip.MustParseAddr("127.0.9.2"), text(), ""), authres.BIMI("none", plain(), text()), {Method: "x-other", Value: "softfail"},
	}
	for _, res := range all {
		if r.IntN(2) == 0 {
			continue
		}
		if r.IntN(2) == 0 {
			res.Reason = text()
		}
		if r.IntN(2) == 0 {
			res.Comment = text()
		}
		h.Results = append(h.Results, res)
	}
	return h
}

// unescape does what authres for Python leaves undone in quoted strings (RFC 5322
// §3.2.4).
var unescape = strings.NewReplacer(`\"`, `"`, `\\`, `\`)

// printable: authres for Python writes line ends and control characters as they
// are, and whatever has "@" without quotes.
func printable(s string) bool {
	for _, c := range s {
		if c < ' ' || c > '~' || c == '@' {
			return false
		}
	}
	return true
}

// TestAuthresTheirs: authres for Python reads in our fields what we read there.
func TestAuthresTheirs(t *testing.T) {
	t.Parallel()
	p := startLines(t, []string{debianPython, "-c", "import authres"}, debianPython, filepath.Join("testdata", "authres_python.py"))
	values := 0
	for n := range 500 {
		h := authresHeader(rand.New(rand.NewPCG(uint64(n), 8601)))
		field, err := h.Field()
		require.NoError(t, err)
		_, body, _ := strings.Cut(field, ":")
		ours, err := authres.Parse(body)
		require.NoError(t, err, field)
		unfolded := strings.ReplaceAll(field, "\r\n", "")
		var theirs authresAnswer
		p.ask(t, authresQuestion{Op: "parse", Text: unfolded}, &theirs)
		require.Empty(t, theirs.Error, unfolded)
		for i := range theirs.Results {
			res := &theirs.Results[i]
			res.Reason = unescape.Replace(res.Reason)
			for j := range res.Props {
				res.Props[j][2] = unescape.Replace(res.Props[j][2])
			}
		}
		assert.Equal(t, ours.ServID, theirs.ID)
		want := []authresResult{}
		for _, r := range ours.Results {
			w := authresResult{Method: r.Method, Value: r.Value, Reason: r.Reason, Props: [][3]string{}}
			for _, prop := range r.Props {
				if prop.Type != "dns" { // RFC 8904 is unknown to it
					w.Props = append(w.Props, [3]string{prop.Type, prop.Property, prop.Value})
					values++
				}
			}
			want = append(want, w)
		}
		if !assert.Equal(t, want, theirs.Results, unfolded) {
			break
		}
	}
	t.Logf("%d values", values)
}

// TestAuthresOurs: we read in the fields of authres for Python what it was told
// to write.
func TestAuthresOurs(t *testing.T) {
	t.Parallel()
	p := startLines(t, []string{debianPython, "-c", "import authres"}, debianPython, filepath.Join("testdata", "authres_python.py"))
	for n := range 500 {
		h := authresHeader(rand.New(rand.NewPCG(uint64(n), 8602)))
		q := authresQuestion{Op: "write", ID: h.ServID, Results: []authresResult{}}
		for _, r := range h.Results {
			w := authresResult{Method: r.Method, Value: r.Value, Props: [][3]string{}}
			for _, prop := range r.Props {
				if printable(prop.Value) {
					w.Props = append(w.Props, [3]string{prop.Type, prop.Property, prop.Value})
				}
			}
			if printable(r.Reason) {
				w.Reason = r.Reason
			}
			if printable(r.Comment) && !strings.ContainsAny(r.Comment, `()\`) {
				w.Comment = r.Comment
			}
			q.Results = append(q.Results, w)
		}
		var a authresAnswer
		p.ask(t, q, &a)
		require.Empty(t, a.Error)
		_, body, _ := strings.Cut(a.Text, ":")
		got, err := authres.Parse(body)
		require.NoError(t, err, a.Text)
		require.Len(t, got.Results, len(q.Results), a.Text)
		for i, r := range got.Results {
			w := q.Results[i]
			assert.Equal(t, w.Value, r.Value)
			assert.Equal(t, w.Method, r.Method)
			assert.Equal(t, w.Reason, r.Reason, a.Text)
			assert.Equal(t, w.Comment, r.Comment, a.Text)
			props := [][3]string{}
			for _, prop := range r.Props {
				props = append(props, [3]string{prop.Type, prop.Property, prop.Value})
			}
			if !assert.Equal(t, w.Props, props, a.Text) {
				return
			}
		}
	}
}
