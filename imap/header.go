package imap

import (
	"bytes"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

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
	raw = filterHeader(raw, it.Section.Fields, it.Section.Text == wire.SectionHeaderFieldsNot, n == maxHeader)
	skip, size := cut(it, 0, int64(len(raw)))
	f.out.b = wire.AppendLiteralHeader(f.out.b, uint64(size), false)
	at := len(f.out.b)
	f.out.b = append(f.out.b, raw[skip:skip+size]...)
	wire.MaskNUL(f.out.b[at:])
}

// filterHeader keeps the named fields of a header, or the others, and the empty
// line, which is only missing where the message ends before it (RFC 9051
// §6.4.5.1); more says that the header goes on. It works in place.
func filterHeader(h []byte, names []string, not, more bool) []byte {
	out := h[:0]
	for len(h) > 0 {
		line := h
		if i := bytes.IndexByte(h, '\n'); i >= 0 {
			line = h[:i+1]
		}
		if line[0] == '\n' || line[0] == '\r' && len(line) == 2 {
			more = true
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
	if more {
		out = append(out, "\r\n"...)
	}
	return out
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
