// Command relay is a mail transfer agent with one rule of its own: it sends
// mail on for a network's machines, but no newsletters at night.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/netip"
	"time"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store/sqlite"
)

var network = netip.MustParsePrefix("127.0.0.0/8")

func trusted(p auth.Peer) bool { return network.Contains(p.Addr()) }

// quietNights is a check that, at night, defers mail with a List-Id (RFC 2919).
type quietNights int // the hour of the day

func (hour quietNights) Check(ctx context.Context, t *mta.Transaction) mta.Verdict {
	if t.Phase != mta.AtData || !t.Header.Has("List-Id") || hour >= 6 && hour < 22 {
		return mta.Verdict{}
	}
	return mta.Verdict{Action: mta.Defer, Reason: "newsletter at night"}
}

func rule(ctx context.Context, t *mta.Transaction) mta.Verdict {
	return quietNights(time.Now().Hour()).Check(ctx, t)
}

func main() {
	st, err := sqlite.Open("relay-data")
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	agent := &mta.Agent{
		Hostname: "relay.example.org",
		Spool:    st.Spool(),
		Stager:   st,
		Checks:   []mta.Check{mta.CheckFunc(rule)},
		Logger:   slog.Default(),
	}
	srv := &smtp.Server{Addr: "127.0.0.1:2525", Hostname: agent.Hostname, Handler: agent.Relay(trusted)}
	if err := posta.Run(context.Background(), srv, agent); err != nil {
		log.Fatal(err)
	}
}
