package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/posta-mail/posta/auth"
)

// Transcript is a Trace that writes the dialogue to w, one line for each line
// of it, after the connection's id:
//
//	smtp-mf3k2-1 connected from 192.0.2.1:2525
//	smtp-mf3k2-1 S: 220 mx.example.org ESMTP ready
//	smtp-mf3k2-1 C: AUTH PLAIN
//	smtp-mf3k2-1 S: 235 2.7.0 Authentication succeeded
//	smtp-mf3k2-1 C: (a message of 1234 octets)
//	smtp-mf3k2-1 closed
//
// Credentials and messages are never in it, as they never are in a Trace;
// control characters are written as "?". Each line is one Write, never two at
// the same time; errors of w are ignored, and connections wait for it.
func Transcript(w io.Writer) *Trace {
	var mu sync.Mutex
	return transcript(func(p auth.Peer, line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.WriteString(w, p.ID+" "+line+"\n")
	})
}

// LogTranscript is like Transcript, with a log record for each line: the line
// is the message, and the peer an attribute. A nil logger gives a nil Trace.
func LogTranscript(logger *slog.Logger, level slog.Level) *Trace {
	if logger == nil {
		return nil
	}
	return transcript(func(p auth.Peer, line string) {
		logger.LogAttrs(context.Background(), level, line, slog.Any("peer", p))
	})
}

func transcript(put func(p auth.Peer, line string)) *Trace {
	return &Trace{
		TLS: func(p auth.Peer, err error) {
			if err != nil {
				put(p, "TLS failed: "+oneLine(err.Error()))
				return
			}
			put(p, tls.VersionName(p.TLS.Version)+" "+tls.CipherSuiteName(p.TLS.CipherSuite))
		},
		Connect: func(p auth.Peer) { put(p, "connected from "+origin(p)) },
		Command: func(p auth.Peer, verb, args string) {
			put(p, "C: "+oneLine(strings.TrimRight(verb+" "+args, " ")))
		},
		Reply: func(p auth.Peer, _ string, r Reply) {
			for text, more := r.Text, true; more; {
				var line string
				line, text, more = strings.Cut(text, "\n")
				put(p, "S: "+replyLine(r, line, more))
			}
		},
		Message: func(p auth.Peer, m Transfer) {
			line := "C: (a message of " + strconv.FormatInt(m.Octets, 10) + " octets)"
			if m.Chunked {
				line = "C: (in all " + strconv.FormatInt(m.Octets, 10) + " octets)"
			}
			put(p, line)
		},
		Close: func(p auth.Peer, err error) {
			if err != nil {
				put(p, "closed: "+oneLine(err.Error()))
				return
			}
			put(p, "closed")
		},
	}
}

func origin(p auth.Peer) string {
	s := "unknown"
	if p.Remote.IsValid() {
		s = p.Remote.String()
	}
	if p.Proxy.IsValid() {
		s += " by proxy " + p.Proxy.String()
	}
	return s
}

func replyLine(r Reply, text string, more bool) string {
	sep := " "
	if more {
		sep = "-"
	}
	s := strconv.Itoa(r.Code) + sep
	if r.Enhanced != (EnhancedCode{}) {
		s += r.Enhanced.String() + " "
	}
	return s + oneLine(text)
}

// oneLine is what may stand in a line of a transcript: nothing that a terminal
// or a reader of lines could take for more than text.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Of what a client says only that is passed on which cannot be a secret.

// mechanisms are the names that a Trace may see after AUTH: a line that is not
// in order could have a password there.
var mechanisms = map[string]bool{
	"PLAIN": true, "LOGIN": true, "EXTERNAL": true, "ANONYMOUS": true, "CRAM-MD5": true, "DIGEST-MD5": true,
	"SCRAM-SHA-1": true, "SCRAM-SHA-1-PLUS": true, "SCRAM-SHA-256": true, "SCRAM-SHA-256-PLUS": true,
	"SCRAM-SHA-512": true, "SCRAM-SHA-512-PLUS": true, "XOAUTH2": true, "OAUTHBEARER": true,
	"GSSAPI": true, "NTLM": true,
}

func mechanismName(s string) string {
	if s = strings.ToUpper(s); mechanisms[s] {
		return s
	}
	return "?"
}

// redact is what a Trace sees of a command line.
func (c *session) redact(verb, args string) (string, string) {
	_, known := commands[verb]
	switch {
	case verb == "AUTH":
		mech, _, _ := strings.Cut(args, " ")
		return verb, mechanismName(mech)
	case known:
		return verb, args
	case c.ownVerb(verb):
		return verb, octets(len(args))
	}
	// The next line of an AUTH that was refused may look like any other.
	return "?", octets(len(verb) + len(args))
}

func octets(n int) string { return fmt.Sprintf("(%d octets)", n) }
