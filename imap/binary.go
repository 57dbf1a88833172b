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
	first := decoded()
	if it.Partial { // nothing beyond it matters
		count.skip = int64(min(it.Offset, 1<<61))
		first = io.LimitReader(first, count.skip+int64(min(it.Length, 1<<61)))
	}
	if _, err := io.Copy(&count, first); err != nil {
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
