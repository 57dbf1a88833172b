package message

import (
	"encoding"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	_ encoding.BinaryAppender    = (*Outline)(nil)
	_ encoding.BinaryUnmarshaler = (*Outline)(nil)
)

// The stored form outlives the program: this file was written by version 1 and
// must always be readable, and version 1 must always be written the same.
func TestStoredForm(t *testing.T) {
	for _, name := range []string{"02-attachment", "03-messages", "15-octets", "19-encoded-names"} {
		msg, err := os.ReadFile("testdata/" + name + ".eml")
		require.NoError(t, err)
		o := ParseBytes(msg, nil)
		got, err := o.AppendBinary(nil)
		require.NoError(t, err)
		file := "testdata/" + name + ".v1"
		if *update {
			require.NoError(t, os.WriteFile(file, got, 0o644))
		}
		stored, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, stored, got)
		var back Outline
		require.NoError(t, back.UnmarshalBinary(stored))
		assert.Equal(t, o, &back)
	}
}

func TestStoredFormIsCut(t *testing.T) {
	msg, err := os.ReadFile("testdata/03-messages.eml")
	require.NoError(t, err)
	stored, err := ParseBytes(msg, nil).AppendBinary(nil)
	require.NoError(t, err)
	var o Outline
	for i := range stored {
		require.ErrorIs(t, o.UnmarshalBinary(stored[:i]), ErrOutline, i)
	}
	require.ErrorIs(t, o.UnmarshalBinary(append(stored, 0)), ErrOutline)
	require.NoError(t, o.UnmarshalBinary(stored))
	for i := range stored { // any octet changed: an error or a sound outline
		for _, c := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			b := append([]byte(nil), stored...)
			b[i] = c
			if o.UnmarshalBinary(b) == nil {
				require.NoError(t, o.valid())
			}
			_, _ = UnmarshalEnvelope(b)
		}
	}
	_, err = UnmarshalEnvelope([]byte{9})
	require.ErrorIs(t, err, ErrOutline)
}

// A few octets cannot ask for much memory.
func TestStoredFormBombs(t *testing.T) {
	huge := binary.AppendUvarint(nil, 1<<40)
	for name, b := range map[string][]byte{
		"addresses": append([]byte{1, 0}, huge...),
		"string":    append([]byte{1, ebDate}, huge...),
		"varint":    []byte("\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
	} {
		var o Outline
		require.ErrorIs(t, o.UnmarshalBinary(b), ErrOutline, name)
	}
	// Multiparts inside each other, each claiming as many parts as there are octets.
	head := []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b := head
	for range 20000 {
		b = append(b, 4, 1)
		b = binary.AppendUvarint(b, pbParts)
		b = append(b, 0, 0, 0, 0, 0)
		b = binary.AppendUvarint(b, 2000)
	}
	var o Outline
	n := testing.AllocsPerRun(1, func() {
		require.ErrorIs(t, o.UnmarshalBinary(b), ErrOutline)
	})
	assert.Less(t, n, 1000.0)
}

func TestAppendBinaryRefuses(t *testing.T) {
	leaf := func() *Part { return &Part{Type: "text", Subtype: "plain", Encoding: "7bit"} }
	for name, o := range map[string]*Outline{
		"no root":             {},
		"negative size":       {Size: -1, Root: leaf()},
		"header outside":      {Size: 1, Header: Span{0, 2}, Root: leaf()},
		"part outside":        {Size: 1, Root: &Part{BodySize: 2}},
		"empty multipart":     {Root: &Part{Type: "multipart"}},
		"leaf with parts":     {Root: &Part{Type: "text", Parts: []*Part{leaf()}}},
		"message with two":    {Root: &Part{Type: "message", Envelope: new(Envelope), Parts: []*Part{leaf(), leaf()}}},
		"message, no root":    {Root: &Part{Type: "message", Envelope: new(Envelope)}},
		"multipart, envelope": {Root: &Part{Type: "multipart", Envelope: new(Envelope), Parts: []*Part{leaf()}}},
		"nil part":            {Root: &Part{Type: "multipart", Parts: []*Part{nil}}},
	} {
		b, err := o.AppendBinary([]byte("x"))
		require.ErrorIs(t, err, ErrOutline, name)
		assert.Equal(t, "x", string(b), name)
	}
}

// An outline made by hand, with what Parse does not make.
func TestCodecByHand(t *testing.T) {
	o := &Outline{Size: 10, Root: &Part{Type: "x-odd", Subtype: "type", Encoding: "x-enc", BodyOffset: 3, BodySize: 4},
		Envelope: Envelope{From: []Address{{Name: "decoded elsewhere", RawName: "raw", Mailbox: "m", Host: "h", Route: "@r"}, {Name: "only", Mailbox: "m", Host: "h"}}},
		Defects:  []Defect{{TooDeep, 5, strings.Repeat("d", 60)}}}
	b, err := o.AppendBinary(nil)
	require.NoError(t, err)
	var back Outline
	require.NoError(t, back.UnmarshalBinary(b))
	assert.Equal(t, o, &back)
}
