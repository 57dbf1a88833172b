package smtp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/wire"
)

// bdat receives a message in chunks (RFC 3030 §2). Session.Data is called for
// the first one and reads through all that follow: its reader takes the BDAT
// commands from the wire itself. A chunk is a number of octets and never
// lines; whatever becomes of it, exactly its octets are taken.
func (c *session) bdat(args string) {
	size, last, ok := parseChunk(args)
	if !ok {
		// Where the chunk ends and commands begin is not known.
		c.linger = true
		c.bye(Reply{501, EnhancedCode{5, 5, 4}, "Malformed BDAT"}, ErrViolation)
		return
	}
	if c.rcpts == 0 || !c.conn.isExtended() {
		if c.swallow(c.r.Exactly(size)) {
			c.refuse(503, EnhancedCode{5, 5, 1}, "No valid recipients")
		}
		return
	}
	c.waited, c.bodyBytes = 0, 0
	began := c.transferBegins()
	body := &chunkReader{c: c, chunk: c.r.Exactly(size), last: last, left: c.maxMessage, binary: c.binary, lines: lineChecker{max: c.maxLine}}
	c.nc.BeginCall()
	result, err := c.handler.Data(c.ctx, body)
	c.nc.EndCall()
	c.finishChunks(body, began, result, err)
}

// parseChunk parses the arguments of BDAT.
func parseChunk(args string) (size int64, last, ok bool) {
	number, rest, _ := strings.Cut(strings.Trim(args, " "), " ")
	size, err := strconv.ParseInt(number, 10, 64)
	if err != nil || number[0] < '0' || number[0] > '9' {
		return 0, false, false
	}
	rest = strings.TrimLeft(rest, " ")
	last = strings.EqualFold(rest, "LAST")
	return size, last, last || rest == ""
}

// swallow takes the rest of a chunk off the wire, and ends the session if that
// is too much or fails.
func (c *session) swallow(chunk *wire.Counted) bool {
	if chunk.Left() > c.drainLimit() {
		c.linger = true
		c.bye(Reply{552, EnhancedCode{5, 3, 4}, "Chunk too big"}, wire.ErrTooBig)
		return false
	}
	c.waiting, c.waited, c.bodyBytes = waitBody, 0, 0
	if err := chunk.Drain(); err != nil {
		c.readFailed(err)
		return false
	}
	return true
}

// finishChunks answers what Data has not: the last chunk, or the one that
// failed.
func (c *session) finishChunks(b *chunkReader, began time.Time, result Result, err error) {
	if err == nil && !b.atEnd() { // what the Session has not read is discarded
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, b, make([]byte, 2048))
	}
	b.mu.Lock()
	b.closed = true
	failed, pending, last := b.err, b.pending, b.last
	b.mu.Unlock()
	c.transferred(Transfer{Octets: b.n, Chunked: true, Result: result}, began, failed, err)
	switch {
	case failed == errChunksEnded: // by a command that comes instead of BDAT
		c.reset()
		c.pending = pending
		return
	case b.noCommand:
		c.reset()
		c.readFailed(failed)
		return
	case c.over: // the session has ended within Data
	case failed == nil && err == nil:
		c.accepted(result)
	case failed == nil:
		if c.swallow(b.chunk) {
			c.answerChunk(Reply(*c.asError(err)), last)
		}
	default:
		f := bodyFailure(failed)
		if f.reply.Code == 0 {
			c.over, c.why = true, failed // the client is gone
		} else if f.reply.Code == 421 || c.swallow(b.chunk) {
			c.answerChunk(f.reply, last)
			if f.close {
				c.over, c.linger, c.why = true, f.reply.Code != 421, failed
			}
		}
	}
	c.reset()
}

// answerChunk refuses a chunk. In LMTP the last one has a reply for each
// recipient (RFC 2033 §4.3).
func (c *session) answerChunk(r Reply, last bool) {
	if last {
		c.answer(r)
		return
	}
	c.sendError((*Error)(&r))
}

// errChunksEnded: the client has given the message up by another command.
var errChunksEnded = errors.New("smtp: message given up by the client")

// chunkReader is what a Session reads a message from that comes in chunks.
type chunkReader struct {
	c *session

	mu      sync.Mutex
	chunk   *wire.Counted // what is left of the chunk at hand
	last    bool          // it is the last
	left    int64         // octets that the message may still have
	n       int64         // octets read of it
	binary  bool          // lines are not looked at
	lines   lineChecker
	tail    string // of the line end that the message's last line lacks
	ended   bool
	closed  bool
	err     error  // the first error but io.EOF
	pending string // the command that ended the chunks
	// noCommand: err is of the wait for a command, not of a chunk.
	noCommand bool
}

func (b *chunkReader) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errBodyClosed
	}
	for len(p) > 0 {
		if b.err != nil {
			if f := bodyFailure(b.err); f.reply.Code != 0 {
				return 0, (*Error)(&f.reply)
			}
			return 0, b.err
		}
		switch {
		case b.chunk.Left() > 0:
			if n := b.readChunk(p); n > 0 {
				b.n += int64(n)
				return n, nil
			}
		case !b.last:
			b.nextChunk()
		case b.ended && b.tail == "":
			return 0, io.EOF
		case b.ended:
			n := copy(p, b.tail)
			b.n += int64(n)
			b.tail = b.tail[n:]
			return n, nil
		default:
			b.end()
		}
	}
	return 0, nil
}

// atEnd reports whether all has been read.
func (b *chunkReader) atEnd() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err == nil && b.last && b.ended && b.tail == ""
}

// readChunk reads on within the chunk.
func (b *chunkReader) readChunk(p []byte) int {
	if b.left == 0 {
		b.err = wire.ErrTooBig
		return 0
	}
	c := b.c
	c.waiting = waitBody
	n, err := b.chunk.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == nil && !b.binary {
		err = b.lines.write(p[:n])
	}
	if err != nil {
		b.err = err
		return 0
	}
	return n
}

// end is the end of the message: its last line gets its CRLF if it has none,
// so that a message looks the same by BDAT as by DATA.
func (b *chunkReader) end() {
	switch {
	case b.lines.cr:
		b.err = wire.ErrBareCR
	case b.lines.n > 0:
		b.tail = "\r\n"
	}
	b.ended = true
}

// nextChunk acknowledges the chunk that is through, and reads commands until
// the next one begins or the transaction is ended.
func (b *chunkReader) nextChunk() {
	c := b.c
	c.reply(250, EnhancedCode{2, 0, 0}, "Chunk received")
	for {
		c.waiting, c.began, c.verb = waitCommand, time.Time{}, ""
		line, err := c.r.ReadLine(maxCommandLine)
		if err != nil {
			b.err, b.noCommand = err, true
			if err == io.EOF {
				b.err = io.ErrUnexpectedEOF
			}
			return
		}
		verb, args, _ := strings.Cut(string(line), " ")
		switch verb = strings.ToUpper(verb); verb {
		case "BDAT":
			c.traceCommand(verb, args)
			size, last, ok := parseChunk(args)
			if !ok {
				c.linger = true
				c.bye(Reply{501, EnhancedCode{5, 5, 4}, "Malformed BDAT"}, ErrViolation)
				b.err = io.ErrUnexpectedEOF
				return
			}
			b.chunk, b.last = c.r.Exactly(size), last
			return
		case "RSET", "QUIT", "EHLO", "LHLO", "HELO":
			b.pending, b.err = string(line), errChunksEnded
			return
		case "NOOP":
			c.traceCommand(verb, args)
			if !c.idled() {
				c.noop(args)
			}
		default: // RFC 3030 §2: nothing but BDAT and RSET
			c.traceCommand(verb, args)
			c.refuse(503, EnhancedCode{5, 5, 1}, "Send BDAT or RSET")
		}
		if c.over {
			b.err = io.ErrUnexpectedEOF
			return
		}
	}
}

// lineChecker finds bare CR and LF and long lines in octets that come in any
// pieces, and finds the same however they are cut.
type lineChecker struct {
	max int
	n   int  // octets of the line so far
	cr  bool // the last octet was CR
}

func (l *lineChecker) write(p []byte) error {
	for len(p) > 0 {
		if l.cr {
			if p[0] != '\n' {
				return wire.ErrBareCR
			}
			if l.n >= l.max {
				return wire.ErrLineTooLong
			}
			l.n, l.cr, p = 0, false, p[1:]
			continue
		}
		line, rest := p, []byte(nil)
		lf := bytes.IndexByte(p, '\n')
		if lf >= 0 {
			line, rest = p[:lf], p[lf:]
		}
		room := min(len(line), l.max-l.n)
		switch cr := bytes.IndexByte(line[:room], '\r'); {
		case cr >= 0 && cr < len(line)-1:
			return wire.ErrBareCR
		case cr >= 0:
			l.cr = true
		case room < len(line):
			return wire.ErrLineTooLong
		case lf >= 0:
			return wire.ErrBareLF
		}
		l.n += len(line)
		p = rest
	}
	return nil
}
