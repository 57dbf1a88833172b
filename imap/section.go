package imap

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// maxHeader is how much of a header HEADER.FIELDS looks at; message.Parse does
// not look at more either.
const maxHeader = 1 << 20

// headerKeep is the scratch memory that needs no budget.
const headerKeep = 8 << 10

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
	head := f.scratch[:min(headerKeep, body.Size())]
	if n, err := body.ReadAt(head, 0); n < len(head) {
		return nil, unexpected(err)
	}
	if n := headerEnd(head); n > 0 {
		f.found.Header.Size = int64(n)
		return &f.found, nil
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

// headerFields answers HEADER.FIELDS and HEADER.FIELDS.NOT.
func (f *fetcher) headerFields(it *wire.FetchItem, body store.Body, off, n int64) {
	n = min(n, maxHeader)
	if !f.room(int(n)) {
		f.note(store.ErrUnavailable)
		f.absent()
		return
	}
	raw := f.scratch[:n]
	if m, err := body.ReadAt(raw, off); m < len(raw) {
		f.note(unexpected(err))
		f.absent()
		return
	}
	raw = filterHeader(raw, it.Section.Fields, it.Section.Text == wire.SectionHeaderFieldsNot)
	skip, size := cut(it, 0, int64(len(raw)))
	f.out.b = wire.AppendLiteralHeader(f.out.b, uint64(size), false)
	at := len(f.out.b)
	f.out.b = append(f.out.b, raw[skip:skip+size]...)
	wire.MaskNUL(f.out.b[at:])
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

// filterHeader keeps the named fields of a header, or the others, and the empty
// line (RFC 9051 §6.4.5.1). It works in place.
func filterHeader(h []byte, names []string, not bool) []byte {
	out := h[:0]
	for len(h) > 0 {
		line := h
		if i := bytes.IndexByte(h, '\n'); i >= 0 {
			line = h[:i+1]
		}
		if line[0] == '\n' || line[0] == '\r' && len(line) == 2 {
			break
		}
		end := len(line) // of the field, continuations included
		for end < len(h) && (h[end] == ' ' || h[end] == '\t') {
			i := bytes.IndexByte(h[end:], '\n')
			if i < 0 {
				end = len(h)
				break
			}
			end += i + 1
		}
		if named(line, names) != not {
			out = append(out, h[:end]...)
		}
		h = h[end:]
	}
	if n := len(out); n > 0 && out[n-1] != '\n' {
		out = append(out, "\r\n"...) // overwrites only what has been read
	}
	return append(out, "\r\n"...)
}

// named reports whether a field has one of the names, compared without case.
func named(line []byte, names []string) bool {
	for _, n := range names {
		k := len(n)
		if k == 0 || k >= len(line) {
			continue
		}
		if line[0]|0x20 != n[0]|0x20 || !equalFoldASCII(line[:k], n) {
			continue
		}
		for _, c := range line[k:] { // RFC 5322 §4.5: white space before the colon
			if c == ':' {
				return true
			}
			if c != ' ' && c != '\t' {
				break
			}
		}
	}
	return false
}

func equalFoldASCII(b []byte, s string) bool {
	for i := range b {
		c, d := b[i], s[i]
		if c == d {
			continue
		}
		if c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return true
}

// knownEncodings are the transfer encodings that can be undone.
var knownEncodings = map[string]bool{"7bit": true, "8bit": true, "binary": true, "base64": true, "quoted-printable": true}

// binary answers BINARY and BINARY.SIZE: a part without its transfer encoding
// (RFC 9051 §6.4.5, RFC 3516). It is decoded twice, first for its size.
func (f *fetcher) binary(it *wire.FetchItem, body store.Body, d store.Detail) {
	off, n, ok := locate(&it.Section, body.Size(), d.Outline)
	if !ok {
		f.noBinary(it)
		return
	}
	encoding := "binary"
	if len(it.Section.Path) > 0 {
		if part := d.Outline.Root.Section(it.Section.Path...); !part.IsMultipart() && !part.IsMessage() {
			encoding = part.Encoding
		}
	}
	if !knownEncodings[encoding] {
		f.cte = true
		f.noBinary(it)
		return
	}
	decoded := func() io.Reader { return message.DecodeBody(encoding, io.NewSectionReader(body, off, n)) }
	var count binaryCounter
	if _, err := io.Copy(&count, decoded()); err != nil {
		f.note(err)
		f.noBinary(it)
		return
	}
	if it.Attr == wire.FetchBinarySize {
		f.out.b = strconv.AppendInt(f.out.b, count.size, 10)
		return
	}
	skip, size := cut(it, 0, count.size)
	f.out.b = wire.AppendLiteralHeader(f.out.b, uint64(size), count.nul)
	if err := f.copyDecoded(decoded(), skip, size); err != nil {
		f.out.err = err // in the middle of a literal
	}
}

func (f *fetcher) noBinary(it *wire.FetchItem) {
	if it.Attr == wire.FetchBinarySize {
		f.out.b = append(f.out.b, '0')
		return
	}
	f.absent()
}

// copyDecoded appends size octets of r after skip.
func (f *fetcher) copyDecoded(r io.Reader, skip, size int64) error {
	if _, err := io.CopyN(io.Discard, r, skip); err != nil {
		return err
	}
	for size > 0 && f.out.err == nil {
		f.out.spill()
		room := f.out.b[len(f.out.b):cap(f.out.b)]
		if len(room) < 4096 {
			f.out.write()
			room = f.out.b[:cap(f.out.b)]
		}
		n, err := r.Read(room[:min(int64(len(room)), size)])
		f.out.b = f.out.b[:len(f.out.b)+n]
		size -= int64(n)
		if err != nil && size > 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return f.out.err
}

// binaryCounter counts octets and looks for NUL, which needs literal8.
type binaryCounter struct {
	size int64
	nul  bool
}

func (c *binaryCounter) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	c.nul = c.nul || bytes.IndexByte(p, 0) >= 0
	return len(p), nil
}
