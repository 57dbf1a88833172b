package smtp

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DSN says that a Session takes orders about delivery reports (RFC 3461): RET
// and ENVID of MAIL, NOTIFY and ORCPT of RCPT. Whoever has it must follow them
// or pass them on, as §5.2 and §5.3 say.
func DSN() Extension {
	return Extension{Keyword: "DSN", known: map[string]typedParam{
		"RET":    {mail: retParam},
		"ENVID":  {mail: envidParam},
		"NOTIFY": {rcpt: notifyParam},
		"ORCPT":  {rcpt: orcptParam},
	}}
}

// Lengths of values (RFC 3461 §4.2 and §4.4): of ENVID decoded, since it is not
// sure that the other is meant; a Client sends no more encoded either.
const (
	maxEnvelopeID = 100
	maxORCPT      = 500
)

func retParam(_ *session, opts *MailOptions, p param) *Error {
	switch r := Return(strings.ToUpper(p.value)); r {
	case ReturnFull, ReturnHeaders:
		opts.Return = r
		return nil
	}
	return badParam("RET is FULL or HDRS")
}

func envidParam(_ *session, opts *MailOptions, p param) *Error {
	id, ok := decodeXtext(p.value)
	if !ok || id == "" || len(id) > maxEnvelopeID || !isPrintable(id) {
		return badParam("Malformed ENVID")
	}
	opts.EnvelopeID = id
	return nil
}

func notifyParam(_ *session, opts *RcptOptions, p param) *Error {
	n, ok := parseNotify(p.value)
	if !ok {
		return badParam("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
	}
	opts.Notify = n
	return nil
}

// notifyNames are in the order in which they are written.
var notifyNames = [...]struct {
	name string
	bit  Notify
}{{"NEVER", NotifyNever}, {"SUCCESS", NotifySuccess}, {"FAILURE", NotifyFailure}, {"DELAY", NotifyDelay}}

// parseNotify reads the value of NOTIFY. NEVER stands alone, and nothing is
// there twice (RFC 3461 §4.1).
func parseNotify(s string) (n Notify, ok bool) {
	for word := range strings.SplitSeq(s, ",") {
		bit := Notify(0)
		for _, x := range notifyNames {
			if strings.EqualFold(word, x.name) {
				bit = x.bit
			}
		}
		if bit == 0 || n&bit != 0 {
			return 0, false
		}
		n |= bit
	}
	return n, n.valid()
}

func (n Notify) valid() bool {
	return n <= 1<<len(notifyNames)-1 && (n&NotifyNever == 0 || n == NotifyNever)
}

// String is the value of NOTIFY; empty for 0.
func (n Notify) String() string {
	var words []string
	for _, x := range notifyNames {
		if n&x.bit != 0 {
			words = append(words, x.name)
		}
	}
	return strings.Join(words, ",")
}

func orcptParam(c *session, opts *RcptOptions, p param) *Error {
	typ, addr, ok := strings.Cut(p.value, ";")
	if !ok || !isKeyword(typ) || len(p.value) > maxORCPT {
		return badParam("Malformed ORCPT")
	}
	o := OriginalRecipient{Type: strings.ToLower(typ)}
	if o.Type == "utf-8" {
		o.Address, ok = decodeUnitext(addr, c.utf8)
	} else {
		o.Address, ok = decodeXtext(addr)
		ok = ok && isPrintable(o.Address)
	}
	if !ok || o.Address == "" {
		return badParam("Malformed ORCPT")
	}
	opts.Original = o
	return nil
}

// decodeUnitext undoes utf-8-addr-xtext and, where SMTPUTF8 is in use,
// utf-8-addr-unitext (RFC 6533 §3): \x{hex} stands for a character.
func decodeUnitext(s string, raw bool) (string, bool) {
	var b strings.Builder
	for len(s) > 0 {
		if code, rest, ok := cutCodePoint(s); ok {
			b.WriteRune(code)
			s = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == '\\' || r == '+' || r == '=' || r <= ' ' || r == 0x7f || r >= 0x80 && (!raw || unicode.IsControl(r)) || r == utf8.RuneError {
			return "", false
		}
		b.WriteString(s[:n])
		s = s[n:]
	}
	return b.String(), true
}

func cutCodePoint(s string) (r rune, rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, `\x{`)
	if !ok {
		return 0, s, false
	}
	hex, rest, ok := strings.Cut(rest, "}")
	if !ok || len(hex) < 2 || len(hex) > 6 || strings.ToUpper(hex) != hex {
		return 0, s, false
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	r = rune(n)
	if err != nil || !utf8.ValidRune(r) || unicode.IsControl(r) {
		return 0, s, false
	}
	return r, rest, true
}
