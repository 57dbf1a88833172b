package verify_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/internal/testdns"
)

// FuzzVerify has messages and envelopes of anything, in pieces of any size: the
// checks together say what each says alone, the field is one and ours, and
// nothing is refused on a policy's word alone.
func FuzzVerify(f *testing.F) {
	z := zone()
	key := signer(f, z, "reject.example")
	signed := sign(f, key, letter("a@reject.example"))
	set, err := (&arc.Sealer{Signer: key}).Seal(f.Context(), nil, &authres.Header{ServID: "x"}, strings.NewReader(signed))
	require.NoError(f, err)
	f.Add([]byte(string(set)+signed), "a@reject.example", "mx.a.example", uint64(1))
	f.Add([]byte(string(set)+signed+"more"), "", "x\r\ny", uint64(2))
	f.Add([]byte(strings.Replace(signed, "c=relaxed/relaxed", "c=simple/simple; l=3", 1)), "\"a@b\"@c", "", uint64(3))
	f.Add([]byte("From: a@reject.example\r\n from:\r\n\r\n\r\n \t\r\n\r\n"), "<>", "\xff", uint64(4))
	f.Add([]byte(bomb(12, 3)), "a@", "[192.0.2.1]", uint64(5))
	f.Add([]byte(" \r\nFrom: a\r\rb\n\n"), "\u202e@\u3002", "a..b", uint64(6))
	f.Fuzz(func(t *testing.T, msg []byte, from, helo string, seed uint64) {
		r := testdns.NewResolver(z) // it remembers what it is asked
		v := &verify.Verifier{Hostname: "mx.b.example", Resolver: r, Trusted: arc.Trusted{"reject.example"}}
		v.DKIM.MaxHeaderBytes = 64 << 10
		one := *v
		one.DKIM.Resolver, one.ARC.Resolver, one.ARC.MaxHeaderBytes = r, r, v.DKIM.MaxHeaderBytes
		random := rand.New(rand.NewPCG(seed, 0))
		m := v.Begin(context.Background(), verify.Envelope{Remote: good, HELO: helo, MailFrom: from, UTF8: seed%2 == 0})
		defer m.Close()
		for rest := msg; len(rest) > 0; {
			n := min(1+random.IntN(200), len(rest))
			_, _ = m.Write(rest[:n])
			rest = rest[n:]
		}
		res := m.Results(context.Background())
		alone, err := one.DKIM.Verify(context.Background(), bytes.NewReader(msg))
		require.NoError(t, err)
		require.Equal(t, len(alone), len(res.DKIM))
		for i := range alone {
			require.Equal(t, alone[i].Status, res.DKIM[i].Status)
			require.Equal(t, alone[i].Err, res.DKIM[i].Err)
		}
		chain, err := one.ARC.Verify(context.Background(), bytes.NewReader(msg))
		require.NoError(t, err)
		require.Equal(t, *chain, res.ARC)
		field, err := res.Field()
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(field, "\tdmarc="))
		for line := range strings.SplitAfterSeq(strings.TrimSuffix(field, "\r\n"), "\r\n") {
			require.LessOrEqual(t, len(line), 1000)
			require.NotContains(t, strings.TrimSuffix(line, "\r\n"), "\n")
		}
		h, err := authres.Parse(strings.TrimPrefix(strings.TrimSuffix(field, "\r\n"), authres.FieldName+":"))
		require.NoError(t, err, "%q", field)
		require.Equal(t, "mx.b.example", h.ServID)
		require.True(t, authres.Remove([]byte(strings.TrimSuffix(field, "\r\n")), "MX.b.example"))
		d := res.Recommend()
		require.LessOrEqual(t, d.Action, verify.Quarantine)
		require.Equal(t, res.DMARC.Status == dmarc.StatusPass, res.DMARC.AlignedSPF || res.DMARC.AlignedDKIM)
	})
}
