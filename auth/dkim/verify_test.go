package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeyRules(t *testing.T) {
	p := base64.StdEncoding.EncodeToString(testKey().Public().(ed25519.PublicKey))
	good := "v=DKIM1; k=ed25519; p=" + p
	for _, c := range []struct {
		name   string
		record any
		status Status
		err    error
	}{
		{"plain", good, StatusPass, nil},
		{"without version", "k=ed25519; p=" + p, StatusPass, nil},
		{"spaces and notes", "v=DKIM1 ; k = ed25519; n=hello; p= " + p[:10] + " " + p[10:] + " ;", StatusPass, nil},
		{"version not first", "k=ed25519; v=DKIM1; p=" + p, StatusPermError, ErrKeySyntax},
		{"other version", "v=DKIM2; k=ed25519; p=" + p, StatusPermError, ErrKeySyntax},
		{"revoked", "v=DKIM1; k=ed25519; p=", StatusPermError, ErrKeyRevoked},
		{"no p", "v=DKIM1; k=ed25519", StatusPermError, ErrKeySyntax},
		{"duplicate p", good + "; p=" + p, StatusPermError, ErrKeySyntax},
		{"p not base64", "k=ed25519; p=***", StatusPermError, ErrKeySyntax},
		{"p too short", "k=ed25519; p=AAAA", StatusPermError, ErrKeySyntax},
		{"rsa by default", "p=" + p, StatusPermError, ErrKeySyntax},
		{"unknown type", "k=mldsa; p=" + p, StatusPermError, ErrKeyMismatch},
		{"hash sha256", good + "; h=sha1:sha256", StatusPass, nil},
		{"hash sha1 only", good + "; h=sha1", StatusPermError, ErrKeyMismatch},
		{"service email", good + "; s=tlsrpt : email", StatusPass, nil},
		{"service any", good + "; s=*", StatusPass, nil},
		{"service other", good + "; s=tlsrpt", StatusPermError, ErrKeyMismatch},
		{"strict, default identifier", good + "; t=s", StatusPass, nil},
		{"unknown flag", good + "; t=q", StatusPass, nil},
		{"not a key record", "v=spf1 -all", StatusPermError, ErrKeySyntax},
		{"beside another record", []string{"v=spf1 -all", good}, StatusPass, nil},
		{"behind a revoked one", []string{"v=DKIM1; p=", good}, StatusPass, nil},
		{"no record", []string{}, StatusPermError, ErrNoKey},
		{"too large", good + "; n=" + strings.Repeat("n", 64<<10), StatusPolicy, ErrKeyRecordSize},
		{"server failure", &net.DNSError{Err: "server misbehaving", IsTemporary: true}, StatusTempError, ErrKeyUnavailable},
		{"unknown error", io.ErrUnexpectedEOF, StatusTempError, ErrKeyUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verifier(t)
			v.Resolver = newZone(testName, c.record)
			r := verifyOne(t, v, signed(t, plainMessage))
			assert.Equal(t, c.status, r.Status)
			assert.ErrorIs(t, r.Err, c.err)
		})
	}
}

func TestKeyStrictIdentifier(t *testing.T) {
	v := verifier(t)
	v.Resolver = newZone(testName, record(t, testKey())+"; t=s")
	r := verifyOne(t, v, resign(t, plainMessage, swap("v=1;", "v=1; i=@sub.example.com;")))
	assert.ErrorIs(t, r.Err, ErrIdentifier)
}

func TestKeyTesting(t *testing.T) {
	v := verifier(t)
	v.Resolver = newZone(testName, record(t, testKey())+"; t=y")
	r := verifyOne(t, v, signed(t, plainMessage))
	assert.Equal(t, StatusPass, r.Status)
	assert.True(t, r.Testing)
	assert.False(t, r.Trusted)
	v.TrustTesting = true
	assert.True(t, verifyOne(t, v, signed(t, plainMessage)).Trusted)
}

// fakeRSA is a public key of a size, good enough to be refused.
func fakeRSA(t *testing.T, bits int) *rsa.PublicKey {
	n := new(big.Int).SetBit(new(big.Int), bits-1, 1)
	n.SetBit(n, 0, 1)
	return &rsa.PublicKey{N: n, E: 65537}
}

func TestRSAKeySizes(t *testing.T) {
	for _, c := range []struct {
		bits   int
		status Status
		err    error
	}{
		{512, StatusFail, ErrKeyTooShort},
		{1023, StatusFail, ErrKeyTooShort},
		{1024, StatusFail, ErrSignature},
		{4096, StatusFail, ErrSignature},
		{4097, StatusPolicy, ErrKeyTooLong},
		{16384, StatusPolicy, ErrKeyTooLong},
	} {
		rec, err := Record(fakeRSA(t, c.bits))
		require.NoError(t, err)
		v := verifier(t)
		v.Resolver = newZone(testName, rec)
		r := verifyOne(t, v, resign(t, plainMessage, swap("ed25519-", "rsa-")))
		assert.Equal(t, c.status, r.Status, c.bits)
		assert.ErrorIs(t, r.Err, c.err, c.bits)
		assert.Equal(t, c.bits, r.KeyBits)
	}
	// Numbers that are no RSA key at all must do no harm.
	even := fakeRSA(t, 2048)
	even.N.SetBit(even.N, 0, 0)
	for _, odd := range []*rsa.PublicKey{even, {N: fakeRSA(t, 2048).N, E: 1}, {N: fakeRSA(t, 2048).N, E: 1<<31 - 1}, {N: fakeRSA(t, 2048).N, E: 2}} {
		rec, err := Record(odd)
		require.NoError(t, err)
		v := verifier(t)
		v.Resolver = newZone(testName, rec)
		r := verifyOne(t, v, resign(t, plainMessage, swap("ed25519-", "rsa-")))
		assert.ErrorIs(t, r.Err, ErrSignature)
	}
	for _, bits := range []int{1024, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		require.NoError(t, err)
		s := testSigner()
		s.Key, s.MinRSABits = key, 1024
		v := verifier(t)
		v.Resolver = newZone(testName, record(t, key))
		r := verifyOne(t, v, signed(t, plainMessage, s))
		assert.Equal(t, StatusPass, r.Status)
		assert.Equal(t, bits, r.KeyBits)
	}
}

func TestManySignatures(t *testing.T) {
	z := newZone()
	var msg strings.Builder
	for i := range 200 {
		fmt.Fprintf(&msg, "DKIM-Signature: v=1; a=rsa-sha256; d=d%d.example; s=s; h=from; bh=%s; b=AAAA\r\n",
			i, base64.StdEncoding.EncodeToString(make([]byte, 32)))
	}
	msg.WriteString(signed(t, plainMessage))
	rs := verify(t, &Verifier{Resolver: z}, msg.String())
	require.Len(t, rs, 201)
	for i, r := range rs {
		if i < 10 {
			assert.ErrorIs(t, r.Err, ErrBodyHash)
			assert.Equal(t, fmt.Sprintf("d%d.example", i), r.Domain)
		} else {
			assert.Equal(t, StatusPolicy, r.Status)
			assert.ErrorIs(t, r.Err, ErrTooManySignatures)
		}
	}
	assert.Len(t, z.queries, 10)
}

func TestSameKeyAskedOnce(t *testing.T) {
	v := verifier(t)
	rs := verify(t, v, signed(t, plainMessage, testSigner(), testSigner(), testSigner()))
	require.Len(t, rs, 3)
	for _, r := range rs {
		assert.Equal(t, StatusPass, r.Status)
	}
	assert.Len(t, v.Resolver.(*zone).queries, 1)
}

func TestFromFields(t *testing.T) {
	s := testSigner()
	s.Oversign = []string{} // From is oversigned all the same
	msg := signed(t, plainMessage, s)
	for _, c := range []struct {
		name, msg string
		err       error
	}{
		{"one", msg, nil},
		{"second on top", "From: Mallory <m@example.org>\r\n" + msg, ErrFromCount},
		{"second below", strings.Replace(msg, "\r\n\r\n", "\r\nfrom : Mallory <m@example.org>\r\n\r\n", 1), ErrFromCount},
		{"none", strings.Replace(msg, "\r\nFrom:", "\r\nX-From:", 1), ErrFromCount},
	} {
		r := verifyOne(t, verifier(t), c.msg)
		assert.ErrorIs(t, r.Err, c.err, c.name)
	}
}

func TestOversigning(t *testing.T) {
	msg := signed(t, plainMessage)
	assert.NoError(t, verifyOne(t, verifier(t), "X-Other: x\r\n"+msg).Err)
	for _, name := range DefaultOversign() {
		if name != "From" {
			r := verifyOne(t, verifier(t), name+": evil\r\n"+msg)
			assert.ErrorIs(t, r.Err, ErrSignature, name)
		}
	}
	// A field that is signed but not oversigned may be added on top of the one
	// that is there, not where there was none.
	s := testSigner()
	s.Oversign = []string{}
	msg = signed(t, plainMessage, s)
	assert.NoError(t, verifyOne(t, verifier(t), "Subject: other\r\n"+msg).Err)
}

func TestHeaderForms(t *testing.T) {
	msg := signed(t, plainMessage)
	field, rest, _ := strings.Cut(msg, "\r\nFrom:")
	rest = "From:" + rest
	for _, c := range []struct {
		name, msg string
		status    Status
		err       error
	}{
		{"line without colon", field + "\r\nnonsense\r\n" + rest, StatusPass, nil},
		{"envelope line of a mailbox file", "From alice@example.com Thu Jan 1 00:00:00 1970\r\n" + msg, StatusPass, nil},
		{"name with a space", field + "\r\nBad Name: x\r\n" + rest, StatusPass, nil},
		{"empty name", field + "\r\n: x\r\n" + rest, StatusPass, nil},
		{"begins with white space", " folded\r\n" + msg, StatusPass, nil},
		{"case and white space", field + "\r\n" + strings.Replace(rest, "From: Alice", "FROM \t:\r\n  Alice", 1), StatusPass, nil},
		{"bare LF", field + "\r\nX: a\nFrom: b\r\n" + rest, StatusPermError, ErrBareNewline},
		{"bare CR", field + "\r\nX: a\rFrom: b\r\n" + rest, StatusPermError, ErrBareNewline},
		{"NUL and 8-bit", field + "\r\nX: \x00\xff\r\n" + rest, StatusPass, nil},
		{"name over 76", field + "\r\n" + strings.Repeat("X", 2000) + ": x\r\n" + rest, StatusPass, nil},
	} {
		r := verifyOne(t, verifier(t), c.msg)
		assert.Equal(t, c.status, r.Status, c.name)
		assert.ErrorIs(t, r.Err, c.err, c.name)
	}
	assert.Empty(t, verify(t, verifier(t), plainMessage))
	assert.Empty(t, verify(t, verifier(t), ""))
	assert.Empty(t, verify(t, verifier(t), "\r\n"+msg), "a message without header")
}

func TestHeaderOnly(t *testing.T) {
	for _, msg := range []string{"From: a@example.com", "From: a@example.com\r\n", "From: a@example.com\r\n\r\n"} {
		r := verifyOne(t, verifier(t), signed(t, msg))
		assert.NoError(t, r.Err, "%q", msg)
	}
}

func TestHeaderLimits(t *testing.T) {
	v := verifier(t)
	v.MaxHeaderBytes = 4096
	msg := signed(t, plainMessage)
	assert.NoError(t, verifyOne(t, v, msg).Err)
	for _, extra := range []string{"X: " + strings.Repeat("x", 4096) + "\r\n", strings.Repeat("y", 1<<20)} {
		r := verifyOne(t, v, extra+msg)
		assert.ErrorIs(t, r.Err, ErrHeaderTooLarge)
		assert.Equal(t, StatusPermError, r.Status)
	}
	v = verifier(t)
	v.MaxHeaderFields = 10
	r := verifyOne(t, v, strings.Repeat("A:\r\n", 10)+msg)
	assert.ErrorIs(t, r.Err, ErrHeaderTooLarge)
	n := v.NewVerification(context.Background())
	for range 100 {
		n.Write(make([]byte, 1<<20))
	}
	assert.LessOrEqual(t, cap(n.header.buf), 0, "a header that is too large is let go")
	assert.Len(t, n.Results(), 1)
}

func TestPiecewise(t *testing.T) {
	msg := signed(t, plainMessage)
	for _, r := range []io.Reader{
		iotest.OneByteReader(strings.NewReader(msg)),
		iotest.HalfReader(strings.NewReader(msg)),
		iotest.DataErrReader(strings.NewReader(msg)),
	} {
		rs, err := verifier(t).Verify(context.Background(), r)
		require.NoError(t, err)
		require.Len(t, rs, 1)
		assert.NoError(t, rs[0].Err)
	}
}

func TestAcceptLF(t *testing.T) {
	v := verifier(t)
	v.AcceptLF = true
	msg := signed(t, plainMessage)
	lf := strings.ReplaceAll(msg, "\r\n", "\n")
	mixed := strings.Replace(msg, "\r\n", "\n", 3)
	for _, m := range []string{msg, lf, mixed} {
		assert.NoError(t, verifyOne(t, v, m).Err)
		rs, err := v.Verify(context.Background(), iotest.OneByteReader(strings.NewReader(m)))
		require.NoError(t, err)
		assert.NoError(t, rs[0].Err)
	}
	assert.ErrorIs(t, verifyOne(t, verifier(t), lf).Err, ErrBareNewline)
}

func TestReaderError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Every lookup hangs until it is cancelled: a leak would deadlock the
		// bubble.
		v := verifier(t)
		ended := 0
		v.Resolver = newZone(testName, func(ctx context.Context) ([]string, error) {
			<-ctx.Done()
			ended++
			return nil, ctx.Err()
		})
		msg := signed(t, plainMessage)
		broken := errors.New("broken")
		r := io.MultiReader(strings.NewReader(msg[:len(msg)-5]), strings.NewReader(msg[len(msg)-5:]), iotest.ErrReader(broken))
		rs, err := v.Verify(context.Background(), r)
		assert.Nil(t, rs)
		assert.ErrorIs(t, err, broken)
		synctest.Wait()
		assert.Equal(t, 1, ended)

		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = v.Verify(ctx, strings.NewReader(msg))
		assert.ErrorIs(t, err, context.Canceled)
	})
}

// TestSlowKey: one slow answer neither stalls the other signatures' lookups nor
// the result beyond the budget.
func TestSlowKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration) func(context.Context) ([]string, error) {
			return func(ctx context.Context) ([]string, error) {
				select {
				case <-time.After(d):
					return []string{record(t, testKey())}, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
		stuck := make(chan struct{})
		deaf := func(context.Context) ([]string, error) { <-stuck; return nil, nil }
		v := verifier(t)
		v.Resolver = newZone("a._domainkey.example.com", slow(9*time.Second), "b._domainkey.example.com", slow(9*time.Second),
			"c._domainkey.example.com", slow(time.Hour), "d._domainkey.example.com", deaf)
		var signers []*Signer
		for _, sel := range []string{"a", "b", "c", "d"} {
			s := testSigner()
			s.Selector = sel
			signers = append(signers, s)
		}
		start := time.Now()
		rs := verify(t, v, signed(t, plainMessage, signers...))
		assert.Equal(t, 10*time.Second, time.Since(start))
		assert.Equal(t, StatusPass, rs[0].Status)
		assert.Equal(t, StatusPass, rs[1].Status)
		assert.Equal(t, StatusTempError, rs[2].Status)
		assert.Equal(t, StatusTempError, rs[3].Status)
		assert.ErrorIs(t, rs[3].Err, context.DeadlineExceeded)
		close(stuck)
	})
}

// TestLookupsBeginWithBody: the keys are under way while the body still comes.
func TestLookupsBeginWithBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t)
		z := v.Resolver.(*zone)
		msg := signed(t, plainMessage)
		header := strings.Index(msg, "\r\n\r\n") + 4
		n := v.NewVerification(context.Background())
		n.Write([]byte(msg[:header-1]))
		synctest.Wait()
		assert.Empty(t, z.queries)
		n.Write([]byte(msg[header-1 : header]))
		synctest.Wait()
		assert.Equal(t, []string{testName}, z.queries)
		n.Write([]byte(msg[header:]))
		rs := n.Results()
		require.Len(t, rs, 1)
		assert.NoError(t, rs[0].Err)
		n.Write([]byte("more"))
		assert.Equal(t, rs, n.Results())
	})
}

func TestTempErrorYieldsToBadBody(t *testing.T) {
	v := verifier(t)
	v.Resolver = newZone(testName, io.ErrUnexpectedEOF)
	r := verifyOne(t, v, signed(t, plainMessage)+"more\r\n")
	assert.Equal(t, StatusFail, r.Status)
	assert.ErrorIs(t, r.Err, ErrBodyHash)
}

func TestInternationalDomain(t *testing.T) {
	s := testSigner()
	s.Domain, s.Selector, s.Identifier = "bücher.example", "schlüssel", "ü;=@BÜCHER.example"
	v := verifier(t)
	v.Resolver = newZone("xn--schlssel-95a._domainkey.xn--bcher-kva.example", record(t, testKey()))
	msg := signed(t, plainMessage, s)
	r := verifyOne(t, v, msg)
	require.NoError(t, r.Err)
	assert.Equal(t, "xn--bcher-kva.example", r.Domain)
	assert.Equal(t, "=C3=BC=3B=3D@xn--bcher-kva.example", r.Identifier)

	// RFC 8616 §5: signers may also write U-labels.
	v.Resolver = newZone("sel._domainkey.xn--bcher-kva.example", record(t, testKey()))
	r = verifyOne(t, v, resign(t, plainMessage, swap("d=example.com", "d=bücher.example")))
	require.NoError(t, r.Err)
	assert.Equal(t, "xn--bcher-kva.example", r.Domain)
}

func TestSignaturePrefixes(t *testing.T) {
	rs := make([]Result, 2)
	setPrefixes(rs, []string{"AAAAAAAABBBBCCCC", "AAAAAAAABBBBDDDD"})
	assert.Equal(t, "AAAAAAAABBBBCCCC", rs[0].SignaturePrefix)
	setPrefixes(rs, []string{"AAAAAAAABBBB", "AA"})
	assert.Equal(t, "AAAAAAAA", rs[0].SignaturePrefix)
	assert.Equal(t, "AA", rs[1].SignaturePrefix)
}

func TestEveryReasonHasAStatus(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range outcomes {
		assert.False(t, seen[o.err.Error()], o.err)
		seen[o.err.Error()] = true
		assert.NotEqual(t, StatusPass, o.status)
		assert.Equal(t, o.status, statusOf(fmt.Errorf("%w: more", o.err)))
	}
	assert.Equal(t, StatusPass, statusOf(nil))
	assert.Equal(t, StatusPermError, statusOf(io.EOF))
}

// TestHostileHeader: ten signatures that name every field of a header at its
// limits cost ten times the header and no more.
func TestHostileHeader(t *testing.T) {
	var fields, names strings.Builder
	for i := range 4900 {
		fmt.Fprintf(&fields, "X%d: %s\r\n", i%2000, strings.Repeat("x ", 80))
		if i < 4000 {
			fmt.Fprintf(&names, ":x%d", i%2000)
		}
	}
	for range 10_000 {
		names.WriteString(":y")
	}
	z := newZone("s._domainkey.example.com", record(t, fakeRSA2048{}))
	var msg strings.Builder
	for range 10 {
		fmt.Fprintf(&msg, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s; h=from%s;%s bh=%s; b=AAAA\r\n",
			names.String()[:30_000], strings.Repeat(" ", 1000), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
	}
	msg.WriteString(fields.String() + "From: a@example.com\r\n\r\n")
	v := &Verifier{Resolver: z, MaxHeaderBytes: 2 << 20}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rs := verify(t, v, msg.String())
	runtime.ReadMemStats(&after)
	require.Len(t, rs, 10)
	for _, r := range rs {
		assert.ErrorIs(t, r.Err, ErrSignature)
	}
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16*msg.Len()))
}

// fakeRSA2048 stands for a key of which only the public half is needed.
type fakeRSA2048 struct{ crypto.Signer }

func (fakeRSA2048) Public() crypto.PublicKey {
	n := new(big.Int).SetBit(big.NewInt(1), 2047, 1)
	return &rsa.PublicKey{N: n, E: 65537}
}

// TestConcurrentUse shares one Verifier and one Signer.
func TestConcurrentUse(t *testing.T) {
	v, s := verifier(t), testSigner()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				assert.NoError(t, verifyOne(t, v, signed(t, plainMessage, s)).Err)
			}
		})
	}
	wg.Wait()
}
