package arc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/internal/testleak"
)

// TestNoChain: most messages have none, and cost no lookup.
func TestNoChain(t *testing.T) {
	never := resolver(func(context.Context, string) ([]string, error) { panic("lookup") })
	for _, msg := range []string{"", "\r\n", "text", plainMessage, "Subject: x"} {
		r := verify(t, never, msg)
		assert.Equal(t, &Result{Status: StatusNone}, r, "%q", msg)
		assert.Empty(t, r.Reason())
	}
}

// TestSets: what each set says, and what failed in which.
func TestSets(t *testing.T) {
	z := hops(t, 3)
	msg := sealed(t, z, 3)
	r := verify(t, z, msg)
	require.NoError(t, r.Err)
	require.Len(t, r.Sets, 3)
	for i, s := range r.Sets {
		assert.Equal(t, i+1, s.Instance)
		assert.Equal(t, map[bool]Status{true: StatusNone, false: StatusPass}[i == 0], s.CV)
		assert.Equal(t, "mx."+hopDomain(i+1), s.Results.ServID)
		for _, sig := range []Signature{s.Message, s.Seal} {
			assert.Equal(t, StatusPass, sig.Status)
			assert.Equal(t, hopDomain(i+1), sig.Domain)
			assert.Equal(t, "sel", sig.Selector)
			assert.Equal(t, 256, sig.KeyBits)
			assert.NoError(t, sig.Err)
		}
	}
	// field is the place of the n-th field of a name from the top, in a message
	// of three sets: that of instance 3-n.
	field := func(name string, n int) int {
		at := -1
		for range n + 1 {
			at += 1 + strings.Index(msg[at+1:], name+":")
		}
		return at
	}
	change := func(name string, instance int, from, to string) string {
		at := field(name, 3-instance)
		return msg[:at] + strings.Replace(msg[at:], from, to, 1)
	}
	for _, c := range []struct {
		what, msg string
		instance  int
		field     string
		err       error
	}{
		{"body", msg + "x", 3, nameMessage, dkim.ErrBodyHash},
		{"subject", strings.Replace(msg, "two lines", "too lines", 1), 3, nameMessage, dkim.ErrSignature},
		{"from", "From: <x@y.example>\r\n" + msg, 3, "", dkim.ErrFromCount},
		{"results 1", change(nameResults, 1, "dmarc=pass", "dmarc=fail"), 3, nameSeal, dkim.ErrSignature},
		{"results 3", change(nameResults, 3, "dmarc=pass", "dmarc=fail"), 3, nameSeal, dkim.ErrSignature},
		{"message 2", change(nameMessage, 2, "t=17", "t=16"), 3, nameSeal, dkim.ErrSignature},
		{"message 3", change(nameMessage, 3, "t=17", "t=16"), 3, nameMessage, dkim.ErrSignature},
		{"seal 3", change(nameSeal, 3, "t=17", "t=16"), 3, nameSeal, dkim.ErrSignature},
		{"seal 3 cv", change(nameSeal, 3, "cv=pass", "cv=none"), 3, nameSeal, ErrChainValue},
		{"seal 1 cv", change(nameSeal, 1, "cv=none", "cv=pass"), 1, nameSeal, ErrChainValue},
		{"seal 2 cv", change(nameSeal, 2, "cv=pass", "cv=fail"), 2, nameSeal, ErrMarkedFailed},
		{"seal h", change(nameSeal, 2, "cv=pass", "h=a; cv=pass"), 2, nameSeal, ErrSealHeaders},
		{"seal signed", change(nameMessage, 1, "h=from", "h=ARC-Seal"), 1, nameMessage, ErrSealSigned},
		{"gap", change(nameSeal, 3, "i=3", "i=5"), 3, nameSeal, ErrIncomplete},
		{"instance", change(nameSeal, 3, "i=3", "i=51"), 0, nameSeal, ErrInstance},
		{"instance of three digits", change(nameMessage, 3, "i=3", "i=003"), 0, nameMessage, ErrInstance},
		{"no instance", change(nameResults, 3, "i=3;", ""), 0, nameResults, ErrInstance},
		{"twice", change(nameSeal, 3, "i=3", "i=2"), 2, nameSeal, ErrDuplicate},
		{"domain", change(nameSeal, 3, "d=hop3.example", "d=hop3"), 3, nameSeal, dkim.ErrDomain},
		{"sha1", change(nameSeal, 3, "a=ed25519-sha256", "a=rsa-sha1"), 3, nameSeal, dkim.ErrAlgorithm},
		{"key type", change(nameSeal, 3, "a=ed25519-sha256", "a=rsa-sha256"), 3, nameSeal, dkim.ErrKeyMismatch},
		{"selector", change(nameSeal, 3, "s=sel", "s=les"), 3, nameSeal, dkim.ErrNoKey},
		{"query", change(nameSeal, 3, "s=sel", "q=dns/x; s=sel"), 3, nameSeal, dkim.ErrQueryMethod},
		{"huge", change(nameSeal, 3, "s=sel", "s=sel; x="+strings.Repeat("x", 40_000)), 0, nameSeal, dkim.ErrSyntax},
	} {
		r := verify(t, z, c.msg)
		assert.Equal(t, StatusFail, r.Status, c.what)
		var set *SetError
		require.ErrorAs(t, r.Err, &set, c.what)
		assert.ErrorIs(t, r.Err, c.err, c.what)
		assert.Equal(t, c.instance, set.Instance, c.what)
		assert.Equal(t, c.field, set.Field, c.what)
		assert.NotEmpty(t, r.Reason(), c.what)
		assert.NotContains(t, r.Reason(), "example", c.what)
		if c.instance == 3 && c.field == nameSeal && len(r.Sets) == 3 && !errors.Is(c.err, ErrIncomplete) {
			assert.Equal(t, StatusFail, r.Sets[2].Seal.Status, c.what)
			assert.ErrorIs(t, r.Sets[2].Seal.Err, c.err, c.what)
		}
		// A failed chain goes unsealed or is sealed as failed, never as good.
		assert.Empty(t, Trusted{"hop1.example", "hop2.example", "hop3.example"}.Sets(r), c.what)
	}
}

// TestOldestPass: systems 3 and 5 of six change the message.
func TestOldestPass(t *testing.T) {
	z := hops(t, 6)
	msg := plainMessage
	for i, want := range []int{0, 0, 3, 3, 5, 5} {
		change := func(s string) string { return s + fmt.Sprintf("change %d\r\n", i) }
		if i != 2 && i != 4 {
			change = nil
		}
		msg = pass(t, z, i+1, msg, change)
		r := verify(t, z, msg)
		require.Equal(t, StatusPass, r.Status, "%v", r.Err)
		assert.Equal(t, want, r.OldestPass)
		if want > 1 {
			assert.Equal(t, StatusFail, r.Sets[want-2].Message.Status)
			assert.ErrorIs(t, r.Sets[want-2].Message.Err, dkim.ErrBodyHash)
		}
	}
	msg = sealed(t, z, 6)
	for history, want := range map[int]int{0: 0, 1: 6, 3: 4, 5: 2, 6: 0, 50: 0} {
		r, err := (&Verifier{Resolver: z, MaxHistory: history}).Verify(context.Background(), strings.NewReader(msg))
		require.NoError(t, err)
		assert.Equal(t, StatusPass, r.Status)
		assert.Equal(t, want, r.OldestPass, "history %d", history)
	}
}

func TestAuthResult(t *testing.T) {
	for _, c := range []struct {
		r    Result
		want string
	}{
		{Result{Status: StatusNone}, "arc=none smtp.remote-ip=192.0.2.1"},
		{Result{Status: StatusPass, OldestPass: 2}, "arc=pass header.oldest-pass=2 smtp.remote-ip=192.0.2.1"},
		{Result{Status: StatusFail, Err: &SetError{2, nameSeal, dkim.ErrSignature}}, `arc=fail reason="i=2 signature did not verify" smtp.remote-ip=192.0.2.1`},
		{Result{Status: StatusTempError, Err: fmt.Errorf("%w: x", dkim.ErrKeyUnavailable)}, `arc=fail reason="key unavailable" smtp.remote-ip=192.0.2.1`},
	} {
		h := authres.Header{ServID: "x", Results: []authres.Result{c.r.AuthResult(netip.MustParseAddr("::ffff:192.0.2.1"))}}
		field, err := h.Field()
		require.NoError(t, err)
		assert.Contains(t, strings.ReplaceAll(field, "\r\n\t", " "), c.want)
	}
}

// TestTags: what the tags of a message signature mean that we do not write.
func TestTags(t *testing.T) {
	z := hops(t, 1)
	const body = 21 // "Text.", "", "More text." with line ends
	for _, c := range []struct {
		tag dkim.Tag
		err error
	}{
		{dkim.Tag{Name: "l", Value: fmt.Sprint(body)}, nil},
		{dkim.Tag{Name: "l", Value: fmt.Sprint(body - 1)}, dkim.ErrPartialBody},
		{dkim.Tag{Name: "l", Value: "0"}, dkim.ErrPartialBody},
		{dkim.Tag{Name: "l", Value: fmt.Sprint(body + 1)}, dkim.ErrBodyLength},
		{dkim.Tag{Name: "l", Value: strings.Repeat("9", 76)}, dkim.ErrBodyLength},
		{dkim.Tag{Name: "l", Value: "-1"}, dkim.ErrSyntax},
		{dkim.Tag{Name: "x", Value: "1700000100"}, nil},
		{dkim.Tag{Name: "x", Value: "1700000099"}, dkim.ErrExpired},
		{dkim.Tag{Name: "x", Value: "999999999999"}, nil},
		{dkim.Tag{Name: "q", Value: "x : dns/txt"}, nil},
		{dkim.Tag{Name: "unknown", Value: "x y"}, nil},
		{dkim.Tag{Name: "i", Value: "2"}, dkim.ErrSyntax}, // twice
	} {
		r := verify(t, z, crafted(t, c.tag))
		if c.err == nil {
			assert.NoError(t, r.Err, c.tag)
			continue
		}
		assert.Equal(t, StatusFail, r.Status, c.tag)
		assert.ErrorIs(t, r.Err, c.err, c.tag)
	}
}

// crafted is a message sealed once whose message signature has one tag more.
func crafted(t *testing.T, tag dkim.Tag) string {
	t.Helper()
	g, err := hop(1).NewSealing(nil, passed(1))
	require.NoError(t, err)
	_, _ = g.Write([]byte(plainMessage))
	_, err = g.Fields()
	require.NoError(t, err)
	names := g.key.Names(g.header)
	field := dkim.AppendTags(nil, nameMessage, dkim.Tags{
		{Name: "i", Value: "1"}, {Name: "a", Value: "ed25519-sha256"}, {Name: "c", Value: "relaxed/relaxed"},
		{Name: "d", Value: hopDomain(1)}, {Name: "s", Value: "sel"}, {Name: "h", Value: strings.Join(names, ":")}, tag,
		{Name: "bh", Value: base64.StdEncoding.EncodeToString(g.hash.Sum())}, {Name: "b"},
	})
	h := sha256.New()
	g.header.HashFields(h, dkim.Relaxed, names)
	h.Write(dkim.Relaxed.AppendHeader(nil, field))
	message, err := g.sign(field, h.Sum(nil))
	require.NoError(t, err)
	seal, err := g.seal(&chain{}, message)
	require.NoError(t, err)
	return string(seal) + "\r\n" + string(message) + "\r\n" + g.results + plainMessage
}

// TestBombs: chains and headers beyond the limits.
func TestBombs(t *testing.T) {
	testleak.Check(t)
	z := hops(t, 50)
	fifty := sealed(t, z, 50)
	r := verify(t, z, fifty)
	require.Equal(t, StatusPass, r.Status, "%v", r.Err)
	require.Equal(t, 41, r.OldestPass, "ten message signatures are checked")

	never := resolver(func(context.Context, string) ([]string, error) { panic("lookup") })
	set := "ARC-Seal: i=51; a=rsa-sha256; cv=pass; d=a.b; s=c; b=AA==\r\nARC-Message-Signature: i=51; a=rsa-sha256; d=a.b; s=c; h=from; bh=" +
		base64.StdEncoding.EncodeToString(make([]byte, 32)) + "; b=AA==\r\nARC-Authentication-Results: i=51; x; none\r\n"
	for _, c := range []struct {
		what string
		v    Verifier
		msg  string
		err  error
	}{
		{"51 sets", Verifier{}, set + fifty, ErrTooManySets},
		{"more sets than configured", Verifier{MaxSets: 49}, fifty, ErrTooManySets},
		{"no more than 50 by configuration", Verifier{MaxSets: 1000}, set + fifty, ErrTooManySets},
		{"4,000 sets", Verifier{}, strings.Repeat(set, 1600) + plainMessage, ErrTooManySets},
		{"6,000 fields", Verifier{}, strings.Repeat(set, 2000) + plainMessage, dkim.ErrHeaderTooLarge},
		{"large header", Verifier{}, "A: " + strings.Repeat("x", 2<<20) + "\r\n" + fifty, dkim.ErrHeaderTooLarge},
		{"64 MiB header", Verifier{}, strings.Repeat("Subject: x\r\n", 64<<20/12) + fifty, dkim.ErrHeaderTooLarge},
		{"limited header", Verifier{MaxHeaderBytes: 4096}, fifty, dkim.ErrHeaderTooLarge},
		{"limited fields", Verifier{MaxHeaderFields: 100}, fifty, dkim.ErrHeaderTooLarge},
		{"bare LF", Verifier{}, "A: b\nC: d\r\n" + fifty, dkim.ErrBareNewline},
	} {
		c.v.Resolver = never
		began := time.Now()
		r, err := c.v.Verify(context.Background(), strings.NewReader(c.msg))
		require.NoError(t, err)
		assert.Equal(t, StatusFail, r.Status, c.what)
		assert.ErrorIs(t, r.Err, c.err, c.what)
		assert.NotEmpty(t, r.Reason(), c.what)
		assert.Less(t, time.Since(began), 10*time.Second, c.what)
	}
}

// TestLookups: each key once, eight at a time, no more than the limits say.
func TestLookups(t *testing.T) {
	testleak.Check(t)
	z := hops(t, 30)
	msg := sealed(t, z, 30)
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		var mu sync.Mutex
		asked := map[string]int{}
		slow := resolver(func(ctx context.Context, name string) ([]string, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			mu.Lock()
			asked[name]++
			mu.Unlock()
			time.Sleep(time.Second)
			return z.LookupTXT(ctx, name)
		})
		began := time.Now()
		r := verify(t, slow, msg)
		assert.Equal(t, StatusPass, r.Status, "%v", r.Err)
		assert.Equal(t, 4*time.Second, time.Since(began))
		assert.EqualValues(t, 8, most.Load())
		assert.Len(t, asked, 30)
		for name, n := range asked {
			assert.Equal(t, 1, n, name)
		}
	})
}

// TestBudget: one time limit for all keys, and an outcome that says so.
func TestBudget(t *testing.T) {
	z := hops(t, 30)
	msg := sealed(t, z, 30)
	synctest.Test(t, func(t *testing.T) {
		hang := resolver(func(ctx context.Context, name string) ([]string, error) {
			if strings.Contains(name, "hop30.") {
				return z.LookupTXT(ctx, name)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		began := time.Now()
		r := verify(t, hang, msg)
		assert.Equal(t, DefaultTimeout, time.Since(began))
		assert.Equal(t, StatusTempError, r.Status)
		assert.ErrorIs(t, r.Err, dkim.ErrKeyUnavailable)
		assert.Equal(t, StatusPass, r.Sets[29].Message.Status)
		assert.Equal(t, StatusTempError, r.Sets[28].Seal.Status)
		assert.Equal(t, "i=29 key unavailable", r.Reason())
		// What is wrong for good counts for more than what is not known.
		r = verify(t, hang, strings.Replace(msg, "s=sel; b=", "s=sel; h=a; b=", 1))
		assert.Equal(t, StatusFail, r.Status)
		// A body that is not the one signed needs no key.
		began = time.Now()
		r = verify(t, hang, msg+"x")
		assert.ErrorIs(t, r.Err, dkim.ErrBodyHash)
		assert.Zero(t, time.Since(began))
	})
}

// TestTemporary: behind a key that is not to be had, a seal that is broken.
func TestTemporary(t *testing.T) {
	z := hops(t, 3)
	msg := sealed(t, z, 3)
	one := func(bad string, err error) dkim.Resolver {
		return resolver(func(ctx context.Context, name string) ([]string, error) {
			if strings.Contains(name, bad) {
				return nil, err
			}
			return z.LookupTXT(ctx, name)
		})
	}
	down := &net.DNSError{Err: "server failure", IsTemporary: true}
	gone := &net.DNSError{Err: "no such host", IsNotFound: true}
	for i := 1; i <= 3; i++ {
		r := verify(t, one(hopDomain(i), down), msg)
		assert.Equal(t, StatusTempError, r.Status)
		assert.ErrorIs(t, r.Err, down)
		assert.Equal(t, fmt.Sprintf("i=%d key unavailable", i), r.Reason())
		r = verify(t, one(hopDomain(i), gone), msg)
		assert.Equal(t, StatusFail, r.Status)
		assert.ErrorIs(t, r.Err, dkim.ErrNoKey)
	}
	// The last seal cannot be checked, the first has no key: that is final.
	r := verify(t, resolver(func(ctx context.Context, name string) ([]string, error) {
		switch {
		case strings.Contains(name, hopDomain(2)):
			return nil, down
		case strings.Contains(name, hopDomain(1)):
			return nil, gone
		}
		return z.LookupTXT(ctx, name)
	}), msg)
	assert.Equal(t, StatusFail, r.Status)
	assert.ErrorIs(t, r.Err, dkim.ErrNoKey)
}

// TestGivenUp: no goroutine outlives a message that breaks off.
func TestGivenUp(t *testing.T) {
	testleak.Check(t)
	z := hops(t, 20)
	msg := sealed(t, z, 20)
	hang := resolver(func(ctx context.Context, _ string) ([]string, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	v := &Verifier{Resolver: hang}
	_, err := v.Verify(context.Background(), io.MultiReader(strings.NewReader(msg), iotest.ErrReader(io.ErrUnexpectedEOF)))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	ctx, cancel := context.WithCancel(context.Background())
	n := v.NewVerification(ctx)
	_, _ = n.Write([]byte(msg))
	cancel()
	assert.Equal(t, StatusTempError, n.Result().Status)
	assert.Same(t, n.Result(), n.Result())

	n = v.NewVerification(context.Background())
	_, _ = n.Write([]byte(msg))
	require.NoError(t, n.Close())
	_, _ = n.Write([]byte(msg))
	assert.Nil(t, n.Result())
	require.NoError(t, n.Close())
	_, err = v.Verify(ctx, strings.NewReader(msg))
	require.ErrorIs(t, err, context.Canceled)
}

// TestAcceptLF verifies messages from files.
func TestAcceptLF(t *testing.T) {
	z := hops(t, 2)
	msg := strings.ReplaceAll(sealed(t, z, 2), "\r\n", "\n")
	assert.Equal(t, StatusFail, verify(t, z, msg).Status)
	r, err := (&Verifier{Resolver: z, AcceptLF: true}).Verify(context.Background(), iotest.OneByteReader(strings.NewReader(msg)))
	require.NoError(t, err)
	assert.Equal(t, StatusPass, r.Status, "%v", r.Err)
}

// TestKeySize: RSA keys outside of the limits.
func TestKeySize(t *testing.T) {
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	require.NoError(t, err)
	text, err := dkim.Record(key)
	require.NoError(t, err)
	z := zone{"sel._domainkey.hop1.example": text}
	s := hop(1)
	s.Signer.Key = key
	fields, err := s.Seal(context.Background(), nil, passed(1), strings.NewReader(plainMessage))
	require.NoError(t, err)
	for _, c := range []struct {
		v   Verifier
		err error
	}{
		{Verifier{}, nil},
		{Verifier{MinRSABits: 2049}, dkim.ErrKeyTooShort},
		{Verifier{MaxRSABits: 2047}, dkim.ErrKeyTooLong},
		{Verifier{MaxRecordBytes: 100}, dkim.ErrKeyRecordSize},
	} {
		c.v.Resolver = z
		r, err := c.v.Verify(context.Background(), strings.NewReader(string(fields)+plainMessage))
		require.NoError(t, err)
		assert.Equal(t, c.err == nil, r.Status == StatusPass)
		assert.ErrorIs(t, r.Err, c.err)
	}
}
