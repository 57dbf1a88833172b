package smtptest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

const letter = "Subject: hello\r\n\r\n.dot\r\n"

// try sends the letter to two recipients and says what came of it: the outcome
// for each, as the command that failed, and what of it.
func try(t *testing.T, s *smtptest.Server, change func(*smtp.ClientConfig)) string {
	t.Helper()
	cfg := s.Client()
	cfg.NoChunking = true // each step a round trip of its own
	if change != nil {
		change(cfg)
	}
	res, err := smtp.SendMail(t.Context(), s.Addr(), cfg, envelope(t, "a@example.org", "bob@example.org"), strings.NewReader(letter))
	if res == nil {
		return outcome(err)
	}
	var list []string
	for _, e := range res.Recipients {
		list = append(list, outcome(e))
	}
	return strings.Join(slices.Compact(list), ", ")
}

func outcome(err error) string {
	var ce *smtp.CommandError
	var e *smtp.Error
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &ce):
		return err.Error()
	}
	what := err.Error()
	switch {
	case errors.As(err, &e):
		what = strings.TrimPrefix(e.Error(), "smtp: ")
	case errors.Is(err, smtp.ErrOutcomeUnknown):
		what = "unknown"
	case errors.Is(err, syscall.ECONNREFUSED):
		what = "refused"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		what = "lost"
	case errors.Is(err, smtp.ErrProtocol), errors.Is(err, wire.ErrBareLF):
		what = "nonsense"
	}
	return ce.Command + ": " + what
}

// Every fault at every point, and whether the server behind has a message.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault    smtptest.Fault
		want     string
		messages int
	}{
		{smtptest.Fault{At: smtptest.AtConnect, Drop: smtptest.DropCommand}, "connect: refused", 0},
		{smtptest.Fault{At: smtptest.AtGreeting, Drop: smtptest.DropReply}, "greeting: lost", 0},
		{smtptest.Fault{At: smtptest.AtGreeting, Drop: smtptest.DropAfter}, "EHLO: lost", 0},
		{smtptest.Fault{At: smtptest.AtGreeting, Reply: "421 4.3.2 busy", Drop: smtptest.DropAfter}, "greeting: 421 4.3.2 busy", 0},
		{smtptest.Fault{At: smtptest.AtGreeting, Reply: "554 go away"}, "greeting: 554 go away", 0},
		{smtptest.Fault{At: smtptest.AtGreeting, Reply: "SSH-2.0-OpenSSH", Raw: true, Drop: smtptest.DropAfter}, "greeting: lost", 0},
		{smtptest.Fault{At: smtptest.AtGreeting, Reply: "SSH-2.0-OpenSSH"}, "greeting: nonsense", 0},
		{smtptest.Fault{At: smtptest.AtHello, Drop: smtptest.DropCommand}, "EHLO: lost", 0},
		{smtptest.Fault{At: smtptest.AtHello, Reply: "502 what"}, "HELO: 502 what", 0},
		{smtptest.Fault{At: smtptest.AtHello, Match: regexp.MustCompile("^EHLO "), Reply: "502 what"}, "ok", 1},
		{smtptest.Fault{At: smtptest.AtHello, Hide: []string{"pipelining", "SIZE", "CHUNKING", "ENHANCEDSTATUSCODES"}}, "ok", 1},
		{smtptest.Fault{At: smtptest.AtHello, Append: "250 again\r\n"}, "MAIL: nonsense", 0},
		{smtptest.Fault{At: smtptest.AtMail, Reply: "450 4.7.1 slow down"}, "MAIL: 450 4.7.1 slow down", 0},
		{smtptest.Fault{At: smtptest.AtMail, Drop: smtptest.DropCommand}, "MAIL: lost", 0},
		{smtptest.Fault{At: smtptest.AtMail, Drop: smtptest.DropAfter}, "RCPT: lost", 0},
		{smtptest.Fault{At: smtptest.AtRcpt, Nth: 1, Drop: smtptest.DropReply}, "RCPT: lost", 0},
		{smtptest.Fault{At: smtptest.AtRcpt, Nth: 2, Drop: smtptest.DropAfter}, "DATA: lost", 0},
		{smtptest.Fault{At: smtptest.AtRcpt, Match: regexp.MustCompile("bob@"), Reply: "550-5.1.1 No\n550 5.1.1 bob"}, "ok, RCPT: 550 5.1.1 No / bob", 1},
		{smtptest.Fault{At: smtptest.AtRcpt, Nth: 1, Reply: "45", Raw: true, Drop: smtptest.DropAfter}, "RCPT: lost", 0},
		{smtptest.Fault{At: smtptest.AtRcpt, Reply: "999 what"}, "RCPT: nonsense", 0},
		{smtptest.Fault{At: smtptest.AtRcpt, Nth: 2, Reply: "250 Lie"}, "ok", 1},
		{smtptest.Fault{At: smtptest.AtData, Drop: smtptest.DropAfter}, "message: lost", 0},
		{smtptest.Fault{At: smtptest.AtData, Reply: "451 4.3.0 disk"}, "DATA: 451 4.3.0 disk", 0},
		{smtptest.Fault{At: smtptest.AtBody, Drop: smtptest.DropCommand}, "message: unknown", 0},
		{smtptest.Fault{At: smtptest.AtBody, Octets: 20, Drop: smtptest.DropReply}, "message: unknown", 0},
		{smtptest.Fault{At: smtptest.AtMessage, Drop: smtptest.DropCommand}, "message: unknown", 0},
		{smtptest.Fault{At: smtptest.AtMessage, Drop: smtptest.DropReply}, "message: unknown", 1},
		{smtptest.Fault{At: smtptest.AtMessage, Reply: "452 4.3.1 full"}, "message: 452 4.3.1 full", 0},
		{smtptest.Fault{At: smtptest.AtMessage, Match: regexp.MustCompile("bob@"), Reply: "554 5.7.1 spam"}, "message: 554 5.7.1 spam", 0},
		{smtptest.Fault{At: smtptest.AtMessage, Match: regexp.MustCompile("eve@"), Reply: "554 5.7.1 spam"}, "ok", 1},
		{smtptest.Fault{At: smtptest.AtMessage, Reply: "554 5.7.1 spam", Pass: true}, "message: 554 5.7.1 spam", 1},
		{smtptest.Fault{At: smtptest.AtMessage, Drop: smtptest.DropAfter}, "ok", 1},
		{smtptest.Fault{At: smtptest.AtQuit, Drop: smtptest.DropCommand}, "ok", 1},
		{smtptest.Fault{At: smtptest.AtOther, Reply: "421 no"}, "ok", 1},
		{smtptest.Fault{Reply: "421 4.3.2 closing", Skip: 3, Drop: smtptest.DropAfter}, "RCPT: 421 4.3.2 closing", 0},
		{smtptest.Fault{}, "ok", 1},
	} {
		for _, lmtp := range []bool{false, true} {
			if lmtp && c.fault.At == smtptest.AtHello {
				continue
			}
			var got sink
			s := smtptest.NewServer(t, &smtp.Server{Handler: got.handler(), LMTP: lmtp})
			s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{c.fault}})
			want := c.want
			if lmtp {
				want = strings.Replace(want, "EHLO", "LHLO", 1)
			}
			require.Equal(t, want, try(t, s, nil), "%+v lmtp=%v", c.fault, lmtp)
			require.Len(t, got.messages(), c.messages, "%+v lmtp=%v", c.fault, lmtp)
			if c.messages > 0 {
				require.Equal(t, letter, got.messages()[0])
			}
			s.Misbehave(smtptest.Faults{})
			require.Equal(t, "ok", try(t, s, nil), "all is well again")
			require.Nil(t, s.Misbehaved())
		}
	}
}

// A server that is busy every other time and then loses a reply.
func ExampleFaults() {
	var rec smtptest.Recorder
	rec.Start()
	defer rec.Close()
	rec.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{
		{At: smtptest.AtGreeting, Every: 2, Reply: "421 4.3.2 busy", Drop: smtptest.DropAfter},
		{At: smtptest.AtMessage, Skip: 1, Times: 1, Drop: smtptest.DropReply},
	}})
	bob, _ := smtp.ParseAddress("bob@example.org")
	for range 4 {
		_, err := smtp.SendMail(context.Background(), "mx.example.org:25", &smtp.ClientConfig{DialContext: rec.Dial},
			&smtp.Envelope{To: smtp.To(bob)}, strings.NewReader("Subject: x\n\nx\n"))
		fmt.Println(err)
	}
	fmt.Println(len(rec.Messages()), "messages")
	// Output:
	// <nil>
	// smtp: greeting: 421 4.3.2 busy
	// smtp: message: message sent, but no reply to it: unexpected EOF
	// smtp: greeting: 421 4.3.2 busy
	// 2 messages
}

// A connection lost while there is more to send.
func TestLostWithinTheBody(t *testing.T) {
	var got sink
	s := smtptest.NewServer(t, &smtp.Server{Handler: got.handler()})
	s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{{At: smtptest.AtBody, Octets: 100_000, Drop: smtptest.DropReply}}})
	c := smtptest.NewClient(t, s, nil)
	_, err := c.Send(t.Context(), envelope(t, "a@example.org"), strings.NewReader(strings.Repeat(letter, 100_000)))
	require.Equal(t, "message: lost", outcome(err))
	require.Empty(t, got.messages())
}

// After a message that the server behind has not seen, the connection goes on.
func TestFaultsLeaveTheConnection(t *testing.T) {
	var got sink
	s := smtptest.NewServer(t, &smtp.Server{Handler: got.handler()})
	s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{{At: smtptest.AtMessage, Every: 2, Reply: "452 4.3.1 full"}}})
	c := smtptest.NewClient(t, s, nil)
	for i := range 6 {
		_, err := c.Send(t.Context(), envelope(t, "a@example.org"), strings.NewReader(letter))
		require.Equal(t, i%2 == 0, err == nil, "%d %v", i, err)
	}
	require.Len(t, got.messages(), 3)
	require.Equal(t, []int{3}, s.Misbehaved())
}

func TestFaultyTLS(t *testing.T) {
	other := smtptest.NewAuthority(t)
	for _, implicit := range []bool{false, true} {
		var got sink
		s := smtptest.NewTLSServer(t, &smtp.Server{Hostname: "mx.example.org", Handler: got.handler(), ImplicitTLS: implicit})
		opportunistic := func(cfg *smtp.ClientConfig) { cfg.TLS.Mode = smtp.TLSOpportunistic }
		for _, c := range []struct {
			fault    smtptest.Fault
			want     string // part of it
			starttls bool   // only there
			change   func(*smtp.ClientConfig)
		}{
			{fault: smtptest.Fault{At: smtptest.AtOther}, want: "ok"},
			{fault: smtptest.Fault{At: smtptest.AtHello, Hide: []string{"STARTTLS"}}, want: "STARTTLS: 454 4.7.0", starttls: true},
			{fault: smtptest.Fault{At: smtptest.AtHello, Hide: []string{"STARTTLS"}}, want: "ok", starttls: true, change: opportunistic},
			{fault: smtptest.Fault{At: smtptest.AtStartTLS, Reply: "454 4.7.0 not now"}, want: "STARTTLS: 454 4.7.0 not now", starttls: true},
			{fault: smtptest.Fault{At: smtptest.AtStartTLS, Append: "250 injected\r\n"}, want: "STARTTLS: nonsense", starttls: true},
			{fault: smtptest.Fault{At: smtptest.AtHandshake, Drop: smtptest.DropCommand}, want: "TLS: "},
			{fault: smtptest.Fault{At: smtptest.AtHandshake, Reply: "500 what TLS?"}, want: "first record does not look like a TLS handshake"},
			{fault: smtptest.Fault{At: smtptest.AtHandshake, TLS: s.Authority.Expired("mx.example.org")}, want: "expired"},
			{fault: smtptest.Fault{At: smtptest.AtHandshake, TLS: s.Authority.Server("mx.example.net")}, want: "not mx.example.org"},
			{fault: smtptest.Fault{At: smtptest.AtHandshake, TLS: other.Server("mx.example.org")}, want: "unknown authority"},
			{fault: smtptest.Fault{At: smtptest.AtHandshake, TLS: other.Server("mx.example.org")}, want: "ok", change: opportunistic},
		} {
			if implicit && c.starttls {
				continue
			}
			s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{c.fault}})
			require.Contains(t, try(t, s, c.change), c.want, "%+v implicit=%v", c.fault, implicit)
		}
	}
}

// Faults by TCP: what was said last arrives.
func TestFaultsTCP(t *testing.T) {
	s := smtptest.NewServer(t, &smtp.Server{Handler: (&sink{}).handler()})
	addr, err := s.ListenTCP()
	require.NoError(t, err)
	tcp := func() string {
		res, err := smtp.SendMail(t.Context(), addr, nil, envelope(t, "a@example.org"), strings.NewReader(letter))
		if res != nil {
			err = res.Recipients[0]
		}
		return outcome(err)
	}
	require.Equal(t, "ok", tcp())
	s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{
		{At: smtptest.AtConnect, Times: 1, Drop: smtptest.DropCommand},
		{At: smtptest.AtMail, Reply: "421 4.3.2 closing", Drop: smtptest.DropAfter, Times: 1},
	}})
	require.Contains(t, tcp(), "greeting: ")
	require.Equal(t, "MAIL: 421 4.3.2 closing", tcp())
	require.Equal(t, "ok", tcp())
}

func TestSlowServers(t *testing.T) {
	for _, c := range []struct {
		fault smtptest.Fault
		want  time.Duration
	}{
		{smtptest.Fault{At: smtptest.AtConnect, Delay: time.Minute / 2}, time.Minute / 2},
		{smtptest.Fault{At: smtptest.AtGreeting, Delay: time.Minute}, time.Minute},
		{smtptest.Fault{At: smtptest.AtRcpt, Delay: time.Minute}, 2 * time.Minute},
		{smtptest.Fault{At: smtptest.AtRcpt, Drip: time.Second, Reply: "250 ok", Pass: true}, 2 * time.Duration(len("250 ok\r\n")) * time.Second},
		{smtptest.Fault{At: smtptest.AtMessage, Delay: time.Minute}, time.Minute},
		{smtptest.Fault{At: smtptest.AtBody, Delay: time.Minute, Octets: 10}, time.Minute},
		{smtptest.Fault{At: smtptest.AtBody, Drip: time.Second}, time.Duration(len(letter)+len("..\r\n")) * time.Second},
		{smtptest.Fault{At: smtptest.AtBody, Octets: len(letter), Drip: time.Second, Delay: time.Minute}, time.Minute + time.Duration(len("..\r\n"))*time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := smtptest.NewServer(t, &smtp.Server{Handler: (&sink{}).handler()})
			s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{c.fault}})
			start := time.Now()
			require.Equal(t, "ok", try(t, s, func(cfg *smtp.ClientConfig) { cfg.TLS.Mode = smtp.TLSNone }))
			require.Equal(t, c.want, time.Since(start), "%+v", c.fault)
		})
	}
	// A server that stalls does not hold up the test's end.
	synctest.Test(t, func(t *testing.T) {
		s := smtptest.NewServer(t, &smtp.Server{Handler: (&sink{}).handler()})
		for _, at := range []smtptest.Point{smtptest.AtConnect, smtptest.AtMessage} {
			s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{{At: at, Delay: 1000 * time.Hour}}})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			_, err := smtp.SendMail(ctx, s.Addr(), s.Client(), envelope(t, "a@example.org"), strings.NewReader(letter))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, time.Minute, time.Since(start))
		}
	})
}

// Rates and chances are the same every time.
func TestRates(t *testing.T) {
	var got sink
	s := smtptest.NewServer(t, &smtp.Server{Handler: got.handler()})
	run := func(f smtptest.Fault, seed uint64) string {
		s.Misbehave(smtptest.Faults{Seed: seed, Rules: []smtptest.Fault{f}})
		var b strings.Builder
		for range 24 {
			b.WriteString(map[bool]string{true: ".", false: "x"}[try(t, s, nil) == "ok"])
		}
		return b.String()
	}
	busy := smtptest.Fault{At: smtptest.AtGreeting, Reply: "421 4.3.2 busy", Drop: smtptest.DropAfter}
	every := busy
	every.Every = 3
	require.Equal(t, strings.Repeat("..x", 8), run(every, 0))
	every.Skip, every.Times = 1, 2
	require.Equal(t, "...x..x.................", run(every, 0))
	chance := busy
	chance.Chance = 0.5
	first := run(chance, 7)
	require.Equal(t, first, run(chance, 7))
	require.NotEqual(t, first, run(chance, 8))
	require.InDelta(t, 12, strings.Count(first, "x"), 6)

	// Luck does not depend on who comes first: many at a time.
	s.Misbehave(smtptest.Faults{Seed: 7, Rules: []smtptest.Fault{chance}})
	var wg sync.WaitGroup
	for range 24 {
		wg.Go(func() { try(t, s, nil) })
	}
	wg.Wait()
	require.Equal(t, []int{strings.Count(first, "x")}, s.Misbehaved())
}

func TestRecorderMisbehaves(t *testing.T) {
	var rec smtptest.Recorder
	rec.Start()
	defer rec.Close()
	rec.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{{At: smtptest.AtMessage, Times: 1, Drop: smtptest.DropReply}}})
	cfg := &smtp.ClientConfig{DialContext: rec.Dial}
	_, err := smtp.SendMail(t.Context(), "mx:25", cfg, envelope(t, "a@example.org"), strings.NewReader(letter))
	require.ErrorIs(t, err, smtp.ErrOutcomeUnknown)
	_, err = smtp.SendMail(t.Context(), "mx:25", cfg, envelope(t, "a@example.org"), strings.NewReader(letter))
	require.NoError(t, err)
	require.Len(t, rec.Messages(), 2, "the lost reply has made a duplicate")
	require.Equal(t, []int{1}, rec.Misbehaved())
}

// Chunks: whole messages, pieces of them, and what comes between.
func TestFaultyChunks(t *testing.T) {
	var got sink
	for _, lmtp := range []bool{false, true} {
		hello := map[bool]string{true: "LHLO", false: "EHLO"}[lmtp]
		s := smtptest.NewServer(t, &smtp.Server{Handler: got.handler(), LMTP: lmtp})
		start := "S* 220 .*\nC: " + hello + " x\nS* 250 .*\nC: MAIL FROM:<>\nS* 250 .*\nC: RCPT TO:<a@example.org>\nS* 250 .*\n"
		for _, c := range []struct {
			fault  smtptest.Fault
			script string
		}{
			{smtptest.Fault{At: smtptest.AtConnect}, "C- \"BDAT 3\\r\\nx\\r\\nBDAT 3 LAST\\r\\ny\\r\\n\"\nS: 250 2.0.0 Chunk received\nS: 250 2.0.0 OK\n"},
			{smtptest.Fault{At: smtptest.AtChunk, Reply: "452 4.3.1 full"}, "C- \"BDAT 3\\r\\nx\\r\\n\"\nS: 452 4.3.1 full\nC: MAIL FROM:<>\nS* 250 .*\n"},
			{smtptest.Fault{At: smtptest.AtMessage, Reply: "452 4.3.1 full"}, "C: DATA\nS: 354 Go ahead\nC: x\nC: .\nS: 452 4.3.1 full\nC: MAIL FROM:<>\nS~ 250 .*\n"},
			{smtptest.Fault{At: smtptest.AtMessage, Reply: "452 4.3.1 full"}, "C- \"BDAT 3\\r\\nx\\r\\nBDAT 3 LAST\\r\\ny\\r\\n\"\nS: 250 2.0.0 Chunk received\nS: 452 4.3.1 full\nC: MAIL FROM:<>\nS* 250 .*\n"},
			{smtptest.Fault{At: smtptest.AtBody, Octets: 4, Drop: smtptest.DropCommand}, "C- \"BDAT 3\\r\\nx\\r\\nBDAT 3 LAST\\r\\ny\\r\\n\"\nS: 250 2.0.0 Chunk received\nEOF\n"},
			{smtptest.Fault{At: smtptest.AtConnect}, "C: BDAT x\nS: 501 5.5.4 Malformed BDAT\nEOF\n"},
		} {
			s.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{c.fault}})
			smtptest.Play(t, s, start+c.script, nil)
		}
	}
	require.Equal(t, []string{"x\r\ny\r\n", "x\r\ny\r\n"}, got.messages())
}
