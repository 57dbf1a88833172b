package dkim

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// RFC 6376 §3.4.5.
func TestCanonicalizationExample(t *testing.T) {
	h := []string{"A: X\r\n", "B : Y\t\r\n\tZ  \r\n"}
	body := " C \r\nD \t E\r\n\r\n\r\n"
	assert.Equal(t, "a:X", string(Relaxed.AppendHeader(nil, []byte(h[0]))))
	assert.Equal(t, "b:Y Z", string(Relaxed.AppendHeader(nil, []byte(h[1]))))
	assert.Equal(t, "A: X", string(Simple.AppendHeader(nil, []byte(h[0]))))
	assert.Equal(t, "B : Y\t\r\n\tZ  ", string(Simple.AppendHeader(nil, []byte(h[1]))))
	assert.Equal(t, " C\r\nD E\r\n", canonBody(Relaxed, body))
	assert.Equal(t, " C \r\nD \t E\r\n", canonBody(Simple, body))
}

// captured is a hash that keeps what is written to it.
type captured struct{ bytes.Buffer }

func (c *captured) Sum(b []byte) []byte { return b }
func (c *captured) Size() int           { return 0 }
func (c *captured) BlockSize() int      { return 1 }

func canonBody(c Canonicalization, pieces ...string) string {
	var b BodyHasher
	out := new(captured)
	b.Add(c, -1).h = out
	for _, p := range pieces {
		b.Write([]byte(p))
	}
	b.Close()
	return out.String()
}

func TestBodyCanonicalization(t *testing.T) {
	for _, c := range []struct{ in, simple, relaxed string }{
		{"", "\r\n", ""},
		{"\r\n", "\r\n", ""},
		{"\r\n\r\n\r\n", "\r\n", ""},
		{" \t\r\n \r\n", " \t\r\n \r\n", ""},
		{" ", " \r\n", ""},
		{"a", "a\r\n", "a\r\n"},
		{"a\r\n", "a\r\n", "a\r\n"},
		{"a\r\n\r\n\r\n", "a\r\n", "a\r\n"},
		{"a \r\n\t\r\n", "a \r\n\t\r\n", "a\r\n"},
		{"a\r\n\r\nb", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"},
		{"\r\n\r\na", "\r\n\r\na\r\n", "\r\n\r\na\r\n"},
		{" \r\n\r\n a", " \r\n\r\n a\r\n", "\r\n\r\n a\r\n"},
		{"\t\ta  b \t c", "\t\ta  b \t c\r\n", " a b c\r\n"},
		{"a b\tc\r\nd e\r\n", "a b\tc\r\nd e\r\n", "a b c\r\nd e\r\n"},
		{"a\rb", "a\rb\r\n", "a\rb\r\n"},
		{"a\nb\n", "a\nb\n\r\n", "a\nb\n\r\n"},
		{"a\r", "a\r\r\n", "a\r\r\n"},
		{"\r", "\r\r\n", "\r\r\n"},
		{"a\r\r\n", "a\r\r\n", "a\r\r\n"},
		{"a \r\r\n", "a \r\r\n", "a \r\r\n"},
		{"a\r\n\r", "a\r\n\r\r\n", "a\r\n\r\r\n"},
		{"a \rb", "a \rb\r\n", "a \rb\r\n"},
		{"a \nb", "a \nb\r\n", "a \nb\r\n"},
	} {
		assert.Equal(t, c.simple, canonBody(Simple, c.in), "%q", c.in)
		assert.Equal(t, c.relaxed, canonBody(Relaxed, c.in), "%q", c.in)
		for i := range c.in {
			assert.Equal(t, c.simple, canonBody(Simple, c.in[:i], c.in[i:]), "%q at %d", c.in, i)
			assert.Equal(t, c.relaxed, canonBody(Relaxed, c.in[:i], c.in[i:]), "%q at %d", c.in, i)
		}
	}
}

// slowCanon is the text of RFC 6376 §3.4.3 and §3.4.4 done line by line.
func slowCanon(c Canonicalization, body string) string {
	lines := strings.Split(body, "\r\n")
	if c == Relaxed {
		for i, l := range lines {
			var out []byte
			for j := 0; j < len(l); j++ {
				if l[j] != ' ' && l[j] != '\t' {
					out = append(out, l[j])
				} else if j == 0 || l[j-1] != ' ' && l[j-1] != '\t' {
					out = append(out, ' ')
				}
			}
			lines[i] = strings.TrimRight(string(out), " ")
		}
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		if c == Relaxed {
			return ""
		}
		return "\r\n"
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

func TestCanonicalizationAgainstText(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		b := make([]byte, rnd.IntN(40))
		for i := range b {
			b[i] = "ab \t\r\n\r\n"[rnd.IntN(8)]
		}
		cut := rnd.IntN(len(b) + 1)
		for _, c := range []Canonicalization{Simple, Relaxed} {
			want := slowCanon(c, string(b))
			require.Equal(t, want, canonBody(c, string(b)), "%q", b)
			require.Equal(t, want, canonBody(c, string(b[:cut]), string(b[cut:])), "%q at %d", b, cut)
		}
	}
}

// counter counts the octets and calls that reach a hash.
type counter struct {
	captured
	n, calls int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.calls++
	return len(p), nil
}

// TestCanonicalizationIsLinear counts the work that hostile bodies cause: what
// reaches the hash is never more than the body, in a number of calls that is
// small where the body is only blank, and no memory is held back.
func TestCanonicalizationIsLinear(t *testing.T) {
	const size = 8 << 20
	for _, c := range []struct {
		name, unit, tail string
		calls            int64
	}{
		{"blank lines", "\r\n", "", 1},
		{"blank lines, then text", "\r\n", "x", size/2/1024 + 2},
		{"white space", " ", "", 1},
		{"white space, then text", "\t ", "x", 3},
		{"blank lines with spaces", " \r\n", "x", size/3/1024 + 3},
		{"bare CR", "\r", "", size/(32<<10)*2 + 2},
		{"text", "some words\r\n", "", size/(32<<10)*4 + 2},
		{"double spaces", "a  ", "", size/256 + 2},
	} {
		body := []byte(strings.Repeat(c.unit, size/len(c.unit)) + c.tail)
		for _, canon := range []Canonicalization{Simple, Relaxed} {
			var b BodyHasher
			out := new(counter)
			b.Add(canon, -1).h = out
			allocs := testing.AllocsPerRun(1, func() {
				for p := body; len(p) > 0; p = p[min(len(p), 32<<10):] {
					b.Write(p[:min(len(p), 32<<10)])
				}
			})
			b.Close()
			assert.Zero(t, allocs, "%s %s", c.name, canon)
			assert.LessOrEqual(t, out.n, int64(2*len(body)+2), "%s %s", c.name, canon) // AllocsPerRun runs it twice
			if canon == Relaxed {
				assert.LessOrEqual(t, out.calls, 2*c.calls+2, "%s %s", c.name, canon)
			}
		}
	}
}

func TestBodyHashLimits(t *testing.T) {
	var b BodyHasher
	whole, ten, none := b.Add(Simple, -1), b.Add(Simple, 10), b.Add(Simple, 0)
	assert.Same(t, ten, b.Add(Simple, 10), "equal hashes are computed once")
	assert.Same(t, whole, b.Add(Simple, -5))
	assert.NotSame(t, whole, b.Add(Relaxed, -1))
	b.Write([]byte("0123456"))
	b.Write([]byte("789abcdef\r\n"))
	b.Close()
	b.Close()
	for _, c := range []struct {
		h    *BodyHash
		text string
	}{{whole, "0123456789abcdef\r\n"}, {ten, "0123456789"}, {none, ""}} {
		sum := sha256.Sum256([]byte(c.text))
		assert.Equal(t, sum[:], c.h.Sum())
		assert.EqualValues(t, 18, c.h.Total())
	}
}

func TestRelaxedHeader(t *testing.T) {
	for in, want := range map[string]string{
		"Subject: hello":                 "subject:hello",
		"SUBJECT \t:\t hello \r\n\tyou ": "subject:hello you",
		"X:":                             "x:",
		"X: \r\n \r\n":                   "x:",
		"X:a:b":                          "x:a:b",
		"X: a\r\n b\r\n\tc\r\n":          "x:a b c",
		"none":                           "none",
	} {
		assert.Equal(t, want, string(Relaxed.AppendHeader(nil, []byte(in))), "%q", in)
	}
}

// TestLargeBodies compares large bodies with the canonical text of a slow way,
// whatever the pieces are.
func TestLargeBodies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"word", " ", "  ", "\t", "\r\n", "\r\n\r\n", " \r\n", "\r", "a longer piece of text, ", strings.Repeat("x", 3000)}
	for range 30 {
		var text strings.Builder
		for size := r.IntN(400 << 10); text.Len() < size; {
			text.WriteString(words[r.IntN(len(words))])
		}
		body := text.String()
		for _, canon := range []Canonicalization{Simple, Relaxed} {
			want := sha256.Sum256([]byte(slowCanon(canon, body)))
			limit := int64(r.IntN(300 << 10))
			var b BodyHasher
			whole, part := b.Add(canon, -1), b.Add(canon, limit)
			for p := []byte(body); len(p) > 0; {
				n := min(1+r.IntN(70<<10), len(p))
				b.Write(p[:n])
				p = p[n:]
			}
			b.Close()
			require.Equal(t, want[:], whole.Sum(), "%s of %d octets", canon, len(body))
			text := slowCanon(canon, body)
			want = sha256.Sum256([]byte(text[:min(limit, int64(len(text)))]))
			require.Equal(t, want[:], part.Sum())
			require.Equal(t, int64(len(text)), whole.Total())
		}
	}
}
