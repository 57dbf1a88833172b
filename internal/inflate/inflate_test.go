package inflate

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// all decodes everything that r gives, in pieces of at most n octets.
func all(src io.Reader, n int) ([]byte, error) {
	r := NewReader(src)
	var out []byte
	buf := make([]byte, n)
	for {
		m, err := r.Read(buf)
		out = append(out, buf[:m]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// samples are texts that lead to blocks of all kinds.
func samples() [][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 300_000) // long codes
	for i := range skewed {
		skewed[i] = byte(rnd.ExpFloat64() * 6)
	}
	return [][]byte{
		nil, []byte("a"), []byte(strings.Repeat("a", 100_000)), noise, skewed,
		[]byte(strings.Repeat("* 1234 FETCH (FLAGS (\\Seen) UID 77)\r\n", 5000)),
		append(append(bytes.Repeat([]byte("xyz"), 20_000), noise[:40_000]...), bytes.Repeat([]byte("xyz"), 20_000)...),
	}
}

func compress(t testing.TB, level int, text []byte, flushEvery int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	require.NoError(t, err)
	for len(text) > 0 {
		n := len(text)
		if flushEvery > 0 {
			n = min(n, flushEvery)
		}
		_, err = w.Write(text[:n])
		require.NoError(t, err)
		if flushEvery > 0 {
			require.NoError(t, w.Flush())
		}
		text = text[n:]
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestReader(t *testing.T) {
	for i, text := range samples() {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			for _, every := range []int{0, 777, 50_000} {
				packed := compress(t, level, text, every)
				for _, n := range []int{1 << 16, 100} {
					got, err := all(bytes.NewReader(packed), n)
					require.NoError(t, err, "%d level %d", i, level)
					require.True(t, bytes.Equal(text, got), "%d level %d every %d", i, level, every)
				}
				got, err := all(iotest.OneByteReader(bytes.NewReader(packed)), 4096)
				require.NoError(t, err)
				require.True(t, bytes.Equal(text, got), "%d level %d every %d, octet by octet", i, level, every)
				_, err = all(bytes.NewReader(packed[:len(packed)-1]), 4096)
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
		}
	}
}

// TestFlushes: what zlib has flushed, by each of its ways, is there as soon as the
// last octet of it has come, and before anything else is read.
func TestFlushes(t *testing.T) {
	for _, kind := range []string{"partial", "sync", "full"} {
		b, err := os.ReadFile("testdata/" + kind + ".txt")
		require.NoError(t, err)
		var src pieces
		r := NewReader(&src)
		for i, line := range strings.Fields(string(b)) {
			text, packed, _ := strings.Cut(line, "=")
			octets, err := hex.DecodeString(packed)
			require.NoError(t, err)
			src = octets
			want, err := hex.DecodeString(text)
			require.NoError(t, err)
			got := make([]byte, len(want))
			_, err = io.ReadFull(r, got)
			require.NoError(t, err, "%s, message %d", kind, i)
			require.Equal(t, string(want), string(got))
			_, err = r.Read(got)
			require.ErrorIs(t, err, errNothing, "nothing is left")
			assert.False(t, r.Buffered())
		}
	}
}

var errNothing = errors.New("nothing to read now")

// pieces gives octets one by one, and an error when there are none.
type pieces []byte

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, errNothing
	}
	b[0] = (*p)[0]
	*p = (*p)[1:]
	return 1, nil
}

func TestCorrupt(t *testing.T) {
	for name, in := range map[string]string{
		"kind of block":     "\x07",
		"stored length":     "\x01\x01\x00\x01\x00x",
		"distance too far":  "\x03\x02\x00",
		"no codes":          "\x05\xe0\x01\x00\x00\x00\x00\x00\x00\x00\x00",
		"too many literals": "\xfd\xff\x00\x00\x00",
	} {
		_, err := all(strings.NewReader(in), 100)
		require.Error(t, err, name)
		_, err = io.ReadAll(flate.NewReader(strings.NewReader(in)))
		require.Error(t, err, name)
	}
	r := NewReader(strings.NewReader("\x07"))
	for range 2 {
		_, err := r.Read(make([]byte, 1))
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

// TestCounts: a small input may stand for a large text, which the counts show.
func TestCounts(t *testing.T) {
	packed := compress(t, 9, make([]byte, 1<<20), 0)
	r := NewReader(bytes.NewReader(packed))
	n, err := io.Copy(io.Discard, r)
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, n)
	assert.EqualValues(t, len(packed), r.In())
	assert.EqualValues(t, 1<<20, r.Out())
}

// FuzzReader compares with compress/flate, whole and in pieces.
func FuzzReader(f *testing.F) {
	for i, text := range samples() {
		if i < 3 {
			f.Add(compress(f, 6, text, 0), uint16(3))
		}
	}
	f.Add(compress(f, 1, []byte(strings.Repeat("a OK done\r\n", 50)), 100), uint16(1))
	f.Add([]byte("\x05\xe0\x01\x00"), uint16(9))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		const most = 1 << 20
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), most))
		for _, src := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b)), iotest.HalfReader(bytes.NewReader(b))} {
			r := NewReader(src)
			got, err := io.ReadAll(io.LimitReader(r, most))
			// Where the input is cut short more may be decoded than that package does.
			if (err == nil) != (wantErr == nil) || !bytes.HasPrefix(got, want) || err == nil && len(got) != len(want) {
				t.Fatalf("%d octets and %v, not %d and %v", len(got), err, len(want), wantErr)
			}
			if r.Out()-int64(len(got)) > window {
				t.Fatal("decoded ahead of the window")
			}
		}
		_, _ = all(bytes.NewReader(b[:min(len(b), 4096)]), int(size)+1)
	})
}

func BenchmarkReader(b *testing.B) {
	text := samples()[5]
	packed := compress(b, 6, text, 0)
	for name, open := range map[string]func(io.Reader) io.Reader{
		"inflate": func(r io.Reader) io.Reader { return NewReader(r) },
		"flate":   func(r io.Reader) io.Reader { return flate.NewReader(r) },
	} {
		for kind, in := range map[string][]byte{"responses": packed, "noise": compress(b, 6, samples()[4], 0)} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				n := int64(0)
				for b.Loop() {
					n, _ = io.Copy(io.Discard, open(bytes.NewReader(in)))
				}
				b.SetBytes(n)
			})
		}
	}
}

// TestFinish: after the flush that ends the last message nothing more is read,
// however late its octets come.
func TestFinish(t *testing.T) {
	for name, end := range map[string]func(*flate.Writer) error{"flush": (*flate.Writer).Flush, "close": (*flate.Writer).Close} {
		for _, text := range []string{"a UNAUTHENTICATE\r\n", "x", strings.Repeat("many octets, ", 500) + "\r\n"} {
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, flate.BestSpeed)
			require.NoError(t, err)
			_, err = w.Write([]byte("first\r\n"))
			require.NoError(t, err)
			require.NoError(t, w.Flush())
			_, err = w.Write([]byte(text))
			require.NoError(t, err)
			require.NoError(t, end(w))
			b.WriteString("plain")
			r := NewReader(iotest.OneByteReader(&b))
			got := make([]byte, len("first\r\n")+len(text))
			_, err = io.ReadFull(r, got)
			require.NoError(t, err)
			require.NoError(t, r.Finish(), name)
			require.Equal(t, "plain", b.String(), name)
		}
	}
	// A partial flush: a block of fixed codes without octets, whose last bits
	// never come.
	src := bytes.NewBuffer([]byte{0x4a, 0x04, 0x08, 'p'}) // zlib's of "a"
	r := NewReader(iotest.OneByteReader(src))
	one := make([]byte, 1)
	_, err := io.ReadFull(r, one)
	require.NoError(t, err)
	require.NoError(t, r.Finish())
	require.Equal(t, "p", src.String())
	for rest, want := range map[string]error{"": io.EOF, "\xff\xff\xff\xff": ErrCorrupt} {
		r = NewReader(iotest.OneByteReader(strings.NewReader("\x4a\x04\x00" + rest))) // "a", and stored octets whose length is cut short
		_, err = io.ReadFull(r, one)
		require.NoError(t, err)
		require.ErrorIs(t, r.Finish(), want)
	}
}
