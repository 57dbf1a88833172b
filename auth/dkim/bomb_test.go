package dkim

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testleak"
)

// opaque is a key kept in a device: nothing but its methods is known of it.
type opaque struct {
	inner crypto.Signer
	calls int
}

func (o *opaque) Public() crypto.PublicKey { return o.inner.Public() }

func (o *opaque) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	o.calls++
	return o.inner.Sign(r, digest, opts)
}

func TestOpaqueSigner(t *testing.T) {
	z := newZone()
	var signers []*Signer
	var keys []*opaque
	for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
		key, err := GenerateKey(a)
		require.NoError(t, err)
		o := &opaque{inner: key}
		s := testSigner()
		s.Key, s.Selector = o, string(a)
		z.records[s.Selector+"._domainkey.example.com"] = record(t, o)
		signers, keys = append(signers, s), append(keys, o)
	}
	before := time.Now().Add(-time.Second)
	for _, s := range signers {
		s.Clock = nil
	}
	rs := verify(t, &Verifier{Resolver: z}, signed(t, plainMessage, signers...))
	require.Len(t, rs, 2)
	for i, r := range rs {
		assert.NoError(t, r.Err)
		assert.Equal(t, 1, keys[i].calls)
		assert.WithinRange(t, r.Signed, before.Truncate(time.Second), time.Now())
		assert.Equal(t, DefaultExpiry, r.Expires.Sub(r.Signed))
	}
}

func TestTimesOfResult(t *testing.T) {
	for _, c := range []struct {
		tags            string
		signed, expires int64
	}{{"", 0, 0}, {"t=1;", 1, 0}, {"x=253402300799;", 0, 253402300799}, {"t=5; x=999999999999;", 5, 0}} {
		r := verifyOne(t, &Verifier{Resolver: newZone()}, "DKIM-Signature: v=1; a=rsa-sha256; "+c.tags+" d=a.example; s=s; h=from; bh="+
			strings.Repeat("A", 43)+"=; b=AAAA\r\n"+plainMessage)
		for want, got := range map[int64]time.Time{c.signed: r.Signed, c.expires: r.Expires} {
			if want == 0 {
				assert.True(t, got.IsZero(), c.tags)
			}
		}
		if c.signed != 0 {
			assert.Equal(t, c.signed, r.Signed.Unix())
		}
		if c.expires != 0 {
			assert.Equal(t, c.expires, r.Expires.Unix())
		}
	}
}

func TestStrictIsTold(t *testing.T) {
	v := verifier(t)
	v.Resolver = newZone(testName, strings.Replace(record(t, testKey()), "k=", "t=y:s; k=", 1))
	r := verifyOne(t, v, signed(t, plainMessage))
	assert.Equal(t, StatusPass, r.Status)
	assert.True(t, r.Strict && r.Testing && !r.Trusted, "%+v", r)
}

// manySignatures are fields that ask for a key each.
func manySignatures(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "DKIM-Signature: v=1; a=rsa-sha256; d=d%d.example; s=s; h=from; bh=%s=; b=AAAA\r\n", i, strings.Repeat("A", 43))
	}
	return b.String()
}

// counting counts questions, and how many run at once.
type counting struct {
	mu             sync.Mutex
	all, now, peak int
	answer         func(ctx context.Context) ([]string, error)
}

func (c *counting) LookupTXT(ctx context.Context, _ string) ([]string, error) {
	c.mu.Lock()
	c.all++
	c.now++
	c.peak = max(c.peak, c.now)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.now--
		c.mu.Unlock()
	}()
	return c.answer(ctx)
}

func hang(ctx context.Context) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestBombSignatures: of 5,000 signatures with keys that never come, 10 are
// tried, within the budget of time, and the rest is told apart.
func TestBombSignatures(t *testing.T) {
	testleak.Check(t)
	c := &counting{answer: hang}
	v := &Verifier{Resolver: c, Timeout: 50 * time.Millisecond, MaxHeaderFields: 6000}
	began := time.Now()
	rs := verify(t, v, manySignatures(4990)+plainMessage)
	assert.Less(t, time.Since(began), 10*time.Second)
	require.Len(t, rs, 4990)
	assert.Equal(t, 10, c.all)
	assert.LessOrEqual(t, c.peak, 10)
	for i, r := range rs {
		if i < 10 {
			require.Equal(t, StatusFail, r.Status) // the body hash tells already
		} else {
			require.ErrorIs(t, r.Err, ErrTooManySignatures)
		}
	}
	// The limits of the zero value.
	rs = verify(t, &Verifier{Resolver: c}, manySignatures(5000)+plainMessage)
	require.Len(t, rs, 1)
	assert.ErrorIs(t, rs[0].Err, ErrHeaderTooLarge)
	assert.Equal(t, 10, c.all)
}

// TestBombHeader: 64 MiB of header cost neither memory nor a lookup.
func TestBombHeader(t *testing.T) {
	for _, unit := range []string{"x", "X-A: b\r\n", "DKIM-Signature: v=1\r\n", "a\r\n", " \r\n"} {
		c := &counting{answer: hang}
		n := (&Verifier{Resolver: c}).NewVerification(context.Background())
		chunk := []byte(strings.Repeat(unit, 32<<10/len(unit)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 64 << 20 / len(chunk) {
			n.Write(chunk)
		}
		runtime.ReadMemStats(&after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), "%q", unit)
		rs := n.Results()
		require.Len(t, rs, 1, "%q", unit)
		assert.ErrorIs(t, rs[0].Err, ErrHeaderTooLarge)
		assert.Zero(t, c.all)
	}
}

// TestBombKeyRecords: answers that are huge, many, or lie.
func TestBombKeyRecords(t *testing.T) {
	good := record(t, testKey())
	msg := signed(t, plainMessage)
	for name, c := range map[string]struct {
		txts []string
		want error
	}{
		"huge":               {[]string{good + "; n=" + strings.Repeat("x", 1<<20)}, ErrKeyRecordSize},
		"100,000 strings":    {make([]string, 100_000), ErrKeySyntax},
		"behind 100,000":     {append(make([]string, 100_000), good), ErrKeySyntax},
		"10,000 tags":        {[]string{strings.Repeat("a=b;", 2000)}, ErrKeySyntax},
		"no strings":         {nil, ErrNoKey},
		"another domain's":   {[]string{"v=spf1 -all"}, ErrKeySyntax},
		"not base64":         {[]string{"v=DKIM1; k=ed25519; p=!!!"}, ErrKeySyntax},
		"short":              {[]string{"v=DKIM1; k=ed25519; p=AAAA"}, ErrKeySyntax},
		"RSA of the wrong":   {[]string{"v=DKIM1; p=MAA="}, ErrKeySyntax},
		"huge, then the key": {[]string{strings.Repeat("x", 1<<20), good}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifier(t)
			v.Resolver = &counting{answer: func(context.Context) ([]string, error) { return c.txts, nil }}
			r := verifyOne(t, v, msg)
			if c.want == nil {
				assert.NoError(t, r.Err)
			} else {
				assert.ErrorIs(t, r.Err, c.want)
				assert.NotEqual(t, StatusPass, r.Status)
			}
		})
	}
}

// TestBombReader: a reader that fails anywhere in a message with signatures
// leaves no goroutine, and its error is the result.
func TestBombReader(t *testing.T) {
	testleak.Check(t)
	msg := manySignatures(5) + signed(t, plainMessage)
	broken := errors.New("broken")
	for cut := 0; cut <= len(msg); cut += 97 {
		v := &Verifier{Resolver: &counting{answer: hang}}
		r := io.MultiReader(strings.NewReader(msg[:cut]), iotest.ErrReader(broken))
		rs, err := v.Verify(context.Background(), r)
		require.ErrorIs(t, err, broken)
		require.Nil(t, rs)
		_, err = Sign(context.Background(), []*Signer{testSigner()}, io.MultiReader(strings.NewReader(msg[:cut]), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
	}
}
