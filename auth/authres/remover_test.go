package authres

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// removed passes a message through a Remover in one piece and octet by octet.
func removed(t *testing.T, msg string) (string, int) {
	t.Helper()
	var whole, bytewise strings.Builder
	r := NewRemover(&whole, "mx.example.org")
	_, err := r.Write([]byte(msg))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	b := NewRemover(&bytewise, "mx.example.org")
	_, err = io.Copy(b, iotest.OneByteReader(strings.NewReader(msg)))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.Equal(t, whole.String(), bytewise.String())
	require.Equal(t, r.Removed(), b.Removed())
	return whole.String(), r.Removed()
}

func TestRemover(t *testing.T) {
	const forged = "Authentication-Results: mx.example.org; dmarc=pass\r\n"
	const other = "Authentication-Results: other.example; dmarc=pass\r\n"
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"\r\n" + forged, "\r\n" + forged}, // no header, only a body
		{"A: b\r\n\r\n" + forged + "text", "A: b\r\n\r\n" + forged + "text"},
		{forged + "\r\ntext", "\r\ntext"},
		{"A: b\r\n" + forged + other + forged + "C: d\r\n\r\n", "A: b\r\n" + other + "C: d\r\n\r\n"},
		{"AUTHENTICATION-results \t :\r\n (x)\r\n\tMX.Example.org\r\n ; none\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
		{"Authentication-Results \r\n\t: mx.example.org; none\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
		{"Authentication-Results\n :mx.example.org; none\nA: b\r\n\r\n", "A: b\r\n\r\n"},
		{"Authentication-Results\r :mx.example.org; none\rA: b\r\n\r\n", "A: b\r\n\r\n"},
		{"Authentication-Results\r\n: mx.example.org\r\n\r\n" + forged, "Authentication-Results\r\n: mx.example.org\r\n\r\n" + forged},
		{"Authentication-Results\r\n\r\n" + forged, "Authentication-Results\r\n\r\n" + forged},
		{"Authentication-Results\r\n x\r\n\r\n", "Authentication-Results\r\n x\r\n\r\n"},
		{"A: b\r\nAuthentication-Results: mx.example.org; none", "A: b\r\n"}, // ends in its header
		{"A: b\r\nAuthentication-Results", "A: b\r\nAuthentication-Results"},
		{"A: b\r\nauth", "A: b\r\nauth"},
		{"Authentication-Resultsx: mx.example.org; none\r\n\r\n", "Authentication-Resultsx: mx.example.org; none\r\n\r\n"},
		{"Authentication-Results x: mx.example.org; none\r\n\r\n", "Authentication-Results x: mx.example.org; none\r\n\r\n"},
		{"Auth: mx.example.org\r\n\r\n", "Auth: mx.example.org\r\n\r\n"},
		{"ARC-Authentication-Results: i=1; mx.example.org; none\r\n\r\n", "ARC-Authentication-Results: i=1; mx.example.org; none\r\n\r\n"},
		{" " + forged + forged + "\r\n", " " + forged + "\r\n"}, // folding of nothing
		{"A: b\r\n " + forged + "\r\n", "A: b\r\n " + forged + "\r\n"},
		{"Authentication-Results: what is this\r\n\r\n", "\r\n"},
		// Those who take less for a line end see no forged field either.
		{"A: b\nAuthentication-Results: mx.example.org; none\nC: d\r\n\r\n", "A: b\nC: d\r\n\r\n"},
		{"A: b\rAuthentication-Results: mx.example.org; none\rC: d\r\n\r\n", "A: b\rC: d\r\n\r\n"},
		{"A: b\n\n" + forged + forged + "\r\n", "A: b\n\n \r\n\r\n"},
		{"A: b\r\r" + forged + "\r\n", "A: b\r\r \r\n\r\n"},
		{"A: b\n\r\n" + forged + "\r\n" + forged, "A: b\n\r\n\r\n" + forged},
		{"A: b\r\n\n" + forged + "\r\n", "A: b\r\n\n \r\n\r\n"},
		{"\n" + forged + "\r\n", "\n \r\n\r\n"},
		// Larger than can be judged.
		{"Authentication-Results: other;" + strings.Repeat("\r\n x=y;", 1<<16) + "\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
		{"Authentication-Results" + strings.Repeat(" ", 1<<20) + ": other; none\r\nA: b\r\n\r\n", "A: b\r\n\r\n"},
	} {
		got, n := removed(t, c.in)
		assert.Equal(t, c.want, got, "%.200q", c.in)
		assert.Equal(t, len(c.in) != len(c.want), n > 0)
	}
}

func TestRemoverErrors(t *testing.T) {
	failed := errors.New("disk full")
	r := NewRemover(writer2(func([]byte) (int, error) { return 0, failed }), "h")
	_, err := r.Write([]byte("Subject: x\r\n"))
	require.ErrorIs(t, err, failed)
	_, err = r.Write([]byte("x"))
	require.ErrorIs(t, err, failed)
	require.ErrorIs(t, r.Close(), failed)
}

type writer2 func([]byte) (int, error)

func (f writer2) Write(p []byte) (int, error) { return f(p) }

// claims reports whether a careless reader takes a field for one of id.
func claims(field, id string) bool {
	name, body, _ := strings.Cut(field, ":")
	if !equalFold(strings.TrimRight(name, " \t"), FieldName) {
		return false
	}
	s := &scanner{s: body}
	_, _ = s.cfws()
	got, _ := s.value()
	return canonicalID(got) == id
}

// FuzzRemover: in any pieces the same comes out; the body is untouched; and
// whoever splits the header at CRLF, at LF or at any line end finds no field left
// that claims to be ours.
func FuzzRemover(f *testing.F) {
	f.Add([]byte("A: b\r\nAuthentication-Results: h; none\r\n\r\nAuthentication-Results: h; none\r\n"), uint8(1))
	f.Add([]byte("Authentication-Results\t: \"H\" ; none\nAuthentication-Results: x; none\rA"), uint8(3))
	f.Add([]byte("\nAuthentication-Results:h;none\r\r\n\r\n\n"), uint8(7))
	ends := []*regexp.Regexp{regexp.MustCompile(`\r\n`), regexp.MustCompile(`\r?\n`), regexp.MustCompile(`\r\n|\r|\n`)}
	f.Fuzz(func(t *testing.T, msg []byte, step uint8) {
		var whole, pieces bytes.Buffer
		r := NewRemover(&whole, "h")
		_, err := r.Write(msg)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		p := NewRemover(&pieces, "h")
		for rest := msg; len(rest) > 0; {
			n := min(len(rest), 1+int(step))
			_, err := p.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, p.Close())
		require.Equal(t, whole.String(), pieces.String())
		require.Equal(t, r.Removed(), p.Removed())
		require.Equal(t, r.Removed() == 0, bytes.Equal(msg, whole.Bytes()))

		split := func(b []byte) (head, body []byte) {
			if bytes.HasPrefix(b, []byte("\r\n")) {
				return nil, b[2:]
			}
			head, body, _ = bytes.Cut(b, []byte("\r\n\r\n"))
			return head, body
		}
		_, body := split(msg)
		head, after := split(whole.Bytes())
		require.True(t, bytes.HasSuffix(after, body))
		for _, end := range ends {
			field := ""
			for _, line := range append(end.Split(string(head), -1), "") {
				if line != "" && (line[0] == ' ' || line[0] == '\t') {
					field += line
					continue
				}
				if end == ends[2] {
					require.False(t, Remove([]byte(field), "h"), "%q", field)
				} else {
					require.False(t, claims(field, "h"), "%q", field)
				}
				field = line
			}
		}
	})
}

func BenchmarkRemover(b *testing.B) {
	msg := []byte(strings.Repeat("Received: by a.example; x\r\nAuthentication-Results: other.example; spf=pass\r\nSubject: a\r\n\tb\r\n", 20) + "\r\n" + strings.Repeat("text\r\n", 10_000))
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewRemover(io.Discard, "mx.example.org")
		_, _ = r.Write(msg)
		_ = r.Close()
	}
}
