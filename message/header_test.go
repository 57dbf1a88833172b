package message_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

func TestHeaderFields(t *testing.T) {
	in := "Subject: one\r\n two\r\n\tthree\r\nX-Empty:\r\nfrom : a@example.org\r\n" +
		"no colon here\r\nX-Tab:\t x \r\nSUBJECT: again\r\n\r\nbody: no field\r\n"
	h := message.ParseHeader([]byte(in))
	assert.Equal(t, strings.Index(in, "body:"), h.Len())
	assert.Equal(t, in[:h.Len()], string(h.Raw()))
	type row struct{ name, value string }
	var got []row
	for f := range h.Fields() {
		got = append(got, row{f.Name(), f.Value()})
	}
	assert.Equal(t, []row{{"Subject", "one two\tthree"}, {"X-Empty", ""}, {"from", "a@example.org"},
		{"", "no colon here"}, {"X-Tab", "x"}, {"SUBJECT", "again"}}, got)
	assert.Equal(t, "one two\tthree", h.Get("subject"))
	assert.Equal(t, "a@example.org", h.Get("From"))
	assert.True(t, h.Has("x-EMPTY"))
	assert.False(t, h.Has("body"))
	assert.False(t, h.Has(""), "a nameless line has no name to ask for")
	assert.Empty(t, h.Get("To"))
	all := h.All("Subject")
	require.Len(t, all, 2)
	assert.Equal(t, "Subject: one\r\n two\r\n\tthree\r\n", string(all[0].Raw()))
	assert.Equal(t, int64(strings.Index(in, "SUBJECT")), all[1].Offset())
	assert.True(t, all[1].Is("Subject"))
}

func TestHeaderShapes(t *testing.T) {
	for _, c := range []struct {
		name, in string
		len      int
		fields   []string // raw
	}{
		{"nothing", "", 0, nil},
		{"only the empty line", "\r\nbody", 2, nil},
		{"only a lone LF", "\nbody", 1, nil},
		{"no empty line", "A: b\r\nC: d", 10, []string{"A: b\r\n", "C: d"}},
		{"lone LF ends lines", "A: b\n c\nD: e\n\nbody", 14, []string{"A: b\n c\n", "D: e\n"}},
		{"a line of white space continues", "A: b\r\n \r\n c\r\n\r\n", 15, []string{"A: b\r\n \r\n c\r\n"}},
		{"continuation first", " x\r\nA: b\r\n\r\n", 12, []string{" x\r\n", "A: b\r\n"}},
		{"CR CR LF is no empty line", "A: b\r\n\r\r\nC: d\r\n\r\n", 17, []string{"A: b\r\n", "\r\r\n", "C: d\r\n"}},
		{"bare CR inside", "A: b\rB: c\r\n\r\n", 13, []string{"A: b\rB: c\r\n"}},
		{"long name", strings.Repeat("n", 5000) + ": x\r\n\r\n", 5007, []string{strings.Repeat("n", 5000) + ": x\r\n"}},
		{"CR in a name", "A\rB: x\r\n\r\n", 10, []string{"A\rB: x\r\n"}},
		{"colon first", ": x\r\n\r\n", 7, []string{": x\r\n"}},
		{"colon on a later line", "Foo\r\n bar: x\r\n\r\n", 16, []string{"Foo\r\n bar: x\r\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := message.ParseHeader([]byte(c.in))
			assert.Equal(t, c.len, h.Len())
			var got []string
			for f := range h.Fields() {
				got = append(got, string(f.Raw()))
			}
			assert.Equal(t, c.fields, got)
		})
	}
}

func TestFieldValueIsSafe(t *testing.T) {
	h := message.ParseHeader([]byte("A: x\ry\x00z\r\n w\r\n\r\n"))
	assert.Equal(t, "x y z w", h.Get("A"))
	f := h.All("A")[0]
	assert.Equal(t, "A: x\ry\x00z\r\n w\r\n", string(f.Raw()), "the octets are untouched")
	h = message.ParseHeader([]byte("S: =?utf-8?q?a=0D=0AB:_c=00d?=\r\n\r\n"))
	assert.Equal(t, "a  B: c d", h.All("S")[0].Text())
	assert.Equal(t, "caf\uFFFD", message.ParseHeader([]byte("S: caf\xe9\r\n")).All("S")[0].Text())
	var zero message.Field
	assert.Empty(t, zero.Name()+zero.Value()+zero.Text())
	assert.False(t, zero.Is(""))
}

func TestHeaderZeroValue(t *testing.T) {
	var h message.Header
	assert.Zero(t, h.Len())
	assert.False(t, h.Has("A"))
	assert.Empty(t, h.Defects())
	for range h.Fields() {
		t.Fatal("a field in an empty header")
	}
}

func TestHeaderWithout(t *testing.T) {
	in := "Return-Path: <a>\r\nno colon\r\nReceived: x\r\n y\r\nreturn-path: <b>\r\nTo: c\r\n\r\nbody"
	h := message.ParseHeader([]byte(in))
	drop := func(f message.Field) bool { return f.Is("Return-Path") }
	assert.Equal(t, "no colon\r\nReceived: x\r\n y\r\nTo: c\r\n\r\n", string(h.Without(drop)))
	assert.Equal(t, "\r\n", string(h.Without(func(message.Field) bool { return true })))
	assert.Equal(t, in[:len(in)-4], string(h.Without(func(message.Field) bool { return false })))
	assert.Equal(t, in[:len(in)-4], string(h.Raw()), "the header itself does not change")
}

func kinds(list []message.Defect) (k []message.DefectKind) {
	for _, d := range list {
		k = append(k, d.Kind)
	}
	return k
}

func TestHeaderDefects(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []message.DefectKind
	}{
		{"clean", "From: a@b\r\nTo: c@d\r\nReceived: x\r\nReceived: y\r\n\r\n", nil},
		{"UTF-8 is allowed", "From: a@b\r\nSubject: Grüße\r\n\r\n", nil},
		{"no colon", "From: a@b\r\nhello\r\n\r\n", []message.DefectKind{message.NoColon}},
		{"mbox line", ">From x\r\nFrom: a@b\r\n\r\n", []message.DefectKind{message.NoColon}},
		{"bad name", "Fo o: a@b\r\n\r\n", []message.DefectKind{message.BadFieldName}},
		{"bare LF once", "From: a@b\nTo: c@d\n\n", []message.DefectKind{message.BareLF}},
		{"bare CR", "From: a\r@b\r\n\r\n", []message.DefectKind{message.BareCR}},
		{"NUL", "From: a\x00@b\r\n\r\n", []message.DefectKind{message.NUL}},
		{"8 bit", "Subject: \xe4\r\n\r\n", []message.DefectKind{message.UnlabelledEightBit}},
		{"long line", "Subject: " + strings.Repeat("x", 999) + "\r\n\r\n", []message.DefectKind{message.LongLine}},
		{"two From", "From: a@b\r\nFrom: c@d\r\n\r\n", []message.DefectKind{message.DuplicateField}},
		{"two Content-Type", "content-type: text/plain\r\nContent-Type: text/html\r\n\r\n", []message.DefectKind{message.DuplicateField}},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, kinds(message.ParseHeader([]byte(c.in)).Defects()))
		})
	}
	many := message.ParseHeader([]byte(strings.Repeat("x\r\n", 1000) + "From: a\r\nFrom: b\r\nFrom: c\r\n")).Defects()
	assert.LessOrEqual(t, len(many), 100, "the list is capped")
	assert.Equal(t, message.DuplicateField, many[len(many)-1].Kind, "nothing hides a second From")
	assert.Equal(t, int64(3009), many[len(many)-1].Offset)
	d := message.ParseHeader([]byte("A: b\r\nFrom: a\r\nfrom: \x1b[2J\r\n\x1b[2J\r\n")).Defects()
	require.Len(t, d, 2)
	assert.Equal(t, message.Defect{Kind: message.DuplicateField, Offset: 15, Detail: "From"}, d[0])
	assert.Equal(t, "line without colon at 27: ?[2J", d[1].String())
}

func TestHeaderNeedsUTF8(t *testing.T) {
	assert.True(t, message.ParseHeader([]byte("To: jürgen@example.org\r\n\r\n")).NeedsUTF8())
	assert.False(t, message.ParseHeader([]byte("To: j@example.org\r\n\r\nÄ")).NeedsUTF8())
}

// The octets of all fields together, and what follows, are always the input.
func checkWhole(t *testing.T, in string, h *message.Header, rest string) {
	t.Helper()
	var all []byte
	for f := range h.Fields() {
		require.Equal(t, int64(len(all)), f.Offset())
		all = append(all, f.Raw()...)
	}
	require.True(t, bytes.HasPrefix(h.Raw(), all))
	blank := string(h.Raw()[len(all):])
	require.Contains(t, []string{"", "\n", "\r\n"}, blank)
	require.Equal(t, in, string(h.Raw())+rest)
}

func TestHeaderLimits(t *testing.T) {
	lines := strings.Repeat("X: y\r\n", 100000) + "\r\nbody"
	h := message.ParseHeader([]byte(lines))
	assert.Equal(t, len(lines)-4, h.Len(), "all octets are kept")
	assert.Contains(t, kinds(h.Defects()), message.TooManyFields)
	checkWhole(t, lines, h, "body")
	assert.Len(t, h.All("X"), 5000)

	long := "A: b\r\nX: " + strings.Repeat("y", 1<<20) + "\r\nLate: z\r\n\r\nbody"
	h = message.ParseHeader([]byte(long))
	assert.Contains(t, kinds(h.Defects()), message.HeaderTooLong)
	assert.False(t, h.Has("Late"))
	checkWhole(t, long, h, "body")
	assert.Equal(t, "b", h.Get("A"))
}

func TestReadHeader(t *testing.T) {
	in := "A: b\r\n c\r\nD: e\r\n\r\nbody\r\n\r\nmore"
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(in), "bytewise": iotest.OneByteReader(strings.NewReader(in)),
		"with EOF": iotest.DataErrReader(strings.NewReader(in)), "halves": iotest.HalfReader(strings.NewReader(in)),
	} {
		t.Run(name, func(t *testing.T) {
			h, rest, err := message.ReadHeader(r, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(rest)
			require.NoError(t, err)
			assert.Equal(t, "body\r\n\r\nmore", string(body))
			assert.Equal(t, "b c", h.Get("a"))
			assert.False(t, h.Truncated())
			checkWhole(t, in, h, string(body))
		})
	}
}

func TestReadHeaderTruncated(t *testing.T) {
	lim := &message.Limits{HeaderBytes: 20}
	for _, c := range []struct{ name, in, raw string }{
		{"fits exactly", "A: 45678901234567890\r\n\r\nbody"[3:], "45678901234567890\r\n\r\n"},
		{"cut before a field", "A: b\r\nC: d\r\n e\r\nF: long long long\r\n\r\n", "A: b\r\nC: d\r\n e\r\n"},
		{"never within a folded field", "A: b\r\nC: d\r\n e\r\n f\r\n g\r\n\r\n", "A: b\r\n"},
		{"within the only field", "A: " + strings.Repeat("x", 100) + "\r\n\r\n", "A: " + strings.Repeat("x", 17)},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, rest, err := message.ReadHeader(iotest.OneByteReader(strings.NewReader(c.in)), lim)
			require.NoError(t, err)
			body, err := io.ReadAll(rest)
			require.NoError(t, err)
			assert.Equal(t, c.raw, string(h.Raw()))
			cut := c.name != "fits exactly"
			assert.Equal(t, cut, h.Truncated())
			assert.Equal(t, cut, len(h.Defects()) > 0 && h.Defects()[0].Kind == message.HeaderTooLong)
			checkWhole(t, c.in, h, string(body))
		})
	}
}

func TestReadHeaderErrors(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader("A: b\r\nC:"), iotest.ErrReader(broken))
	h, rest, err := message.ReadHeader(r, nil)
	require.ErrorIs(t, err, broken)
	assert.Equal(t, "b", h.Get("A"), "what was read is there")
	_, err = io.ReadAll(rest)
	require.ErrorIs(t, err, broken)

	// The error of the body is the reader's, not the header's.
	r = io.MultiReader(strings.NewReader("A: b\r\n\r\nx"), iotest.ErrReader(broken))
	_, rest, err = message.ReadHeader(r, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(rest)
	require.ErrorIs(t, err, broken)
	assert.Equal(t, "x", string(body))

	_, _, err = message.ReadHeader(stuck{}, nil)
	require.ErrorIs(t, err, io.ErrNoProgress)
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// A sender that trickles one long line must not cost more than the line.
func TestReadHeaderIsLinear(t *testing.T) {
	in := strings.Repeat("x", 1<<20)
	h, _, err := message.ReadHeader(iotest.OneByteReader(strings.NewReader(in)), nil)
	require.NoError(t, err)
	assert.Equal(t, 1<<20, h.Len())
}
