package smtp

import (
	"io"
	"strconv"
	"sync"
	"unicode/utf8"
)

// Sizes of what is written in reply.
const (
	outputSize   = 4096 // replies are written out at the latest when so much waits
	maxReplyLine = 512  // with CRLF (RFC 5321 §4.5.3.1.5)
	maxReplyText = 8192 // of one reply
)

// output collects replies until the client has nothing more to say: one write
// for a group of pipelined commands (RFC 2920 §3.2).
type output struct {
	w      io.Writer
	buf    []byte
	pooled *[]byte // what buf is of; nil: nothing waits
	err    error
}

// outputPool keeps the buffers of those who have nothing to say.
var outputPool = sync.Pool{New: func() any { b := make([]byte, 0, outputSize+maxReplyLine); return &b }}

// begin makes room for a reply.
func (o *output) begin() {
	if o.pooled == nil {
		o.pooled = outputPool.Get().(*[]byte)
		o.buf = (*o.pooled)[:0]
	}
}

func (o *output) flush() error {
	if o.err == nil && len(o.buf) > 0 {
		_, o.err = o.w.Write(o.buf)
	}
	if o.pooled != nil {
		if cap(o.buf) <= 4*outputSize {
			*o.pooled = o.buf[:0]
		}
		outputPool.Put(o.pooled)
		o.buf, o.pooled = nil, nil
	}
	return o.err
}

// line adds one line as it is.
func (o *output) line(s string) {
	o.begin()
	o.buf = append(append(o.buf, s...), "\r\n"...)
	o.spill()
}

func (o *output) spill() {
	if len(o.buf) >= outputSize {
		_ = o.flush()
	}
}

// reply adds a reply: every line with both codes (RFC 2034 §4), none longer
// than 512 octets, nothing in it that could be taken for another line.
// Characters beyond ASCII stay if utf8ok (RFC 6531 §3.7.4.2).
func (o *output) reply(r Reply, utf8ok bool) {
	o.begin()
	text := r.Text
	if len(text) > maxReplyText {
		text = text[:maxReplyText]
	}
	for {
		line, rest, more := cutReplyLine(text)
		o.buf = strconv.AppendInt(o.buf, int64(r.Code), 10)
		if more {
			o.buf = append(o.buf, '-')
		} else {
			o.buf = append(o.buf, ' ')
		}
		if r.Enhanced != (EnhancedCode{}) {
			for i, n := range r.Enhanced {
				o.buf = strconv.AppendInt(o.buf, int64(n), 10)
				o.buf = append(o.buf, ".. "[i])
			}
		}
		o.buf = appendReplyText(o.buf, line, utf8ok)
		o.buf = append(o.buf, "\r\n"...)
		if !more {
			break
		}
		text = rest
	}
	o.spill()
}

// cutReplyLine takes the first line off a text, or as much as fits one.
func cutReplyLine(s string) (line, rest string, more bool) {
	const room = maxReplyLine - len("250-2.999.999 \r\n")
	end, next := len(s), len(s)
	for i := range min(len(s), room) {
		if s[i] == '\n' {
			end, next = i, i+1
			break
		}
	}
	if end > room {
		end = room
		for end > room/2 && s[end] != ' ' {
			end--
		}
		if s[end] != ' ' {
			end = room
			for end > room-utf8.UTFMax && !utf8.RuneStart(s[end]) {
				end--
			}
			return s[:end], s[end:], true
		}
		next = end + 1
	}
	if end > 0 && s[end-1] == '\r' {
		return s[:end-1], s[next:], next < len(s)
	}
	return s[:end], s[next:], next < len(s)
}

// appendReplyText replaces what must not appear in a reply.
func appendReplyText(b []byte, s string, utf8ok bool) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				c = ' '
			}
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if utf8ok && r != utf8.RuneError {
			b = append(b, s[i:i+n]...)
		} else {
			b = append(b, '?')
		}
		i += n
	}
	return b
}

// sound is r with both codes valid and of the same class (RFC 2034 §4), and
// some text.
func (r Reply) sound() Reply {
	if r.Code < 200 || r.Code > 599 || r.Code/100 == 3 {
		r = Reply(*AsError(nil))
	}
	class := r.Code / 100
	e := &r.Enhanced
	e[0] = class
	e[1], e[2] = min(max(e[1], 0), 999), min(max(e[2], 0), 999)
	if r.Text == "" {
		r.Text = "OK"
		if class != 2 {
			r.Text = "Refused"
		}
	}
	return r
}
