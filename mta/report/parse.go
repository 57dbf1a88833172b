package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/message"
)

// maxReports is how many reports are taken from one message.
const maxReports = 10

// maxFailure is how much of a failure report is read.
const maxFailure = 1 << 20

// Received is what a message reports.
type Received struct {
	// Aggregates are its aggregate reports, without their rows.
	Aggregates []*dmarc.Aggregate
	// Failures are its failure reports.
	Failures []*dmarc.Failure
}

// Parse takes the reports from a message of size octets: every part that is
// XML, gzip or zip by type or name, and every failure report. Rows go to each,
// if not nil. rd may be nil. Of several aggregate reports in a message each has
// half the room of the one before: no message costs more than two times rd's
// limits. Nothing says that a report is true, nor who sent
// it: that is for the caller to verify.
//
// Errors are r's and each's, and dmarc.ErrReport for a message without a
// report, or with one that cannot be read; reports before it are returned too.
func Parse(r io.ReaderAt, size int64, rd *dmarc.Reader, each func(*dmarc.Row) error) (*Received, error) {
	o, err := message.Parse(r, size, nil)
	if err != nil {
		return nil, err
	}
	room := dmarc.Reader{}
	if rd != nil {
		room = *rd
	}
	room.MaxExpanded, room.MaxRows = cmp.Or(max(room.MaxExpanded, 0), dmarc.DefaultMaxExpanded), cmp.Or(max(room.MaxRows, 0), dmarc.DefaultMaxRows)
	got := new(Received)
	for p := range o.Root.Walk() {
		aggregate, failure := kind(p)
		if !aggregate && !failure {
			continue
		}
		if len(got.Aggregates)+len(got.Failures) >= maxReports {
			return got, fmt.Errorf("%w: more than %d reports in a message", dmarc.ErrReportLimit, maxReports)
		}
		body := message.DecodeBody(p.Encoding, p.BodyReader(r))
		if aggregate {
			a, err := room.Read(body, each)
			room.MaxExpanded, room.MaxRows = max(room.MaxExpanded/2, 1), max(room.MaxRows/2, 1)
			if err != nil {
				return got, err
			}
			got.Aggregates = append(got.Aggregates, a)
			continue
		}
		part, err := io.ReadAll(io.LimitReader(body, maxFailure+1))
		if err != nil {
			return got, err
		}
		f, err := dmarc.ParseFailure(part)
		if err != nil {
			return got, err
		}
		got.Failures = append(got.Failures, f)
	}
	if len(got.Aggregates)+len(got.Failures) == 0 {
		return got, fmt.Errorf("%w: none in the message", dmarc.ErrReport)
	}
	return got, nil
}

// kind tells by type, and by name where the type says nothing.
func kind(p *message.Part) (aggregate, failure bool) {
	switch p.MediaType() {
	case "message/feedback-report":
		return false, true
	case "application/gzip", "application/x-gzip", "application/zip", "application/x-zip-compressed", "application/xml", "text/xml":
		return true, false
	case "application/octet-stream":
		name := strings.ToLower(p.FileName())
		return strings.HasSuffix(name, ".xml") || strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".zip"), false
	}
	return false, false
}

// hostOf is the domain of an address.
func hostOf(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i <= 0 {
		return ""
	}
	return strings.ToLower(s[i+1:])
}

func address(s string) message.Address {
	i := max(strings.LastIndexByte(s, '@'), 0)
	return message.Address{Mailbox: s[:i], Host: strings.TrimPrefix(s[i:], "@")}
}
