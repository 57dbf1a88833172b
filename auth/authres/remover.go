package authres

import (
	"bytes"
	"io"
)

// Remover passes a message on without the fields that Remove tells to remove.
// It is an io.WriteCloser; make it with NewRemover. It is not safe for
// concurrent use. It holds at most MaxFieldBytes of the message back, and only
// where an Authentication-Results field may be coming; larger ones are removed.
//
// Lines end in CRLF. Because others may take a bare CR or LF for a line end, a
// field may also begin behind one, but nothing but an empty line between CRLFs
// ends the header: convert a message from a file first.
type Remover struct {
	w   io.Writer
	ids []string
	n   int
	err error

	mode removerMode
	held []byte // in inName and inResults: the field so far
	bol  bool   // the next octet begins a line
	cr   bool   // it does unless it is LF
	end  int    // how much of CRLF CRLF has just been read

	last  byte // what has been passed on ends in this octet
	clean bool // and in CRLF, or is nothing yet
}

type removerMode byte

const (
	inOther   removerMode = iota // in what is passed on
	inName                       // in what may become the name of the field
	inResults                    // in an Authentication-Results field
	inTooLong                    // in one that is too large to be judged
	inBody
)

// NewRemover returns a Remover that writes to w and removes what claims one of
// the ids, the authserv-ids of this server.
func NewRemover(w io.Writer, ids ...string) *Remover {
	// The first line may be the empty one.
	return &Remover{w: w, ids: ids, bol: true, end: 2, clean: true}
}

// Removed is the number of fields removed so far.
func (r *Remover) Removed() int { return r.n }

// Write takes the next piece of the message. The error is w's, also of all
// further calls.
func (r *Remover) Write(p []byte) (int, error) {
	from := 0 // p[from:i] is to be passed on
	for i := 0; i < len(p) && r.mode != inBody; {
		if r.bol || r.cr && p[i] != '\n' {
			was := r.mode
			r.startLine(p[i])
			if was == inOther && r.mode == inName {
				r.pass(p[from:i])
			}
			if was != inOther || r.mode == inName {
				from = i
			}
		}
		n := r.step(p[i:])
		if r.mode != inOther {
			r.hold(p[i : i+n])
			from = i + n
		}
		i += n
		r.follow(p[i-1])
	}
	if r.mode == inOther || r.mode == inBody {
		r.pass(p[from:])
	}
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// Close ends the message, which may end within its header. It does not close w.
func (r *Remover) Close() error {
	r.settle()
	r.mode = inBody
	return r.err
}

// step returns how many octets can be taken at a time: one up to a line end.
func (r *Remover) step(p []byte) int {
	if r.mode == inName {
		return 1
	}
	switch n := bytes.IndexAny(p, "\r\n"); n {
	case -1:
		return len(p)
	case 0:
		return 1
	default:
		return n
	}
}

// startLine decides by its first octet what a line is.
func (r *Remover) startLine(c byte) {
	r.bol, r.cr = false, false
	if c == ' ' || c == '\t' {
		return // folding: whatever was before goes on
	}
	r.settle()
	if lower(c) == 'a' {
		r.mode = inName
	}
}

// settle ends the field that is held, if one is, and passes it on or not.
func (r *Remover) settle() {
	switch r.mode {
	case inTooLong:
		r.drop()
	case inResults:
		if Remove(bytes.TrimRight(r.held, "\r\n"), r.ids...) {
			r.drop()
		} else {
			r.pass(r.held)
		}
	case inName:
		r.pass(r.held)
	}
	r.held, r.mode = r.held[:0], inOther
}

// drop leaves out a field. Where that would take the CRLF away from a line that
// only has half of one, the CRLF stays, as folding.
func (r *Remover) drop() {
	r.n++
	if !r.clean && r.end == 2 {
		r.pass([]byte(" \r\n"))
	}
}

// hold takes the next octets of a field that may have to be removed.
func (r *Remover) hold(p []byte) {
	switch at := len(r.held); {
	case r.mode == inTooLong:
		return
	case r.mode == inResults:
	case at < len(FieldName):
		if lower(p[0]) != lower(FieldName[at]) {
			r.mode = inOther
		}
	case p[0] == ':':
		r.mode = inResults
	case p[0] != ' ' && p[0] != '\t' && p[0] != '\r' && p[0] != '\n': // as for Remove
		r.mode = inOther
	}
	r.held = append(r.held, p...)
	if r.mode == inOther {
		r.pass(r.held)
		r.held = r.held[:0]
	} else if len(r.held) > MaxFieldBytes {
		r.held, r.mode = r.held[:0], inTooLong
	}
}

// follow keeps track of line ends.
func (r *Remover) follow(c byte) {
	switch c {
	case '\r':
		r.cr = true
		if r.end != 2 {
			r.end = 0
		}
		r.end++
	case '\n':
		r.bol, r.cr = true, false
		if r.end++; r.end == 4 {
			r.mode = inBody
		} else if r.end != 2 {
			r.end = 0
		}
	default:
		r.end = 0
	}
}

func (r *Remover) pass(p []byte) {
	n := len(p)
	if r.err != nil || n == 0 {
		return
	}
	before := r.last
	if n > 1 {
		before = p[n-2]
	}
	r.last = p[n-1]
	r.clean = before == '\r' && r.last == '\n'
	_, r.err = r.w.Write(p)
}
