package interop

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestPython runs one script for each protocol, with the standard library's
// clients. Each asserts for itself and prints what it saw.
func TestPython(t *testing.T) {
	t.Parallel()
	peer(t, "python3")
	s := start(t)
	script := func(t *testing.T, name string, args ...string) {
		t.Helper()
		out := run(t, "", "python3", append([]string{filepath.Join("testdata", name), certFile()}, args...)...)
		assert.Contains(t, out, "\nall done\n")
	}
	t.Run("smtplib", func(t *testing.T) {
		script(t, "smtp.py", s.port("smtp"), s.port("submission"), s.port("submissions"), s.port("lmtp"), alice, alicePassword, bob)
		for _, subject := range []string{"smtplib inbound", "smtplib starttls", "smtplib ssl", "smtplib lmtp"} {
			s.find(t, bob, "INBOX", "Subject: "+subject+"\r\n")
		}
	})
	t.Run("imaplib", func(t *testing.T) { script(t, "imap.py", s.port("imap"), s.port("imaps"), alice, alicePassword) })
	t.Run("poplib", func(t *testing.T) {
		s.append(t, carol, "INBOX", message(bob, carol, "poplib one", "first line\r\nsecond line\r\nthird line"),
			message(bob, carol, "poplib two", ".dots\r\n..more\r\n"), message(bob, carol, "poplib three", "stays"))
		script(t, "pop3.py", s.port("pop3"), s.port("pop3s"), carol, carolPassword)
		_, left := s.mailbox(t, carol, "INBOX")
		if assert.Len(t, left, 1) {
			assert.Contains(t, string(left[0].raw), "poplib three")
		}
	})
}
