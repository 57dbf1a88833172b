package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// checkOutline checks everything that holds for the outline of any message.
func checkOutline(t testing.TB, msg []byte, o *Outline) {
	t.Helper()
	require.NoError(t, o.valid())
	require.Equal(t, int64(len(msg)), o.Size)
	require.Equal(t, Span{0, o.Root.HeaderSize}, o.Header)
	require.Equal(t, o.Size, o.Root.BodyOffset+o.Root.BodySize)
	require.LessOrEqual(t, len(o.Defects), maxDefects)
	for _, d := range o.Defects {
		require.True(t, d.Offset >= 0 && d.Offset <= o.Size, "%v", d)
	}
	checkEnvelope(t, &o.Envelope)
	checkPart(t, msg, o.Root)

	// The header read by itself says the same.
	h := ParseHeader(msg)
	require.Equal(t, o.Header.Size, int64(h.Len()))
	require.Equal(t, o.Envelope, *ParseEnvelope(h))

	// A window that moves sees what a window over everything sees.
	p := newParser(nil)
	p.s.window = 2048
	p.s.r, p.s.size, p.s.buf = bytes.NewReader(msg), int64(len(msg)), make([]byte, min(len(msg), p.s.window))
	p.run()
	require.NoError(t, p.s.err)
	require.Equal(t, o, p.o)

	// The stored form gives the same outline, and its envelope alone.
	stored, err := o.AppendBinary([]byte("x"))
	require.NoError(t, err)
	var back Outline
	require.NoError(t, back.UnmarshalBinary(stored[1:]))
	require.Equal(t, dump(o), dump(&back))
	require.Equal(t, o.Envelope, back.Envelope)
	e, err := UnmarshalEnvelope(stored[1:])
	require.NoError(t, err)
	require.Equal(t, o.Envelope, *e)

	// A prefix moves everything and changes nothing.
	back.AddPrefix(8)
	require.NoError(t, back.valid())
	back.AddPrefix(-8)
	require.Equal(t, dump(o), dump(&back))
}

func checkPart(t testing.TB, msg []byte, p *Part) {
	t.Helper()
	end := p.BodyOffset + p.BodySize
	require.Equal(t, p.BodyOffset, p.HeaderOffset+p.HeaderSize)
	require.Equal(t, int64(bytes.Count(msg[p.BodyOffset:end], []byte("\n"))), p.Lines)
	checkStrings(t, p.Type, p.Subtype, p.ID, p.Description, p.Encoding, p.MD5, p.Disposition, p.Location, p.FileName())
	checkStrings(t, p.Language...)
	for _, q := range append(append([]Param(nil), p.Params...), p.DispositionParams...) {
		checkStrings(t, q.Name, q.Value)
		require.True(t, utf8.ValidString(q.Value))
	}
	require.NotContains(t, p.FileName(), "/")
	require.NotContains(t, p.FileName(), `\`)
	if p.Envelope != nil {
		checkEnvelope(t, p.Envelope)
	}
	last := p.BodyOffset
	for _, c := range p.Parts {
		require.GreaterOrEqual(t, c.HeaderOffset, last, "parts follow each other")
		last = c.BodyOffset + c.BodySize
		require.LessOrEqual(t, last, end, "a part is inside of the part around it")
		checkPart(t, msg, c)
	}
	if len(p.Parts) == 0 {
		text, err := io.ReadAll(Text(p, p.BodyReader(bytes.NewReader(msg))))
		require.NoError(t, err)
		require.True(t, utf8.Valid(text))
	}
}

func checkEnvelope(t testing.TB, e *Envelope) {
	t.Helper()
	checkStrings(t, e.Date, e.Subject, e.InReplyTo, e.MessageID)
	for _, l := range [][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		checkAddresses(t, l)
	}
}

func checkAddresses(t testing.TB, list []Address) {
	t.Helper()
	open := false
	for _, a := range list {
		checkStrings(t, a.Name, a.RawName, a.Mailbox, a.Host, a.Route, a.String(), a.Addr())
		require.True(t, utf8.ValidString(a.Name))
		switch {
		case a.IsGroupStart():
			require.False(t, open, "groups do not nest")
			open = true
		case a.IsGroupEnd():
			require.True(t, open, "an end has a start")
			open = false
		default:
			require.True(t, a.IsMailbox())
		}
	}
	require.False(t, open, "a start has an end")
}

// checkStrings: nothing that comes out of a message can break a line.
func checkStrings(t testing.TB, list ...string) {
	t.Helper()
	for _, s := range list {
		require.False(t, strings.ContainsAny(s, "\r\n\x00"), "%q", s)
	}
}
