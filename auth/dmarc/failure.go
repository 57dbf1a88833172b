package dmarc

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/posta-mail/posta/message"
)

// Failure is a failure report (RFC 9991, in the format of RFC 5965 and RFC
// 6591): what became of one message. It shows somebody's mail to somebody else:
// whoever sends such reports must have decided to (RFC 9991 §7).
type Failure struct {
	// Reporter is the software, Arrived when the message came, Source from where.
	Reporter string
	Arrived  time.Time
	Source   netip.Addr
	// MailFrom and RcptTo are the envelope's; either may be left out.
	MailFrom, RcptTo string
	// AuthResults is the value of an Authentication-Results field.
	AuthResults string
	// Domain is the domain that is reported about, ID identifies the message.
	Domain, ID string
	// Alignment names the identifiers that were not aligned: "dkim", "spf",
	// "dkim, spf" or "none" (RFC 9991 §4).
	Alignment string
	// Delivered says what became of the message: "delivered", "policy",
	// "reject" or "other" (RFC 6591 §3.2.2); empty leaves it out.
	Delivered string
	// Header is the message's header; a report has it without the message's
	// body. See Redact.
	Header []byte
}

// redacted are the fields that a redacted header keeps with their values: what
// says who sent the message and how, and nothing of its content or readers.
const redacted = " date message-id dkim-signature authentication-results mime-version content-type " +
	"arc-seal arc-message-signature arc-authentication-results list-id x-mailer user-agent "

// Redact returns a header in which the values of all other fields, and the
// local parts of the authors' addresses, are replaced (RFC 6590).
func Redact(header []byte) []byte {
	h := message.ParseHeader(header)
	var out []byte
	for f := range h.Fields() {
		name := strings.ToLower(f.Name())
		switch {
		case name == "":
		case name == "from" || name == "sender" || name == "return-path":
			out = append(out, f.Name()+": "+hideLocal(f.Value())+"\r\n"...)
		case name == "received":
			out = append(out, "Received: "+hop(f.Value())+"\r\n"...)
		case strings.Contains(redacted, " "+name+" "):
			out = append(out, bytes.TrimRight(f.Raw(), "\r\n")...)
			out = append(out, "\r\n"...)
		default:
			out = append(out, f.Name()+": REDACTED\r\n"...)
		}
	}
	return out
}

// hop is a trace field without the recipient, who may stand in a clause of its
// own or in a comment: from where to where, how and when.
func hop(value string) string {
	r := message.ParseReceived(value)
	var b strings.Builder
	put := func(name, value string) {
		if value = oneLine(value); value != "" && !strings.Contains(value, "@") {
			b.WriteString(name + value + " ")
		}
	}
	put("from ", r.From)
	if r.FromAddr.IsValid() {
		put("", "(["+r.FromAddr.String()+"])")
	}
	put("by ", r.By)
	put("with ", r.With)
	out := strings.TrimSuffix(b.String(), " ")
	if !r.Date.IsZero() {
		out += "; " + message.FormatDate(r.Date)
	}
	return out
}

// hideLocal keeps of addresses their domains.
func hideLocal(value string) string {
	list, _ := message.ParseAddressList(strings.NewReplacer("\r", "", "\n", "").Replace(value))
	var out []string
	for _, a := range list {
		if a.IsMailbox() && a.Host != message.NoHost {
			out = append(out, "redacted@"+oneLine(a.Host))
		}
	}
	if len(out) == 0 {
		return "REDACTED"
	}
	return strings.Join(out, ", ")
}

// Part is the machine-readable part of the report, message/feedback-report (RFC
// 5965 §3), with CRLF.
func (f *Failure) Part() []byte {
	var b bytes.Buffer
	put := func(name, value string) {
		if value = oneLine(value); value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	put("Feedback-Type", "auth-failure")
	put("User-Agent", f.Reporter)
	put("Version", "1")
	put("Auth-Failure", "dmarc") // RFC 9991 §4
	put("Identity-Alignment", f.Alignment)
	put("Authentication-Results", f.AuthResults)
	put("Original-Mail-From", f.MailFrom)
	put("Original-Rcpt-To", f.RcptTo)
	if !f.Arrived.IsZero() {
		put("Arrival-Date", message.FormatDate(f.Arrived))
	}
	if f.Source.IsValid() {
		put("Source-IP", f.Source.String())
	}
	put("Reported-Domain", f.Domain)
	put("Original-Envelope-Id", f.ID)
	put("Delivery-Result", f.Delivered)
	return b.Bytes()
}

// oneLine keeps a value from becoming a field of its own.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return -1
		}
		return r
	}, s)
}

// maxFailure is how much of a failure report is read.
const maxFailure = 1 << 20

// ParseFailure reads the machine-readable part of a failure report. The error is
// ErrReport for what is none, and ErrReportLimit for one over 1 MiB; values that
// cannot be read are zero. Header is not set: it is in a part of its own.
func ParseFailure(part []byte) (*Failure, error) {
	if len(part) > maxFailure {
		return nil, ErrReportLimit
	}
	h := message.ParseHeader(slices.Concat(bytes.TrimSpace(part), []byte("\r\n\r\n")))
	fields := make(map[string]string)
	for f := range h.Fields() {
		name := strings.ToLower(f.Name())
		if _, ok := fields[name]; !ok {
			fields[name] = oneLine(f.Value())
		}
	}
	if !strings.EqualFold(fields["feedback-type"], "auth-failure") {
		return nil, fmt.Errorf("%w: not about authentication", ErrReport)
	}
	f := &Failure{
		Reporter: fields["user-agent"], MailFrom: fields["original-mail-from"], RcptTo: fields["original-rcpt-to"],
		AuthResults: fields["authentication-results"], Domain: strings.ToLower(fields["reported-domain"]), ID: fields["original-envelope-id"],
		Alignment: fields["identity-alignment"], Delivered: fields["delivery-result"],
	}
	f.Source, _ = netip.ParseAddr(fields["source-ip"])
	f.Arrived, _ = message.ParseDate(fields["arrival-date"])
	return f, nil
}
