// Package dsn composes delivery status notifications: the bounce and the
// delay notice (RFC 3461, 3464, 6522, 6533).
package dsn

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

// Action is what has happened to a recipient's copy (RFC 3464 §2.3.3).
type Action string

// The actions this package writes.
const (
	Failed  Action = "failed"
	Delayed Action = "delayed"
)

// Recipient is one recipient's part of a report.
type Recipient struct {
	Final smtp.Path
	// Original is the address as the sender gave it, "type;address", if it
	// differs; empty leaves the field out (RFC 3461 §4.2).
	Original string
	Action   Action
	Status   smtp.EnhancedCode
	// Diagnostic is the reply that decided, with its basic code; the zero
	// value leaves the field out.
	Diagnostic smtp.Reply
	// Remote is the host that gave the reply; empty: this system did.
	Remote      string
	LastAttempt time.Time // zero leaves the field out
	// WillRetryUntil is set in delay notices.
	WillRetryUntil time.Time
}

// Report is a notification about one message to its sender. To and Recipients
// are required, the rest has useful zero values.
type Report struct {
	// ReportingMTA is the name of the system that reports.
	ReportingMTA string
	// To is the reverse-path of the message; a null one gets no report.
	To smtp.Path
	// ID names the message in the reporting system's logs.
	ID string
	// EnvelopeID is ENVID as the sender gave it, decoded (RFC 3461 §4.4).
	EnvelopeID string
	Arrived    time.Time
	Recipients []Recipient
	// Original is the message, of OriginalSize octets; nil leaves it out.
	// Full returns all of it, otherwise its header only (RFC 3461 §4.3).
	Original     io.ReaderAt
	OriginalSize int64
	Full         bool
	// UTF8 permits UTF-8 addresses in the report (RFC 6533), to a sender who
	// used SMTPUTF8.
	UTF8 bool
	Date time.Time // zero: now
}

// Errors of Reader.
var (
	// ErrNullSender: reports are never answered by reports (RFC 3464 §2,
	// RFC 5321 §4.5.5).
	ErrNullSender   = errors.New("dsn: the message has a null reverse-path")
	ErrNoRecipients = errors.New("dsn: no recipients")
)

// maxHeader bounds how much of the original's header is returned.
const maxHeader = 256 << 10

// Reader returns the report as a message, CRLF line ends throughout. It is to
// be sent with a null reverse-path and NOTIFY=NEVER. The original is read while
// the result is.
func (r *Report) Reader() (io.Reader, error) {
	switch {
	case r.To.IsNull():
		return nil, ErrNullSender
	case len(r.Recipients) == 0:
		return nil, ErrNoRecipients
	}
	w := writer{boundary: boundary()}
	r.header(&w)
	w.part("text/plain; charset=utf-8", "Notification", "8bit")
	w.WriteString(r.text())
	statusType := "message/delivery-status"
	if r.UTF8 {
		statusType = "message/global-delivery-status" // RFC 6533 §3
	}
	w.part(statusType, "Delivery report", "")
	r.status(&w)
	if w.err != nil {
		return nil, w.err
	}
	end := strings.NewReader("\r\n--" + w.boundary + "--\r\n")
	if r.Original == nil {
		return io.MultiReader(&w.Buffer, end), nil
	}
	original, err := r.original(&w)
	if err != nil {
		return nil, err
	}
	return io.MultiReader(&w.Buffer, original, end), nil
}

// writer collects the report; the first error sticks.
type writer struct {
	bytes.Buffer
	boundary string
	err      error
}

func (w *writer) field(name, value string) {
	b, err := message.WriteField(w.AvailableBuffer(), name, value)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("dsn: field %s: %w", name, err)
	}
	w.Write(b)
}

func (w *writer) part(contentType, description, encoding string) {
	w.WriteString("\r\n--" + w.boundary + "\r\n")
	w.field("Content-Type", contentType)
	w.field("Content-Description", description)
	if encoding != "" {
		w.field("Content-Transfer-Encoding", encoding)
	}
	w.WriteString("\r\n")
}

func (r *Report) action() Action { return r.Recipients[0].Action }

func (r *Report) mta() string {
	if r.ReportingMTA == "" {
		return "localhost"
	}
	return r.ReportingMTA
}

func (r *Report) header(w *writer) {
	date := r.Date
	if date.IsZero() {
		date = time.Now()
	}
	subject := "Undelivered mail returned to sender"
	if r.action() == Delayed {
		subject = "Your mail is delayed"
	}
	w.field("Date", message.FormatDate(date))
	w.field("From", "Mail Delivery System <MAILER-DAEMON@"+r.mta()+">")
	w.field("To", r.To.String())
	w.field("Subject", subject)
	w.field("Message-ID", message.NewMessageID(r.mta()))
	w.field("Auto-Submitted", "auto-replied") // RFC 3834 §5
	w.field("MIME-Version", "1.0")
	w.field("Content-Type", `multipart/report; report-type=delivery-status; boundary="`+w.boundary+`"`)
}

// text is for the person who sent the message.
func (r *Report) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("This is the mail system at %s.", r.mta())
	line("")
	if r.action() == Delayed {
		line("Your message has not been delivered to these recipients yet.")
		line("You need not send it again: delivery will be tried further.")
	} else {
		line("Your message could not be delivered to these recipients.")
	}
	for _, rc := range r.Recipients {
		line("")
		line("<%s>", cut(printable(rc.Final.Address(), true)))
		if rc.Remote != "" {
			line("    %s said:", cut(printable(rc.Remote, true)))
		}
		for l := range strings.SplitSeq(rc.Diagnostic.String(), "\n") {
			line("    %s", cut(printable(l, true)))
		}
		if !rc.WillRetryUntil.IsZero() {
			line("    Delivery is tried until %s.", message.FormatDate(rc.WillRetryUntil))
		}
	}
	return b.String()
}

// status is the part for programs (RFC 3464 §2.1.2).
func (r *Report) status(w *writer) {
	w.field("Reporting-MTA", "dns; "+r.mta())
	if r.EnvelopeID != "" {
		w.field("Original-Envelope-Id", cut(xtextSafe(r.EnvelopeID)))
	}
	if !r.Arrived.IsZero() {
		w.field("Arrival-Date", message.FormatDate(r.Arrived))
	}
	if r.ID != "" {
		w.field("X-Posta-Queue-ID", r.ID)
	}
	for _, rc := range r.Recipients {
		w.WriteString("\r\n")
		if rc.Original != "" {
			w.field("Original-Recipient", cut(xtextSafe(rc.Original)))
		}
		w.field("Final-Recipient", cut(r.address(rc.Final)))
		w.field("Action", string(rc.Action))
		w.field("Status", r.statusCode(rc))
		if rc.Remote != "" {
			w.field("Remote-MTA", "dns; "+cut(printable(rc.Remote, false)))
		}
		if rc.Diagnostic.Code != 0 {
			text := strings.ReplaceAll(rc.Diagnostic.String(), "\n", " ")
			w.field("Diagnostic-Code", "smtp; "+cut(printable(text, false)))
		}
		if !rc.LastAttempt.IsZero() {
			w.field("Last-Attempt-Date", message.FormatDate(rc.LastAttempt))
		}
		if !rc.WillRetryUntil.IsZero() {
			w.field("Will-Retry-Until", message.FormatDate(rc.WillRetryUntil))
		}
	}
}

// statusCode is never missing, and its class fits the action (RFC 3464 §2.3.4).
func (r *Report) statusCode(rc Recipient) string {
	s := rc.Status
	switch {
	case rc.Action == Delayed && s[0] != 4:
		s = smtp.EnhancedCode{4, 0, 0}
	case rc.Action == Failed && s[0] == 0:
		s = smtp.EnhancedCode{5, 0, 0}
	}
	return s.String()
}

// address is the typed form of an address (RFC 3464 §2.1.2, RFC 6533 §3).
func (r *Report) address(p smtp.Path) string {
	a := p.Address()
	if isASCII(a) {
		return "rfc822; " + printable(a, false)
	}
	if r.UTF8 {
		return "utf-8; " + printable(a, true)
	}
	var b strings.Builder // utf-8-addr-unitext in ASCII
	for _, c := range a {
		if c < 0x7f && c > ' ' && c != '\\' && c != '+' && c != '=' {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, c)
		}
	}
	return "utf-8; " + b.String()
}

// original opens the last part and returns its content.
func (r *Report) original(w *writer) (io.Reader, error) {
	section := io.NewSectionReader(r.Original, 0, r.OriginalSize)
	if r.Full {
		kind := "message/rfc822"
		if r.UTF8 {
			kind = "message/global"
		}
		w.part(kind, "Undelivered message", "")
		return section, w.err
	}
	h, _, err := message.ReadHeader(io.LimitReader(section, maxHeader), nil)
	if err != nil {
		return nil, err
	}
	kind := "text/rfc822-headers"
	if r.UTF8 {
		kind = "message/global-headers"
	}
	w.part(kind, "Header of the undelivered message", "8bit")
	return bytes.NewReader(bytes.TrimSuffix(h.Raw(), []byte("\r\n\r\n"))), w.err
}

func boundary() string {
	var b [12]byte
	_, _ = rand.Read(b[:])
	return "=_dsn_" + hex.EncodeToString(b[:])
}

// printable keeps what a remote host said from being more than text.
func printable(s string, utf8 bool) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c < ' ' || c == 0x7f:
			return ' '
		case c > 0x7f && (!utf8 || c == '\uFFFD'):
			return '?'
		}
		return c
	}, s)
}

// maxText is more than any answer needs and fits a line (RFC 5322 §2.1.1),
// however it is folded.
const maxText = 900

// cut shortens what others chose, so that a report can always be written.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// xtextSafe drops what may not stand in a value that the sender chose.
func xtextSafe(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f {
			return -1
		}
		return c
	}, s)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
