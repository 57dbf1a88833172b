package report

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/message"
)

// FailureVerifier finds where failure reports may go; *dmarc.Evaluator is one.
type FailureVerifier interface {
	FailureDestinations(ctx context.Context, policyDomain string, uris []string) ([]dmarc.Destination, []error)
}

// Defaults of a FailureSender.
const (
	DefaultMaxFailuresPerDay         = 100
	DefaultMaxFailuresPerDestination = 10
)

// maxHeader is how much of a redacted header is sent.
const maxHeader = 64 << 10

// inLimits is a header without what is over maxHeader, and of longer lines what
// a mail may have (RFC 5322 §2.1.1).
func inLimits(header []byte) []byte {
	if len(header) > maxHeader {
		header = header[:maxHeader]
		header = header[:bytes.LastIndexByte(header, '\n')+1]
	}
	var out []byte
	for line := range bytes.Lines(header) {
		line = bytes.TrimRight(line, "\r\n")
		out = append(append(out, line[:min(len(line), 998)]...), "\r\n"...)
	}
	return out
}

// FailureSender sends failure reports (RFC 9991) for those who decided to: they
// show a stranger's mail to another. Nothing sends them unless Send is called
// and Allow agrees. Its fields must not change once it is used; it is safe for
// concurrent use.
type FailureSender struct {
	// Submitter and Verifier are needed.
	Submitter Submitter
	Verifier  FailureVerifier
	// Address is the author of reports, in a domain used for nothing else; no
	// reports are sent about its domain.
	Address string
	// Allow says which policy domains may get reports; without it none do.
	Allow func(policyDomain string) bool
	// MaxPerDay is how many mails are sent in a day of UTC, MaxPerDestination
	// how many to one domain. 0: DefaultMaxFailuresPerDay,
	// DefaultMaxFailuresPerDestination.
	MaxPerDay, MaxPerDestination int

	mu   sync.Mutex
	caps caps
}

// Send reports one message to the FailureURIs of the record at policyDomain,
// and says how many mails that were and what went wrong: ErrSender, ErrCap,
// dmarc's errors of destinations, and the Submitter's. Nothing is tried again.
// The header goes out as dmarc.Redact leaves it, without the recipient and what
// is over 64 KiB; a message that is a report itself, by its header, is not
// reported. Send must not be called for the policy of a public suffix (RFC 9990
// §7.3): its owner has no claim to others' mail.
func (s *FailureSender) Send(ctx context.Context, policyDomain string, uris []string, f *dmarc.Failure) (int, []error) {
	own := hostOf(s.Address)
	if s.Submitter == nil || s.Verifier == nil || own == "" {
		return 0, []error{ErrSender}
	}
	if len(uris) == 0 || s.Allow == nil || !s.Allow(policyDomain) || policyDomain == own || IsReport(message.ParseHeader(f.Header)) {
		return 0, nil
	}
	if !s.room() {
		return 0, []error{ErrCap} // before DNS is asked on a stranger's behalf
	}
	to, errs := s.Verifier.FailureDestinations(ctx, policyDomain, uris)
	sent := 0
	seen := make(map[string]bool, len(to))
	for _, d := range to {
		host := hostOf(d.Address)
		if host == "" || seen[d.Address] {
			continue
		}
		seen[d.Address] = true
		if !s.take(host) {
			errs = append(errs, fmt.Errorf("%w: %s", ErrCap, host))
			continue
		}
		m, err := s.mail(f, d.Address)
		if err == nil {
			err = s.Submitter.Submit(ctx, m)
		}
		if err != nil {
			s.mu.Lock()
			s.caps.give(host)
			s.mu.Unlock()
			errs = append(errs, err)
			continue
		}
		sent++
	}
	return sent, errs
}

func (s *FailureSender) take(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caps.take(time.Now(), host, cmp.Or(s.MaxPerDay, DefaultMaxFailuresPerDay), cmp.Or(s.MaxPerDestination, DefaultMaxFailuresPerDestination))
}

// room reports whether the day has any mail left.
func (s *FailureSender) room() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caps.room(time.Now(), cmp.Or(s.MaxPerDay, DefaultMaxFailuresPerDay))
}

// mail is a multipart/report (RFC 5965 §2) with the header of the message in
// place of the message.
func (s *FailureSender) mail(f *dmarc.Failure, to string) (*Mail, error) {
	c := *f
	c.RcptTo = "" // RFC 9991 §7: who got the mail is nobody else's business
	// RFC 5965 §3.1 and RFC 9991 §4 want both.
	c.Reporter, c.Alignment = cmp.Or(c.Reporter, "Posta"), cmp.Or(c.Alignment, "none")
	redacted := inLimits(dmarc.Redact(f.Header))
	var b, text, part, header message.Builder
	text.SetText("This is a DMARC failure report about one message. Its header follows, redacted.\n")
	part.SetBody("message/feedback-report", "8bit", bytes.NewReader(c.Part()))
	header.SetBody("text/rfc822-headers", "8bit", bytes.NewReader(redacted))
	b.AddDate(time.Now()).AddMessageID(message.NewMessageID(hostOf(s.Address))).
		AddAddresses("From", address(s.Address)).AddAddresses("To", address(to)).
		Add("Subject", "DMARC failure report").Add("Auto-Submitted", "auto-generated").
		SetMultipart("report", []message.Param{{Name: "report-type", Value: "feedback-report"}}, &text, &part, &header)
	octets, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", dmarc.ErrReport, err)
	}
	return &Mail{From: s.Address, To: to, Message: octets}, nil
}
