package smtptest

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posta-mail/posta/smtp"
)

// FuzzScript: no script makes the parser panic, and what it takes can be played.
func FuzzScript(f *testing.F) {
	for _, s := range []string{
		"S: 220 hi\nC: EHLO .*\nS- \"250 a\\n\"\nS* 3 250-x\nDATA\nTLS\nWAIT 10s\nSTALL\nCLOSE\n# x", "C: (", "S* -1 x", "WAIT -1s", "X", "S- '", "",
	} {
		f.Add(s, "EHLO x\r\n.\r\n")
	}
	f.Fuzz(func(t *testing.T, script, client string) {
		if list, err := parseScript(script); err != nil || len(list) > 20 {
			return
		} else {
			for _, d := range list {
				if d.verb == "S*" && d.n > 100 || d.verb == "TLS" {
					return // neither long nor without a certificate
				}
			}
		}
		synctest.Test(t, func(t *testing.T) {
			p, err := NewPeer(script)
			if err != nil {
				t.Fatal(err)
			}
			nc, err := p.Dial(t.Context(), "tcp", "")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, nc) }()
			_, _ = io.WriteString(nc, client)
			time.Sleep(time.Hour)
			_ = nc.Close()
			_ = p.Close()
		})
	})
}

// FuzzRelay: whatever a client says to a server with faults, everything ends when
// the client has gone.
func FuzzRelay(f *testing.F) {
	const begin = "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"
	for i, s := range []string{
		begin + "DATA\r\nx\r\n..\r\n.\r\nQUIT\r\n", begin + "BDAT 3\r\nx\r\nBDAT 0 LAST\r\n", begin + "BDAT 99999999999999999999 LAST\r\n", begin + "BDAT -1\r\n",
		"AUTH PLAIN\r\nAA==\r\n", "STARTTLS\r\nEHLO x\r\n", "\n\r\n.", "DATA\r\n.\r\n", "BDAT 5 LAST\r\nabcde",
	} {
		for at := range 4 {
			f.Add(s, uint64(i), at, i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, client string, seed uint64, at int, lmtp bool) {
		synctest.Test(t, func(t *testing.T) {
			s := NewServer(t, &smtp.Server{LMTP: lmtp, Handler: smtp.Receive(smtp.ForDomains("example.org"), func(_ context.Context, _ *smtp.Envelope, r io.Reader) error {
				_, err := io.Copy(io.Discard, r)
				return err
			})})
			point := []Point{"", AtMessage, AtBody, AtChunk}[uint(at)%4]
			s.Misbehave(Faults{Seed: seed, Rules: []Fault{
				{At: point, Chance: 0.1, Reply: "250 lie", Append: "250 x\r\n"}, {At: point, Chance: 0.1, Drop: DropReply}, {At: point, Chance: 0.2, Reply: "450 later"},
				{At: point, Chance: 0.1, Octets: 4, Drip: time.Second}, {At: point, Chance: 0.1, Drop: DropAfter}, {At: point, Chance: 0.1, Reply: "354 go", Raw: true},
			}})
			nc, err := s.Dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, nc) }()
			_, _ = io.WriteString(nc, client)
			time.Sleep(time.Minute)
			_ = nc.Close()
			time.Sleep(time.Minute) // for what drips, and less than the server waits
			s.net.mu.Lock()
			defer s.net.mu.Unlock()
			if len(s.net.open) != 0 {
				t.Fatal("a connection has not ended")
			}
		})
	})
}
