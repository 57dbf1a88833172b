package store

import (
	"bytes"
	"io"
	"strings"

	"github.com/posta-mail/posta/message"
)

// rawMost is up to which size a message is looked through as it is before its
// parts are: it is in memory then.
const rawMost = 256 << 10

// rawNeedle reports whether a folded text cannot be in the decoded text of a plain
// message without being in its octets, upper and lower case aside: no white
// space, which unfolding changes, and no colon, which header fields are given.
func rawNeedle(needle []byte) bool {
	for _, c := range needle {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return true
}

// plainMessage reports whether what is searched of a message are octets of it:
// text is neither encoded nor in a character set in which ASCII is something else.
// Encoded words are for the caller to look for.
func plainMessage(o *message.Outline) bool {
	if o.Traits&(message.HasNUL|message.HasEightBitBody|message.HasEightBitHeader) != 0 {
		return false
	}
	for p := range o.Root.Walk() {
		if p.IsMultipart() || p.IsMessage() || p.Type != "text" && p.Type != "message" {
			continue
		}
		if equalASCII(p.Encoding, "base64") || equalASCII(p.Encoding, "quoted-printable") || !overASCII(p.Param("charset")) {
			return false
		}
	}
	return true
}

// overASCII reports whether ASCII is a part of a character set, octet by octet.
// Unknown ones are as good as those that are not.
func overASCII(charset string) bool {
	for _, p := range [...]string{"us-ascii", "utf-8", "iso-8859-", "windows-125"} {
		if len(charset) >= len(p) && strings.EqualFold(charset[:len(p)], p) {
			return true
		}
	}
	return charset == ""
}

// raw decides that open texts are not in a message at all, where its octets show
// that: for most messages of most searches that is all there is to do.
func (s *search) raw(body Body, d Detail) error {
	size := body.Size()
	if size > rawMost || !s.rawUseful() || !plainMessage(d.Outline) {
		return nil
	}
	if int64(cap(s.scan.whole)) < size {
		s.scan.whole = make([]byte, max(size, 16<<10))
	}
	b := s.scan.whole[:size]
	if n, err := body.ReadAt(b, 0); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if bytes.Contains(b, []byte("=?")) {
		return nil
	}
	upperASCII(b)
	for i := range s.texts {
		if t := &s.texts[i]; t.found == open && t.raw && !bytes.Contains(b, t.needle) {
			t.found = no
		}
	}
	return nil
}

// rawUseful reports whether there is a text that raw may decide.
func (s *search) rawUseful() bool {
	for i := range s.texts {
		if t := &s.texts[i]; t.found == open && t.raw {
			return true
		}
	}
	return false
}

// upperASCII makes the letters of b upper case, eight octets at a time.
func upperASCII(b []byte) {
	for i, c := range b {
		if c-'a' < 26 {
			b[i] = c - ('a' - 'A')
		}
	}
}
