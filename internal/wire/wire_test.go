package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadLine(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		max      int
		want     []string
		err      error
	}{
		{"two lines", "EHLO a\r\nQUIT\r\n", 512, []string{"EHLO a", "QUIT"}, io.EOF},
		{"empty line", "\r\n", 512, []string{""}, io.EOF},
		{"bare LF is seen without waiting for more", "EHLO a\n", 512, nil, ErrBareLF},
		{"bare CR", "EHLO a\rb\r\n", 512, nil, ErrBareCR},
		{"CR CR LF", "EHLO a\r\r\n", 512, nil, ErrBareCR},
		{"LF first", "\nEHLO\r\n", 512, nil, ErrBareLF},
		{"exactly the limit", "12345678\r\n", 10, []string{"12345678"}, io.EOF},
		{"one over the limit", "123456789\r\n", 10, nil, ErrLineTooLong},
		{"no end in sight", strings.Repeat("x", 100000), 8192, nil, ErrLineTooLong},
		{"long but allowed", strings.Repeat("x", 60000) + "\r\n", 65536, []string{strings.Repeat("x", 60000)}, io.EOF},
		{"cut within a line", "EHLO", 512, nil, io.ErrUnexpectedEOF},
		{"cut before the LF", "EHLO\r", 512, nil, io.ErrUnexpectedEOF},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				r := NewReader(wrap(strings.NewReader(tc.in)), nil)
				var got []string
				for {
					line, err := r.ReadLine(tc.max)
					if err != nil {
						require.ErrorIs(t, err, tc.err)
						break
					}
					got = append(got, string(line))
				}
				require.Equal(t, tc.want, got)
			})
		}
	}
}

func TestSkipLineResynchronises(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("x", 9000)+"\r\nNOOP\r\n"), nil)
	_, err := r.ReadLine(512)
	require.ErrorIs(t, err, ErrLineTooLong)
	require.NoError(t, r.SkipLine(1<<20))
	line, err := r.ReadLine(512)
	require.NoError(t, err)
	require.Equal(t, "NOOP", string(line))

	r = NewReader(strings.NewReader(strings.Repeat("x", 9000)), nil)
	require.ErrorIs(t, r.SkipLine(100), ErrLineTooLong)
}

func TestResetForgetsWhatWasInjected(t *testing.T) {
	r := NewReader(strings.NewReader("STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n"), nil)
	_, err := r.ReadLine(512)
	require.NoError(t, err)
	require.Positive(t, r.Buffered())
	r.Reset(strings.NewReader("EHLO inside\r\n"))
	line, err := r.ReadLine(512)
	require.NoError(t, err)
	require.Equal(t, "EHLO inside", string(line))
}

func TestBudget(t *testing.T) {
	b := NewBudget(20000)
	long := strings.Repeat("x", 9000) + "\r\n"
	r := NewReader(strings.NewReader(long+"NOOP\r\n"), b)
	_, err := r.ReadLine(65536)
	require.NoError(t, err)
	require.EqualValues(t, 16384, b.Used())
	other := NewReader(strings.NewReader(long), b)
	_, err = other.ReadLine(65536)
	require.ErrorIs(t, err, ErrBudget)
	_, err = r.ReadLine(512)
	require.NoError(t, err)
	require.Zero(t, b.Used(), "the long line's memory is back")
	r.Release()
	other.Release()
	require.Zero(t, b.Used())
}

func TestTimeoutKeepsThePartialLine(t *testing.T) {
	r := NewReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("NOOP\r\n"))), nil)
	_, err := r.ReadLine(512)
	require.ErrorIs(t, err, iotest.ErrTimeout)
	line, err := r.ReadLine(512)
	require.NoError(t, err)
	require.Equal(t, "NOOP", string(line))
}

func TestDotReader(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		err            error // nil: io.EOF
		rest           string
	}{
		{"plain", "a\r\nb\r\n.\r\nQUIT\r\n", "a\r\nb\r\n", nil, "QUIT\r\n"},
		{"empty", ".\r\nQUIT\r\n", "", nil, "QUIT\r\n"},
		{"stuffed", "..\r\n..a\r\n.b\r\n.\r\n", ".\r\n.a\r\nb\r\n", nil, ""},
		{"LF.LF", "a\n.\nMAIL\r\n.\r\nQUIT\r\n", "a", ErrBareLF, "QUIT\r\n"},
		{"LF.CRLF", "a\n.\r\nMAIL\r\n.\r\nQUIT\r\n", "a", ErrBareLF, "QUIT\r\n"},
		{"CRLF.LF", "a\r\n.\nMAIL\r\n.\r\nQUIT\r\n", "a\r\n", ErrBareLF, "QUIT\r\n"},
		{"CRLF.CR", "a\r\n.\rMAIL\r\n.\r\nQUIT\r\n", "a\r\n", ErrBareCR, "QUIT\r\n"},
		{"CR.CR", "a\r.\rb\r\n.\r\nQUIT\r\n", "a", ErrBareCR, "QUIT\r\n"},
		{"CR CR LF . CR LF", "a\r\r\n.\r\nQUIT\r\n", "a", ErrBareCR, "QUIT\r\n"},
		{"line too long", strings.Repeat("x", 101) + "\r\n.\r\nQUIT\r\n", "", ErrLineTooLong, "QUIT\r\n"},
		{"too big", strings.Repeat("0123456789\r\n", 100) + ".\r\nQUIT\r\n", "", ErrTooBig, "QUIT\r\n"},
		{"cut", "a\r\nb", "a\r\nb", io.ErrUnexpectedEOF, ""},
		{"cut at the dot", "a\r\n.", "a\r\n", io.ErrUnexpectedEOF, ""},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				r := NewReader(wrap(strings.NewReader(tc.in)), nil)
				d := r.Dot(1000, 100)
				got, err := io.ReadAll(d)
				if tc.err == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tc.err)
				}
				if !errors.Is(tc.err, ErrTooBig) && !errors.Is(tc.err, ErrLineTooLong) {
					require.Equal(t, tc.want, string(got))
				}
				if tc.err == io.ErrUnexpectedEOF {
					require.Error(t, d.Drain(1<<20))
					return
				}
				require.NoError(t, d.Drain(1<<20))
				require.True(t, d.Ended())
				rest, err := io.ReadAll(r)
				require.NoError(t, err)
				require.Equal(t, tc.rest, string(rest))
			})
		}
	}
}

// WriteTo gives what Read gives, however small the pieces are.
func TestDotReaderWriteTo(t *testing.T) {
	in := "a\r\n..b\r\n\r\n" + strings.Repeat("line of text\r\n", 5000) + strings.Repeat("x", 9000) + "\r\n.\r\nQUIT\r\n"
	want := strings.TrimSuffix(strings.Replace(in, "..b", ".b", 1), ".\r\nQUIT\r\n")
	for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "half": iotest.HalfReader, "bytewise": iotest.OneByteReader} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(wrap(strings.NewReader(in)), nil)
			var got bytes.Buffer
			n, err := r.Dot(1<<20, 1<<20).WriteTo(struct{ io.Writer }{&got})
			require.NoError(t, err)
			require.EqualValues(t, len(want), n)
			require.Equal(t, want, got.String())
			rest, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, "QUIT\r\n", string(rest))
		})
	}
	r := NewReader(strings.NewReader("a\r\nb\nc\r\n.\r\nQUIT\r\n"), nil)
	d := r.Dot(1000, 100)
	var got bytes.Buffer
	_, err := d.WriteTo(&got)
	require.ErrorIs(t, err, ErrBareLF)
	require.Equal(t, "a\r\nb", got.String())
	require.NoError(t, d.Drain(1000))

	d = NewReader(strings.NewReader("a\r\n.\r\n"), nil).Dot(1000, 100)
	_, err = d.WriteTo(shortWriter{})
	require.ErrorIs(t, err, io.ErrShortWrite)
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) - 1, nil }

func TestDrainIsBounded(t *testing.T) {
	r := NewReader(strings.NewReader("a\nb"+strings.Repeat("x", 10000)), nil)
	d := r.Dot(1000, 100)
	_, err := io.ReadAll(d)
	require.ErrorIs(t, err, ErrBareLF)
	require.ErrorIs(t, d.Drain(500), ErrTooBig)
}

func TestExactly(t *testing.T) {
	r := NewReader(strings.NewReader("12345NOOP\r\n12"), nil)
	c := r.Exactly(5)
	b := make([]byte, 2)
	_, err := io.ReadFull(c, b)
	require.NoError(t, err)
	require.NoError(t, c.Drain())
	line, err := r.ReadLine(512)
	require.NoError(t, err)
	require.Equal(t, "NOOP", string(line))
	require.ErrorIs(t, r.Exactly(5).Drain(), io.ErrUnexpectedEOF)
}

func TestDotWriter(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"empty", "", ".\r\n"},
		{"plain", "a\r\nb\r\n", "a\r\nb\r\n.\r\n"},
		{"no final line end", "a", "a\r\n.\r\n"},
		{"dots", ".\r\n..\r\n.a\r\n", "..\r\n...\r\n..a\r\n.\r\n"},
		{"bare LF before a dot", "a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"},
		{"bare CR before a dot", "a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"},
		{"CR CR LF", "a\r\r\n.", "a\r\n\r\n..\r\n.\r\n"},
		{"final CR", "a\r", "a\r\n.\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var whole, bytewise bytes.Buffer
			d := NewDotWriter(&whole)
			n, err := d.Write([]byte(tc.in))
			require.NoError(t, err)
			assert.Equal(t, len(tc.in), n)
			require.NoError(t, d.Close())
			require.Equal(t, tc.want, whole.String())
			d = NewDotWriter(&bytewise)
			for i := range len(tc.in) {
				_, err := d.Write([]byte{tc.in[i]})
				require.NoError(t, err)
			}
			require.NoError(t, d.Close())
			require.Equal(t, tc.want, bytewise.String())
		})
	}
}

// What the writer sends, the reader takes as one body with CRLF line ends and
// nothing left over, whatever the input.
func FuzzDotRoundTrip(f *testing.F) {
	for _, s := range []string{"", "a\r\n.\r\nb", "\n.\n", "\r.\r", "..\r\n.", "a\r\r\n.\r\n", strings.Repeat("x\n", 600)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var sent bytes.Buffer
		d := NewDotWriter(&sent)
		_, _ = d.Write(in)
		_ = d.Close()
		r := NewReader(io.MultiReader(iotest.HalfReader(bytes.NewReader(sent.Bytes())), strings.NewReader("QUIT\r\n")), nil)
		got, err := io.ReadAll(r.Dot(1<<30, 1<<30))
		require.NoError(t, err)
		rest, _ := io.ReadAll(r)
		require.Equal(t, "QUIT\r\n", string(rest))
		norm := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(in))
		norm = strings.ReplaceAll(norm, "\n", "\r\n")
		if norm != "" && !strings.HasSuffix(norm, "\r\n") {
			norm += "\r\n"
		}
		require.Equal(t, norm, string(got))
	})
}

// One read or one byte at a time: the same lines, bodies and errors.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"DATA\r\na\r\n.\r\nQUIT\r\n", "a\n", "a\r\r\n.\r\n", "DATA\r\n\r\n.\n.\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		run := func(src io.Reader) (out []string) {
			r := NewReader(src, nil)
			for range 100 {
				line, err := r.ReadLine(200)
				if err != nil {
					return append(out, err.Error())
				}
				out = append(out, string(line))
				if string(line) == "DATA" {
					d := r.Dot(500, 100)
					body, err := io.ReadAll(d)
					if err != nil {
						// How much came before an error depends on the cut.
						out = append(out, err.Error())
						if err := d.Drain(1000); err != nil {
							return append(out, err.Error())
						}
						continue
					}
					out = append(out, string(body))
				}
			}
			return out
		}
		require.Equal(t, run(bytes.NewReader(in)), run(iotest.OneByteReader(bytes.NewReader(in))))
	})
}

// plainDot is the rule of DotReader octet by octet.
func plainDot(in []byte, max, maxLine int) (body []byte, err error) {
	line := 0
	for start := true; ; {
		rest := in[:min(len(in), 3)]
		switch {
		case start && string(rest) == ".\r\n":
			return body, nil
		case start && len(rest) > 0 && rest[0] == '.':
			in = in[1:]
			if start = false; len(in) == 0 {
				return body, io.ErrUnexpectedEOF
			}
			continue
		case len(rest) == 0, len(rest) == 1 && rest[0] == '\r':
			return body, io.ErrUnexpectedEOF
		case rest[0] == '\n':
			return body, ErrBareLF
		case rest[0] == '\r' && rest[1] != '\n':
			return body, ErrBareCR
		}
		n := 1
		if rest[0] == '\r' {
			n = 2
		}
		switch {
		case len(body)+n > max:
			return body, ErrTooBig
		case line+n > maxLine:
			return body, ErrLineTooLong
		}
		body = append(body, in[:n]...)
		in = in[n:]
		line += n
		if start = n == 2; start {
			line = 0
		}
	}
}

func FuzzDotReader(f *testing.F) {
	for _, s := range []string{"a\r\n..b\r\n.\r\nQUIT\r\n", "a\n", "a\r\nb\rc\r\n.\r\n", "\r\n.\n.\r\n", ".\r", "..\r\n.", "\r\n.\r.\r\n", strings.Repeat("0123456789\r\n", 20) + ".\r\n", strings.Repeat("x", 50) + "\r\n.\r\n", "a\r\n" + strings.Repeat(".", 39) + "\r\n.\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		want, wantErr := plainDot(in, 100, 40)
		for name, src := range map[string]io.Reader{"whole": bytes.NewReader(in), "half": iotest.HalfReader(bytes.NewReader(in)), "bytewise": iotest.OneByteReader(bytes.NewReader(in))} {
			d := NewReader(src, nil).Dot(100, 40)
			got, err := io.ReadAll(iotest.OneByteReader(d))
			require.Equal(t, wantErr, err, name)
			require.Equal(t, string(want), string(got), name)
		}
	})
}

func BenchmarkDotReader(b *testing.B) {
	body := append(bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), 1<<20/72), ".\r\n"...)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	src := bytes.NewReader(body)
	r := NewReader(src, nil)
	buf := make([]byte, 32<<10)
	for b.Loop() {
		src.Reset(body)
		r.Reset(src)
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Dot(1<<30, 1000), buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDotWriter(b *testing.B) {
	body := bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), 1<<20/72)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		d := NewDotWriter(io.Discard)
		_, _ = d.Write(body)
		_ = d.Close()
	}
}
