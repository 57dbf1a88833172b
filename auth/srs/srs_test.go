package srs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/srs"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func rewriter(domain string, now *time.Time) *srs.Rewriter {
	return &srs.Rewriter{Domain: domain, Secrets: [][]byte{[]byte("secret of " + domain)}, Clock: func() time.Time { return *now }}
}

func TestRoundTrip(t *testing.T) {
	now := start
	r := rewriter("fwd.example", &now)
	for _, sender := range []string{
		"alice@a.example", "a.b+c=d@a.example", "SRS@a.example", "SRS0x@a.example", `"a b"@a.example`, `"a\"b\\c@d"@a.example`,
		"Büro@bücher.example", "-@a", "a=b=c@a.example", "srs2=x=y@a.example",
	} {
		t.Run(sender, func(t *testing.T) {
			out, err := r.Forward(sender)
			require.NoError(t, err)
			assert.True(t, strings.HasSuffix(out, "@fwd.example"), out)
			assert.True(t, srs.Is(out))
			back, err := r.Reverse(out)
			require.NoError(t, err)
			assert.Equal(t, sender, back)
			// What lies between may fold case.
			for _, folded := range []string{strings.ToLower(out), strings.ToUpper(out)} {
				back, err = r.Reverse(folded)
				require.NoError(t, err)
				assert.True(t, strings.EqualFold(sender, back), back)
			}
		})
	}
}

func TestUnchanged(t *testing.T) {
	now := start
	r := rewriter("fwd.example", &now)
	for _, sender := range []string{"", "bob@fwd.example", "bob@FWD.example"} {
		out, err := r.Forward(sender)
		require.NoError(t, err)
		assert.Equal(t, sender, out)
	}
}

// TestChain sends through four forwarders and the bounce back: the second
// address is as long as the fourth.
func TestChain(t *testing.T) {
	now := start
	var hops []*srs.Rewriter
	for _, d := range []string{"one.example", "two.example", "three.example", "four.example"} {
		hops = append(hops, rewriter(d, &now))
	}
	sender, lengths := "alice@a.example", []int{}
	for _, h := range hops {
		var err error
		sender, err = h.Forward(sender)
		require.NoError(t, err)
		lengths = append(lengths, len(strings.Split(sender, "@")[0]))
	}
	assert.Equal(t, lengths[1], lengths[3])
	assert.Regexp(t, `^SRS1=[^=]{4}=one\.example==[^=]{4}=[A-Z2-7]{2}=a\.example=alice@four\.example$`, sender)
	back, err := hops[3].Reverse(sender)
	require.NoError(t, err)
	assert.Regexp(t, `^SRS0=.*@one\.example$`, back)
	back, err = hops[0].Reverse(back)
	require.NoError(t, err)
	assert.Equal(t, "alice@a.example", back)
}

func TestRefused(t *testing.T) {
	now := start
	r := rewriter("fwd.example", &now)
	good, err := r.Forward("alice@a.example")
	require.NoError(t, err)
	for address, want := range map[string]error{
		"":                                          srs.ErrSyntax,
		"alice":                                     srs.ErrSyntax,
		"alice@fwd.example":                         srs.ErrNotRewritten,
		strings.Replace(good, "fwd", "x", 1):        srs.ErrNotRewritten,
		"SRS0=@fwd.example":                         srs.ErrNotRewritten,
		"SRS0=abcd=AA@fwd.example":                  srs.ErrSyntax,
		"SRS0=abcd=AA==b@fwd.example":               srs.ErrSyntax,
		"SRS0=abcd=AA=a.example@fwd.example":        srs.ErrSyntax,
		"SRS1=abcd=a.example@fwd.example":           srs.ErrSyntax,
		"SRS1=abcd==x@fwd.example":                  srs.ErrSyntax,
		"SRS1=abcd=a.example=x@fwd.example":         srs.ErrSyntax,
		"SRS1=abcd=a.example==x@fwd.example":        srs.ErrHash,
		strings.Replace(good, "=alice", "=eve", 1):  srs.ErrHash,
		strings.Replace(good, "=a.ex", "=b.ex", 1):  srs.ErrHash,
		strings.Replace(good, "SRS0=", "SRS0=x", 1): srs.ErrHash,
		"SRS0==" + good[10:]:                        srs.ErrHash,
		"a\nb@fwd.example":                          srs.ErrSyntax,
		strings.Repeat("a", 300) + "@fwd.example":   srs.ErrSyntax,
	} {
		_, err := r.Reverse(address)
		assert.ErrorIs(t, err, want, "%q", address)
	}
	for sender, want := range map[string]error{
		"alice": srs.ErrSyntax, "@a.example": srs.ErrSyntax, "alice@": srs.ErrSyntax, "a b@a.example": srs.ErrSyntax,
		`"a@a.example`: srs.ErrSyntax, `""@a.example`: srs.ErrSyntax, `"a"b"@a.example`: srs.ErrSyntax, `"a\"@a.example`: srs.ErrSyntax,
		"a@b=c.example": srs.ErrSyntax, "a@b\r\nc": srs.ErrSyntax, ".a@a.example": srs.ErrSyntax,
		"SRS1=abcd=x@a.example":                     srs.ErrSyntax,
		strings.Repeat("a", 50) + "@long.a.example": srs.ErrTooLong,
	} {
		_, err := r.Forward(sender)
		assert.ErrorIs(t, err, want, "%q", sender)
	}
	for _, r := range []*srs.Rewriter{{}, {Domain: "a"}, {Secrets: [][]byte{{1}}}, {Domain: "a", Secrets: [][]byte{{}}}} {
		_, err := r.Forward("alice@a.example")
		assert.ErrorIs(t, err, srs.ErrConfig)
		_, err = r.Reverse(good)
		assert.ErrorIs(t, err, srs.ErrConfig)
	}
}

// TestAge goes through all time stamps.
func TestAge(t *testing.T) {
	for day := range 1100 {
		made := start.AddDate(0, 0, day)
		now := made
		r := rewriter("fwd.example", &now)
		out, err := r.Forward("alice@a.example")
		require.NoError(t, err)
		for after, want := range map[int]error{0: nil, 1: nil, 21: nil, 22: srs.ErrExpired, 500: srs.ErrExpired, -1: srs.ErrExpired} {
			now = made.AddDate(0, 0, after)
			_, err := r.Reverse(out)
			assert.ErrorIs(t, err, want, "%d days after %v", after, made)
		}
	}
}

// A clock that is not set is no reason to fail.
func TestAgeBefore1970(t *testing.T) {
	for _, now := range []time.Time{{}, time.Unix(-1, 0), time.Unix(0, 0)} {
		r := rewriter("fwd.example", &now)
		out, err := r.Forward("alice@a.example")
		require.NoError(t, err)
		back, err := r.Reverse(out)
		require.NoError(t, err)
		assert.Equal(t, "alice@a.example", back)
	}
}

func TestSecretsChange(t *testing.T) {
	now := start
	r := rewriter("fwd.example", &now)
	old, err := r.Forward("alice@a.example")
	require.NoError(t, err)
	r.Secrets = append([][]byte{[]byte("new")}, r.Secrets...)
	fresh, err := r.Forward("alice@a.example")
	require.NoError(t, err)
	assert.NotEqual(t, old, fresh)
	for _, a := range []string{old, fresh} {
		_, err = r.Reverse(a)
		assert.NoError(t, err)
	}
	r.Secrets = append(r.Secrets[:1], nil)
	_, err = r.Reverse(old)
	assert.ErrorIs(t, err, srs.ErrHash)
}

func TestHashLength(t *testing.T) {
	now := start
	short, long := rewriter("fwd.example", &now), rewriter("fwd.example", &now)
	long.HashLength = 100
	a, err := short.Forward("alice@a.example")
	require.NoError(t, err)
	b, err := long.Forward("alice@a.example")
	require.NoError(t, err)
	assert.Equal(t, len(a)+23, len(b))
	_, err = long.Reverse(a) // a short hash is easier to guess
	assert.ErrorIs(t, err, srs.ErrHash)
	_, err = long.Reverse(b)
	assert.NoError(t, err)
}

func FuzzReverse(f *testing.F) {
	now := start
	r := rewriter("fwd.example", &now)
	for _, s := range []string{"alice@a.example", `"a b"@a.example`, "SRS0=abcd=AA=b.example=bob@c.example", "SRS1=abcd=b.example==abcd=AA=c.example=bob@d.example", "SRS0-x@fwd.example"} {
		f.Add(s)
		out, err := r.Forward(s)
		require.NoError(f, err)
		f.Add(out)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if back, err := r.Reverse(s); err == nil {
			assert.NotContains(t, back, "\n")
		}
		out, err := r.Forward(s)
		if err != nil || s == "" || out == s {
			return
		}
		assert.LessOrEqual(t, len(out), 254)
		assert.NotContains(t, out, "\n")
		back, err := r.Reverse(out)
		if err != nil {
			t.Fatalf("%q became %q: %v", s, out, err)
		}
		// An SRS1 address comes back as the first forwarder's.
		if !srs.Is(s) {
			again, err := r.Forward(back)
			require.NoError(t, err)
			assert.Equal(t, out, again)
		}
	})
}
