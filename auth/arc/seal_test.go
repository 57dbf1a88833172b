package arc

import (
	"context"
	"crypto"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
)

// TestSealAndVerify passes messages through chains of sealers, with every key
// and canonicalization.
func TestSealAndVerify(t *testing.T) {
	for _, alg := range []dkim.Algorithm{dkim.RSASHA256, dkim.Ed25519SHA256} {
		key, err := dkim.GenerateKey(alg)
		require.NoError(t, err)
		text, err := dkim.Record(key)
		require.NoError(t, err)
		z := zone{"sel._domainkey.hop1.example": text}
		for _, hc := range []dkim.Canonicalization{"", dkim.Simple, dkim.Relaxed} {
			for _, bc := range []dkim.Canonicalization{"", dkim.Simple, dkim.Relaxed} {
				msg := plainMessage
				for i := 1; i <= 3; i++ {
					s := hop(1)
					s.Signer.Key, s.Signer.HeaderCanon, s.Signer.BodyCanon = key, hc, bc
					in := verify(t, z, msg)
					fields, err := s.Seal(context.Background(), in, passed(1, in.AuthResult(netip.MustParseAddr("192.0.2.1"))), iotest.OneByteReader(strings.NewReader(msg)))
					require.NoError(t, err)
					msg = string(fields) + msg
					for line := range strings.SplitSeq(string(fields), "\r\n") {
						require.LessOrEqual(t, len(line), 78)
					}
					r := verify(t, z, msg)
					require.Equal(t, StatusPass, r.Status, "%v", r.Err)
					require.Equal(t, i, r.Instance)
					require.Zero(t, r.OldestPass)
					top := r.Sets[i-1]
					assert.Equal(t, alg, top.Seal.Algorithm)
					assert.Equal(t, "mx.hop1.example", top.Results.ServID)
					assert.Contains(t, top.Message.SignedFields, "dkim-signature")
				}
			}
		}
	}
}

// TestSealFailed: what does not verify is sealed as failed, by a set that
// covers itself alone, and then never again.
func TestSealFailed(t *testing.T) {
	z := hops(t, 4)
	broken := map[string]func(string) string{
		"body":          func(s string) string { return strings.Replace(s, "Text.", "Test.", 1) },
		"missing":       func(s string) string { _, rest, _ := strings.Cut(s, "\r\nARC-"); return "ARC-" + rest },
		"cv":            func(s string) string { return strings.Replace(s, "cv=pass", "cv=none", 1) },
		"double":        func(s string) string { return s[:strings.Index(s, "ARC-Mess")] + s },
		"not a seal":    func(s string) string { return "ARC-Seal: i=0\r\n" + s },
		"syntax":        func(s string) string { return "ARC-Seal: i=3; a\r\n" + s },
		"results":       func(s string) string { return "ARC-Authentication-Results: x\r\n" + s },
		"only seal i=3": func(s string) string { return "ARC-Seal: i=3; a=rsa-sha256; b=aa; d=d.e; s=s; cv=pass\r\n" + s },
	}
	for name, f := range broken {
		t.Run(name, func(t *testing.T) {
			msg := f(sealed(t, z, 2))
			in := verify(t, z, msg)
			require.Equal(t, StatusFail, in.Status)
			require.Error(t, in.Err)
			require.NotEmpty(t, in.Reason())
			fields, err := hop(4).Seal(context.Background(), in, passed(4), strings.NewReader(msg))
			require.NoError(t, err)
			r := verify(t, z, string(fields)+msg)
			require.Equal(t, StatusFail, r.Status)
			assert.Equal(t, in.Instance+1, r.Instance)
			require.ErrorIs(t, r.Err, ErrMarkedFailed)
			// The set is genuine all the same, seen alone.
			h := dkim.NewHeader(0, 0)
			h.Take(fields)
			require.NoError(t, h.Close())
			c := collect(h, maxInstance)
			alone := chain{sets: c.sets[len(c.sets)-1:]}
			require.NoError(t, keyOf(t, z, 4).Verify(alone.sealSums()[0], alone.sets[0].seal.b))

			_, err = hop(4).Seal(context.Background(), r, passed(4), strings.NewReader(string(fields)+msg))
			require.ErrorIs(t, err, ErrFinal)
		})
	}
}

func keyOf(t *testing.T, z zone, n int) *dkim.KeyRecord {
	t.Helper()
	r, err := dkim.ParseKeyRecord(z["sel._domainkey."+hopDomain(n)])
	require.NoError(t, err)
	return r
}

// TestSealRefused: a set that would be wrong is not made.
func TestSealRefused(t *testing.T) {
	z := hops(t, 51)
	two := sealed(t, z, 2)
	in := verify(t, z, two)
	seal := func(s *Sealer, in *Result, h *authres.Header, msg string) error {
		fields, err := s.Seal(context.Background(), in, h, strings.NewReader(msg))
		if err != nil {
			assert.Empty(t, fields)
		}
		return err
	}
	require.NoError(t, seal(hop(3), in, passed(3), two))

	t.Run("another chain", func(t *testing.T) {
		assert.ErrorIs(t, seal(hop(3), in, passed(3), plainMessage), ErrChanged)
		assert.ErrorIs(t, seal(hop(3), nil, passed(3), two), ErrChanged)
		assert.ErrorIs(t, seal(hop(3), &Result{Status: StatusNone}, passed(3), two), ErrChanged)
		assert.ErrorIs(t, seal(hop(3), in, passed(3), sealed(t, z, 3)), ErrChanged)
		other := pass(t, z, 2, sealed(t, z, 1), func(s string) string { return s + "more\r\n" })
		assert.ErrorIs(t, seal(hop(3), in, passed(3), other), ErrChanged)
		assert.ErrorIs(t, seal(hop(3), in, passed(3), strings.Replace(two, "cv=none", "cv=pass", 1)), ErrChanged)
	})
	t.Run("undecided", func(t *testing.T) {
		bad := resolver(func(context.Context, string) ([]string, error) { return nil, errors.New("down") })
		r := verify(t, bad, two)
		require.Equal(t, StatusTempError, r.Status)
		assert.ErrorIs(t, seal(hop(3), r, passed(3), two), ErrUndecided)
	})
	t.Run("full", func(t *testing.T) {
		full := sealed(t, z, 50)
		r := verify(t, z, full)
		require.Equal(t, StatusPass, r.Status, "%v", r.Err)
		assert.ErrorIs(t, seal(hop(51), r, passed(51), full), ErrFull)
		r = verify(t, z, full+"x")
		require.Equal(t, StatusFail, r.Status)
		assert.ErrorIs(t, seal(hop(51), r, passed(51), full), ErrFull)
	})
	t.Run("configuration", func(t *testing.T) {
		assert.ErrorIs(t, seal(&Sealer{}, in, passed(3), two), ErrConfig)
		assert.ErrorIs(t, seal(&Sealer{Signer: &dkim.Signer{}}, in, passed(3), two), ErrConfig)
		assert.ErrorIs(t, seal(hop(3), in, nil, two), ErrConfig)
		assert.ErrorIs(t, seal(hop(3), &Result{}, passed(3), two), ErrConfig)
		assert.ErrorIs(t, seal(hop(3), in, &authres.Header{}, two), authres.ErrName)
		for _, name := range []string{"ARC-Seal", "Authentication-Results", "arc-authentication-results"} {
			s := hop(3)
			s.Signer.Headers = []string{name}
			assert.ErrorIs(t, seal(s, in, passed(3), two), ErrConfig)
			s = hop(3)
			s.Signer.Oversign = []string{name}
			assert.ErrorIs(t, seal(s, in, passed(3), two), ErrConfig)
		}
	})
	t.Run("message", func(t *testing.T) {
		assert.ErrorIs(t, seal(hop(3), nil, passed(3), "A: b\n\n"), dkim.ErrBareNewline)
		assert.ErrorIs(t, seal(hop(3), nil, passed(3), " folded\r\n\r\n"), ErrFolded)
		assert.ErrorIs(t, seal(hop(3), nil, passed(3), "From: a@b.c\r\nFrom: d@e.f\r\n\r\n"), dkim.ErrFromCount)
		_, err := hop(3).Seal(context.Background(), in, passed(3), io.MultiReader(strings.NewReader(two), iotest.ErrReader(io.ErrUnexpectedEOF)))
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = hop(3).Seal(ctx, in, passed(3), strings.NewReader(two))
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("key", func(t *testing.T) {
		s := hop(3)
		s.Signer.Key = brokenKey{s.Signer.Key}
		assert.ErrorIs(t, seal(s, in, passed(3), two), errKey)
	})
}

var errKey = errors.New("token removed")

// brokenKey cannot sign.
type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errKey }

// TestSealOversigned: a field that is signed cannot be added to afterwards.
func TestSealOversigned(t *testing.T) {
	z := hops(t, 1)
	msg := sealed(t, z, 1)
	for _, added := range []string{"From: x@y.example", "Subject: other", "DKIM-Signature: a=b"} {
		r := verify(t, z, added+"\r\n"+msg)
		if strings.HasPrefix(added, "DKIM") {
			assert.Equal(t, StatusPass, r.Status, added) // the next system signs too
			continue
		}
		assert.Equal(t, StatusFail, r.Status, added)
		if !strings.HasPrefix(added, "From") {
			assert.ErrorIs(t, r.Err, dkim.ErrSignature)
		}
	}
}
