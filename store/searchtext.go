package store

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// fold appends text in the form in which it is compared: each character in
// title case, then decomposed for compatibility (RFC 5051 §2), and that in
// title case again, so that a ligature equals its letters. What is not UTF-8
// becomes U+FFFD.
func fold(dst, text []byte) []byte {
	for len(text) > 0 {
		dst = slices.Grow(dst, len(text))
		out := dst[len(dst) : len(dst)+len(text)]
		n := 0
		for ; n < len(text) && text[n] < utf8.RuneSelf; n++ {
			c := text[n]
			if c-'a' < 26 {
				c -= 'a' - 'A'
			}
			out[n] = c
		}
		dst, text = dst[:len(dst)+n], text[n:]
		for len(text) > 0 && text[0] >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(text)
			text = text[n:]
			dst = foldRune(dst, r)
		}
	}
	return dst
}

// foldTable holds foldRune of the characters below 0x590, of the scripts
// that have two cases, for the speed of it.
var foldTable = sync.OnceValue(func() *[0x590][]byte {
	var t [0x590][]byte
	for r := range rune(len(t)) {
		t[r] = decompose(nil, r)
	}
	return &t
})

func foldRune(dst []byte, r rune) []byte {
	if t := foldTable(); r < rune(len(t)) {
		return append(dst, t[r]...)
	}
	return decompose(dst, r)
}

func decompose(dst []byte, r rune) []byte {
	var buf [utf8.UTFMax]byte
	enc := buf[:utf8.EncodeRune(buf[:], unicode.ToTitle(r))]
	parts := norm.NFKD.Properties(enc).Decomposition()
	if parts == nil {
		return append(dst, enc...)
	}
	for len(parts) > 0 {
		r, n := utf8.DecodeRune(parts)
		parts = parts[n:]
		dst = utf8.AppendRune(dst, unicode.ToTitle(r))
	}
	return dst
}

func equalASCII(a, b string) bool { return strings.EqualFold(a, b) && len(a) == len(b) }

// scanChunk is how much of a body is read at a time.
const scanChunk = 16 << 10

// scanner finds folded texts in a stream. Its memory is that of one chunk and
// of the longest text, whatever the stream's length.
type scanner struct {
	whole  []byte // a message
	raw    []byte
	folded []byte
}

// found marks the open texts that occur in folded, and reports whether one is
// left that may.
func (s *search) found(folded []byte, inBody bool) bool {
	left := false
	for i := range s.texts {
		t := &s.texts[i]
		if t.found != open || t.body && !inBody {
			continue
		}
		if bytes.Contains(folded, t.needle) {
			t.found = yes
			continue
		}
		left = true
	}
	return left
}

// text looks for the open texts in the text of a part. It ends early when
// none is left, or ctx has ended.
func (sc *scanner) text(s *search, r io.Reader) error {
	keep := 0 // of the folded text, so that nothing is cut in two
	for i := range s.texts {
		if s.texts[i].found == open {
			keep = max(keep, len(s.texts[i].needle)-1)
		}
	}
	if sc.raw == nil {
		sc.raw = make([]byte, scanChunk)
	}
	sc.folded = sc.folded[:0]
	have := 0 // octets of an unfinished character in raw
	for {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, sc.raw[have:])
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return fmt.Errorf("store: search: %w", err)
		}
		text := sc.raw[:have+n]
		whole := len(text)
		if !end {
			whole = completeRunes(text)
		}
		sc.folded = fold(sc.folded, text[:whole])
		if !s.found(sc.folded, true) || end {
			return nil
		}
		have = copy(sc.raw, text[whole:])
		if over := len(sc.folded) - keep; over > 0 {
			sc.folded = append(sc.folded[:0], sc.folded[over:]...)
		}
	}
}

// completeRunes is how much of text does not end within a character.
func completeRunes(text []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		at := len(text) - i
		if utf8.RuneStart(text[at]) {
			if utf8.FullRune(text[at:]) {
				break
			}
			return at
		}
	}
	return len(text)
}
