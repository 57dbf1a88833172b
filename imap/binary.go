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

// isIdentity reports whether a transfer encoding leaves the octets as they are
// (RFC 2045 §6.2).
func isIdentity(encoding string) bool {
	return encoding == "7bit" || encoding == "8bit" || encoding == "binary"
}

// binaryOnce is up to how many octets a part is decoded only once.
const binaryOnce = 64 << 10

// binary answers BINARY and BINARY.SIZE: a part without its transfer encoding
// (RFC 9051 §6.4.5, RFC 3516).
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
	switch {
	case isIdentity(encoding):
		f.binaryPlain(it, body, off, n, d.Outline.Traits&message.HasNUL != 0)
	case encoding != "base64" && encoding != "quoted-printable":
		f.cte = true
		f.noBinary(it)
	case n <= binaryOnce && f.room(int(n)):
		f.binaryHeld(it, message.DecodeBody(encoding, io.NewSectionReader(body, off, n)))
	default:
		f.binaryTwice(it, func() io.Reader { return message.DecodeBody(encoding, io.NewSectionReader(body, off, n)) })
	}
}

// binaryPlain answers with octets as they are. nul: there may be some NUL.
func (f *fetcher) binaryPlain(it *wire.FetchItem, body store.Body, off, n int64, nul bool) {
	if it.Attr == wire.FetchBinarySize {
		f.out.b = strconv.AppendInt(f.out.b, n, 10)
		return
	}
	off, n = cut(it, off, n)
	if nul {
		var count binaryCounter
		if err := f.count(&count, io.NewSectionReader(body, off, n)); err != nil {
			f.note(err)
			f.noBinary(it)
			return
		}
		nul = count.nul
	}
	f.out.b = wire.AppendLiteralHeader(f.out.b, uint64(n), nul)
	f.out.stream(body, off, n, true)
}

// binaryHeld answers with a part that is decoded into the scratch memory, which
// is large enough: nothing becomes longer by being decoded.
func (f *fetcher) binaryHeld(it *wire.FetchItem, r io.Reader) {
	n, err := io.ReadFull(r, f.scratch)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		f.note(err)
		f.noBinary(it)
		return
	}
	if it.Attr == wire.FetchBinarySize {
		f.out.b = strconv.AppendInt(f.out.b, int64(n), 10)
		return
	}
	skip, size := cut(it, 0, int64(n))
	data := f.scratch[skip : skip+size]
	f.out.b = wire.AppendLiteralHeader(f.out.b, uint64(size), bytes.IndexByte(data, 0) >= 0)
	f.out.b = append(f.out.b, data...)
}

// binaryTwice decodes a part first for its size, then for its octets.
func (f *fetcher) binaryTwice(it *wire.FetchItem, decoded func() io.Reader) {
	var count binaryCounter
	first := decoded()
	if it.Partial { // nothing beyond it matters
		count.skip = int64(min(it.Offset, 1<<61))
		first = io.LimitReader(first, count.skip+int64(min(it.Length, 1<<61)))
	}
	if err := f.count(&count, first); err != nil {
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

// count reads r to its end.
func (f *fetcher) count(c *binaryCounter, r io.Reader) error {
	f.room(headerKeep)
	_, err := io.CopyBuffer(c, struct{ io.Reader }{r}, f.scratch)
	return err
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

// binaryCounter counts octets and looks for NUL behind skip of them, which needs
// literal8.
type binaryCounter struct {
	skip, size int64
	nul        bool
}

func (c *binaryCounter) Write(p []byte) (int, error) {
	unseen := p[min(max(c.skip-c.size, 0), int64(len(p))):]
	c.size += int64(len(p))
	c.nul = c.nul || bytes.IndexByte(unseen, 0) >= 0
	return len(p), nil
}
