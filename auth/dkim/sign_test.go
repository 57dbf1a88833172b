package dkim

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSignField(t *testing.T) {
	s := testSigner()
	s.Headers, s.Oversign = []string{"Subject", "X-None", "To"}, []string{"subject", "X-None"}
	s.HeaderCanon, s.BodyCanon = Simple, Relaxed
	s.Identifier = "alice@mail.example.com"
	got, err := Sign(context.Background(), []*Signer{s}, strings.NewReader(plainMessage))
	require.NoError(t, err)
	want := "DKIM-Signature: v=1; a=ed25519-sha256; c=simple/relaxed; d=example.com; s=sel;\r\n" +
		"\ti=alice@mail.example.com; t=1700000000; x=1700604800;\r\n" +
		"\th=from:subject:to:from:subject:x-none;\r\n" +
		"\tbh=Gh96xhb46ag9T+S9aQO8kzi6fvtY5PSZwuHJSq+WXWg=;\r\n" +
		"\tb="
	require.True(t, strings.HasPrefix(string(got), want), "%s", got)
	assert.True(t, bytes.HasSuffix(got, crlf))
	for line := range strings.SplitSeq(strings.TrimSuffix(string(got), "\r\n"), "\r\n") {
		assert.LessOrEqual(t, len(line), 78)
	}
	assert.NoError(t, verifyOne(t, verifier(t), string(got)+plainMessage).Err)
}

func TestSignCanonicalizations(t *testing.T) {
	for _, h := range []Canonicalization{"", Simple, Relaxed} {
		for _, b := range []Canonicalization{"", Simple, Relaxed} {
			s := testSigner()
			s.HeaderCanon, s.BodyCanon = h, b
			msg := signed(t, plainMessage, s)
			r := verifyOne(t, verifier(t), msg)
			require.NoError(t, r.Err)

			spaced := strings.Replace(msg, "Hello,", "Hello, ", 1)
			if r := verifyOne(t, verifier(t), spaced); b == Simple {
				assert.ErrorIs(t, r.Err, ErrBodyHash)
			} else {
				assert.NoError(t, r.Err)
			}
			folded := strings.Replace(msg, "\r\nSubject:  A ", "\r\nSUBJECT: A\r\n\t", 1)
			if r := verifyOne(t, verifier(t), folded); h == Simple {
				assert.ErrorIs(t, r.Err, ErrSignature)
			} else {
				assert.NoError(t, r.Err)
			}
		}
	}
}

func TestSignWithSeveralKeys(t *testing.T) {
	key, err := GenerateKey(RSASHA256)
	require.NoError(t, err)
	rsaSigner := &Signer{Domain: "example.org", Selector: "r", Key: key}
	msg := signed(t, plainMessage, rsaSigner, testSigner())
	v := &Verifier{
		Resolver: newZone(testName, record(t, testKey()), "r._domainkey.example.org", record(t, key)),
		Clock:    at(1_700_000_100),
	}
	rs := verify(t, v, msg)
	require.Len(t, rs, 2)
	assert.NoError(t, rs[0].Err)
	assert.Equal(t, RSASHA256, rs[0].Algorithm)
	assert.Equal(t, KeyBits, rs[0].KeyBits)
	assert.NoError(t, rs[1].Err)
	assert.Equal(t, Ed25519SHA256, rs[1].Algorithm)
}

// TestRepeatedFields: instances are signed from the bottom up, and all of them.
func TestRepeatedFields(t *testing.T) {
	s := testSigner()
	s.Headers = []string{"Received"}
	body := "From: a@example.com\r\nReceived: one\r\nReceived: two\r\n\r\nx\r\n"
	msg := signed(t, body, s)
	assert.Contains(t, msg, "h=from:received:received:from:")
	v := verifier(t)
	assert.NoError(t, verifyOne(t, v, msg).Err)
	assert.NoError(t, verifyOne(t, v, "Received: later\r\n"+msg).Err)
	for _, change := range [][2]string{{"one", "1"}, {"two", "2"}, {"Received: one\r\n", ""}} {
		assert.ErrorIs(t, verifyOne(t, v, strings.Replace(msg, change[0], change[1], 1)).Err, ErrSignature)
	}
	swapped := strings.NewReplacer("one", "two", "two", "one").Replace(msg)
	assert.ErrorIs(t, verifyOne(t, v, swapped).Err, ErrSignature)
}

func TestSignExpiry(t *testing.T) {
	for expiry, want := range map[time.Duration]string{
		0: " x=1700604800;", time.Hour: " x=1700003600;", time.Millisecond: " x=1700000001;", -1: "",
	} {
		s := testSigner()
		s.Expiry = expiry
		field, err := Sign(context.Background(), []*Signer{s}, strings.NewReader(plainMessage))
		require.NoError(t, err)
		if want == "" {
			assert.NotContains(t, string(field), "x=")
		} else {
			assert.Contains(t, string(field), want)
		}
	}
}

type brokenKey struct{ err error }

func (k brokenKey) Public() crypto.PublicKey { return testKey().Public() }
func (k brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, k.err
}

func TestSignErrors(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for name, change := range map[string]func(*Signer){
		"no domain":             func(s *Signer) { s.Domain = "" },
		"domain with CRLF":      func(s *Signer) { s.Domain = "example.com\r\nX: y" },
		"selector with ;":       func(s *Signer) { s.Selector = "a;b" },
		"no key":                func(s *Signer) { s.Key = nil },
		"weak key":              func(s *Signer) { s.Key = small },
		"key of another kind":   func(s *Signer) { s.Key = ec },
		"foreign identifier":    func(s *Signer) { s.Identifier = "a@example.org" },
		"identifier without @":  func(s *Signer) { s.Identifier = "example.com" },
		"bad canonicalization":  func(s *Signer) { s.BodyCanon = "nofws" },
		"bad field name":        func(s *Signer) { s.Headers = []string{"A:b"} },
		"field name with ;":     func(s *Signer) { s.Oversign = []string{"A;b"} },
		"field name with CRLF":  func(s *Signer) { s.Headers = []string{"A\r\nB"} },
		"empty field name":      func(s *Signer) { s.Headers = []string{"", "From"} },
		"field name with space": func(s *Signer) { s.Headers = []string{"A "} },
	} {
		s := testSigner()
		change(s)
		_, err := Sign(context.Background(), []*Signer{s}, strings.NewReader(plainMessage))
		assert.ErrorIs(t, err, ErrConfig, name)
	}
	_, err = Sign(context.Background(), nil, strings.NewReader(plainMessage))
	assert.ErrorIs(t, err, ErrConfig)

	for msg, want := range map[string]error{
		"To: a@b\r\n\r\n":                   ErrFromCount,
		"From: a@b\r\nFrom: c@d\r\n\r\n":    ErrFromCount,
		"":                                  ErrFromCount,
		"From: a@b\nTo: c@d\n\nx":           ErrBareNewline,
		" X: y\r\nFrom: a@b\r\n\r\n":        ErrFolded,
		"\tFrom: a@b\r\n\r\n":               ErrFolded,
		" \r\nFrom: a@b\r\n\r\n":            ErrFolded,
		"From: a@b\r\nX: \r\n\ny\r\n\r\n":   ErrBareNewline,
		"From: " + strings.Repeat("x", 2e6): ErrHeaderTooLarge,
	} {
		_, err := Sign(context.Background(), []*Signer{testSigner()}, strings.NewReader(msg))
		assert.ErrorIs(t, err, want, "%.40q", msg)
	}
	broken := errors.New("broken")
	s := testSigner()
	_, err = Sign(context.Background(), []*Signer{s}, io.MultiReader(strings.NewReader(plainMessage), iotest.ErrReader(broken)))
	assert.ErrorIs(t, err, broken)
	s.Key = brokenKey{broken}
	_, err = Sign(context.Background(), []*Signer{s}, strings.NewReader(plainMessage))
	assert.ErrorIs(t, err, broken)
	s.Key = brokenKey{}
	_, err = Sign(context.Background(), []*Signer{s}, strings.NewReader(plainMessage))
	assert.Error(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Sign(ctx, []*Signer{testSigner()}, strings.NewReader(plainMessage))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestKeys(t *testing.T) {
	for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
		key, err := GenerateKey(a)
		require.NoError(t, err)
		data, err := MarshalKey(key)
		require.NoError(t, err)
		back, err := ParseKey(data)
		require.NoError(t, err)
		assert.Equal(t, key.Public(), back.Public())
		text, err := Record(key.Public())
		require.NoError(t, err)
		assert.Equal(t, record(t, key), text)
		r, err := ParseKeyRecord(text)
		require.NoError(t, err)
		assert.Equal(t, key.Public(), r.Key)
		assert.NoError(t, r.Allows(a))
		joined := strings.Join(SplitText(text), "")
		assert.Equal(t, text, joined)
		for _, s := range SplitText(text) {
			assert.LessOrEqual(t, len(s), 255)
		}
	}
	_, err := GenerateKey("rsa-sha1")
	assert.ErrorIs(t, err, ErrConfig)

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	back, err := ParseKey(append([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), old...))
	require.NoError(t, err)
	assert.True(t, key.Equal(back))
	pkcs1 := &pem.Block{Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}
	_, body, _ := strings.Cut(string(pem.EncodeToMemory(pkcs1)), "-----\n")
	body, _, _ = strings.Cut(body, "-----")
	r, err := ParseKeyRecord("p=" + body)
	require.NoError(t, err)
	assert.Equal(t, &key.PublicKey, r.Key)

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ecPEM, err := MarshalKey(ec)
	require.NoError(t, err)
	for _, bad := range []string{"", "no PEM", string(ecPEM),
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"} {
		_, err := ParseKey([]byte(bad))
		assert.ErrorIs(t, err, ErrConfig, bad)
	}
	_, err = Record(ec)
	assert.ErrorIs(t, err, ErrConfig)
	_, err = Record("a string")
	assert.ErrorIs(t, err, ErrConfig)
	_, err = Record(ed25519.PublicKey(nil))
	assert.ErrorIs(t, err, ErrConfig)
}
