package imap

import "io"

// wrapping takes a message out of the UTF8 item where that has come within the
// literal instead of around it, as Python's imaplib sends it: no message begins
// like that.
type wrapping struct {
	head  []byte // read ahead and not given out; nil before
	inner bool   // the message is wrapped
}

const (
	wrapBegin = "UTF8 ("
	wrapSize  = len(wrapBegin) + len(")")
)

// read reads from a literal of at least wrapSize octets.
func (w *wrapping) read(in *incoming, b []byte) (int, error) {
	if w.head == nil {
		w.head = make([]byte, len(wrapBegin))
		if _, err := io.ReadFull(in.text, w.head); err != nil {
			return 0, err
		}
		if string(w.head) == wrapBegin {
			w.head, w.inner = w.head[:0], true
			in.size -= int64(wrapSize)
		}
	}
	switch left := in.text.r.Left(); {
	case len(w.head) > 0:
		n := copy(b, w.head)
		w.head = w.head[n:]
		return n, nil
	case !w.inner:
		return in.text.Read(b)
	case left > 1:
		return in.text.Read(b[:min(int64(len(b)), left-1)])
	}
	var end [1]byte
	if _, err := io.ReadFull(in.text, end[:]); err != nil {
		return 0, err
	}
	if end[0] != ')' {
		return 0, &refusal{bad("Parenthesis expected")}
	}
	return 0, nil
}
