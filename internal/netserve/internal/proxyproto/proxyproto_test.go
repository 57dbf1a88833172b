package proxyproto

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func v2(cmd, fam byte, body string) string {
	return signV2 + string([]byte{cmd, fam, byte(len(body) >> 8), byte(len(body))}) + body
}

const ends4 = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x30\x39\x00\x19"

var ends6 = strings.Repeat("\x00", 15) + "\x01" + strings.Repeat("\x00", 15) + "\x02" + "\x00\x01\x00\x02"

func withCRC(h string, off uint32) string {
	b := []byte(h)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) + off
	binary.BigEndian.PutUint32(b[len(b)-4:], sum)
	return string(b)
}

var (
	a4 = Header{Source: netip.MustParseAddrPort("192.0.2.1:12345"), Dest: netip.MustParseAddrPort("198.51.100.2:25")}
	a6 = Header{Source: netip.MustParseAddrPort("[::1]:1"), Dest: netip.MustParseAddrPort("[::2]:2")}
)

// good headers and what they mean.
var good = map[string]Header{
	"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n":          a4,
	"PROXY TCP6 ::1 ::2 1 2\r\n":                              a6,
	"PROXY UNKNOWN\r\n":                                       {},
	"PROXY UNKNOWN whatever it may be\r\n":                    {},
	"PROXY UNKNOWN " + strings.Repeat("x", MaxV1-16) + "\r\n": {},
	v2(0x20, 0, ""):                                           {Local: true},
	v2(0x20, 0x11, ends4):                                     {Local: true},
	v2(0x20, 0xff, "\x01"):                                    {Local: true},
	v2(0x21, 0x11, ends4):                                     a4,
	v2(0x21, 0x21, ends6):                                     a6,
	v2(0x21, 0x12, ends4):                                     {}, // UDP
	v2(0x21, 0x10, ends4):                                     {},
	v2(0x21, 0x31, strings.Repeat("\x00", 216)):               {}, // a socket on disk
	v2(0x21, 0, ""):                                           {},
	v2(0x21, 0x11, ends4+"\x04\x00\x01x\xe0\x00\x00"):         a4,
	v2(0x21, 0x11, ends4+"\x04"+"\x0f\xf1"+strings.Repeat("x", MaxV2-15)): a4,
	withCRC(v2(0x21, 0x11, ends4+"\x03\x00\x04\x00\x00\x00\x00"), 0):      a4,
}

var bad = []string{
	"",
	"P",
	"EHLO x\r\n",
	"PROXX TCP4 ",
	"proxy unknown\r\n",
	"PROXY  TCP4 192.0.2.1 198.51.100.2 12345 25\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25",
	"PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2 12345 25 \r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2 -1 25\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2 012 25\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2 +1 25\r\n",
	"PROXY TCP4 ::1 ::2 1 2\r\n",
	"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
	"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
	"PROXY TCP4 192.0.2.1 198.51.100.2  25\r\n",
	"PROXY UDP4 192.0.2.1 198.51.100.2 1 25\r\n",
	"PROXY UNKNOWN \nEHLO x\r\n",
	"PROXY UNKNOWN " + strings.Repeat("x", MaxV1-15) + "\r\n",
	"PROXY UNKNOWN " + strings.Repeat("x", MaxV1-14) + "\r\n",
	signV2,
	signV2 + "\x21\x11\x00",
	v2(0x11, 0x11, ends4),
	v2(0x22, 0x11, ends4),
	v2(0x21, 0x41, ends4),
	v2(0x21, 0x13, ends4),
	v2(0x21, 0x11, ends4[:11]),
	v2(0x21, 0x21, ends4),
	v2(0x21, 0x31, ends4),
	v2(0x21, 0x11, ends4)[:20],
	v2(0x21, 0x11, ends4+"\x04\x00"),
	v2(0x21, 0x11, ends4+"\x04\x00\x02x"),
	v2(0x21, 0x11, ends4+"\x03\x00\x01x"),
	v2(0x21, 0x11, ends4+strings.Repeat("\x04\x00\x00", MaxV2)),
	withCRC(v2(0x21, 0x11, ends4+"\x03\x00\x04\x00\x00\x00\x00"), 1),
}

// Each header is read however it comes, and nothing that follows it.
func TestRead(t *testing.T) {
	for in, want := range good {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": same, "octets": iotest.OneByteReader, "EOF with data": iotest.DataErrReader} {
			r := strings.NewReader(in + "EHLO")
			h, err := Read(wrap(r))
			require.NoError(t, err, "%q %s", in, name)
			require.Equal(t, want, h, "%q %s", in, name)
			if name == "whole" {
				require.Equal(t, 4, r.Len(), "%q", in)
			}
			_, err = Read(wrap(strings.NewReader(in)))
			require.NoError(t, err, "%q %s", in, name)
		}
	}
	for _, in := range bad {
		_, err := Read(strings.NewReader(in))
		require.ErrorIs(t, err, ErrMalformed, "%q", in)
		_, err = Read(iotest.OneByteReader(strings.NewReader(in)))
		require.ErrorIs(t, err, ErrMalformed, "%q", in)
	}
}

func same(r io.Reader) io.Reader { return r }

// What the stream's own trouble is stays visible.
func TestReadError(t *testing.T) {
	boom := errors.New("boom")
	for _, in := range []string{"", "PROXY UNKNOWN x", signV2, signV2 + "\x21\x11\x00\x0cxx"} {
		_, err := Read(io.MultiReader(strings.NewReader(in), iotest.ErrReader(boom)))
		require.ErrorIs(t, err, boom, "%q", in)
	}
}

// FuzzRead: one read or one octet at a time give the same, no more is taken
// than the bounds allow, and a header means one thing.
func FuzzRead(f *testing.F) {
	for in := range good {
		f.Add([]byte(in))
	}
	for _, in := range bad {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := strings.NewReader(string(in))
		h, err := Read(r)
		h2, err2 := Read(iotest.OneByteReader(strings.NewReader(string(in))))
		require.Equal(t, err == nil, err2 == nil)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.Equal(t, h, h2)
		require.LessOrEqual(t, len(in)-r.Len(), 16+MaxV2)
		require.Equal(t, h.Source.IsValid(), h.Dest.IsValid())
		require.False(t, h.Local && h.Source.IsValid())
	})
}
