package dsn

import (
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/posta-mail/posta/smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const original = "From: alice@a.test\r\nTo: nobody@b.test\r\nSubject: hello\r\n\r\nsecret body\r\n"

func report() *Report {
	return &Report{
		ReportingMTA: "mx.a.test",
		To:           smtp.Path{Local: "alice", Domain: "a.test"},
		ID:           "Q1",
		EnvelopeID:   "env1",
		Arrived:      time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
		Date:         time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC),
		Recipients: []Recipient{{
			Final: smtp.Path{Local: "nobody", Domain: "b.test"}, Original: "rfc822;nobody@b.test", Action: Failed,
			Status:      smtp.EnhancedCode{5, 1, 1},
			Diagnostic:  smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, 1, 1}, Text: "No such\nuser\r\nInjected: yes"},
			Remote:      "mx.b.test",
			LastAttempt: time.Date(2026, 11, 22, 10, 59, 0, 0, time.UTC),
		}},
		Original: strings.NewReader(original), OriginalSize: int64(len(original)),
	}
}

// parse takes a report apart with the standard library, not with our own code.
func parse(t *testing.T, r *Report) (*mail.Message, []string, []string) {
	t.Helper()
	src, err := r.Reader()
	require.NoError(t, err)
	raw, err := io.ReadAll(src)
	require.NoError(t, err)
	for line := range strings.SplitAfterSeq(string(raw), "\n") {
		require.False(t, line != "" && !strings.HasSuffix(line, "\r\n"), "line without CRLF: %q", line)
		require.LessOrEqual(t, len(line), 1000)
	}
	m, err := mail.ReadMessage(strings.NewReader(string(raw)))
	require.NoError(t, err)
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/report", kind)
	require.Equal(t, "delivery-status", params["report-type"])
	var types, parts []string
	mr := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			return m, types, parts
		}
		require.NoError(t, err)
		b, err := io.ReadAll(p)
		require.NoError(t, err)
		types, parts = append(types, strings.SplitN(p.Header.Get("Content-Type"), ";", 2)[0]), append(parts, string(b))
	}
}

func TestFailure(t *testing.T) {
	m, types, parts := parse(t, report())
	require.Equal(t, "<alice@a.test>", m.Header.Get("To"))
	require.Equal(t, "auto-replied", m.Header.Get("Auto-Submitted"))
	require.Equal(t, []string{"text/plain", "message/delivery-status", "text/rfc822-headers"}, types)
	assert.Contains(t, parts[0], "\r\n<nobody@b.test>\r\n")
	assert.Contains(t, parts[0], "mx.b.test said:")
	for _, line := range []string{
		"Reporting-MTA: dns; mx.a.test\r\n", "Original-Envelope-Id: env1\r\n",
		"\r\n\r\nOriginal-Recipient: rfc822;nobody@b.test\r\n", "Final-Recipient: rfc822; nobody@b.test\r\n",
		"Action: failed\r\n", "Status: 5.1.1\r\n", "Remote-MTA: dns; mx.b.test\r\n", "Last-Attempt-Date: Sun, 22 Nov 2026 10:59:00 +0000\r\n",
	} {
		assert.Contains(t, parts[1], line)
	}
	assert.Contains(t, parts[1], "Diagnostic-Code: smtp; 550 5.1.1 No such user")
	assert.NotContains(t, parts[1], "\r\nInjected:", "a remote host's text makes no fields")
	assert.Equal(t, "From: alice@a.test\r\nTo: nobody@b.test\r\nSubject: hello", parts[2])
}

func TestFullAndDelay(t *testing.T) {
	r := report()
	r.Full = true
	r.Recipients[0].Action = Delayed
	r.Recipients[0].Status = smtp.EnhancedCode{5, 1, 1} // does not fit a delay
	r.Recipients[0].WillRetryUntil = time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	m, types, parts := parse(t, r)
	require.Equal(t, "Your mail is delayed", m.Header.Get("Subject"))
	require.Equal(t, "message/rfc822", types[2])
	require.Equal(t, original, parts[2])
	assert.Contains(t, parts[1], "Action: delayed\r\nStatus: 4.0.0\r\n")
	assert.Contains(t, parts[1], "Will-Retry-Until: Fri, 27 Nov 2026 10:00:00 +0000\r\n")
}

func TestUTF8(t *testing.T) {
	r := report()
	r.Recipients[0].Final = smtp.Path{Local: "jürgen", Domain: "b.test"}
	_, types, parts := parse(t, r)
	require.Equal(t, "message/delivery-status", types[1])
	assert.Contains(t, parts[1], `Final-Recipient: utf-8; j\x{FC}rgen@b.test`)
	r = report()
	r.UTF8 = true
	r.Recipients[0].Final = smtp.Path{Local: "jürgen", Domain: "b.test"}
	_, types, parts = parse(t, r)
	require.Equal(t, []string{"text/plain", "message/global-delivery-status", "message/global-headers"}, types)
	assert.Contains(t, parts[1], "Final-Recipient: utf-8; jürgen@b.test")
}

func TestNoReport(t *testing.T) {
	r := report()
	r.To = smtp.Path{}
	_, err := r.Reader()
	require.ErrorIs(t, err, ErrNullSender)
	r = report()
	r.Recipients = nil
	_, err = r.Reader()
	require.ErrorIs(t, err, ErrNoRecipients)
}

// What remote hosts and senders choose can be long, but it never keeps a report
// from being written.
func TestLongTexts(t *testing.T) {
	r := report()
	r.EnvelopeID = strings.Repeat("e", 5000)
	r.Recipients[0].Original = "rfc822;" + strings.Repeat("o", 5000)
	r.Recipients[0].Remote = strings.Repeat("r", 5000)
	r.Recipients[0].Diagnostic.Text = strings.Repeat("x", 4000) + "\n" + strings.Repeat("\u00e4", 4000)
	r.Recipients = append(r.Recipients, Recipient{Final: smtp.Path{Local: "\u00e4" + strings.Repeat(`\`, 250), Domain: "b.test"}, Action: Failed})
	_, types, parts := parse(t, r)
	require.Len(t, types, 3)
	require.Contains(t, parts[1], "Diagnostic-Code: smtp; 550 5.1.1\r\n xxxx")
	require.Contains(t, parts[1], "Final-Recipient: rfc822; nobody@b.test")
}
