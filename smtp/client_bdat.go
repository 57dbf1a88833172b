package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/posta-mail/posta/internal/wire"
)

// How messages go by BDAT (RFC 3030).
const (
	smallMessage = 64 << 10  // octets: up to here a message goes with the commands
	smallGroup   = 50        // recipients: few enough for their replies to fit the network
	largeMessage = 1 << 20   // octets: from here on text goes in chunks
	chunkSize    = 128 << 10 // octets
	chunkWindow  = 16        // chunks on their way before a reply is waited for
	chunkKept    = 16 << 10  // octets of the buffer that an idle Client keeps
)

// choose decides between DATA and BDAT, and reads a message that goes out with
// the commands. A body that is longer than it said goes by DATA.
func (t *transaction) choose(src *bodySource, size int64) error {
	c := t.c
	binary := t.env.Body == BodyBinary
	_, chunking := c.ext["CHUNKING"]
	_, pipelining := c.ext["PIPELINING"]
	if !chunking || (c.cfg.NoChunking && !binary) {
		return nil
	}
	t.chunked = binary || size >= largeMessage
	// In LMTP the replies to a message that nobody gets cannot be counted
	// (RFC 2033 §4.3).
	if !pipelining || c.unsure || c.cfg.LMTP || size <= 0 || size > smallMessage || len(t.env.To) > smallGroup {
		return nil
	}
	buf := c.chunkBuf
	if int64(cap(buf)) <= size { // one more octet, to see the end
		buf = make([]byte, size+512)
	}
	n, err := io.ReadFull(src, buf[:cap(buf)])
	if cap(buf) <= chunkKept {
		c.chunkBuf = buf
	}
	switch {
	case src.err != nil: // nothing has been sent
		return &CommandError{"message", fmt.Errorf("reading the message: %w", src.err)}
	case err == nil:
		c.chunkBuf = nil
		src.r = io.MultiReader(bytes.NewReader(buf[:n]), src.r)
		return nil
	}
	t.chunk = buf[:n:n]
	if !binary {
		t.chunk = normalized(t.chunk)
	}
	return nil
}

// normalized is text with CRLF for all line ends and at its end, as DATA has
// it. Text that is so already is not copied.
func normalized(text []byte) []byte {
	check := lineChecker{max: len(text)}
	if check.write(text) == nil && check.n == 0 && !check.cr {
		return text
	}
	var b bytes.Buffer
	b.Grow(len(text) + len(text)/32 + len(crlf))
	w := wire.NewLineWriter(&b)
	_, _ = w.Write(text) // a Buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

const crlf = "\r\n"

// chunks sends the message in chunks and reads the answers. After one that is
// refused, RSET comes before the next message (RFC 3030 §2). Octets of a body
// that cannot be read to its end are taken back in the same way: the chunk with
// LAST never leaves.
func (t *transaction) chunks(src *bodySource) error {
	c := t.c
	window := 1
	if _, ok := c.ext["PIPELINING"]; ok {
		window = chunkWindow
	}
	in := newChunkSource(src, t.env.Body == BodyBinary)
	waiting := 0
	for {
		chunk, last, err := in.next()
		if err != nil {
			refused := t.acknowledged(waiting)
			if err = fmt.Errorf("reading the message: %w", err); refused != nil && !c.Alive() {
				return refused
			}
			return &CommandError{"message", err}
		}
		if err := t.sendChunk(chunk, last); err != nil {
			return err
		}
		if last {
			return t.lastChunk(waiting)
		}
		for waiting++; waiting >= window || (waiting > 0 && c.answered()); waiting-- {
			if err := t.acknowledged(1); err != nil {
				_ = t.acknowledged(waiting - 1) // those behind it have replies too
				return err
			}
		}
	}
}

// answered reports whether a reply has come already, as far as that can be told
// without waiting.
func (c *Client) answered() bool { return c.r.Buffered() > 0 || inputWaits(c.conn.Conn) }

func (t *transaction) sendChunk(chunk []byte, last bool) error {
	c := t.c
	args := strconv.Itoa(len(chunk))
	if last {
		args += " LAST"
	}
	c.conn.within(c.cfg.Timeouts.Block)
	if err := c.write("BDAT", args); err != nil {
		return err
	}
	for len(chunk) > 0 { // each block has its time (RFC 5321 §4.5.3.2.5)
		n := min(len(chunk), clientBuffer)
		c.conn.within(c.cfg.Timeouts.Block)
		if _, err := c.w.Write(chunk[:n]); err != nil {
			return c.lastWords("message", err)
		}
		chunk = chunk[n:]
	}
	if err := c.w.Flush(); err != nil {
		return c.lastWords("message", err)
	}
	return nil
}

// acknowledged reads the replies to n chunks that were not the last. The first
// error is the one that counts.
func (t *transaction) acknowledged(n int) (first error) {
	for range n {
		r, err := t.c.readReply("message", t.c.cfg.Timeouts.Command)
		if err == nil && r.Code/100 != 2 {
			err = t.c.unexpected("message", r)
		}
		if first == nil {
			first = err
		}
		if !t.c.Alive() {
			break
		}
	}
	return first
}

// lastChunk reads what remains to be answered.
func (t *transaction) lastChunk(waiting int) error {
	c := t.c
	refused := t.acknowledged(waiting)
	switch {
	case refused == nil:
		err := t.answer()
		c.open = err != nil || c.cfg.LMTP // RSET does no harm
		return err
	case !c.Alive():
		if e := (*Error)(nil); !errors.As(refused, &e) {
			refused = unknownOutcome(refused)
		}
		return refused
	case c.cfg.LMTP: // one reply or one for each recipient?
		return c.fail("message", refused)
	}
	_ = t.acknowledged(1)
	return refused
}

// chunkSource cuts a message into chunks.
type chunkSource struct {
	src   *bodySource
	buf   []byte
	out   bytes.Buffer
	lines *wire.LineWriter // nil: octets as they are
}

func newChunkSource(src *bodySource, binary bool) *chunkSource {
	s := &chunkSource{src: src}
	if binary {
		s.buf = make([]byte, chunkSize)
		return s
	}
	s.buf = make([]byte, clientBuffer)
	s.out.Grow(chunkSize + 2*clientBuffer)
	s.lines = wire.NewLineWriter(&s.out)
	return s
}

// next is the next chunk, good until the one after it.
func (s *chunkSource) next() (chunk []byte, last bool, err error) {
	if s.lines == nil {
		n, err := io.ReadFull(s.src, s.buf)
		return s.buf[:n], err != nil, s.src.err
	}
	s.out.Reset()
	for s.out.Len() < chunkSize {
		n, err := s.src.Read(s.buf)
		_, _ = s.lines.Write(s.buf[:n])
		switch {
		case s.src.err != nil:
			return nil, false, s.src.err
		case err != nil:
			_ = s.lines.Close()
			return s.out.Bytes(), true, nil
		}
	}
	return s.out.Bytes(), false, nil
}
