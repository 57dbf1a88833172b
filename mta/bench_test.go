package mta_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store/memory"
)

// BenchmarkInbound is one transaction over loopback TCP into a store in memory:
// a message of 4 KiB with one signature.
func BenchmarkInbound(b *testing.B) {
	for _, c := range []struct {
		name      string
		algorithm dkim.Algorithm
	}{{"no verification", dkim.RSASHA256}, {"rsa-sha256", dkim.RSASHA256}, {"ed25519-sha256", dkim.Ed25519SHA256}} {
		b.Run(c.name, func(b *testing.B) {
			key, err := dkim.GenerateKey(c.algorithm)
			require.NoError(b, err)
			record, err := dkim.Record(key)
			require.NoError(b, err)
			zone := testdns.InMemory(testdns.Zone{
				"pass.test":               {TXT: []string{"v=spf1 ip4:127.0.0.1 -all"}},
				"_dmarc.pass.test":        {TXT: []string{"v=DMARC1; p=reject"}},
				"k1._domainkey.pass.test": {TXT: []string{record}},
			})
			b.Cleanup(func() { _ = zone.Close() })
			st := memory.Options{MaxBytes: -1}.New()
			b.Cleanup(func() { _ = st.Close() })
			require.NoError(b, st.CreateAccount(b.Context(), "bob@ours.test"))
			agent := &mta.Agent{
				Hostname: "mx.ours.test", Domains: []string{"ours.test"}, Local: &mda.Agent{Store: st}, Stager: st,
				NoVerify: c.name == "no verification", Resolver: &dns.Resolver{Servers: []string{zone.Addr()}, Dial: zone.Dial},
			}
			l := listen(b, &smtp.Server{Hostname: "mx.ours.test", Handler: agent.Inbound()})
			msg := "From: alice@pass.test\r\nTo: bob@ours.test\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nSubject: hello\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 64)
			sig, err := dkim.Sign(b.Context(), []*dkim.Signer{{Domain: "pass.test", Selector: "k1", Key: key}}, strings.NewReader(msg))
			require.NoError(b, err)
			msg = string(sig) + msg
			client, err := smtp.Dial(b.Context(), l.Addr().String(), &smtp.ClientConfig{Hostname: "client.pass.test"})
			require.NoError(b, err)
			defer client.Close()
			env := &smtp.Envelope{From: path(b, "alice@pass.test"), To: smtp.To(path(b, "bob@ours.test"))}
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Send(context.Background(), env, strings.NewReader(msg)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
