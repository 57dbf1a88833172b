package smtp

import (
	"strings"
	"time"

	"github.com/posta-mail/posta/auth"
)

// Received is the trace line that every system puts on top of a message it
// accepts (RFC 5321 §4.4).
type Received struct {
	Peer auth.Peer // whom it came from
	By   string    // the name of this system
	With string    // protocol, as Conn.Protocol gives it (RFC 3848)
	UTF8 bool      // SMTPUTF8 was given (RFC 6531 §3.7.3)
	ID   string    // the name of the message here, for logs; may be empty
	// For is the recipient, only to be set when there is just one: anything
	// else would tell recipients of each other.
	For  string
	Date time.Time
}

// AppendTo appends the field, folded and ended by CRLF. What the peer claims
// cannot break out of it.
func (r Received) AppendTo(b []byte) []byte {
	helo := traceText(r.Peer.HELO)
	if helo == "" {
		helo = "unknown"
	}
	b = append(b, "Received: from "+helo...)
	if a := r.Peer.Addr(); a.IsValid() {
		ip := a.String()
		if a.Is6() {
			ip = "IPv6:" + ip
		}
		b = append(b, " (["+ip+"])"...)
	}
	b = append(b, "\r\n\tby "+traceText(r.By)...)
	if with := r.with(); with != "" {
		b = append(b, " with "+with...)
	}
	if r.ID != "" {
		b = append(b, " id "+traceText(r.ID)...)
	}
	if r.For != "" {
		b = append(b, "\r\n\tfor <"+traceText(r.For)+">"...)
	}
	b = append(b, ";\r\n\t"...)
	b = r.Date.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, "\r\n"...)
}

// with is the protocol keyword, in its UTF8 form if the message asked for it.
func (r Received) with() string {
	if !r.UTF8 {
		return r.With
	}
	return "UTF8" + strings.TrimPrefix(r.With, "E")
}

// traceText keeps what may stand in a trace field: a name, not structure.
func traceText(s string) string {
	s = strings.Map(func(c rune) rune {
		if c <= ' ' || c == 0x7f || strings.ContainsRune(`()<>;\",`, c) {
			return -1
		}
		return c
	}, s)
	if len(s) > 255 {
		s = s[:255]
	}
	return s
}
