package mta

import (
	"io"

	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

// freeHeader is how many octets of each header take nothing from the shared
// memory, so that ordinary mail comes in when that has been used up.
const freeHeader = 8 << 10

// headerShare is how many octets are kept for each octet of a header: as
// received, in buffers that grow, for DKIM, and as it is passed on.
const headerShare = 4

// headerStep is how many octets of a header are accounted for at a time.
const headerStep = 4096

var errHeaderMemory = smtp.Errorf(452, smtp.EnhancedCode{4, 3, 1}, "Out of memory, try again later")

// headerReader takes what the header of a message needs from the memory that
// the headers of all connections share. The body passes.
type headerReader struct {
	r          io.Reader
	budget     *wire.Budget
	read, held int // octets
	done       bool
}

// readHeader reads a header from r; also is shown all that is read from r, by
// rest too. release is to be called when header and copies are not needed any
// more, whatever err is.
func (a *Agent) readHeader(r io.Reader, also io.Writer) (h *message.Header, rest io.Reader, release func(), err error) {
	a.setup()
	hr := &headerReader{r: r, budget: a.headers}
	r = hr
	if also != nil {
		r = io.TeeReader(hr, also)
	}
	h, rest, err = message.ReadHeader(r, nil)
	hr.done = true
	return h, rest, func() { hr.budget.Release(hr.held) }, err
}

func (h *headerReader) Read(p []byte) (int, error) {
	if !h.done {
		p = p[:min(len(p), headerStep)]
		if need := (h.read + len(p) - freeHeader) * headerShare; need > h.held {
			if !h.budget.Acquire(headerStep * headerShare) {
				return 0, errHeaderMemory
			}
			h.held += headerStep * headerShare
		}
	}
	n, err := h.r.Read(p)
	h.read += n
	return n, err
}
