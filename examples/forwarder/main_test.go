package main

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/auth/srs"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
	"github.com/posta-mail/posta/store/memory"
)

// system is a world of four: a.test writes, one.test sends on to two.test, which
// sends on to c.test.
type system struct {
	dns    *testdns.Server
	signer *dkim.Signer
	a, c   *smtptest.Recorder
	one    string // its address
}

// ours is where a.test sends from; all the others are at 127.0.0.1.
const ours = "127.0.0.2"

func start(t *testing.T) *system {
	w := &system{dns: testdns.New(t, testdns.Zone{}), a: &smtptest.Recorder{}, c: &smtptest.Recorder{}}
	w.c.Rcpt = func(to smtp.Path) error {
		if to.Local == "nobody" {
			return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "Nobody here")
		}
		return nil
	}
	t.Cleanup(func() { _, _ = w.a.Close(), w.c.Close() })
	aAddr, err := w.a.StartTCP()
	require.NoError(t, err)
	cAddr, err := w.c.StartTCP()
	require.NoError(t, err)

	w.signer = &dkim.Signer{Domain: "a.test", Selector: "s1", Key: w.publish(t, "a.test", ours)}
	w.dns.Set("_dmarc.a.test", testdns.Records{TXT: []string{"v=DMARC1; p=reject"}})
	one, two := listen(t), listen(t)
	w.one = one.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-done)
		assert.NoError(t, <-done)
	})
	w.forward(t, ctx, done, "one.test", one, map[string]string{"a.test": aAddr, "two.test": two.Addr().String()},
		map[string]string{"bob@one.test": "bob@two.test", "gone@one.test": "gone@two.test"})
	w.forward(t, ctx, done, "two.test", two, map[string]string{"one.test": w.one, "c.test": cAddr},
		map[string]string{"bob@two.test": "bob@c.test", "gone@two.test": "nobody@c.test"})
	return w
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// publish makes a domain that sends from one address, and its key.
func (w *system) publish(t *testing.T, domain, addr string) crypto.Signer {
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	require.NoError(t, err)
	record, err := dkim.Record(key)
	require.NoError(t, err)
	w.dns.Set(domain, testdns.Records{TXT: []string{"v=spf1 ip4:" + addr + " -all"}})
	w.dns.Set("s1._domainkey."+domain, testdns.Records{TXT: []string{record}})
	return key
}

func (w *system) forward(t *testing.T, ctx context.Context, done chan<- error, domain string, l net.Listener, routes, aliases map[string]string) {
	key := w.publish(t, domain, "127.0.0.1")
	st := memory.New()
	agent := &mta.Agent{
		Hostname: "mx." + domain, Spool: st.Spool(), Stager: st, Logger: slog.New(slog.DiscardHandler),
		Resolver: &dns.Resolver{Servers: []string{w.dns.Addr()}},
	}
	agent.Route.Static = routes
	newForwarder(domain, key, []byte("secret of "+domain), aliases, agent)
	srv := &smtp.Server{Hostname: agent.Hostname, Handler: agent.Inbound()}
	go func() { done <- posta.Run(ctx, posta.On(l, srv), agent) }()
}

// send gives one.test a message from an address of a.test's or another's.
func (w *system) send(t *testing.T, addr, from, to string, sign bool) error {
	c, err := smtp.Dial(t.Context(), w.one, &smtp.ClientConfig{Hostname: "mx.a.test", LocalAddr: netip.MustParseAddr(addr)})
	require.NoError(t, err)
	defer c.Close()
	text := fmt.Sprintf("From: <ann@a.test>\r\nTo: <%s>\r\nSubject: Lunch\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@a.test>\r\n\r\nAt noon?\r\n", to)
	if sign {
		field, err := dkim.Sign(t.Context(), []*dkim.Signer{w.signer}, strings.NewReader(text))
		require.NoError(t, err)
		text = string(field) + text
	}
	env := &smtp.Envelope{From: path(t, from), To: smtp.To(path(t, to))}
	_, err = c.Send(t.Context(), env, strings.NewReader(text))
	return err
}

func path(t *testing.T, address string) smtp.Path {
	if address == "" {
		return smtp.Path{}
	}
	p, err := smtp.ParseAddress(address)
	require.NoError(t, err)
	return p
}

func TestForwarding(t *testing.T) {
	w := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	require.NoError(t, w.send(t, ours, "ann@a.test", "bob@one.test", true))
	got, err := w.c.Wait(ctx, 1)
	require.NoError(t, err)
	assert.Equal(t, "bob@c.test", got[0].To[0].Address())
	assert.Regexp(t, `^SRS1=[^=]{4}=one\.test==[^=]{4}=[^=]{2}=a\.test=ann@two\.test$`, got[0].From.Address())

	receiver := &verify.Verifier{Hostname: "mx.c.test", Resolver: &testdns.Resolver{DB: w.dns.DB}, Trusted: arc.Trusted{"one.test", "two.test"}}
	env := verify.Envelope{Remote: netip.MustParseAddr("127.0.0.1"), HELO: "mx.two.test", MailFrom: got[0].From.Address()}
	res, err := receiver.Verify(ctx, env, bytes.NewReader(got[0].Data))
	require.NoError(t, err)
	assert.Equal(t, spf.Pass, res.SPF.Status)
	assert.Equal(t, dkim.StatusPass, res.DKIM[0].Status)
	assert.Equal(t, verify.Accept, res.Recommend().Action)
	require.Equal(t, arc.StatusPass, res.ARC.Status, res.ARC.Err)
	require.Equal(t, 2, res.ARC.Instance)
	assert.Equal(t, arc.StatusPass, res.ARC.Sets[1].CV)
	assert.Equal(t, "pass", res.ARC.Sets[0].Results.Find("dmarc")[0].Value)

	// Where the signature cannot be checked, what one.test found counts, as long
	// as nobody has changed the message.
	w.dns.Remove("s1._domainkey.a.test")
	res, err = receiver.Verify(ctx, env, bytes.NewReader(got[0].Data))
	require.NoError(t, err)
	assert.Equal(t, verify.Accept, res.Recommend().Action)
	assert.Equal(t, 1, res.Override.Instance)
	changed := bytes.Replace(got[0].Data, []byte("At noon?"), []byte("At two?"), 1)
	res, err = receiver.Verify(ctx, env, bytes.NewReader(changed))
	require.NoError(t, err)
	assert.Equal(t, verify.Quarantine, res.Recommend().Action)
}

func TestBounces(t *testing.T) {
	w := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	require.NoError(t, w.send(t, ours, "ann@a.test", "gone@one.test", true))
	got, err := w.a.Wait(ctx, 1)
	require.NoError(t, err)
	assert.True(t, got[0].From.IsNull())
	assert.Equal(t, "ann@a.test", got[0].To[0].Address())
	assert.Contains(t, string(got[0].Data), "Final-Recipient: rfc822; nobody@c.test")
	assert.Empty(t, w.c.Messages())
}

func TestRefusals(t *testing.T) {
	w := start(t)
	forged := "SRS0=AAAA=AA=a.test=ann@one.test"
	good, err := (&srs.Rewriter{Domain: "one.test", Secrets: [][]byte{[]byte("secret of one.test")}}).Forward("ann@a.test")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		addr, from, to string
		sign           bool
		code           int
	}{
		"not an alias":                  {ours, "ann@a.test", "eve@one.test", true, 550},
		"not ours":                      {ours, "ann@a.test", "eve@c.test", true, 550},
		"forged":                        {"127.0.0.3", "ann@a.test", "bob@one.test", false, 550},
		"to a sender, hash guessed":     {"127.0.0.3", "", forged, false, 550},
		"to a sender, but not a bounce": {ours, "ann@a.test", good, true, 550},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.send(t, c.addr, c.from, c.to, c.sign)
			require.Error(t, err)
			assert.Equal(t, c.code, smtp.AsError(err).Code, err)
		})
	}
	assert.Empty(t, w.c.Messages())
	assert.Empty(t, w.a.Messages())
}
