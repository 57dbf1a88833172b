package arc

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dkim"
)

// rsaHop is a sealer with the key that most have.
func rsaHop(b *testing.B) (*Sealer, zone) {
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	require.NoError(b, err)
	text, err := dkim.Record(key)
	require.NoError(b, err)
	s := hop(1)
	s.Signer.Key = key
	return s, zone{"sel._domainkey." + hopDomain(1): text}
}

// BenchmarkVerify checks chains of RSA-2048 over a message of some size.
func BenchmarkVerify(b *testing.B) {
	s, z := rsaHop(b)
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, sets := range []int{0, 1, 3, 50} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, sets), func(b *testing.B) {
				msg := plainMessage + strings.Repeat("The quick brown fox jumps over the lazy dog and runs away.\r\n", size/60)
				for range sets {
					fields, err := s.Seal(context.Background(), verify(b, z, msg), passed(1), strings.NewReader(msg))
					require.NoError(b, err)
					msg = string(fields) + msg
				}
				v := &Verifier{Resolver: z}
				b.SetBytes(int64(len(msg)))
				b.ReportAllocs()
				for b.Loop() {
					r, err := v.Verify(context.Background(), strings.NewReader(msg))
					if err != nil || r.Err != nil || r.Instance != sets {
						b.Fatal(r, err)
					}
				}
			})
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	s, _ := rsaHop(b)
	msg := plainMessage + strings.Repeat("The quick brown fox jumps over the lazy dog and runs away.\r\n", 70)
	in := &Result{Status: StatusNone}
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Seal(context.Background(), in, passed(1), strings.NewReader(msg)); err != nil {
			b.Fatal(err)
		}
	}
}
