// Package testsmuggle makes messages that hold what some mail software takes
// for the end of a message although only CRLF.CRLF is (RFC 5321 §4.1.1.4), and
// says what is to become of them.
package testsmuggle

import (
	"bytes"
	"strings"
)

// Candidate is one such sequence.
type Candidate struct {
	Name string
	Seq  []byte
}

// The parts of a candidate: what stands in front of the dot, the dot with what
// may be put beside it, and what stands behind it.
var (
	fronts = []string{"\r\n", "\n", "\r", "\r\r\n", "\r\n\n", "\n\r\n", "\n\r", "\r\n\r", "\r\n\x00", "\n\n", "\r\r", "\r\n\r\n", "\v", "\u0085", ""}
	dots   = []string{".", "..", ". ", " .", ".\t", "\t.", "\x00.", ".\x00", "", ".\b", "\uff0e"}
	backs  = []string{"\r\n", "\n", "\r", "\r\r\n", "\n\r", "\n\r\n", "\r\n\n", "\x00\r\n", "\r\x00\n", "\n\n", "\r\r", " \r\n", "\u2028", ""}
)

// Candidates are all combinations of the parts, and the ends themselves that a
// server has to find.
func Candidates() []Candidate {
	var list []Candidate
	seen := make(map[string]bool)
	for _, f := range fronts {
		for _, d := range dots {
			for _, b := range backs {
				if s := f + d + b; s != "" && !seen[s] {
					seen[s] = true
					list = append(list, Candidate{Name: name(s), Seq: []byte(s)})
				}
			}
		}
	}
	return list
}

var names = strings.NewReplacer("\r\n", "CRLF ", "\r", "CR ", "\n", "LF ", "\x00", "NUL ", " ", "SP ", "\t", "TAB ", ".", "dot ",
	"\v", "VT ", "\b", "BS ", "\u0085", "NEL ", "\u2028", "LS ", "\uff0e", "fullwidth-dot ")

func name(s string) string { return strings.TrimSpace(names.Replace(s)) }

// Envelope is where the second transaction in a message is from and to.
const (
	From = "smuggler@example.com"
	To   = "smuggled@example.org"
)

// Message is a text that holds the candidate, followed by a second
// transaction. It ends with CRLF; its own end is not part of it.
func (c Candidate) Message(subject string) []byte {
	header := "Subject: " + subject + "\r\nFrom: <" + From + ">\r\nDate: Mon, 23 Nov 2026 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n"
	return []byte(header + "first" + string(c.Seq) + "MAIL FROM:<" + From + ">\r\nRCPT TO:<" + To + ">\r\nDATA\r\nSubject: smuggled\r\n\r\nsecond\r\n")
}

// Verdict is what a strict server does with octets that come after 354.
type Verdict struct {
	Text   []byte // the message, dots unstuffed
	Rest   []byte // what follows its end: commands
	Refuse bool   // the message has a bare CR or LF
}

// Data judges the octets after the reply to DATA, which must hold an end. It
// is written for being obvious, and shares nothing with what it judges.
func Data(stream []byte) Verdict {
	end := bytes.Index(append([]byte("\r\n"), stream...), []byte("\r\n.\r\n"))
	if end < 0 {
		panic("no end")
	}
	text, rest := stream[:end], stream[min(end+3, len(stream)):]
	if Bare(text) {
		return Verdict{Rest: rest, Refuse: true}
	}
	lines := strings.SplitAfter(string(text), "\r\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(l, ".")
	}
	return Verdict{Text: []byte(strings.Join(lines, "")), Rest: rest}
}

// Bare reports whether text has a CR or LF that is not part of a CRLF.
func Bare(text []byte) bool {
	return bytes.ContainsAny(bytes.ReplaceAll(text, []byte("\r\n"), nil), "\r\n")
}

// Normalised is text as a client sends it: each line end of any kind is CRLF,
// and there is one at the end.
func Normalised(text []byte) []byte {
	s := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(string(text))
	if !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return []byte(s)
}
