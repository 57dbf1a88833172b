package imap

import (
	"bytes"
	"io"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// maxHeader is how much of a header HEADER.FIELDS looks at; message.Parse does
// not look at more either.
const maxHeader = 1 << 20

const (
	// headerKeep is the scratch memory that needs no budget.
	headerKeep = 8 << 10
	// headerProbe is how much is read first to find the end of a header.
	headerProbe = 2 << 10
)

// section appends BODY[…], one of the RFC822 items, BINARY[…] or BINARY.SIZE[…].
func (f *fetcher) section(it *wire.FetchItem, body store.Body, d store.Detail) {
	f.out.b = append(append(f.out.b, it.Name...), ' ')
	if it.Attr != wire.FetchSection {
		f.binary(it, body, d)
		return
	}
	switch it.Section.Text {
	case wire.SectionHeaderFields, wire.SectionHeaderFieldsNot:
		off, n, ok := locate(&it.Section, body.Size(), d.Outline)
		if !ok {
			f.absent()
			return
		}
		f.headerFields(it, body, off, n)
	default:
		off, n, ok := locate(&it.Section, body.Size(), d.Outline)
		if !ok {
			f.absent()
			return
		}
		off, n = cut(it, off, n)
		f.out.b = wire.AppendLiteralHeader(f.out.b, uint64(n), false)
		f.out.stream(body, off, n, false)
	}
}

// absent answers a section that the message does not have.
func (f *fetcher) absent() { f.out.b = append(f.out.b, "NIL"...) }

// locate finds the octets of a section (RFC 9051 §6.4.5.1).
func locate(sec *wire.Section, size int64, o *message.Outline) (off, n int64, ok bool) {
	if len(sec.Path) == 0 {
		switch sec.Text {
		case wire.SectionAll:
			return 0, size, true
		case wire.SectionTextOnly:
			return o.Header.Offset + o.Header.Size, size - o.Header.Offset - o.Header.Size, true
		}
		return o.Header.Offset, o.Header.Size, true
	}
	part := o.Root.Section(sec.Path...)
	if part == nil {
		return 0, 0, false
	}
	switch sec.Text {
	case wire.SectionAll:
		return part.BodyOffset, part.BodySize, true
	case wire.SectionMIME:
		return part.HeaderOffset, part.HeaderSize, true
	}
	if !part.IsMessage() { // only an embedded message has a header and text
		return 0, 0, false
	}
	root := part.Parts[0]
	if sec.Text == wire.SectionTextOnly {
		return root.BodyOffset, root.BodySize, true
	}
	return root.HeaderOffset, root.HeaderSize, true
}

// findHeader gives an outline of which only the header is set. Most headers
// end within the first few KiB, where looking is cheaper than asking the store.
func (f *fetcher) findHeader(row store.Row, body store.Body) (*message.Outline, error) {
	f.room(headerKeep)
	for have := int64(0); have < min(headerKeep, body.Size()); {
		next := min(max(2*have, headerProbe), headerKeep, body.Size())
		if n, err := body.ReadAt(f.scratch[have:next], have); int64(n) < next-have {
			return nil, unexpected(err)
		}
		if n := headerEnd(f.scratch[:next]); n > 0 {
			f.found.Header.Size = int64(n)
			return &f.found, nil
		}
		have = next
	}
	return f.outline(row)
}

// outline asks the store for the outline of one message.
func (f *fetcher) outline(row store.Row) (*message.Outline, error) {
	for d, err := range f.sel.mb.Details(f.ctx, []store.Row{row}) {
		return d.Outline, err
	}
	return nil, store.ErrUnavailable
}

// headerEnd is the length of a header with the empty line that ends it, 0 if it
// is not there.
func headerEnd(b []byte) int {
	for at := 0; ; {
		if rest := b[at:]; len(rest) > 0 && rest[0] == '\n' {
			return at + 1
		} else if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return at + 2
		}
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
	}
}

// unexpected is the error of a read that gave too little.
func unexpected(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// cut narrows a range to the partial asked for, if any. What lies beyond the
// end is empty (RFC 9051 §6.4.5).
func cut(it *wire.FetchItem, off, n int64) (int64, int64) {
	if !it.Partial {
		return off, n
	}
	if it.Offset >= uint64(n) {
		return off, 0
	}
	skip := int64(it.Offset) // less than n
	return off + skip, int64(min(it.Length, uint64(n-skip)))
}

// room makes scratch hold n octets.
func (f *fetcher) room(n int) bool {
	if n <= cap(f.scratch) {
		f.scratch = f.scratch[:cap(f.scratch)]
		return true
	}
	if n <= headerKeep {
		f.scratch = make([]byte, headerKeep)
		return true
	}
	if !f.srv.budget.Acquire(n) {
		return false
	}
	f.srv.budget.Release(f.lent)
	f.scratch, f.lent = make([]byte, n), n
	return true
}

// release gives back what the fetcher holds.
func (f *fetcher) release() { f.srv.budget.Release(f.lent) }
