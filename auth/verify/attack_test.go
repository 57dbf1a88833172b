package verify_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

// TestAuthors has all the ways to write From, sent by somebody who passes SPF
// for evil.example: none of them is a pass for the domain with the policy, and
// none that names it, or nobody, is just accepted.
func TestAuthors(t *testing.T) {
	long := strings.Repeat("a.", 200) + "reject.example"
	for name, c := range map[string]struct {
		from   string // the header
		status dmarc.Status
		want   verify.Action
	}{
		"plain":                {"From: a@reject.example", dmarc.StatusFail, verify.Quarantine},
		"case":                 {"FROM: a@REJECT.Example", dmarc.StatusFail, verify.Quarantine},
		"final dot":            {"From: a@reject.example.", dmarc.StatusFail, verify.Quarantine},
		"space before colon":   {"From \t: a@reject.example", dmarc.StatusFail, verify.Quarantine},
		"folded":               {"From:\r\n <a@reject.example\r\n >", dmarc.StatusFail, verify.Quarantine},
		"comment":              {"From: a@reject.example (a@evil.example)", dmarc.StatusFail, verify.Quarantine},
		"comment within":       {"From: a(x@evil.example)@(y)reject.example", dmarc.StatusFail, verify.Quarantine},
		"quoted with @":        {`From: "x@evil.example"@reject.example`, dmarc.StatusFail, verify.Quarantine},
		"group":                {"From: g: a@reject.example;", dmarc.StatusFail, verify.Quarantine},
		"below":                {"From: a@x.reject.example", dmarc.StatusFail, verify.Quarantine},
		"fullwidth dot":        {"From: a@reject\u3002example", dmarc.StatusFail, verify.Quarantine},
		"fullwidth letters":    {"From: a@\uff52eject.example", dmarc.StatusFail, verify.Quarantine},
		"soft hyphen":          {"From: a@re\u00adject.example", dmarc.StatusFail, verify.Quarantine},
		"two":                  {"From: a@evil.example, b@reject.example", dmarc.StatusPermError, verify.Quarantine},
		"two, the other way":   {"From: b@reject.example, a@evil.example", dmarc.StatusPermError, verify.Quarantine},
		"two fields":           {"From: a@evil.example\r\nfrom : b@reject.example", dmarc.StatusPermError, verify.Quarantine},
		"empty":                {"From:", dmarc.StatusPermError, verify.Quarantine},
		"null":                 {"From: <>", dmarc.StatusPermError, verify.Quarantine},
		"empty group":          {"From: g:;", dmarc.StatusPermError, verify.Quarantine},
		"encoded":              {"From: =?utf-8?q?a=40reject=2Eexample?=", dmarc.StatusPermError, verify.Quarantine},
		"literal":              {"From: a@[192.0.2.1]", dmarc.StatusPermError, verify.Quarantine},
		"very long":            {"From: a@" + long, dmarc.StatusPermError, verify.Quarantine},
		"long label":           {"From: a@" + strings.Repeat("a", 64) + ".reject.example", dmarc.StatusPermError, verify.Quarantine},
		"empty label":          {"From: a@x..reject.example", dmarc.StatusPermError, verify.Quarantine},
		"broken UTF-8":         {"From: a@\xffreject.example", dmarc.StatusPermError, verify.Quarantine},
		"bare LF":              {"X: y\nFrom: a@reject.example", dmarc.StatusPermError, verify.Quarantine},
		"bare CR":              {"X: y\rFrom: a@reject.example", dmarc.StatusPermError, verify.Quarantine},
		"bare LF, and another": {"From: a@evil.example\nFrom: a@reject.example", dmarc.StatusPermError, verify.Quarantine},
		"route":                {"From: <@reject.example:a@evil.example>", dmarc.StatusNone, verify.Accept},
		"name":                 {`From: "a@reject.example" <a@evil.example>`, dmarc.StatusNone, verify.Accept},
		"two angles":           {"From: <a@reject.example> <a@evil.example>", dmarc.StatusPermError, verify.Quarantine},
		"text behind":          {"From: <a@reject.example> a@evil.example", dmarc.StatusFail, verify.Quarantine},
		"address as a name":    {"From: a@reject.example <a@evil.example>", dmarc.StatusNone, verify.Accept},
		"NUL":                  {"From: a@reject.example\x00", dmarc.StatusFail, verify.Quarantine},
		"NUL before":           {"From: \x00a@reject.example", dmarc.StatusFail, verify.Quarantine},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verify.Verifier{Hostname: "mx.b.example", Resolver: testdns.NewResolver(zone())}
			res, err := v.Verify(t.Context(), verify.Envelope{Remote: bad, HELO: "evil.example", MailFrom: "a@evil.example", UTF8: true}, strings.NewReader(c.from+"\r\n\r\nhi\r\n"))
			require.NoError(t, err)
			require.Equal(t, spf.Pass, res.SPF.Status)
			assert.Equal(t, c.status, res.DMARC.Status, "%q %v", res.DMARC.Domain, res.DMARC.Err)
			assert.Equal(t, c.want, res.Recommend().Action)
			field, err := res.Field()
			require.NoError(t, err)
			assert.NotContains(t, field, "dmarc=pass")
		})
	}
}

// TestSenders has all the ways to write MAIL FROM.
func TestSenders(t *testing.T) {
	for name, c := range map[string]struct {
		sender, domain string
		status         spf.Status
		dmarc          dmarc.Status
	}{
		"plain":          {"a@reject.example", "reject.example", spf.Pass, dmarc.StatusPass},
		"case":           {"a@REJECT.example", "reject.example", spf.Pass, dmarc.StatusPass},
		"final dot":      {"a@reject.example.", "reject.example", spf.Pass, dmarc.StatusPass},
		"quoted":         {`"a@evil.example"@reject.example`, "reject.example", spf.Pass, dmarc.StatusPass},
		"quoted, forged": {`"a@reject.example"@evil.example`, "evil.example", spf.Fail, dmarc.StatusFail},
		"literal":        {"a@[192.0.2.1]", "", spf.None, dmarc.StatusFail},
		"one label":      {"a@localhost", "", spf.None, dmarc.StatusFail},
		"too long":       {"a@" + strings.Repeat("a.", 130) + "reject.example", "", spf.None, dmarc.StatusFail},
		"long label":     {"a@" + strings.Repeat("a", 64) + ".reject.example", "", spf.None, dmarc.StatusFail},
		"8 bit":          {"a@\xff.reject.example", "", spf.None, dmarc.StatusFail},
		"line":           {"a@reject.example\r\nX: y", "", spf.None, dmarc.StatusFail},
		"nobody":         {"reject.example", "reject.example", spf.Pass, dmarc.StatusPass},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verify.Verifier{Hostname: "mx.b.example", Resolver: testdns.NewResolver(zone())}
			res, err := v.Verify(t.Context(), verify.Envelope{Remote: good, HELO: "x", MailFrom: c.sender}, strings.NewReader(letter("a@reject.example")))
			require.NoError(t, err)
			assert.Equal(t, c.status, res.SPF.Status, "%v", res.SPF.Err)
			if c.domain != "" {
				assert.Equal(t, c.domain, res.SPF.Domain)
			}
			assert.Equal(t, c.dmarc, res.DMARC.Status, "%v", res.DMARC.Err)
			field, err := res.Field()
			require.NoError(t, err)
			h, err := authres.Parse(strings.TrimPrefix(field, authres.FieldName+":"))
			require.NoError(t, err, "%q", field)
			assert.Equal(t, 1, strings.Count(field, "\tdmarc="))
			assert.Equal(t, "mx.b.example", h.ServID)
		})
	}
}

// TestForgedDoubt sends for keys that there cannot be, in the name of a domain
// with a policy: a forger must not be able to make doubt of a failure.
func TestForgedDoubt(t *testing.T) {
	server := testdns.New(t, zone())
	env := verify.Envelope{Remote: bad, HELO: "evil.example", MailFrom: "a@evil.example"}
	for name, selector := range map[string]string{
		"no key":   "k",
		"too long": strings.Repeat("a.", 110) + "a",
		"longest":  strings.Repeat("a.", 126) + "a",
		"label":    strings.Repeat("a", 63),
		"_":        "_",
		"-":        "-",
		"star":     "*",
	} {
		t.Run(name, func(t *testing.T) {
			msg := "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=reject.example; s=" + selector +
				"; h=from; bh=" + bodyHash("Hello Bob\r\n") + "; b=AAAA\r\n" + letter("a@reject.example")
			for _, r := range []verify.Resolver{testdns.NewResolver(zone()), &dns.Resolver{Servers: []string{server.Addr()}}} {
				v := &verify.Verifier{Resolver: r}
				res, err := v.Verify(t.Context(), env, strings.NewReader(msg))
				require.NoError(t, err)
				assert.Equal(t, dmarc.StatusFail, res.DMARC.Status, "%T: %v", r, res.DKIM[0].Err)
				assert.Equal(t, verify.Quarantine, res.Recommend().Action)
			}
		})
	}
}

// TestSpentDoubt spends all lookups on others' keys before that of the domain:
// with more signatures allowed, more lookups are.
func TestSpentDoubt(t *testing.T) {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=d%d.evil.example; s=k; h=from; bh=%s; b=AAAA\r\n", i, bodyHash("Hello Bob\r\n"))
	}
	z := zone()
	msg := sign(t, signer(t, z, "reject.example"), letter("a@reject.example"))
	forged := b.String() + strings.Replace(msg, "Subject: hello", "Subject: other", 1)
	v := &verify.Verifier{Resolver: testdns.NewResolver(z), DKIM: dkim.Verifier{MaxSignatures: 100}}
	env := verify.Envelope{Remote: bad, HELO: "evil.example", MailFrom: "a@evil.example"}
	res, err := v.Verify(t.Context(), env, strings.NewReader(forged))
	require.NoError(t, err)
	assert.Equal(t, dkim.StatusFail, res.DKIM[60].Status, "%v", res.DKIM[60].Err)
	assert.Equal(t, dmarc.StatusFail, res.DMARC.Status)
	// And the honest one is found behind them.
	res, err = v.Verify(t.Context(), env, strings.NewReader(b.String()+msg))
	require.NoError(t, err)
	assert.Equal(t, dmarc.StatusPass, res.DMARC.Status)
	// Behind the limit it counts for nothing: neither as a pass nor as doubt.
	v.DKIM.MaxSignatures = 0
	res, err = v.Verify(t.Context(), env, strings.NewReader(b.String()+msg))
	require.NoError(t, err)
	assert.Equal(t, dmarc.StatusFail, res.DMARC.Status)
	assert.Equal(t, dkim.StatusPolicy, res.DKIM[60].Status)
}

// late answers SPF's questions for one domain when it is too late.
type late struct{ *testdns.Resolver }

func (l late) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if strings.TrimSuffix(name, ".") == "reject.example" {
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return l.Resolver.LookupTXT(ctx, name)
}

// TestLate has a check that the time does not suffice for: what hangs on it is
// open, not a failure (RFC 9989 §5.3.6).
func TestLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &verify.Verifier{Resolver: late{testdns.NewResolver(zone())}, Timeout: 3 * time.Second}
		env := verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}
		for range 20 {
			began := time.Now()
			res, err := v.Verify(t.Context(), env, strings.NewReader(letter("a@reject.example")))
			require.NoError(t, err)
			assert.Equal(t, 3*time.Second, time.Since(began))
			assert.Equal(t, spf.TempError, res.SPF.Status)
			assert.Equal(t, "reject.example", res.SPF.Domain)
			assert.ErrorIs(t, res.SPF.Err, verify.ErrTimeout)
			assert.Equal(t, dmarc.StatusTempError, res.DMARC.Status)
			assert.Equal(t, verify.Accept, res.Recommend().Action)
		}
		// Likewise when the caller gives up.
		ctx, cancel := context.WithCancel(t.Context())
		m := v.Begin(t.Context(), env)
		_, _ = m.Write([]byte(letter("a@reject.example")))
		synctest.Wait() // the policy is known
		cancel()
		res := m.Results(ctx)
		assert.Equal(t, dmarc.StatusTempError, res.DMARC.Status)
		assert.ErrorIs(t, res.SPF.Err, context.Canceled)
	})
}

// counting counts the questions about text.
type counting struct {
	*testdns.Resolver
	n atomic.Int64
}

func (c *counting) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.n.Add(1)
	return c.Resolver.LookupTXT(ctx, name)
}

// TestClosed asks what was found out after Close, which says nothing against
// anybody.
func TestClosed(t *testing.T) {
	z := zone()
	msg := sign(t, signer(t, z, "reject.example"), letter("a@reject.example"))
	r := &counting{Resolver: testdns.NewResolver(z)}
	v := &verify.Verifier{Resolver: r}
	for _, n := range []int{0, 20, len(msg)} {
		synctest.Test(t, func(t *testing.T) {
			m := v.Begin(t.Context(), verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@evil.example"})
			_, _ = m.Write([]byte(msg[:n]))
			synctest.Wait()
			require.NoError(t, m.Close())
			asked := r.n.Load()
			_, err := m.Write([]byte(msg[n:]))
			require.NoError(t, err)
			res := m.Results(t.Context())
			assert.Equal(t, dmarc.StatusTempError, res.DMARC.Status, "%d: %v", n, res.DMARC.Err)
			assert.ErrorIs(t, res.DMARC.Err, context.Canceled)
			assert.Equal(t, verify.Accept, res.Recommend().Action)
			assert.Same(t, res, m.Results(t.Context()))
			synctest.Wait()
			assert.Equal(t, asked, r.n.Load(), "asks nothing more")
			_, err = res.Field()
			require.NoError(t, err)
		})
	}
}

// TestOwnField has forged fields in all spellings of this system's name.
func TestOwnField(t *testing.T) {
	for _, f := range []string{
		"mx.b.example; dmarc=pass", "MX.B.Example; dmarc=pass", `"mx.b.example"; dmarc=pass`, `"m\x.b.example"; dmarc=pass`,
		"(x) mx.b.example (y) ; dmarc=pass", "\r\n\tmx.b.example\r\n\t; dmarc=pass", "mx.b.example 1; dmarc=pass",
		"mx.b.example.; dmarc=pass", "mx.b.example 2; dmarc=pass", "mx.b.example", "mx.b.example;", "mx.b.example; none", "mx.b.example; =;",
		"\uff4dx.b.example; dmarc=pass", "mx\u3002b.example; dmarc=pass", "mx.\u00adb.example; dmarc=pass", "; dmarc=pass", "", "(", `"mx.b.example`,
		"mx.b.example\x00; dmarc=pass", "mx.b.example dmarc=pass", "(a(b)c)mx.b.example; dmarc=pass",
	} {
		for _, name := range []string{"Authentication-Results:", "authentication-RESULTS \t:"} {
			var out strings.Builder
			r := authres.NewRemover(&out, "mx.b.example")
			_, err := r.Write([]byte("X: y\r\n" + name + " " + f + "\r\nFrom: a@b.example\r\n\r\n"))
			require.NoError(t, err)
			require.NoError(t, r.Close())
			assert.Equal(t, "X: y\r\nFrom: a@b.example\r\n\r\n", out.String(), "%q", f)
		}
	}
}

// bodyHash is bh= of a body as it stands.
func bodyHash(body string) string {
	sum := sha256.Sum256([]byte(body))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// endless has SPF records without end for evil.example, and no more than there
// are for others.
type endless struct {
	*testdns.Resolver
	slow *slow
}

func (e endless) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if strings.Contains(name, "h.evil.example") {
		return e.slow.LookupTXT(ctx, name)
	}
	return e.Resolver.LookupTXT(ctx, name)
}

func (e endless) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if strings.Contains(name, "h.evil.example") {
		return e.slow.LookupMX(ctx, name)
	}
	return e.Resolver.LookupMX(ctx, name)
}

func (e endless) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	if strings.Contains(name, "h.evil.example") {
		return e.slow.LookupNetIP(ctx, network, name)
	}
	return e.Resolver.LookupNetIP(ctx, network, name)
}

// TestSpentByHELO has a HELO that spends all lookups of its check: that of the
// sender has its own, and fails.
func TestSpentByHELO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := zone()
		z["reject.example"] = testdns.Records{TXT: []string{"v=spf1 exists:a.x exists:b.x exists:%{i}.slow.example -all"}}
		r := endless{testdns.NewResolver(z), &slow{}}
		v := &verify.Verifier{Resolver: delayed{r}, NoIPRev: true, SPF: spf.Checker{Lookups: 10_000, VoidLookups: 10_000}}
		res, err := v.Verify(t.Context(), verify.Envelope{Remote: bad, HELO: "h.evil.example", MailFrom: "a@reject.example"}, strings.NewReader(letter("a@reject.example")))
		require.NoError(t, err)
		assert.ErrorIs(t, res.HELO.Err, verify.ErrLookups)
		assert.Equal(t, spf.Fail, res.SPF.Status, "%v", res.SPF.Err)
		assert.Equal(t, dmarc.StatusFail, res.DMARC.Status)
	})
}

// delayed answers the sender's questions after the others.
type delayed struct{ endless }

func (d delayed) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if strings.TrimSuffix(name, ".") == "reject.example" {
		time.Sleep(5 * time.Second)
	}
	return d.endless.LookupTXT(ctx, name)
}
