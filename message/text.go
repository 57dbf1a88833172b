package message

import (
	"io"

	"golang.org/x/text/encoding/unicode"
)

// Text reads the body of a part as text: transfer encoding undone, converted
// from the part's charset to UTF-8. It streams in constant memory and never
// fails on content: what is not valid becomes U+FFFD, and text in an unknown
// character set is read as UTF-8 (so that its ASCII can be found). A mark of
// the byte order at the start is dropped. A multipart or an embedded message is
// not decoded; a part that is not text is decoded and read as UTF-8 unless it
// has a charset.
//
// body yields the octets of the part's body; see [Part.BodyReader].
func Text(p *Part, body io.Reader) io.Reader {
	if !p.IsMultipart() && !p.IsMessage() {
		body = DecodeBody(p.Encoding, body)
	}
	set, ok := lookupCharset(p.Param("charset"))
	if !ok || set.table == nil {
		return unicode.UTF8BOM.NewDecoder().Reader(body)
	}
	return set.table.NewDecoder().Reader(body)
}
