package smtp_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// What a Client says of a message is true, whatever happens on the way: who is
// said to have it has it, and who has it was said to, or the outcome to be
// unknown. Trouble comes by chance, in every kind of session.
func TestClientTellsTheTruth(t *testing.T) {
	rules := []smtptest.Fault{
		{At: smtptest.AtConnect, Drop: smtptest.DropCommand},
		{At: smtptest.AtHandshake, Drop: smtptest.DropCommand},
		{At: smtptest.AtRcpt, Reply: "450 4.2.1 later"},
		{At: smtptest.AtRcpt, Reply: "550 5.1.1 nobody"},
		{At: smtptest.AtMail, Reply: "451 4.3.0 later"},
		{At: smtptest.AtData, Reply: "451 4.3.0 later"},
		{At: smtptest.AtChunk, Reply: "451 4.3.0 later"},
		{At: smtptest.AtMessage, Reply: "452 4.3.1 full"},
		{At: smtptest.AtMessage, Drop: smtptest.DropReply},
		{At: smtptest.AtMessage, Drop: smtptest.DropCommand},
		{At: smtptest.AtBody, Octets: 30, Drop: smtptest.DropCommand},
		{Drop: smtptest.DropReply},
		{Drop: smtptest.DropAfter},
		{Reply: "what?"},
		{Delay: time.Hour},
		{Reply: "421 4.3.2 closing", Drop: smtptest.DropAfter},
	}
	for i := range rules {
		rules[i].Chance = 0.03
	}
	for _, lmtp := range []bool{false, true} {
		for _, secure := range []bool{false, true} {
			for _, hide := range []string{"X", "PIPELINING", "CHUNKING"} {
				t.Run(fmt.Sprintf("lmtp=%v tls=%v without %s", lmtp, secure, hide), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						tellTheTruth(t, smtptest.Faults{Seed: 1, Rules: append(rules[:len(rules):len(rules)], smtptest.Fault{At: smtptest.AtHello, Hide: []string{hide}})}, lmtp, secure)
					})
				})
			}
		}
	}
}

func tellTheTruth(t *testing.T, faults smtptest.Faults, lmtp, secure bool) {
	var mu sync.Mutex
	has := map[string]int{} // recipient and message: times accepted
	rec := &smtptest.Recorder{Data: func(m *smtptest.Message) error {
		mu.Lock()
		defer mu.Unlock()
		for _, to := range m.To {
			has[to.Local+" "+string(m.Data)]++
		}
		return nil
	}}
	rec.Server.Hostname, rec.Server.LMTP = "mx.example.org", lmtp
	ca := smtptest.NewAuthority(t)
	if secure {
		rec.Server.TLSConfig = ca.Server("mx.example.org")
	}
	rec.Start()
	defer rec.Close()
	rec.Misbehave(faults)
	cfg := &smtp.ClientConfig{LMTP: lmtp, DialContext: rec.Dial}
	cfg.TLS.Config = ca.Client()
	counts := map[string]int{}
	var c *smtp.Client
	for i := range 300 {
		if c == nil || !c.Alive() {
			var err error
			if c, err = smtp.Dial(t.Context(), "mx.example.org:25", cfg); err != nil {
				continue
			}
		}
		body := fmt.Sprintf("Subject: %d\r\n\r\nThirty octets and some more.\r\n", i)
		res, _ := c.Send(t.Context(), envelope("a@example.org", "b@example.org", "c@example.org"), strings.NewReader(body))
		for k, err := range res.Recipients {
			mu.Lock()
			n := has[string("abc"[k])+" "+body]
			mu.Unlock()
			switch {
			case err == nil:
				counts["accepted"]++
				require.Equal(t, 1, n, "message %d is said to be accepted", i)
			case errors.Is(err, smtp.ErrOutcomeUnknown):
				counts[fmt.Sprintf("unknown %d", n)]++
				require.True(t, smtp.IsTemporary(err))
			default:
				counts["not accepted"]++
				require.Equal(t, 0, n, "message %d is said not to be accepted: %v", i, err)
			}
		}
	}
	if c != nil {
		_ = c.Close()
	}
	for _, outcome := range []string{"accepted", "not accepted", "unknown 0", "unknown 1"} {
		require.Greater(t, counts[outcome], 5, "%s of %v", outcome, counts)
	}
}
