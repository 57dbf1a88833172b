package smtptest

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posta-mail/posta/smtp"
)

// Faults let go of both sides when the client has gone, also while the server
// behind or a delay is waited for.
func TestRelayEndsWithItsClient(t *testing.T) {
	for name, fault := range map[string]Fault{"server": {At: AtQuit}, "delay": {At: AtRcpt, Delay: 1000 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				s := NewServer(t, &smtp.Server{Handler: smtp.Receive(func(smtp.Path) bool {
					<-release
					return true
				}, func(context.Context, *smtp.Envelope, io.Reader) error { return nil })})
				t.Cleanup(func() { close(release) }) // comes before the server's
				s.Misbehave(Faults{Rules: []Fault{fault}})
				nc, err := s.Dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = io.Copy(io.Discard, nc) }()
				_, _ = io.WriteString(nc, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n")
				time.Sleep(time.Second)
				_ = nc.Close()
				synctest.Wait()
				s.net.mu.Lock()
				defer s.net.mu.Unlock()
				if len(s.net.open) != 0 {
					t.Fatal("a connection has not ended")
				}
			})
		})
	}
}
