package verify_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/internal/testdns"
)

// BenchmarkVerifyChain verifies a message of 1 MiB that is signed by DKIM and
// sealed by ARC.
func BenchmarkVerifyChain(b *testing.B) {
	z := zone()
	key := signer(b, z, "reject.example")
	msg := sign(b, key, letter("a@reject.example")+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<20/72))
	set, err := (&arc.Sealer{Signer: key}).Seal(b.Context(), nil, &authres.Header{ServID: "mx.b.example"}, strings.NewReader(msg))
	require.NoError(b, err)
	msg = string(set) + msg
	v := &verify.Verifier{Hostname: "mx.b.example", Resolver: testdns.NewResolver(z)}
	env := verify.Envelope{Remote: good, HELO: "mx.a.example", MailFrom: "a@reject.example"}
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		res, err := v.Verify(b.Context(), env, strings.NewReader(msg))
		if err != nil || res.ARC.Status != arc.StatusPass || !res.DKIM[0].Trusted {
			b.Fatal(err, res.ARC, res.DKIM)
		}
	}
}
