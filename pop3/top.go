package pop3

// top sends the header, the empty line and some lines of the body (RFC 1939
// §7).
func (c *session) top(args string) {
	msg, lines, ok := parseTop(args)
	if !ok {
		c.refuse(refusal{codeNone, "Give a message and a number of lines"})
		return
	}
	if _, row, ok := c.message(msg); ok {
		c.send(row, &topCut{left: lines})
	}
}

// topCut finds where TOP ends in a message that comes in pieces. A line ends
// where wire.DotWriter ends one: at CRLF, bare CR or bare LF.
type topCut struct {
	left int64 // lines of the body to come
	body bool  // the empty line has been seen
	text bool  // the current line has octets
	cr   bool  // the octet before was CR: LF belongs to it
	done bool
}

// take returns how many octets of b are still sent, and sets done at the end.
func (t *topCut) take(b []byte) int {
	for i, c := range b {
		switch {
		case c == '\n' && t.cr:
			t.cr = false
			continue
		case c != '\r' && c != '\n':
			t.text, t.cr = true, false
			continue
		}
		t.cr = c == '\r'
		if t.body {
			t.left--
		} else {
			t.body = !t.text
		}
		t.text = false
		if t.body && t.left <= 0 {
			t.done = true
			return i + 1
		}
	}
	return len(b)
}
