package maildir

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func openCRLF(t testing.TB, text string) (b *crlfBody, want string) {
	name := filepath.Join(t.TempDir(), "mail")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	want = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	return &crlfBody{file: f, disk: int64(len(text)), size: int64(len(want))}, want
}

func TestCRLFReadAt(t *testing.T) {
	for _, text := range []string{"\n", "a\n", "\r\n\n\r\r\n", "no end", "a\nb\r\nc\n\nd", "\r"} {
		b, want := openCRLF(t, text)
		bare, err := countBareLF(strings.NewReader(text))
		require.NoError(t, err)
		assert.EqualValues(t, len(want)-len(text), bare)
		for off := range len(want) {
			for n := range len(want) + 2 {
				p := make([]byte, n)
				got, err := b.ReadAt(p, int64(off))
				assert.Equal(t, want[off:min(off+n, len(want))], string(p[:got]))
				if off+n > len(want) {
					assert.Equal(t, io.EOF, err)
				} else {
					assert.NoError(t, err)
				}
			}
		}
	}
	b, _ := openCRLF(t, "a\n")
	_, err := b.ReadAt(make([]byte, 1), 3)
	assert.Equal(t, io.EOF, err)
	_, err = b.ReadAt(make([]byte, 1), -1)
	assert.Error(t, err)
	b.size = 10 // the file has become shorter
	_, err = b.ReadAt(make([]byte, 10), 0)
	assert.ErrorIs(t, err, store.ErrCorrupt)
}

// A large message is read anywhere, by many, with few marks.
func TestCRLFLarge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var text strings.Builder
	for text.Len() < 4<<20 {
		text.WriteString(strings.Repeat("x", rnd.IntN(90)))
		text.WriteString([]string{"\n", "\r\n", "\r", "\n\n"}[rnd.IntN(4)])
	}
	b, want := openCRLF(t, text.String())
	b.step = 1 // as if it had been much larger
	whole, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	require.NoError(t, err)
	require.Equal(t, want, string(whole))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(i)))
			for range 200 {
				off := rnd.IntN(len(want))
				p := make([]byte, rnd.IntN(20_000))
				n, err := b.ReadAt(p, int64(off))
				if err != io.EOF && !assert.NoError(t, err) || !assert.Equal(t, want[off:off+n], string(p[:n])) {
					return
				}
			}
		})
	}
	wg.Wait()
	assert.Less(t, len(b.marks), maxMarks)
	assert.NotEmpty(t, b.marks)
	// Marks are thinned out when there are too many.
	b.marks, b.step = nil, 0
	for i := range int64(10 * maxMarks) {
		b.mark(crlfMark{in: i << 14, out: i << 14})
	}
	assert.Less(t, len(b.marks), maxMarks)
	assert.Greater(t, len(b.marks), maxMarks/8)
}
