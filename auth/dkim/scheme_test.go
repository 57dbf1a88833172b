package dkim

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHeader takes a header apart in one piece and octet by octet.
func TestHeader(t *testing.T) {
	const header = "Subject: one\r\nFrom: a\r\n folded\r\nSUBJECT: two\r\n\r\n"
	for _, step := range []int{1, 3, 1000} {
		h := NewHeader(0, 0)
		body := ""
		for rest := header + "text"; rest != ""; {
			n := min(step, len(rest))
			body += string(h.Take([]byte(rest[:n])))
			rest = rest[n:]
		}
		assert.True(t, h.Done())
		require.NoError(t, h.Close())
		assert.Equal(t, "text", body)
		require.Len(t, h.Fields("subject"), 2)
		assert.Equal(t, "SUBJECT: two", string(h.Fields("subject")[1]))
		assert.Empty(t, h.Fields("to"))
		got := sha256.New()
		h.HashFields(got, Relaxed, []string{"subject", "to", "from", "subject", "subject"})
		want := sha256.Sum256([]byte("subject:two\r\nfrom:a folded\r\nsubject:one\r\n"))
		assert.Equal(t, want[:], got.Sum(nil))
	}
	h := NewHeader(10, 0)
	h.Take([]byte(header))
	require.ErrorIs(t, h.Close(), ErrHeaderTooLarge)
	assert.Empty(t, h.Fields("subject"))
	h.HashFields(sha256.New(), Relaxed, []string{"subject"})
}

func TestSchemeKey(t *testing.T) {
	for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
		key, err := GenerateKey(a)
		require.NoError(t, err)
		s := testSigner()
		s.Key, s.Domain, s.Headers, s.Oversign = key, "Bücher.Example", []string{"Subject"}, []string{"To"}
		k, err := s.SchemeKey()
		require.NoError(t, err)
		assert.Equal(t, a, k.Algorithm)
		assert.Equal(t, "xn--bcher-kva.example", k.Domain)
		h := NewHeader(0, 0)
		h.Take([]byte("Subject: x\r\nFrom: y\r\n\r\n"))
		require.NoError(t, h.Close())
		assert.Equal(t, []string{"from", "subject", "from", "to"}, k.Names(h))
		sum := sha256.Sum256([]byte("x"))
		sig, err := k.Sign(sum[:])
		require.NoError(t, err)
		r, err := ParseKeyRecord(record(t, key))
		require.NoError(t, err)
		assert.NoError(t, r.Verify(sum[:], sig))
		sum[0]++
		assert.Error(t, r.Verify(sum[:], sig))
	}
	s := testSigner()
	s.Key = nil
	_, err := s.SchemeKey()
	require.ErrorIs(t, err, ErrConfig)
}

// TestAppendTags reads back what was written, in lines that are not too long.
func TestAppendTags(t *testing.T) {
	h := strings.Repeat("message-id:", 20) + "from"
	tags := Tags{{Name: "i", Value: "1"}, {Name: "h", Value: h}, {Name: "bh", Value: strings.Repeat("A", 44)}, {Name: "b"}}
	for n := range 100 {
		sig := strings.Repeat("B", n)
		field := AppendSignature(AppendTags(nil, "ARC-Test", tags), sig)
		for _, line := range strings.Split(string(field), "\r\n") {
			require.LessOrEqual(t, len(line), maxWidth)
		}
		_, body, _ := strings.Cut(string(field), ":")
		got, err := ParseTags(body)
		require.NoError(t, err)
		require.Len(t, got, 4)
		require.Equal(t, h, dropFWS(got[1].Value))
		require.Equal(t, sig, dropFWS(got[3].Value))
	}
}
