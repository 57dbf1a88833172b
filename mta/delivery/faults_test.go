package delivery_test

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp/smtptest"
)

// Two hosts that go wrong by chance at every point: no message is lost, and none
// is delivered twice but those whose outcome nobody can know.
func TestNothingIsLost(t *testing.T) {
	var rules []smtptest.Fault
	for _, at := range []smtptest.Point{smtptest.AtConnect, smtptest.AtGreeting, smtptest.AtHello, smtptest.AtMail, smtptest.AtRcpt, smtptest.AtData, smtptest.AtBody, smtptest.AtMessage, smtptest.AtQuit} {
		rules = append(rules,
			smtptest.Fault{At: at, Chance: 0.03, Drop: smtptest.DropCommand},
			smtptest.Fault{At: at, Chance: 0.03, Drop: smtptest.DropReply},
			smtptest.Fault{At: at, Chance: 0.03, Delay: 24 * time.Hour},
			smtptest.Fault{At: at, Chance: 0.03, Drop: smtptest.DropAfter},
			smtptest.Fault{At: at, Chance: 0.02, Reply: "421 4.3.2 closing", Drop: smtptest.DropAfter},
			smtptest.Fault{At: at, Chance: 0.02, Reply: "4x1 what?"})
	}
	synctest.Test(t, func(t *testing.T) {
		n := newInternet()
		hosts := []*smtptest.Recorder{n.recorder(t, "1", nil), n.recorder(t, "3", nil)}
		for i, rec := range hosts {
			rec.Misbehave(smtptest.Faults{Seed: uint64(i), Rules: rules})
		}
		unknown := regexp.MustCompile(`^451 4\.4\.2 `)
		count := map[string]int{}
		before := 0
		for range 400 {
			result := says(n.deliver(t.Context(), "bob")[0])
			after := len(hosts[0].Messages()) + len(hosts[1].Messages())
			copies := after - before
			before = after
			switch {
			case strings.HasPrefix(result, "250"):
				count["delivered"]++
				require.Equal(t, 1, copies, result)
			case unknown.MatchString(result):
				count["unknown"] += copies
				require.LessOrEqual(t, copies, 1, result)
			default:
				count["deferred"]++
				require.Zero(t, copies, result)
				require.Equal(t, byte('4'), result[0], result)
			}
		}
		require.Greater(t, count["delivered"], 100)
		require.Greater(t, count["unknown"], 5)
		require.Greater(t, count["deferred"], 5)
	})
}

// A server that refuses MAIL refuses, with 503, the RCPTs that came along: that is
// no answer about the recipients, who may do better elsewhere.
func TestRefusedSenderWithPipelining(t *testing.T) {
	n := newInternet()
	rec := n.recorder(t, "1", nil)
	rec.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{{At: smtptest.AtMail, Reply: "451 4.3.0 later"}}})
	n.recorder(t, "2", nil)
	require.Equal(t, []string{"250 a.mx.test", "250 a.mx.test"}, allSay(n.deliver(t.Context(), "bob", "carol")))
	n.at["192.0.2.2:25"], n.at["192.0.2.3:25"] = rec.Dial, rec.Dial
	require.Equal(t, []string{"451 4.3.0 b.mx.test", "451 4.3.0 b.mx.test"}, allSay(n.deliver(t.Context(), "bob", "carol")))
}
