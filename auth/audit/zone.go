package audit

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth/dkim"
)

// WriteZone writes records as text for a zone file (RFC 1035 §5.1), one a line,
// in their order; those that belong to another zone are comments at the end.
func WriteZone(w io.Writer, records []Record) error {
	var b strings.Builder
	for _, r := range records {
		if !r.Elsewhere {
			b.WriteString(r.String() + "\n")
		}
	}
	head := false
	for _, r := range records {
		if !r.Elsewhere {
			continue
		}
		if !head {
			b.WriteString("; to be set in zones of others:\n")
			head = true
		}
		b.WriteString("; " + r.String() + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String is the record as a line of a zone file. A TXT record's text is cut
// into character-strings of at most 255 octets (RFC 1035 §3.3.14).
func (r Record) String() string {
	data := r.Data
	if r.Type == "TXT" {
		var parts []string
		for _, s := range dkim.SplitText(data) {
			parts = append(parts, quote(s))
		}
		data = strings.Join(parts, " ")
	}
	return fmt.Sprintf("%s\t%d\tIN\t%s\t%s", r.Name, int64(r.TTL/time.Second), r.Type, data)
}

// quote writes a character-string in quotes (RFC 1035 §5.1).
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7F:
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
