package mta

import (
	"bytes"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

var (
	errHeader = smtp.Errorf(552, smtp.EnhancedCode{5, 3, 4}, "Message header too large")
	errLoop   = smtp.Errorf(554, smtp.EnhancedCode{5, 4, 6}, "Too many hops, this looks like a mail loop")
)

// maxFields is how many fields message.ReadHeader looks at. What it does not
// see another program would, so that nothing said of the message would hold.
const maxFields = 5000

// checkHeader refuses a header that has not been seen whole, or has been
// around for too long.
func (a *Agent) checkHeader(h *message.Header) error {
	fields, hops := 0, 0
	for f := range h.Fields() {
		fields++
		if f.Is("Received") {
			hops++
		}
	}
	if h.Truncated() || fields > maxFields {
		return errHeader
	}
	most := a.MaxHops
	if most <= 0 {
		most = 100
	}
	if hops >= most {
		return errLoop // RFC 5321 §6.3
	}
	return nil
}

// without takes out what must not travel on: the fields that drop names, and
// everywhere Return-Path (RFC 5321 §4.4), Authentication-Results in this
// system's name (RFC 8601 §5), and folded lines with no field above them,
// which would become part of the last field that this system puts on top.
func (a *Agent) without(h *message.Header, drop func(message.Field) bool) []byte {
	return h.Without(func(f message.Field) bool {
		switch {
		case f.Is(authres.FieldName):
			return authres.Remove(f.Raw(), a.hostname())
		case f.Name() == "": // where there is no colon, or folding before it
			first := f.Raw()[0]
			return f.Offset() == 0 && (first == ' ' || first == '\t') || authres.Remove(f.Raw(), a.hostname())
		}
		return f.Is("Return-Path") || drop != nil && drop(f)
	})
}

// complete adds what a submitted message must have and takes out what must not
// travel (RFC 6409 §8).
func (a *Agent) complete(h *message.Header, now time.Time) ([]byte, error) {
	var add []byte
	var err error
	put := func(name, value string) {
		if err == nil && !h.Has(name) {
			add, err = message.WriteField(add, name, value)
		}
	}
	put("Date", message.FormatDate(now))
	put("Message-ID", message.NewMessageID(a.hostname()))
	if err != nil {
		return nil, err
	}
	rest := a.without(h, func(f message.Field) bool {
		return f.Is("Bcc") || f.Is("Resent-Bcc") || f.Is("X-Bcc")
	})
	return append(add, rest...), nil
}

// soundHeader reports whether b can stand between other fields on top of a
// message: complete fields, none of which says what the body is.
func soundHeader(b []byte) bool {
	for first := true; len(b) > 0; first = false {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok || len(line) == 0 || bytes.ContainsAny(line, "\r\n\x00") {
			return false
		}
		if folded := line[0] == ' ' || line[0] == '\t'; folded && first {
			return false
		} else if !folded {
			name, _, ok := strings.Cut(string(line), ":")
			if !ok || !message.ValidFieldName(name) || len(name) > 8 && strings.EqualFold(name[:8], "Content-") {
				return false
			}
		}
		b = rest
	}
	return true
}
