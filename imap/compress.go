package imap

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"sync"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/internal/inflate"
	"github.com/posta-mail/posta/internal/netserve"
)

// errBomb: what the client sends stands for far more than it is.
var errBomb = errors.New("imap: compressed input expands too much")

// bombSlack is how many octets may come of any input; only beyond them the ratio
// counts.
const bombSlack = 1 << 20

// compress is COMPRESS (RFC 4978 §3).
func (s *session) compress(p *wire.Parser) reply {
	mechanism := p.Compress()
	if p.End() != nil {
		return syntax(p)
	}
	switch {
	case mechanism != "DEFLATE":
		return no("CANNOT", "Mechanism not available")
	case s.zip != nil:
		return no("COMPRESSIONACTIVE", "DEFLATE is active already")
	}
	// The answer is the last that is not compressed, and all that the client has
	// sent behind the command is.
	s.out.begin()
	s.out.b = ok("DEFLATE active").append(s.out.b, s.tag)
	if s.out.flush() != nil {
		return gone
	}
	ahead := make([]byte, s.in.Buffered())
	if _, err := io.ReadFull(s.in, ahead); err != nil {
		s.readFailed(err)
		return gone
	}
	s.zip = &compression{conn: s.conn, ratio: s.srv.lim.inflate,
		in: inflate.NewReader(io.MultiReader(bytes.NewReader(ahead), s.conn))}
	s.out.zip = s.zip
	s.in.Reset(source{s})
	return gone
}

// compression is the layer of DEFLATE (RFC 1951) on a connection.
type compression struct {
	conn     *netserve.Conn
	in       *inflate.Reader
	ratio    int64 // of what comes out to what comes in
	literals int64 // octets that were announced, and may be as they are
}

// Read implements io.Reader. Nothing that has come is held back.
func (z *compression) Read(p []byte) (int, error) {
	n, err := z.in.Read(p)
	if z.ratio > 0 && z.in.Out()-z.literals > bombSlack+z.ratio*z.in.In() {
		return 0, errBomb
	}
	return n, err
}

// deflaters are lent for one write each, so that a connection that has nothing to
// say holds none: they are large. A new one begins where another ended, at the
// boundary of an octet between blocks.
var deflaters = sync.Pool{New: func() any {
	d := &deflater{}
	var err error
	if d.w, err = flate.NewWriter(&d.b, flate.BestSpeed); err != nil {
		panic(err) // the level is one of the package's
	}
	return d
}}

// deflater collects what its writer gives, which comes in small pieces.
type deflater struct {
	w *flate.Writer
	b bytes.Buffer
}

// storedMax is up to which size octets are sent as they are: without a history
// there is little to gain.
const storedMax = 128

// Write implements io.Writer. The client can read everything that was written.
func (z *compression) Write(p []byte) (int, error) {
	if len(p) <= storedMax {
		var b [5 + storedMax + 5]byte // RFC 1951 §3.2.4
		n := len(p)
		block := append(append(b[:0], 0, byte(n), 0, ^byte(n), 0xff), p...)
		// An empty block tells decoders that hold back to give it out.
		_, err := z.conn.Write(append(block, 0, 0, 0, 0xff, 0xff))
		return n, err
	}
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.b.Reset()
	d.w.Reset(&d.b)
	_, _ = d.w.Write(p) // into memory
	_ = d.w.Flush()
	if _, err := z.conn.Write(d.b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}
