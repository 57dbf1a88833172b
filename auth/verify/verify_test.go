package verify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/auth/iprev"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// signer makes a key and publishes it.
func signer(t testing.TB, z testdns.Zone, domain string) *dkim.Signer {
	t.Helper()
	key, err := dkim.GenerateKey(dkim.Ed25519SHA256)
	require.NoError(t, err)
	record, err := dkim.Record(key)
	require.NoError(t, err)
	z["k._domainkey."+domain] = testdns.Records{TXT: []string{record}}
	return &dkim.Signer{Domain: domain, Selector: "k", Key: key}
}

func sign(t testing.TB, s *dkim.Signer, msg string) string {
	t.Helper()
	fields, err := dkim.Sign(context.Background(), []*dkim.Signer{s}, strings.NewReader(msg))
	require.NoError(t, err)
	return string(fields) + msg
}

func letter(from string) string {
	return "From: " + from + "\r\nTo: bob@b.example\r\nSubject: hello\r\nDate: Mon, 23 Nov 2026 04:05:06 +0000\r\nMessage-ID: <1@x>\r\n\r\nHello Bob\r\n"
}

var (
	good = netip.MustParseAddr("192.0.2.1")
	bad  = netip.MustParseAddr("198.51.100.66")
)

// zone has a domain for each policy.
func zone() testdns.Zone {
	z := testdns.Zone{
		"mx.a.example":   {A: []string{"192.0.2.1"}, TXT: []string{"v=spf1 a -all"}},
		"evil.example":   {TXT: []string{"v=spf1 ip4:198.51.100.66 -all"}},
		"broken.example": {},
	}
	for _, p := range []string{"none", "quarantine", "reject"} {
		z[p+".example"] = testdns.Records{MX: []string{"10 mx.a.example"}, TXT: []string{"v=spf1 ip4:192.0.2.1 -all"}}
		z["_dmarc."+p+".example"] = testdns.Records{TXT: []string{"v=DMARC1; p=" + p}}
	}
	z["testing.example"] = z["reject.example"]
	z["_dmarc.testing.example"] = testdns.Records{TXT: []string{"v=DMARC1; p=quarantine; t=y"}}
	return z
}

func TestVerify(t *testing.T) {
	z := zone()
	key := signer(t, z, "reject.example")
	for name, c := range map[string]struct {
		env   verify.Envelope
		msg   string
		fail  []string // names whose TXT lookup fails
		spf   spf.Status
		dmarc dmarc.Status
		want  verify.Action
		field []string // in the field
	}{
		"SPF": {env: verify.Envelope{Remote: good, HELO: "mx.a.example", MailFrom: "a@reject.example"}, msg: letter("a@reject.example"),
			spf: spf.Pass, dmarc: dmarc.StatusPass,
			field: []string{"spf=pass smtp.mailfrom=a@reject.example", "spf=pass smtp.helo=mx.a.example", "dkim=none", "dmarc=pass header.from=reject.example"}},
		"DKIM": {env: verify.Envelope{Remote: bad, HELO: "x.example", MailFrom: "a@evil.example"}, msg: sign(t, key, letter("a@reject.example")),
			spf: spf.Pass, dmarc: dmarc.StatusPass, field: []string{"dkim=pass header.d=reject.example", "dmarc=pass"}},
		"neither": {env: verify.Envelope{Remote: bad, HELO: "evil.example", MailFrom: "a@evil.example"}, msg: letter("a@reject.example"),
			spf: spf.Pass, dmarc: dmarc.StatusFail, want: verify.Quarantine, field: []string{"dmarc=fail header.from=reject.example policy.dmarc=reject"}},
		"changed": {env: verify.Envelope{Remote: bad, HELO: "evil.example", MailFrom: "a@evil.example"}, msg: strings.Replace(sign(t, key, letter("a@reject.example")), "Bob\r\n", "Eve\r\n", 1),
			spf: spf.Pass, dmarc: dmarc.StatusFail, want: verify.Quarantine, field: []string{"dkim=fail"}},
		"null sender": {env: verify.Envelope{Remote: good, HELO: "mx.a.example", MailFrom: "<>"}, msg: letter("a@reject.example"),
			spf: spf.Pass, dmarc: dmarc.StatusFail, want: verify.Quarantine, field: []string{"spf=pass smtp.helo=mx.a.example"}},
		"no policy": {env: verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@none.example"}, msg: letter("a@x.broken.example"),
			spf: spf.Fail, dmarc: dmarc.StatusNone},
		"policy none": {env: verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@none.example"}, msg: letter("a@none.example"), spf: spf.Fail, dmarc: dmarc.StatusFail},
		"in test":     {env: verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@none.example"}, msg: letter("a@testing.example"), spf: spf.Fail, dmarc: dmarc.StatusFail},
		"two authors": {env: verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}, msg: "From: a@reject.example\r\n" + letter("a@evil.example"),
			spf: spf.Pass, dmarc: dmarc.StatusPermError, want: verify.Quarantine},
		"no author":         {env: verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}, msg: "Subject: x\r\n\r\n", spf: spf.Pass, dmarc: dmarc.StatusPermError},
		"unreadable author": {env: verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}, msg: "From: boss\r\n\r\n", spf: spf.Pass, dmarc: dmarc.StatusPermError, want: verify.Quarantine},
		"header ends the message": {env: verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}, msg: "From: a@reject.example",
			spf: spf.Pass, dmarc: dmarc.StatusPass},
		"empty":       {env: verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}, spf: spf.Pass, dmarc: dmarc.StatusPermError},
		"no address":  {env: verify.Envelope{HELO: "x", MailFrom: "a@reject.example"}, msg: letter("a@reject.example"), spf: spf.None, dmarc: dmarc.StatusFail, want: verify.Quarantine},
		"logged in":   {env: verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example", User: "anna"}, msg: letter("a@reject.example"), spf: spf.Pass, dmarc: dmarc.StatusPass, field: []string{"auth=pass smtp.auth=anna smtp.mailfrom=a@reject.example"}},
		"SPF open":    {env: verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}, msg: letter("a@reject.example"), fail: []string{"reject.example"}, spf: spf.TempError, dmarc: dmarc.StatusTempError},
		"DKIM open":   {env: verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@evil.example"}, msg: sign(t, key, letter("a@reject.example")), fail: []string{"k._domainkey.reject.example"}, spf: spf.Pass, dmarc: dmarc.StatusTempError, field: []string{"dkim=temperror"}},
		"policy open": {env: verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@evil.example"}, msg: letter("a@reject.example"), fail: []string{"_dmarc.reject.example"}, spf: spf.Pass, dmarc: dmarc.StatusTempError},
		"open, but not aligned": {env: verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@evil.example"}, msg: letter("a@reject.example"), fail: []string{"evil.example"},
			spf: spf.TempError, dmarc: dmarc.StatusFail, want: verify.Quarantine},
	} {
		t.Run(name, func(t *testing.T) {
			r := testdns.NewResolver(z)
			for _, n := range c.fail {
				r.Fail(n, "TXT", testdns.ServFail)
			}
			v := &verify.Verifier{Hostname: "mx.b.example", Resolver: r}
			res, err := v.Verify(t.Context(), c.env, strings.NewReader(c.msg))
			require.NoError(t, err)
			assert.Equal(t, c.spf, res.SPF.Status, "%v", res.SPF.Err)
			assert.Equal(t, c.dmarc, res.DMARC.Status, "%v", res.DMARC.Err)
			assert.Equal(t, c.want, res.Recommend().Action)
			field, err := res.Field()
			require.NoError(t, err)
			one := strings.Join(strings.Fields(field), " ")
			for _, f := range c.field {
				assert.Contains(t, one, f)
			}
			h, err := authres.Parse(strings.TrimPrefix(field, authres.FieldName+":"))
			require.NoError(t, err)
			assert.Equal(t, "mx.b.example", h.ServID)
			// In pieces it is the same, and each question is asked once.
			m := v.Begin(t.Context(), c.env)
			defer m.Close()
			_, err = io.Copy(m, iotest.OneByteReader(strings.NewReader(c.msg)))
			require.NoError(t, err)
			again, err := m.Results(t.Context()).Field()
			require.NoError(t, err)
			assert.Equal(t, field, again)
			for _, q := range r.Queries() {
				assert.LessOrEqual(t, r.Count(q.Name, q.Type), 2, "%v", q)
			}
		})
	}
}

func TestRecommend(t *testing.T) {
	z := zone()
	r := testdns.NewResolver(z)
	r.Fail("_dmarc.none.example", "TXT", testdns.ServFail)
	spoofed := verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@reject.example"}
	for name, c := range map[string]struct {
		policy   verify.Policy
		from     string
		evidence bool
		want     verify.Disposition
	}{
		"default":     {from: "a@reject.example", want: verify.Disposition{Action: verify.Quarantine, Reason: "Message fails DMARC", Override: "local_policy"}},
		"evidence":    {from: "a@reject.example", evidence: true, want: verify.Disposition{Action: verify.Reject, Code: 550, Enhanced: [3]int{5, 7, 26}, Reason: "Message fails DMARC, and the policy of reject.example is reject"}},
		"strict":      {from: "a@reject.example", policy: verify.Policy{RejectDMARC: true}, want: verify.Disposition{Action: verify.Reject, Code: 550, Enhanced: [3]int{5, 7, 26}, Reason: "Message fails DMARC, and the policy of reject.example is reject"}},
		"quarantine":  {from: "a@quarantine.example", evidence: true, want: verify.Disposition{Action: verify.Quarantine, Reason: "Message fails DMARC"}},
		"in test":     {from: "a@testing.example", evidence: true, want: verify.Disposition{Reason: "Message fails DMARC", Override: "policy_test_mode"}},
		"SPF":         {from: "a@evil.example", policy: verify.Policy{RejectSPFFail: true}, want: verify.Disposition{Action: verify.Reject, Code: 550, Enhanced: [3]int{5, 7, 23}, Reason: "SPF validation failed"}},
		"no name":     {from: "a@evil.example", policy: verify.Policy{RejectNoName: true}, want: verify.Disposition{Action: verify.Reject, Code: 550, Enhanced: [3]int{5, 7, 25}, Reason: "Your address has no name that has it"}},
		"open":        {from: "a@none.example", want: verify.Disposition{}},
		"open, defer": {from: "a@none.example", policy: verify.Policy{DeferTempErrors: true}, want: verify.Disposition{Action: verify.Defer, Code: 451, Enhanced: [3]int{4, 7, 26}, Reason: "DMARC cannot be evaluated for now"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verify.Verifier{Resolver: r, Policy: c.policy}
			res, err := v.Verify(t.Context(), spoofed, strings.NewReader(letter(c.from)))
			require.NoError(t, err)
			assert.Equal(t, c.want, res.Recommend(c.evidence))
			assert.NotEqual(t, "unknown", res.Recommend().Action.String())
		})
	}
}

// TestClient asks lists and names.
func TestClient(t *testing.T) {
	z := zone()
	z["66.100.51.198.bl.example"] = testdns.Records{A: []string{"127.0.0.2"}}
	z["1.2.0.192.wl.example"] = testdns.Records{A: []string{"127.0.0.2"}}
	z["192.0.2.1"] = testdns.Records{PTR: []string{"mx.a.example"}}
	r := testdns.NewResolver(z)
	lists := &dnsbl.Checker{Resolver: r, Lists: []dnsbl.List{{Zone: "bl.example"}, {Zone: "wl.example", Allow: true}}}
	v := &verify.Verifier{Resolver: r, Lists: lists}
	env := verify.Envelope{Remote: bad, HELO: "x", MailFrom: "a@evil.example"}
	res, err := v.Verify(t.Context(), env, strings.NewReader(letter("a@reject.example")))
	require.NoError(t, err)
	assert.Equal(t, 1, dnsbl.Score(res.Lists))
	assert.Equal(t, iprev.PermError, res.IPRev.Status)
	assert.Equal(t, verify.Reject, res.Recommend().Action, "p=reject and a block list")
	field, err := res.Field()
	require.NoError(t, err)
	assert.Contains(t, field, "iprev=permerror")
	assert.NotContains(t, field, "dnswl")
	res, err = v.Verify(t.Context(), env, strings.NewReader(letter("a@none.example")))
	require.NoError(t, err)
	assert.Equal(t, verify.Accept, res.Recommend().Action, "a block list alone")
	v.Policy.RejectScore = 1
	res, err = v.Verify(t.Context(), env, strings.NewReader(letter("a@none.example")))
	require.NoError(t, err)
	assert.Equal(t, verify.Disposition{Action: verify.Reject, Code: 554, Enhanced: [3]int{5, 7, 1}, Reason: "Your address is on the block list bl.example"}, res.Recommend())
	env.Remote = good
	res, err = v.Verify(t.Context(), env, strings.NewReader(letter("a@none.example")))
	require.NoError(t, err)
	assert.Equal(t, iprev.Pass, res.IPRev.Status)
	field, err = res.Field()
	require.NoError(t, err)
	assert.Contains(t, field, "iprev=pass")
	assert.Contains(t, field, "dnswl=pass")
	v.NoIPRev = true
	res, err = v.Verify(t.Context(), env, strings.NewReader(letter("a@none.example")))
	require.NoError(t, err)
	assert.Nil(t, res.IPRev)
}

// TestTrustedSealer forwards a message through a list that breaks SPF and DKIM
// and says so.
func TestTrustedSealer(t *testing.T) {
	z := zone()
	author, sealer := signer(t, z, "reject.example"), signer(t, z, "list.example")
	original := sign(t, author, letter("a@reject.example"))
	r := testdns.NewResolver(z)
	list := &verify.Verifier{Hostname: "list.example", Resolver: r}
	seen, err := list.Verify(t.Context(), verify.Envelope{Remote: good, HELO: "mx.a.example", MailFrom: "a@reject.example"}, strings.NewReader(original))
	require.NoError(t, err)
	require.Equal(t, dmarc.StatusPass, seen.DMARC.Status)
	changed := strings.Replace(original, "Subject: ", "Subject: [list] ", 1)
	set, err := (&arc.Sealer{Signer: sealer}).Seal(t.Context(), &seen.ARC, seen.Header(), strings.NewReader(changed))
	require.NoError(t, err)
	forwarded := string(set) + changed
	env := verify.Envelope{Remote: bad, HELO: "list.example", MailFrom: "bounce@evil.example"}
	for name, c := range map[string]struct {
		trusted arc.Trusted
		msg     string
		want    verify.Action
	}{
		"trusted":     {arc.Trusted{"list.example"}, forwarded, verify.Accept},
		"not trusted": {nil, forwarded, verify.Quarantine},
		"broken":      {arc.Trusted{"list.example"}, forwarded + "more\r\n", verify.Quarantine},
		"other From":  {arc.Trusted{"list.example"}, strings.Replace(forwarded, "From: a@reject", "From: a@quarantine", 1), verify.Quarantine},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verify.Verifier{Resolver: r, Trusted: c.trusted}
			res, err := v.Verify(t.Context(), env, strings.NewReader(c.msg))
			require.NoError(t, err)
			assert.Equal(t, dmarc.StatusFail, res.DMARC.Status)
			d := res.Recommend(true)
			if c.want == verify.Quarantine {
				assert.NotEqual(t, verify.Accept, d.Action)
				return
			}
			assert.Equal(t, verify.Accept, d.Action)
			assert.Equal(t, "local_policy", d.Override)
			field, err := res.Field()
			require.NoError(t, err)
			assert.Contains(t, field, "arc=pass")
		})
	}
}

// slow answers after a time, with names without end; it counts.
type slow struct {
	after   time.Duration
	lookups atomic.Int64
}

func (s *slow) wait(ctx context.Context) error {
	s.lookups.Add(1)
	select {
	case <-time.After(s.after):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slow) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(name, "_dmarc.victim.example"):
		return []string{"v=DMARC1; p=reject"}, nil
	case strings.Contains(name, "_domainkey"):
		return []string{"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}, nil
	case strings.HasPrefix(name, "_dmarc."):
		return nil, &net.DNSError{Name: name, IsNotFound: true}
	}
	return []string{"v=spf1 mx include:a." + name + " include:b." + name + " include:c." + name + " -all"}, nil
}

func (s *slow) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	var mx []*net.MX
	for i := range 10 {
		mx = append(mx, &net.MX{Host: fmt.Sprintf("m%d.%s", i, name)})
	}
	return mx, s.wait(ctx)
}

func (s *slow) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("203.0.113.9")}, s.wait(ctx)
}

func (s *slow) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return []string{addr + ".example"}, s.wait(ctx)
}

// bomb is a message that wants as many lookups as it can.
func bomb(signatures, sets int) string {
	var b strings.Builder
	for i := sets; i > 0; i-- {
		cv := "pass"
		if i == 1 {
			cv = "none"
		}
		fmt.Fprintf(&b, "ARC-Seal: i=%d; a=ed25519-sha256; cv=%s; d=s%d.evil.example; s=k; b=AAAA\r\n", i, cv, i)
		fmt.Fprintf(&b, "ARC-Message-Signature: i=%d; a=ed25519-sha256; c=relaxed/relaxed; d=m%d.evil.example; s=k; h=from; bh=AAAA; b=AAAA\r\n", i, i)
		fmt.Fprintf(&b, "ARC-Authentication-Results: i=%d; s%d.evil.example; none\r\n", i, i)
	}
	sum := sha256.Sum256([]byte("Hello Bob\r\n"))
	for i := range signatures {
		fmt.Fprintf(&b, "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=d%d.evil.example; s=k; h=from; bh=%s; b=AAAA\r\n", i, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return b.String() + letter("a@victim.example")
}

// TestBombs sends messages that ask for lookups without end: their number and
// the time are bounded, and the policy of the domain that is misused is found
// all the same.
func TestBombs(t *testing.T) {
	msg := bomb(4000, 50)
	for _, after := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 3 * time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slow{after: after}
				v := &verify.Verifier{Resolver: s}
				began := time.Now()
				res, err := v.Verify(t.Context(), verify.Envelope{Remote: bad, HELO: "h.evil.example", MailFrom: "a@evil.example"}, strings.NewReader(msg))
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(began), verify.DefaultTimeout)
				assert.LessOrEqual(t, s.lookups.Load(), int64(450))
				assert.Equal(t, dmarc.StatusFail, res.DMARC.Status, "%v", res.DMARC.Err)
				assert.Equal(t, verify.Quarantine, res.Recommend().Action)
				assert.NotEqual(t, spf.Pass, res.SPF.Status)
				assert.Error(t, res.SPF.Err)
				assert.NotEqual(t, arc.StatusPass, res.ARC.Status)
				field, err := res.Field()
				require.NoError(t, err)
				assert.Less(t, len(field), 20<<10)
				synctest.Wait()
			})
		})
	}
}

// TestNever has DNS that never answers.
func TestNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &verify.Verifier{Resolver: &slow{after: 1000 * time.Hour}, Timeout: 3 * time.Second}
		began := time.Now()
		res, err := v.Verify(t.Context(), verify.Envelope{Remote: bad, HELO: "h.evil.example", MailFrom: "a@evil.example"}, strings.NewReader(bomb(3, 3)))
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
		assert.Equal(t, spf.TempError, res.SPF.Status)
		assert.Equal(t, dmarc.StatusTempError, res.DMARC.Status)
		assert.NotEqual(t, arc.StatusPass, res.ARC.Status)
		assert.Equal(t, dkim.StatusTempError, res.DKIM[0].Status)
		assert.Equal(t, verify.Accept, res.Recommend().Action)
	})
}

func TestLookupsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{after: time.Millisecond}
		v := &verify.Verifier{Resolver: s, NoIPRev: true, SPF: spf.Checker{Lookups: 10_000}}
		res, err := v.Verify(t.Context(), verify.Envelope{Remote: bad, HELO: "h.evil.example"}, strings.NewReader(letter("a@none.example")))
		require.NoError(t, err)
		assert.Equal(t, spf.TempError, res.SPF.Status)
		assert.ErrorIs(t, res.SPF.Err, verify.ErrLookups)
		assert.LessOrEqual(t, s.lookups.Load(), int64(111+8))
	})
}

// TestBroken gives up in the middle: by a reader's error, a cancelled ctx, or
// Close.
func TestBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &verify.Verifier{Resolver: &slow{after: time.Hour}}
		env := verify.Envelope{Remote: bad, HELO: "h.evil.example", MailFrom: "a@evil.example"}
		broken := errors.New("broken")
		_, err := v.Verify(t.Context(), env, io.MultiReader(strings.NewReader(bomb(20, 20)), iotest.ErrReader(broken)))
		assert.ErrorIs(t, err, broken)
		ctx, cancel := context.WithCancel(t.Context())
		_, err = v.Verify(ctx, env, io.MultiReader(strings.NewReader(bomb(20, 20)), readerFunc(func([]byte) (int, error) { cancel(); return 1, nil })))
		assert.ErrorIs(t, err, context.Canceled)
		m := v.Begin(t.Context(), env)
		_, _ = m.Write([]byte(bomb(20, 20)))
		require.NoError(t, m.Close())
		assert.NotNil(t, m.Results(t.Context()), "after Close")
		synctest.Wait()
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestHeaderTooLarge(t *testing.T) {
	v := &verify.Verifier{Resolver: testdns.NewResolver(zone())}
	huge := "From: a@reject.example\r\nX: " + strings.Repeat("x", 64<<20) + "\r\n\r\nhi\r\n"
	res, err := v.Verify(t.Context(), verify.Envelope{Remote: good, MailFrom: "a@reject.example"}, strings.NewReader(huge))
	require.NoError(t, err)
	assert.Equal(t, dmarc.StatusPermError, res.DMARC.Status)
	assert.ErrorIs(t, res.DMARC.Err, dkim.ErrHeaderTooLarge)
	assert.Equal(t, verify.Quarantine, res.Recommend().Action)
	_, err = res.Field()
	require.NoError(t, err)
}

func TestBareLF(t *testing.T) {
	msg := strings.ReplaceAll(letter("a@reject.example"), "\r\n", "\n")
	env := verify.Envelope{Remote: good, HELO: "x", MailFrom: "a@reject.example"}
	v := &verify.Verifier{Resolver: testdns.NewResolver(zone())}
	res, err := v.Verify(t.Context(), env, strings.NewReader(msg))
	require.NoError(t, err)
	assert.ErrorIs(t, res.DMARC.Err, dkim.ErrBareNewline)
	assert.Equal(t, verify.Quarantine, res.Recommend().Action)
	v.DKIM.AcceptLF = true
	res, err = v.Verify(t.Context(), env, strings.NewReader(msg))
	require.NoError(t, err)
	assert.Equal(t, dmarc.StatusPass, res.DMARC.Status)
}

func Example() {
	resolver := testdns.NewResolver(zone()) // &dns.Resolver{}, elsewhere
	v := &verify.Verifier{Hostname: "mx.b.example", Resolver: resolver}
	env := verify.Envelope{Remote: netip.MustParseAddr("198.51.100.66"), HELO: "evil.example", MailFrom: "a@evil.example"}
	results, err := v.Verify(context.Background(), env, strings.NewReader("From: boss@reject.example\r\n\r\nSend money.\r\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(results.SPF.Status, results.DMARC.Status, results.Recommend().Action)
	// Output: pass fail quarantine
}

// BenchmarkVerify verifies a message of 4 KiB by SPF, DKIM and DMARC.
func BenchmarkVerify(b *testing.B) {
	z := zone()
	msg := []byte(sign(b, signer(b, z, "reject.example"), letter("a@reject.example")+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56)))
	v := &verify.Verifier{Hostname: "mx.b.example", Resolver: testdns.NewResolver(z)}
	env := verify.Envelope{Remote: good, HELO: "mx.a.example", MailFrom: "a@reject.example"}
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		res, err := v.Verify(b.Context(), env, bytes.NewReader(msg))
		if err != nil || res.DMARC.Status != dmarc.StatusPass {
			b.Fatal(err, res.DMARC)
		}
	}
}
