package spf

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// ReceivedSPF is the value of a Received-SPF field (RFC 7208 §9.1), without the
// name and the final CRLF, folded with CRLF and a tab to lines of at most 78
// octets where the contents allow. receiver is the name of the checking host.
// Whatever client and domain sent is quoted and cut to 320 octets; controls and
// malformed UTF-8 become "?", so nothing can break out of the field.
func (r Result) ReceivedSPF(receiver string) string {
	var f folder
	f.line = len("Received-SPF: ")
	f.write(r.Status.String())
	for _, word := range strings.Fields("(" + clean(r.comment(receiver), `()\`) + ")") {
		f.write(word)
	}
	pair := func(key, value string) {
		if value != "" {
			f.write(key + "=" + quoted(value) + ";")
		}
	}
	pair("receiver", receiver)
	if r.IP.IsValid() {
		pair("client-ip", r.IP.String())
	}
	pair("envelope-from", r.Sender)
	pair("helo", r.HELO)
	pair("identity", r.Identity.String())
	if r.Mechanism == "" && r.Status == Neutral {
		pair("mechanism", "default") // §9.1
	}
	pair("mechanism", r.Mechanism)
	if r.Err != nil {
		pair("problem", r.Err.Error())
	}
	return strings.TrimSuffix(f.b.String(), ";")
}

// comment is the sentence for people.
func (r Result) comment(receiver string) string {
	who := clip(r.Domain)
	if r.Identity == MailFrom {
		who = "domain of " + clip(r.Sender)
	}
	ip := r.IP.String()
	var s string
	switch r.Status {
	case Pass:
		s = who + " designates " + ip + " as permitted sender"
	case Fail:
		s = who + " does not designate " + ip + " as permitted sender"
	case SoftFail:
		s = who + " discourages use of " + ip + " as sender"
	case Neutral:
		s = ip + " is neither permitted nor denied by " + who
	case TempError:
		s = "lookup failed for " + who
	case PermError:
		s = "policy of " + who + " cannot be interpreted"
	default:
		s = "no policy for " + who
	}
	if receiver != "" {
		s = clip(receiver) + ": " + s
	}
	return s
}

const maxHeaderValue = 320

func clip(s string) string {
	if len(s) <= maxHeaderValue {
		return s
	}
	n := maxHeaderValue
	for n > maxHeaderValue-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// clean replaces what may stand in no structured field (RFC 5322 §3.2.1, with
// UTF-8 by RFC 6532 §3.1), then quotes the characters of special.
func clean(s, special string) string {
	var b strings.Builder
	for _, c := range clip(s) {
		switch {
		case c == utf8.RuneError || c != ' ' && !unicode.IsPrint(c):
			b.WriteByte('?')
		case c < utf8.RuneSelf && strings.IndexByte(special, byte(c)) >= 0:
			b.WriteByte('\\')
			b.WriteByte(byte(c))
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// quoted is a dot-atom where that does, else a quoted-string (§9.1).
func quoted(s string) string {
	s = clip(s) // first: what is cut need not be a dot-atom any more
	for label := range strings.SplitSeq(s, ".") {
		ok := label != ""
		for j := 0; j < len(label) && ok; j++ {
			c := label[j]
			ok = isAlpha(c) || isDigit(c) || c == '-' || c == '_'
		}
		if !ok {
			return `"` + clean(s, `"\`) + `"`
		}
	}
	return s
}

// folder joins pieces with a space, or with a fold where a line gets too long.
type folder struct {
	b    strings.Builder
	line int
}

func (f *folder) write(piece string) {
	if f.b.Len() > 0 {
		if f.line+1+len(piece) > 78 {
			f.b.WriteString("\r\n\t")
			f.line = 8
		} else {
			f.b.WriteByte(' ')
			f.line++
		}
	}
	f.b.WriteString(piece)
	f.line += len(piece)
}
