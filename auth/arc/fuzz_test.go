package arc

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
)

// FuzzFields reads the three fields of a set.
func FuzzFields(f *testing.F) {
	z := hops(f, 1)
	for _, field := range strings.SplitAfter(sealed(f, z, 1)[:900], "\r\nARC-") {
		f.Add([]byte(field))
	}
	for _, s := range []string{
		"ARC-Seal: i=1; a=rsa-sha256; t=12345; cv=none; d=example.org; s=dummy; b=dOdFEyhrk/tw5wl3vMIogoxhaVsKJkrk EhnAcq2XqOLSQhPpGzhGBJzR7k1sWGokon3TmQ==",
		"ARC-Seal: i=50; a=ed25519-sha256; cv=FAIL; d=bücher.example; s=a.b; q=dns/txt; b=AA==;",
		"arc-seal:i=0;;h=",
		"ARC-Message-Signature: i=9; a=rsa-sha256; d=a.b; s=c; h=From:To; c=relaxed; l=1; x=2; bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=; b=AA==",
		"ARC-Authentication-Results: i=1; lists.example.org;\r\n\tspf=pass (a (b)) smtp.mfrom=jqd@d1.example; none",
		"ARC-Authentication-Results: (c) i (d) = 07 (e) ; \"x\" 1; none",
		"ARC-Authentication-Results",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, field []byte) {
		for _, parse := range []func([]byte) (*signature, error){parseSeal, parseMessage} {
			s, err := parse(field)
			require.NotNil(t, s)
			require.True(t, s.instance >= 0 && s.instance <= maxInstance)
			if err != nil {
				continue
			}
			require.NotZero(t, s.instance)
			require.NotEmpty(t, s.b)
			domain, ok := dkim.CanonicalDomain(s.domain, 2)
			require.True(t, ok)
			require.Equal(t, s.domain, domain)
			require.NotContains(t, s.headers, "arc-seal")
			// What is signed must not depend on the value of b=.
			other := append(append(bytes.Clone(field[:s.bStart]), "AAAA"...), field[s.bEnd:]...)
			again, err := parse(other)
			require.NoError(t, err)
			require.Equal(t, s.appendUnsigned(nil), again.appendUnsigned(nil))
		}
		_, body, _ := strings.Cut(string(field), ":")
		i, h, err := authres.ParseARC(body)
		require.True(t, i >= 0 && i < 100)
		if err == nil {
			require.NotZero(t, i)
			require.NotEmpty(t, h.ServID)
		}
	})
}

// FuzzVerify verifies arbitrary messages as a whole and in random pieces, and
// expects the same; what is sealed on top of them verifies if they do.
func FuzzVerify(f *testing.F) {
	z := hops(f, 3)
	for n := range 4 {
		msg := sealed(f, z, n)
		f.Add([]byte(msg), uint64(n))
		f.Add([]byte(strings.Replace(msg, "cv=pass", "cv=fail", 1)), uint64(n))
		f.Add([]byte(strings.Replace(msg, "i=2", "i=1", 1)), uint64(n))
		f.Add([]byte(msg+"more"), uint64(n))
	}
	f.Add([]byte("ARC-Seal: i=1; a=rsa-sha256\r\nARC-Authentication-Results: i=50; x; none\r\n\r\n\r\n"), uint64(1))
	f.Add([]byte("\r\n\r\nARC-Seal:\n"), uint64(2))
	f.Fuzz(func(t *testing.T, msg []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		for _, lf := range []bool{false, true} {
			v := &Verifier{Resolver: z, Clock: at(1_700_000_100), AcceptLF: lf, MaxHeaderBytes: 1 << 16}
			whole, err := v.Verify(context.Background(), bytes.NewReader(msg))
			require.NoError(t, err)
			n := v.NewVerification(context.Background())
			for rest := msg; len(rest) > 0; {
				k := min(1+random.IntN(100), len(rest))
				_, _ = n.Write(rest[:k])
				rest = rest[k:]
			}
			require.Equal(t, whole, n.Result())
			if !lf {
				h := dkim.NewHeader(v.MaxHeaderBytes, 0)
				body := h.Take(msg)
				shared := v.NewBodyVerification(context.Background(), h, nil)
				_, _ = shared.Write(body)
				require.Equal(t, whole, shared.Result())
			}
			require.Equal(t, whole.Err == nil, whole.Status == StatusNone || whole.Status == StatusPass)
			require.Len(t, whole.Sets, whole.Instance)
			require.NotEqual(t, StatusTempError, whole.Status)
			if lf {
				continue
			}
			fields, err := hop(3).Seal(context.Background(), whole, passed(3), bytes.NewReader(msg))
			if err != nil {
				continue
			}
			r := verify(t, z, string(fields)+string(msg))
			if whole.Status == StatusFail {
				require.ErrorIs(t, r.Err, ErrMarkedFailed)
			} else {
				require.Equal(t, StatusPass, r.Status, "%v", r.Err)
			}
		}
	})
}
