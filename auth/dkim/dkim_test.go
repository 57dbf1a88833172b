package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// zone is a resolver with the records of a map. An error value is returned as
// it is; a missing name is not found.
type zone struct {
	mu      sync.Mutex
	records map[string]any // string, []string, error or func(context.Context) ([]string, error)
	queries []string
}

func newZone(kv ...any) *zone {
	z := &zone{records: map[string]any{}}
	for i := 0; i < len(kv); i += 2 {
		z.records[kv[i].(string)] = kv[i+1]
	}
	return z
}

func (z *zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	z.mu.Lock()
	z.queries = append(z.queries, name)
	r := z.records[name]
	z.mu.Unlock()
	switch r := r.(type) {
	case string:
		return []string{r}, nil
	case []string:
		return r, nil
	case error:
		return nil, r
	case func(context.Context) ([]string, error):
		return r(ctx)
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func at(sec int64) func() time.Time {
	return func() time.Time { return time.Unix(sec, 0) }
}

// wire gives text with LF line ends its CRLF.
func wire(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// testKey is a fixed Ed25519 key, so that signing in tests is quick.
func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte("posta dkim test key, 32 octets.."))
}

const testName = "sel._domainkey.example.com"

func testSigner() *Signer {
	return &Signer{Domain: "example.com", Selector: "sel", Key: testKey(), Clock: at(1_700_000_000)}
}

func record(t testing.TB, key crypto.Signer) string {
	r, err := Record(key)
	require.NoError(t, err)
	return r
}

const plainMessage = "From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject:  A  test\r\n\r\nHello,\r\n\r\n  world.\r\n"

// signed returns plainMessage or the message given with the signatures on top.
func signed(t testing.TB, msg string, signers ...*Signer) string {
	if len(signers) == 0 {
		signers = []*Signer{testSigner()}
	}
	fields, err := Sign(context.Background(), signers, strings.NewReader(msg))
	require.NoError(t, err)
	return string(fields) + msg
}

func verifier(t testing.TB) *Verifier {
	return &Verifier{Resolver: newZone(testName, record(t, testKey())), Clock: at(1_700_000_100)}
}

func verify(t testing.TB, v *Verifier, msg string) []Result {
	rs, err := v.Verify(context.Background(), strings.NewReader(msg))
	require.NoError(t, err)
	return rs
}

// verifyOne is verify for a message with one signature.
func verifyOne(t testing.TB, v *Verifier, msg string) Result {
	rs := verify(t, v, msg)
	require.Len(t, rs, 1)
	return rs[0]
}
