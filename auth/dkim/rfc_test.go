package dkim

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The messages in testdata have the format of the public vectors: DNS records,
// an empty line, the message with LF line ends.
func readVector(t *testing.T, file string) (*zone, string) {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	head, msg, ok := strings.Cut(string(data), "\n\n")
	require.True(t, ok)
	z := newZone()
	for line := range strings.Lines(head) {
		name, txt, _ := strings.Cut(strings.TrimSpace(line), " ")
		z.records[name] = txt
	}
	return z, wire(msg)
}

func TestRFC6376AppendixA(t *testing.T) {
	z, msg := readVector(t, "testdata/rfc6376.txt")
	r := verifyOne(t, &Verifier{Resolver: z}, msg)
	require.NoError(t, r.Err)
	assert.Equal(t, StatusPass, r.Status)
	assert.True(t, r.Trusted)
	assert.Equal(t, "example.com", r.Domain)
	assert.Equal(t, "brisbane", r.Selector)
	assert.Equal(t, "joe@football.example.com", r.Identifier)
	assert.Equal(t, RSASHA256, r.Algorithm)
	assert.Equal(t, 1024, r.KeyBits)
	assert.Equal(t, Simple, r.HeaderCanon)
	assert.Equal(t, Simple, r.BodyCanon)
	assert.EqualValues(t, -1, r.BodyLength)
	assert.Equal(t, "AuUoFEfD", r.SignaturePrefix)
	assert.Equal(t, []string{"received", "from", "to", "subject", "date", "message-id"}, r.SignedFields)
	assert.Equal(t, []string{"brisbane._domainkey.example.com"}, z.queries)

	r = verifyOne(t, &Verifier{Resolver: z}, strings.Replace(msg, "hungry", "Hungry", 1))
	assert.ErrorIs(t, r.Err, ErrBodyHash)
	assert.Equal(t, StatusFail, r.Status)
	r = verifyOne(t, &Verifier{Resolver: z}, strings.Replace(msg, "Is dinner", "is dinner", 1))
	assert.ErrorIs(t, r.Err, ErrSignature)
	assert.Equal(t, StatusFail, r.Status)
}

func TestRFC8463AppendixA(t *testing.T) {
	z, msg := readVector(t, "testdata/rfc8463.txt")
	rs := verify(t, &Verifier{Resolver: z}, msg)
	require.Len(t, rs, 2)
	for i, want := range []struct {
		algorithm Algorithm
		bits      int
		prefix    string
	}{{Ed25519SHA256, 256, "/gCrinpc"}, {RSASHA256, 1024, "F45dVWDf"}} {
		assert.NoError(t, rs[i].Err)
		assert.Equal(t, StatusPass, rs[i].Status)
		assert.Equal(t, want.algorithm, rs[i].Algorithm)
		assert.Equal(t, want.bits, rs[i].KeyBits)
		assert.Equal(t, want.prefix, rs[i].SignaturePrefix)
		assert.Equal(t, "@football.example.com", rs[i].Identifier)
	}
}

// TestVectors verifies every signed message of the public set, and that a
// change of one octet in header or body is seen.
func TestVectors(t *testing.T) {
	dir := os.Getenv("POSTA_VECTORS")
	if dir == "" {
		t.Skip("POSTA_VECTORS does not name the folder of public test vectors")
	}
	files, err := filepath.Glob(filepath.Join(dir, "dkim", "[0-9]*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			z, msg := readVector(t, file)
			// 005 expired the day after it was signed.
			v := &Verifier{Resolver: z, Clock: at(1667843664)}
			rs := verify(t, v, msg)
			require.NotEmpty(t, rs)
			passes := 0
			for _, r := range rs {
				t.Logf("%s %s %s: %v", r.Status, r.Domain, r.Selector, r.Err)
				if r.Status == StatusPass {
					passes++
				}
			}
			require.Equal(t, len(rs), passes)

			b := []byte(msg)
			i := bytes.Index(b, crlfcrlf) + 6
			b[i] ^= 1
			for _, r := range verify(t, v, string(b)) {
				assert.ErrorIs(t, r.Err, ErrBodyHash)
			}
			b[i] ^= 1
			i = bytes.Index(b, []byte("\r\nSubject:")) + 13
			b[i] ^= 1
			for _, r := range verify(t, v, string(b)) {
				assert.ErrorIs(t, r.Err, ErrSignature)
			}
		})
	}
}
