package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const topFields = "From: a@example.org\r\nDate: Mon, 02 Nov 2026 10:11:12 +0100\r\n"

// body is the text of a part's body.
func body(msg string, p *Part) string { return msg[p.BodyOffset : p.BodyOffset+p.BodySize] }

// The example of RFC 9051 §6.4.5.1.
const numbered = topFields + "Content-Type: multipart/mixed; boundary=0\r\n\r\n" +
	"--0\r\nContent-Type: text/plain\r\n\r\none\r\n" +
	"--0\r\nContent-Type: application/octet-stream\r\n\r\ntwo\r\n" +
	"--0\r\nContent-Type: message/rfc822\r\n\r\nSubject: 3\r\nContent-Type: multipart/mixed; boundary=3\r\n\r\n" +
	"--3\r\nContent-Type: text/plain\r\n\r\nthree.one\r\n" +
	"--3\r\nContent-Type: application/octet-stream\r\n\r\nthree.two\r\n--3--\r\n" +
	"--0\r\nContent-Type: multipart/mixed; boundary=4\r\n\r\n" +
	"--4\r\nContent-Type: image/gif\r\n\r\nfour.one\r\n" +
	"--4\r\nContent-Type: message/rfc822\r\n\r\nSubject: 4.2\r\nContent-Type: multipart/mixed; boundary=42\r\n\r\n" +
	"--42\r\nContent-Type: text/plain\r\n\r\nfour.two.one\r\n" +
	"--42\r\nContent-Type: multipart/alternative; boundary=422\r\n\r\n" +
	"--422\r\nContent-Type: text/plain\r\n\r\nfour.two.two.one\r\n" +
	"--422\r\nContent-Type: text/richtext\r\n\r\nfour.two.two.two\r\n--422--\r\n--42--\r\n--4--\r\n" +
	"--0\r\nContent-Type: message/rfc822\r\n\r\nSubject: 5\r\n\r\nfive\r\n--0--\r\n"

func TestSection(t *testing.T) {
	o := ParseBytes([]byte(numbered), nil)
	require.Empty(t, o.Defects)
	for path, want := range map[string]string{
		"1": "one", "2": "two", "3.1": "three.one", "3.2": "three.two", "4.1": "four.one",
		"4.2.1": "four.two.one", "4.2.2.1": "four.two.two.one", "4.2.2.2": "four.two.two.two", "5.1": "five",
	} {
		p := o.Root.Section(numbers(path)...)
		require.NotNil(t, p, path)
		assert.Equal(t, want, body(numbered, p), path)
	}
	assert.Same(t, o.Root, o.Root.Section())
	three := o.Root.Section(3)
	assert.True(t, three.IsMessage())
	assert.Equal(t, "3", three.Envelope.Subject)
	assert.True(t, strings.HasPrefix(body(numbered, three), "Subject: 3\r\n"))
	assert.Equal(t, "multipart/alternative", o.Root.Section(4, 2, 2).MediaType())
	for _, path := range []string{"0", "6", "-1", "1.1", "3.0", "3.3", "3.1.1", "4.2.3", "5.2", "5.1.1"} {
		assert.Nil(t, o.Root.Section(numbers(path)...), path)
	}
	// A message that is no multipart is its own part 1, also as a message.
	plain := ParseBytes([]byte(topFields+"\r\nx"), nil).Root
	assert.Same(t, plain, plain.Section(1))
	assert.Nil(t, plain.Section(2))
	assert.Nil(t, plain.Section(1, 1))
	whole := ParseBytes([]byte(topFields+"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ny"), nil).Root
	assert.Same(t, whole, whole.Section(1))
	assert.Same(t, whole.Parts[0], whole.Section(1, 1))
	assert.Equal(t, "x", whole.Envelope.Subject)
	all := 0
	for range o.Root.Walk() {
		all++
	}
	assert.Equal(t, 17, all)
	for range o.Root.Walk() {
		break
	}
}

func numbers(path string) (list []int) {
	for s := range strings.SplitSeq(path, ".") {
		var n int
		fmt.Sscan(s, &n)
		list = append(list, n)
	}
	return list
}

func TestEnvelopeDefaults(t *testing.T) {
	e := ParseEnvelope(ParseHeader([]byte("From: a@b.example\r\nSender:\r\nReply-To: c@d.example\r\nSubject:\r\n\r\n")))
	assert.Equal(t, e.From, e.SenderOrFrom())
	assert.Equal(t, "c", e.ReplyToOrFrom()[0].Mailbox)
	assert.True(t, e.HasSubject)
	assert.False(t, e.HasDate || e.HasMessageID || e.HasInReplyTo)
	e = ParseEnvelope(ParseHeader([]byte("From: a@b.example\r\nSender: e@f.example\r\nSubject: =?utf-8?q?=C3=BC?=\r\n")))
	assert.Equal(t, "e", e.SenderOrFrom()[0].Mailbox)
	assert.Equal(t, "a", e.ReplyToOrFrom()[0].Mailbox)
	assert.Equal(t, "ü", e.SubjectText())
}

func TestFileName(t *testing.T) {
	for _, c := range []struct{ field, want string }{
		{"Content-Disposition: attachment; filename=a.txt", "a.txt"},
		{"Content-Type: a/b; name=n.txt", "n.txt"},
		{"Content-Type: a/b; name=n.txt\r\nContent-Disposition: attachment; filename=f.txt", "f.txt"},
		{"Content-Disposition: attachment; filename*=utf-8''gr%C3%BCn.txt; filename=x", "grün.txt"},
		{"Content-Disposition: attachment; filename=\"=?utf-8?q?gr=C3=BCn?= =?utf-8?q?.txt?=\"", "grün.txt"},
		{"Content-Disposition: attachment; filename=\"../../etc/passwd\"", "passwd"},
		{"Content-Disposition: attachment; filename=\"C:\\\\dir\\\\a.txt\"", "a.txt"},
		{"Content-Disposition: attachment; filename*=utf-8''..%2F..%5Cx%00%1B%E2%80%AEtxt.exe", "x txt.exe"},
		{"Content-Disposition: attachment; filename=\"=?utf-8?q?a=2Fb=2F=2E=2E?=\"", ""},
		{"Content-Disposition: attachment; filename=\"..\"", ""},
		{"Content-Disposition: attachment; filename=\"dir/\"", ""},
		{"Content-Disposition: attachment", ""},
	} {
		o := ParseBytes([]byte(c.field+"\r\n\r\n"), nil)
		assert.Equal(t, c.want, o.Root.FileName(), c.field)
	}
}

// allocated is the memory a function takes, in octets, garbage included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// nest returns a message of n multiparts inside each other.
func nest(n int) string {
	var b strings.Builder
	b.WriteString(topFields)
	for i := range n {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	b.WriteString("\r\nhello\r\n")
	for i := n - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "--b%d--\r\n", i)
	}
	return b.String()
}

func TestDeepNesting(t *testing.T) {
	msg := nest(3000)
	o := ParseBytes([]byte(msg), nil)
	checkOutline(t, []byte(msg), o)
	assert.True(t, o.HasDefect(TooDeep))
	assert.Less(t, allocated(func() { ParseBytes([]byte(msg), nil) }), uint64(1<<20))
	depth := 0
	p := o.Root
	for ; len(p.Parts) > 0; p = p.Parts[0] {
		require.Len(t, p.Parts, 1)
		depth++
	}
	assert.Equal(t, 100, depth)
	assert.Equal(t, "application/octet-stream", p.MediaType(), "what is deeper is opaque")
	assert.Contains(t, body(msg, p), "\r\nhello\r\n")

	o = ParseBytes([]byte(nest(100)), nil)
	assert.Empty(t, o.Defects)

	messages := topFields + strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 3000)
	o = ParseBytes([]byte(messages), nil)
	checkOutline(t, []byte(messages), o)
	assert.True(t, o.HasDefect(TooDeep))

	o = ParseBytes([]byte(nest(3)), &Limits{Depth: 2})
	assert.Equal(t, "application/octet-stream", o.Root.Section(1, 1).MediaType())
	o = ParseBytes([]byte(nest(3)), &Limits{Depth: -1})
	assert.Equal(t, "application/octet-stream", o.Root.MediaType())
}

func TestManyParts(t *testing.T) {
	msg := topFields + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100000) + "--b--\r\n"
	o := ParseBytes([]byte(msg), nil)
	checkOutline(t, []byte(msg), o)
	assert.Len(t, o.Root.Parts, 999)
	assert.True(t, o.HasDefect(TooManyParts))
	assert.Equal(t, "x", body(msg, o.Root.Parts[998]))

	// Whatever the limit is, containers keep their promises.
	for parts := 1; parts < 20; parts++ {
		o := ParseBytes([]byte(numbered), &Limits{Parts: parts})
		require.NoError(t, o.valid(), parts)
		n := 0
		for range o.Root.Walk() {
			n++
		}
		assert.LessOrEqual(t, n, parts)
	}
}

func TestHeaderLimit(t *testing.T) {
	msg := topFields + "Subject: kept\r\nX: " + strings.Repeat("y", 1<<20) + "\r\n z\r\nTo: late@example.org\r\n\r\nbody"
	o := ParseBytes([]byte(msg), nil)
	assert.Equal(t, int64(len(msg)-4), o.Header.Size, "the body is where it is")
	assert.Equal(t, "body", body(msg, o.Root))
	assert.True(t, o.HasDefect(HeaderTooLong))
	assert.Equal(t, "kept", o.Envelope.Subject)
	assert.Nil(t, o.Envelope.To)
	viaReader, err := Parse(strings.NewReader(msg), int64(len(msg)), nil)
	require.NoError(t, err)
	assert.Equal(t, o, viaReader)

	msg = strings.Repeat("X: y\r\n", 100000) + topFields + "\r\nbody"
	o = ParseBytes([]byte(msg), nil)
	assert.True(t, o.HasDefect(TooManyFields))
	assert.Equal(t, "body", body(msg, o.Root))
	assert.Empty(t, o.Envelope.From)

	// The same limits for a part's header.
	msg = topFields + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: " + strings.Repeat("y", 2<<20) +
		"\r\nContent-Type: text/html\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
	o = ParseBytes([]byte(msg), nil)
	checkOutline(t, []byte(msg), o)
	assert.True(t, o.HasDefect(HeaderTooLong))
	assert.Equal(t, "one", body(msg, o.Root.Section(1)))
	assert.Equal(t, "two", body(msg, o.Root.Section(2)))
	o = ParseBytes([]byte(topFields+"\r\n"), &Limits{HeaderBytes: -1})
	assert.False(t, o.Envelope.HasDate)
}

// An outline is small whatever the message is.
func TestOutlineTextIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(topFields + "Content-Type: multipart/mixed; boundary=b\r\n\r\n")
	for range 900 {
		b.WriteString("--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Description: " + strings.Repeat("d", 50000) + "\r\n\r\nx\r\n")
	}
	o := ParseBytes([]byte(b.String()), nil)
	checkOutline(t, []byte(b.String()), o)
	assert.True(t, o.HasDefect(TooMuchText))
	assert.Len(t, o.Root.Parts, 900)
	assert.Equal(t, "text/html", o.Root.Parts[899].MediaType(), "the structure is still read")
	assert.Equal(t, "utf-8", o.Root.Parts[899].Param("charset"))
	assert.Empty(t, o.Root.Parts[899].Description)
	stored, err := o.AppendBinary(nil)
	require.NoError(t, err)
	assert.Less(t, len(stored), 5<<20)

	// Addresses count for what they take, not for what they are written in.
	b.Reset()
	b.WriteString(topFields + "Content-Type: multipart/digest; boundary=b\r\n\r\n")
	for range 900 {
		b.WriteString("--b\r\n\r\nTo: " + strings.Repeat("a,", 9000) + "\r\n\r\nx\r\n")
	}
	msg := []byte(b.String())
	assert.Less(t, allocated(func() { o = ParseBytes(msg, nil) }), uint64(48<<20))
	assert.True(t, o.HasDefect(TooManyAddresses))
}

func TestManyDefectsAreCapped(t *testing.T) {
	o := ParseBytes([]byte(strings.Repeat("no colon\r\n", 4000)), nil)
	assert.LessOrEqual(t, len(o.Defects), 100)
	assert.GreaterOrEqual(t, len(o.Defects), maxMinor)
	assert.True(t, o.HasDefect(MissingField))
	o = ParseBytes([]byte(strings.Repeat("no colon\r\n", 4000)+topFields+topFields), nil)
	assert.True(t, o.HasDefect(DuplicateField), "nothing hides a second From")
}

// Each of these would take minutes if any step were quadratic.
func TestParseIsLinear(t *testing.T) {
	multi := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	deep := nest(99)
	deep = deep[:strings.Index(deep, "hello")]
	for name, msg := range map[string]string{
		"dashes":      multi + strings.Repeat("--\r\n", 1<<18),
		"near misses": multi + strings.Repeat("--bx\r\n", 1<<18),
		"delimiters":  multi + strings.Repeat("--b\r\n", 1<<18),
		"closings":    multi + strings.Repeat("--b--\r\n", 1<<18),
		"deep":        deep + strings.Repeat("--b99\r\n", 1<<18),
		"deep end":    deep + strings.Repeat("--b98\r\n", 1<<18),
		"folding":     "Subject: x\r\n" + strings.Repeat(" y\r\n", 1<<18) + multi,
		"one line":    strings.Repeat("x", 1<<22),
		"CR":          "\r\n" + strings.Repeat("\r", 1<<22),
		"LF":          "x: y\n\n" + strings.Repeat("\n", 1<<22),
		"NUL":         strings.Repeat("\x00", 1<<22),
		"dash line":   multi + strings.Repeat("-", 1<<22),
		"spaces":      multi + "--b" + strings.Repeat(" ", 1<<22),
		"8 bit":       multi + strings.Repeat("\xff\r\n", 1<<20),
	} {
		start := time.Now()
		o, err := Parse(strings.NewReader(msg), int64(len(msg)), nil)
		require.NoError(t, err)
		// Quadratic would be hours; a busy machine may take its time.
		assert.Less(t, time.Since(start), time.Minute, name)
		require.NoError(t, o.valid())
		assert.Equal(t, ParseBytes([]byte(msg), nil), o, name)
	}
}

func TestParseMemory(t *testing.T) {
	size := int64(64 << 20)
	n := allocated(func() {
		o, err := Parse(lineReaderAt{}, size, nil)
		require.NoError(t, err)
		assert.Equal(t, size, o.Size)
	})
	assert.Less(t, n, uint64(1<<20), "the body is never held")
	// A part whose header is 64 MiB: no more than the limit is looked at.
	n = allocated(func() {
		o, err := Parse(endlessField{}, size, nil)
		require.NoError(t, err)
		assert.True(t, o.HasDefect(HeaderTooLong))
		assert.Len(t, o.Root.Parts, 1)
	})
	assert.Less(t, n, uint64(8<<20))
}

// lineReaderAt is an endless message of short lines.
type lineReaderAt struct{}

func (lineReaderAt) ReadAt(p []byte, off int64) (int, error) {
	const unit = "Hello: x\r\n\r\nabcd"
	for i := range p {
		p[i] = unit[(off+int64(i))%int64(len(unit))]
	}
	return len(p), nil
}

// endlessField is a multipart whose first part has a header without end.
type endlessField struct{}

func (endlessField) ReadAt(p []byte, off int64) (int, error) {
	const start = topFields + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: "
	for i := range p {
		p[i] = "\r\n y"[(off+int64(i))%4]
		if n := off + int64(i); n < int64(len(start)) {
			p[i] = start[n]
		}
	}
	return len(p), nil
}

// Comments may stand almost everywhere.
func TestMIMEComments(t *testing.T) {
	o := ParseBytes([]byte("Content-Type: (a) text/html (b); (c) charset=utf-8 (d)\r\n"+
		"Content-Transfer-Encoding: (e (f)) Base64 (g)\r\nContent-Disposition: (h) inline (i)\r\nContent-Language: de,, (j\r\n\r\n"), nil)
	assert.Equal(t, "text/html", o.Root.MediaType())
	assert.Equal(t, "utf-8", o.Root.Param("charset"))
	assert.Empty(t, o.Root.Param("name"))
	assert.Equal(t, "base64", o.Root.Encoding)
	assert.Equal(t, "inline", o.Root.Disposition)
	assert.Equal(t, []string{"de", "(j"}, o.Root.Language)
	for field, want := range map[string]string{
		"text/plain charset=x": "text/plain", "TEXT/HTML": "text/html", "text / html": "text/html", "": "text/plain",
		"/": "text/plain", "text/": "text/plain", "/plain": "text/plain", "te xt/plain": "text/plain", "multipart": "text/plain",
		"application/vnd.x+y": "application/vnd.x+y", "text/pl\xe4in": "text/plain", "multipart/": "text/plain", "a/b/c": "text/plain",
	} {
		assert.Equal(t, want, ParseBytes([]byte("Content-Type: "+field+"\r\n\r\n"), nil).Root.MediaType(), field)
	}
}

func TestParseErrors(t *testing.T) {
	broken := errors.New("broken")
	_, err := Parse(readerAt{iotest.ErrReader(broken)}, 10, nil)
	require.ErrorIs(t, err, broken)
	_, err = Parse(strings.NewReader("short"), 10, nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	o, err := Parse(strings.NewReader("From: a@b\r\n\r\nlonger than announced"), 13, nil)
	require.NoError(t, err)
	assert.Zero(t, o.Root.BodySize)
	o, err = Parse(readerAt{iotest.ErrReader(broken)}, 0, nil)
	require.NoError(t, err)
	assert.NotNil(t, o.Root)
	o, err = Parse(readerAt{iotest.ErrReader(broken)}, -5, nil)
	require.NoError(t, err)
	assert.Zero(t, o.Size)
}

type readerAt struct{ r io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return io.ReadFull(r.r, p) }

// Lines, line ends and delimiters that fall on the edge of the window.
func TestWindowEdges(t *testing.T) {
	for pad := range 80 {
		var b bytes.Buffer
		b.WriteString(topFields + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n")
		for b.Len() < windowSize-40+pad-2 {
			b.WriteString("x")
			if b.Len()%70 == 0 {
				b.WriteString("\r\n")
			}
		}
		b.WriteString("\r\n--b\r\nContent-Type: text/html\r\n\r\nsecond\r\n--b--\r\n")
		msg := b.Bytes()
		o, err := Parse(bytes.NewReader(msg), int64(len(msg)), nil)
		require.NoError(t, err)
		require.Empty(t, o.Defects)
		require.Equal(t, "second", body(string(msg), o.Root.Section(2)))
		checkOutline(t, msg, o)
	}
	// A CR at the edge, with and without its LF, and lines longer than the window.
	for pad := windowSize - 5; pad < windowSize+5; pad++ {
		for _, end := range []string{"\r\n", "\r", "\n", "\rx", "\r\r\n", "\n\n"} {
			msg := []byte("A: b\r\n\r\n" + strings.Repeat("x", pad-8) + end + "y\r\n")
			checkOutline(t, msg, ParseBytes(msg, nil))
			o := ParseBytes(msg, nil)
			assert.Equal(t, strings.Count(string(msg), "\r") != strings.Count(string(msg), "\r\n"), o.Traits&HasBareCR != 0)
			assert.Equal(t, strings.Count(string(msg), "\n") != strings.Count(string(msg), "\r\n"), o.Traits&HasBareLF != 0)
		}
	}
}

func TestTraits(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Traits
	}{
		{"A: b\r\n\r\nc\r\n", 0},
		{"A: b\n\r\nc\r\n", HasBareLF},
		{"A: b\r\n\r\nc\rd\r\n", HasBareCR},
		{"A: b\r\n\r\nc\r", HasBareCR},
		{"A: b\r\n\r\nc\r\r\n", HasBareCR},
		{"A: b\r\n\r\n\x00\r\n", HasNUL},
		{"A: b\r\n\r\nü\r\n", HasEightBitBody},
		{"A: ü\r\n\r\nc\r\n", HasEightBitHeader},
		{"A: b\r\n\r\n" + strings.Repeat("x", 998) + "\r\n", 0},
		{"A: b\r\n\r\n" + strings.Repeat("x", 999) + "\r\n", HasLongLine},
		{"A: b\r\n\r\n" + strings.Repeat("x", 998) + "\n", HasBareLF},
		{"A: b\r\n\r\n" + strings.Repeat("x", 999), HasLongLine},
	} {
		assert.Equal(t, c.want, ParseBytes([]byte(c.in), nil).Traits, "%.30q", c.in)
	}
}

func TestAddPrefix(t *testing.T) {
	prefix := "Return-Path: <a@example.org>\r\nDelivered-To: b@example.com\r\n"
	o := ParseBytes([]byte(numbered), nil)
	o.AddPrefix(int64(len(prefix)))
	want := ParseBytes([]byte(prefix+numbered), nil)
	assert.Equal(t, want, o)
}

func TestLimitsDefaults(t *testing.T) {
	var none *Limits
	assert.Equal(t, Limits{1 << 20, 5000, 1000, 100, 100, 10000, 64}, none.withDefaults())
	assert.Equal(t, Limits{0, 0, 1, 0, 0, 0, 0}, (&Limits{-1, -1, -1, -1, -1, -1, -1}).withDefaults())
	assert.Equal(t, int64(1<<30), (&Limits{HeaderBytes: 1 << 40}).withDefaults().HeaderBytes)
}

func TestDefectNames(t *testing.T) {
	names := map[string]bool{}
	for k := DefectKind(1); k < maxDefectKind; k++ {
		names[k.String()] = true
		assert.NotContains(t, k.String(), "defect ")
	}
	assert.Len(t, names, int(maxDefectKind)-1)
	assert.Equal(t, "defect 200", DefectKind(200).String())
	assert.False(t, slices.Contains(defectNames[1:], ""))
}
