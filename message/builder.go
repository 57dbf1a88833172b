package message

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"time"
)

// Builder makes a new message or a part of one: fields in the order they are
// added, then one body. The zero value is an empty message. The first error is
// kept and returned by Bytes and WriteTo; the methods return the Builder, so
// that calls can be chained. A Builder is not safe for concurrent use.
//
//	var b message.Builder
//	b.AddDate(time.Now()).AddMessageID(message.NewMessageID("example.org")).
//		AddAddresses("From", message.Address{Name: "Posta", Mailbox: "mail", Host: "example.org"}).
//		AddText("Subject", "Grüße").SetText("Hello\n")
//	octets, err := b.Bytes()
//
// What it writes is ASCII unless a value or EightBit says otherwise; lines end
// with CRLF and have at most 998 octets (78 where they can be folded).
type Builder struct {
	// EightBit lets SetText use 8bit for text that is not ASCII, which needs
	// 8BITMIME on the way (RFC 6152). Without it such text is quoted-printable.
	EightBit bool

	head []byte
	has  fieldSet
	body bodyWriter
	kind struct{ contentType, encoding string }
	err  error
}

// bodyWriter writes an encoded body; every line ends with CRLF.
type bodyWriter func(w io.Writer) error

// Err is the first error so far.
func (b *Builder) Err() error { return b.err }

// Add adds a field with a value in its final form; see [WriteField] for what is
// refused.
func (b *Builder) Add(name, value string) *Builder {
	if b.err != nil {
		return b
	}
	if b.head, b.err = WriteField(b.head, name, value); b.err == nil {
		b.has.add(fieldOf([]byte(name)))
	}
	return b
}

// AddText adds an unstructured field such as Subject, as encoded words where it
// is not ASCII (RFC 2047 §5). CR, LF and NUL are refused with [ErrFieldValue].
func (b *Builder) AddText(name, text string) *Builder {
	if b.err == nil && !ValidFieldValue(text) {
		b.err = fmt.Errorf("%w in %s", ErrFieldValue, cleanDetail(name))
	}
	if s := EncodeWords(text); s != text {
		return b.Add(name, encodeWords(text, len(name)+2))
	}
	return b.Add(name, text)
}

// AddAddresses adds an address field; group markers are written as groups (RFC
// 5322 §3.4). An address without host or local part, or with CR, LF or NUL
// anywhere, is refused with [ErrFieldValue].
func (b *Builder) AddAddresses(name string, list ...Address) *Builder {
	var s strings.Builder
	sep, inGroup := "", false
	for _, a := range list {
		for _, v := range [...]string{a.Name, a.Mailbox, a.Host} {
			if !ValidFieldValue(v) && b.err == nil {
				b.err = fmt.Errorf("%w in %s", ErrFieldValue, cleanDetail(name))
			}
		}
		bad := a.IsMailbox() && (a.Host == NoHost || a.Mailbox == "" || !validHost(a.Host)) ||
			a.IsGroupStart() && inGroup || a.IsGroupEnd() && !inGroup
		if bad && b.err == nil {
			b.err = fmt.Errorf("%w: address in %s", ErrFieldValue, cleanDetail(name))
		}
		switch {
		case a.IsGroupEnd():
			s.WriteString(";")
			sep, inGroup = ", ", false
		case a.IsGroupStart():
			s.WriteString(sep + a.String())
			sep, inGroup = " ", true
		default:
			s.WriteString(sep + a.String())
			sep = ", "
		}
	}
	if inGroup && b.err == nil {
		b.err = fmt.Errorf("%w: open group in %s", ErrFieldValue, cleanDetail(name))
	}
	return b.Add(name, s.String())
}

// validHost reports whether s can stand behind the @ sign: a dot-atom or a
// domain literal (RFC 5322 §3.4.1).
func validHost(s string) bool {
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		return isPrintable(s) && !strings.ContainsAny(s[1:n-1], `[]\ `)
	}
	return isDotAtom(s)
}

// AddDate adds the Date field (RFC 5322 §3.6.1).
func (b *Builder) AddDate(t time.Time) *Builder { return b.Add("Date", FormatDate(t)) }

// AddMessageID adds the Message-ID field; id has its angle brackets, see
// [NewMessageID].
func (b *Builder) AddMessageID(id string) *Builder { return b.Add("Message-ID", id) }

// NewMessageID makes a new globally unique identifier with its angle brackets
// (RFC 5322 §3.6.4): 130 random bits at host. A host that cannot stand there is
// replaced by localhost.invalid.
func NewMessageID(host string) string {
	if !validHost(host) || len(host) > 255 {
		host = "localhost.invalid"
	}
	return "<" + rand.Text() + "@" + host + ">"
}

// SetText makes text the body, as text/plain in UTF-8: 7bit when it is ASCII in
// lines of at most 998 octets, else quoted-printable (or 8bit, see EightBit).
// All kinds of line ends become CRLF.
func (b *Builder) SetText(text string) *Builder { return b.SetTextAs("plain", text) }

// SetTextAs is SetText for another subtype of text, such as "html".
func (b *Builder) SetTextAs(subtype, text string) *Builder {
	text = crlf(strings.ToValidUTF8(text, "\uFFFD"))
	enc, charset := "7bit", "us-ascii"
	if !isASCII([]byte(text)) {
		enc, charset = "quoted-printable", "utf-8"
		if b.EightBit {
			enc = "8bit"
		}
	}
	for line := range strings.SplitSeq(text, "\r\n") {
		if len(line) > maxLine {
			enc = "quoted-printable"
		}
	}
	if strings.IndexByte(text, 0) >= 0 {
		enc = "quoted-printable"
	}
	return b.SetBody(FormatParams("text/"+subtype, []Param{{"charset", charset}}), enc, strings.NewReader(text))
}

// crlf makes all line ends CRLF.
func crlf(s string) string {
	if strings.Count(s, "\n") != strings.Count(s, "\r\n") || strings.Count(s, "\r") != strings.Count(s, "\r\n") {
		s = strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n", "\r", "\r\n").Replace(s)
	}
	return s
}

// SetBody makes the content of r the body; contentType is a whole value, see
// [FormatParams]. r is read by WriteTo, which can then be called only once.
//
//   - base64: encodes the octets as they are.
//   - quoted-printable: encodes text; a lone LF is taken for a line end.
//   - 7bit, or "": copies; 8-bit octets, NUL and lines over 998 octets are
//     refused with [ErrBody] or [ErrLineTooLong].
//   - 8bit: copies anything: for messages of others, which may be wrong already.
//   - binary: copies the octets, line ends included.
//
// 7bit and 8bit make line ends CRLF. Any other encoding is [ErrBody].
func (b *Builder) SetBody(contentType, encoding string, r io.Reader) *Builder {
	if b.err != nil {
		return b
	}
	encoding = lowerASCII(encoding)
	switch encoding {
	case "", "7bit":
		encoding = "7bit"
		b.body = func(w io.Writer) error { return copyLines(w, r, true) }
	case "8bit":
		b.body = func(w io.Writer) error { return copyLines(w, r, false) }
	case "binary":
		b.body = func(w io.Writer) error {
			_, err := io.Copy(w, r)
			return err
		}
	case "base64":
		b.body = func(w io.Writer) error { return encodeBase64(w, r) }
	case "quoted-printable":
		b.body = func(w io.Writer) error { return encodeQP(w, r) }
	default:
		b.err = fmt.Errorf("%w: encoding %q", ErrBody, cleanDetail(encoding))
	}
	b.kind.contentType, b.kind.encoding = contentType, encoding
	return b
}

// SetMultipart makes parts the body: multipart/subtype with a new boundary
// (RFC 2046 §5.1). Give {"report-type", "delivery-status"} for subtype "report"
// (RFC 6522 §3). The parts must not be written by themselves any more.
func (b *Builder) SetMultipart(subtype string, params []Param, parts ...*Builder) *Builder {
	if b.err != nil {
		return b
	}
	if len(parts) == 0 {
		b.err = fmt.Errorf("%w: multipart without parts", ErrBody)
		return b
	}
	boundary := "=_" + rand.Text() // "=_" cannot occur in quoted-printable text
	params = append(append([]Param(nil), params...), Param{"boundary", boundary})
	b.kind.contentType = FormatParams("multipart/"+subtype, params)
	b.kind.encoding = ""
	for _, p := range parts { // RFC 2045 §6.4: as wide as the widest part
		if e := p.kind.encoding; e == "binary" || e == "8bit" && b.kind.encoding == "" {
			b.kind.encoding = e
		}
	}
	b.body = func(w io.Writer) error {
		for _, p := range parts {
			if _, err := io.WriteString(w, "--"+boundary+"\r\n"); err != nil {
				return err
			}
			if err := p.write(w, false); err != nil {
				return err
			}
			if _, err := io.WriteString(w, "\r\n"); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, "--"+boundary+"--\r\n")
		return err
	}
	return b
}

// Bytes writes the message and returns its octets.
func (b *Builder) Bytes() ([]byte, error) {
	var buf bytes.Buffer
	if _, err := b.WriteTo(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// WriteTo writes the message (io.WriterTo). Nothing is written when Err is set.
func (b *Builder) WriteTo(w io.Writer) (int64, error) {
	c := countingWriter{w: w}
	err := b.write(&c, true)
	return c.n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// write writes the header, with the MIME fields of the body at its end, and the
// body. MIME-Version belongs to the top only (RFC 2045 §4).
func (b *Builder) write(w io.Writer, top bool) error {
	if b.err != nil {
		return b.err
	}
	head := b.head[:len(b.head):len(b.head)]
	if b.body != nil {
		var err error
		add := func(k fieldKind, value string) {
			if err == nil && value != "" && !b.has.has(k) {
				head, err = WriteField(head, k.name(), value)
			}
		}
		if top {
			add(fkMIMEVersion, "1.0")
		}
		add(fkContentType, b.kind.contentType)
		add(fkContentEncoding, b.kind.encoding)
		if err != nil {
			return err
		}
	}
	if _, err := w.Write(append(head, '\r', '\n')); err != nil {
		return err
	}
	if b.body == nil {
		return nil
	}
	return b.body(w)
}
