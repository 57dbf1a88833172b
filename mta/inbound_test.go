package mta_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

const letter = "From: <alice@pass.test>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nSubject: hello\r\n\r\nHello.\r\n"

// world is what the DNS says of the domains that mail comes from.
func world(t testing.TB) testdns.Zone {
	_, key := signer(t, "pass.test")
	zone := testdns.Zone{
		"client.pass.test": {TXT: []string{"v=spf1 ip4:192.0.2.1 -all"}},
		"ours.test":        {MX: []string{"10 mx.ours.test"}},
		"none.test":        {A: []string{"192.0.2.9"}},
	}
	for _, policy := range []string{"none", "quarantine", "reject"} {
		zone[policy+".pol.test"] = testdns.Records{TXT: []string{"v=spf1 ip4:192.0.2.1 -all"}}
		zone["_dmarc."+policy+".pol.test"] = testdns.Records{TXT: []string{"v=DMARC1; p=" + policy}}
		zone["k1._domainkey."+policy+".pol.test"] = testdns.Records{TXT: []string{key}}
	}
	zone["pass.test"] = testdns.Records{TXT: []string{"v=spf1 ip4:192.0.2.1 -all"}}
	zone["_dmarc.pass.test"] = testdns.Records{TXT: []string{"v=DMARC1; p=reject"}}
	zone["k1._domainkey.pass.test"] = testdns.Records{TXT: []string{key}}
	return zone
}

// TestInboundDialogues runs testdata/inbound-*.txt. Nothing in them may lead
// out of the system.
func TestInboundDialogues(t *testing.T) {
	testscript.RunDir(t, filepath.Join("testdata", "inbound-*.txt"), func(t *testing.T, name string) testscript.Config {
		s := newSystem(t, world(t), func(s *system) {
			s.local.Aliases = map[string][]string{"@catch.test": {"carol@ours.test"}}
			s.Domains = append(s.Domains, "catch.test")
		})
		t.Cleanup(func() { require.Empty(t, s.queued(), "mail to the world") })
		return testscript.Config{Dial: func(ctx context.Context) (net.Conn, error) {
			return s.mx.DialFrom(ctx, net.ParseIP(from))
		}}
	})
}

// Nobody relays by Inbound, not even who has logged in.
func TestInboundRelaysForNobody(t *testing.T) {
	s := newSystem(t, world(t), nil)
	l := s.serve(&smtp.Server{Handler: s.Inbound(), Auth: s.users, InsecureAuth: true, Governor: &auth.Governor{Off: true}})
	testscript.Run(t, "relay", `
S~ 220 .*
C: EHLO x.test
S* 250 .*
C: AUTH PLAIN AGJvYgBzZWNyZXQ=
S~ 235 .*
C: MAIL FROM:<bob@ours.test>
S~ 250 .*
C: RCPT TO:<victim@else.test>
S: 550 5.7.1 Relaying denied
`, testscript.Config{Dial: l.Dial})
}

func TestRelayForTrusted(t *testing.T) {
	s := newSystem(t, world(t), nil)
	trusted := func(p auth.Peer) bool { return p.Addr().String() == "127.0.0.1" }
	for _, c := range []struct {
		name    string
		trusted func(auth.Peer) bool
		ip      string
		reply   string
	}{
		{"trusted", trusted, "127.0.0.1", "250 2.1.5 Recipient OK"},
		{"stranger", trusted, "192.0.2.1", "550 5.7.1 Relaying denied"},
		{"nobody is", nil, "127.0.0.1", "550 5.7.1 Relaying denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := s.serve(&smtp.Server{Handler: s.Relay(c.trusted)})
			testscript.Run(t, c.name, "S~ 220 .*\nC: EHLO ours.test\nS* 250 .*\nC: MAIL FROM:<>\nS~ 250 .*\nC: RCPT TO:<x@else.test>\nS: "+c.reply,
				testscript.Config{Dial: func(ctx context.Context) (net.Conn, error) { return l.DialFrom(ctx, net.ParseIP(c.ip)) }})
		})
	}
}

// Mail of the network's own machines is no junk for failing DMARC, which knows
// nothing of them; a stranger's is.
func TestRelayedMailIsNoJunk(t *testing.T) {
	s := newSystem(t, world(t), nil)
	s.mx = s.serve(&smtp.Server{Handler: s.Relay(func(p auth.Peer) bool { return p.Addr().String() == "127.0.0.1" })})
	require.NoError(t, s.receive("127.0.0.1", "alice@pass.test", letter, "bob@ours.test", "x@else.test"))
	require.Contains(t, s.one("bob@ours.test", store.Inbox), "dmarc=fail")
	require.Equal(t, []string{"else.test: x@else.test"}, s.queued())
	require.NoError(t, s.receive("198.51.100.1", "alice@pass.test", letter, "bob@ours.test"))
	s.one("bob@ours.test", "Junk")

	s = newSystem(t, world(t), func(s *system) { s.Spool = nil })
	s.mx = s.serve(&smtp.Server{Handler: s.Relay(func(auth.Peer) bool { return true })})
	refuses(t, s.receive("127.0.0.1", "", letter, "x@else.test"), 550, smtp.EnhancedCode{5, 7, 1})
}

// Delivery by LMTP is another system's word: nothing is checked or taken out.
func TestLMTPTakesWhatComes(t *testing.T) {
	s := newSystem(t, world(t), nil)
	l := s.serve(&smtp.Server{LMTP: true, Handler: s.local.LMTP()})
	nc, err := l.Dial(t.Context())
	require.NoError(t, err)
	c, err := smtp.NewClient(t.Context(), nc, &smtp.ClientConfig{LMTP: true})
	require.NoError(t, err)
	msg := "Authentication-Results: mx.ours.test; dmarc=pass\r\n" + letter
	_, err = c.Send(t.Context(), &smtp.Envelope{To: smtp.To(path(t, "bob@ours.test"))}, strings.NewReader(msg))
	require.NoError(t, err)
	require.NoError(t, c.Quit(t.Context()))
	got := s.one("bob@ours.test", store.Inbox)
	require.True(t, strings.HasSuffix(got, msg))
	require.Equal(t, 1, strings.Count(got, "Authentication-Results"))
	require.Zero(t, s.dns.Count("", ""))
}

// sign puts a signature of pass.test or another domain over a message.
func sign(t testing.TB, domain, msg string) string {
	t.Helper()
	key, _ := signer(t, domain)
	sig, err := dkim.Sign(t.Context(), []*dkim.Signer{key}, strings.NewReader(msg))
	require.NoError(t, err)
	return string(sig) + msg
}

func TestAuthentication(t *testing.T) {
	letterFrom := func(from string) string {
		return "From: " + from + "\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nSubject: hello\r\n\r\nHello.\r\n"
	}
	fail := func(name, qtype string) func(*testdns.Server) {
		return func(s *testdns.Server) { s.Fail(name, qtype, testdns.ServFail) }
	}
	for _, c := range []struct {
		name, ip, sender, msg string
		dns                   func(*testdns.Server)
		want                  []string // in Authentication-Results
		junk                  bool
	}{
		{name: "everything passes", ip: from, sender: "alice@pass.test", msg: sign(t, "pass.test", letter),
			want: []string{"spf=pass smtp.mailfrom=alice@pass.test", "smtp.helo=" + hello, "dkim=pass header.d=pass.test", "header.s=k1", "header.a=ed25519-sha256", "dmarc=pass header.from=pass.test policy.dmarc=none"}},
		{name: "SPF alone", ip: from, sender: "alice@pass.test", msg: letter,
			want: []string{"spf=pass", "dkim=none", "dmarc=pass"}},
		{name: "DKIM alone", ip: "198.51.100.1", sender: "alice@pass.test", msg: sign(t, "pass.test", letter),
			want: []string{"spf=fail", "dkim=pass", "dmarc=pass"}},
		{name: "altered body", ip: "198.51.100.1", sender: "x@none.test", msg: sign(t, "none.pol.test", letterFrom("a@none.pol.test")) + "More.\r\n",
			want: []string{"spf=none", `dkim=fail reason="body hash did not verify"`, "dmarc=fail header.from=none.pol.test policy.dmarc=none"}},
		{name: "p=quarantine", ip: "198.51.100.1", sender: "a@quarantine.pol.test", msg: letterFrom("a@quarantine.pol.test"),
			want: []string{"spf=fail", "dkim=none", "dmarc=fail header.from=quarantine.pol.test policy.dmarc=quarantine"}, junk: true},
		{name: "p=reject is not rejected", ip: "198.51.100.1", sender: "a@reject.pol.test", msg: letterFrom("a@reject.pol.test"),
			want: []string{"spf=fail", "dmarc=fail", "policy.dmarc=reject"}, junk: true},
		{name: "SPF of another domain does not align", ip: from, sender: "a@pass.test", msg: letterFrom("a@reject.pol.test"),
			want: []string{"spf=pass smtp.mailfrom=a@pass.test", "dmarc=fail"}, junk: true},
		{name: "no policy", ip: from, sender: "a@none.test", msg: letterFrom("a@none.test"),
			want: []string{"spf=none", "dmarc=none"}},
		{name: "null sender is checked by HELO", ip: from, sender: "", msg: letterFrom("a@pass.test"),
			want: []string{"spf=pass smtp.helo=" + hello, "dmarc=pass"}},
		{name: "SPF temperror is no DMARC failure", ip: from, sender: "a@reject.pol.test", msg: letterFrom("a@reject.pol.test"),
			dns: fail("reject.pol.test", "TXT"), want: []string{"spf=temperror", "dmarc=temperror"}},
		{name: "SPF temperror of a stranger decides nothing", ip: from, sender: "a@pass.test", msg: letterFrom("a@reject.pol.test"),
			dns: fail("pass.test", "TXT"), want: []string{"spf=temperror", "dmarc=fail"}, junk: true},
		{name: "key temperror is no DMARC failure", ip: "198.51.100.1", sender: "a@none.test", msg: sign(t, "reject.pol.test", letterFrom("a@reject.pol.test")),
			dns: fail("k1._domainkey.reject.pol.test", "TXT"), want: []string{`dkim=temperror reason="key unavailable"`, "dmarc=temperror"}},
		{name: "key temperror, pass by SPF", ip: from, sender: "alice@pass.test", msg: sign(t, "pass.test", letter),
			dns: fail("k1._domainkey.pass.test", "TXT"), want: []string{"spf=pass", "dkim=temperror", "dmarc=pass"}},
		{name: "DMARC temperror", ip: "198.51.100.1", sender: "a@reject.pol.test", msg: letterFrom("a@reject.pol.test"),
			dns: fail("_dmarc.reject.pol.test", "TXT"), want: []string{"spf=fail", "dmarc=temperror"}},
		{name: "two From fields get round nothing", ip: "198.51.100.1", sender: "a@none.test", msg: "From: a@none.test\r\n" + letterFrom("a@reject.pol.test"),
			want: []string{"dmarc=permerror"}, junk: true},
		{name: "nor does a From with two domains", ip: "198.51.100.1", sender: "a@none.test", msg: letterFrom("a@none.test, b@reject.pol.test"),
			want: []string{"dmarc=permerror"}, junk: true},
		{name: "nor an impossible domain", ip: "198.51.100.1", sender: "a@none.test", msg: letterFrom("a@reject..pol.test"),
			want: []string{"dmarc=permerror"}, junk: true},
		{name: "no From", ip: from, sender: "a@none.test", msg: "Subject: x\r\n\r\n", want: []string{"dmarc=permerror"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSystem(t, world(t), nil)
			if c.dns != nil {
				c.dns(s.dns)
			}
			require.NoError(t, s.receive(c.ip, c.sender, c.msg, "bob@ours.test"))
			box, other := store.Inbox, "Junk"
			if c.junk {
				box, other = other, box
			}
			got := s.one("bob@ours.test", box)
			require.Empty(t, s.mail("bob@ours.test", other))
			require.True(t, strings.HasSuffix(got, c.msg), "the message as it came")
			fields := message.ParseHeader([]byte(got)).All("Authentication-Results")
			require.Len(t, fields, 1)
			value := fields[0].Value()
			require.Regexp(t, `^mx\.ours\.test;`, value)
			value = strings.Join(strings.Fields(value), " ")
			for _, w := range c.want {
				assert.Contains(t, value, w)
			}
		})
	}
}

func TestNoVerify(t *testing.T) {
	s := newSystem(t, testdns.Zone{}, func(s *system) { s.NoVerify = true })
	require.NoError(t, s.receive(from, "a@reject.pol.test", letter, "bob@ours.test"))
	got := s.one("bob@ours.test", store.Inbox)
	require.NotContains(t, got, "Authentication-Results")
	require.Zero(t, s.dns.Count("", ""))
}

// A message with hundreds of signatures costs ten lookups and ten lines.
func TestManySignatures(t *testing.T) {
	s := newSystem(t, world(t), nil)
	one := sign(t, "pass.test", letter)
	sig := strings.TrimSuffix(one, letter)
	require.NoError(t, s.receive(from, "alice@pass.test", strings.Repeat(sig, 200)+letter, "bob@ours.test"))
	h := message.ParseHeader([]byte(s.one("bob@ours.test", store.Inbox)))
	require.Equal(t, 10, strings.Count(h.Get("Authentication-Results"), "dkim=pass"))
	require.Equal(t, 10, strings.Count(h.Get("Authentication-Results"), "dkim="))
	require.Equal(t, 1, s.dns.Count("k1._domainkey.pass.test", "TXT"))
}

// What claims to come from us is taken out; everything else stays, octet for
// octet and in its place.
func TestForgedTraceFields(t *testing.T) {
	msg := crlf(`Return-Path: <forged@else.test>
Authentication-Results: mx.ours.test; dmarc=pass
 header.from=bank.test
X-First:  odd   spacing	here 
AUTHENTICATION-RESULTS :  MX.Ours.Test. 1;
	spf=pass smtp.mailfrom=x
Authentication-Results: other.test; spf=pass
	smtp.mailfrom=a@other.test
authentication-results: "mx.ours.test" ; none
Authentication-Results: (comment) mx.ours.test; none
Authentication-Results: ;;; garbage
Authentication-Results
 : mx.ours.test; dmarc=pass
return-path: <again@else.test>
Authentication-Results: mx.ours.test.evil.test; spf=fail
From: alice@pass.test

Authentication-Results: mx.ours.test; this is the body
`)
	left := crlf(`X-First:  odd   spacing	here 
Authentication-Results: other.test; spf=pass
	smtp.mailfrom=a@other.test
Authentication-Results: mx.ours.test.evil.test; spf=fail
From: alice@pass.test

Authentication-Results: mx.ours.test; this is the body
`)
	s := newSystem(t, world(t), nil)
	require.NoError(t, s.receive(from, "alice@pass.test", msg, "bob@ours.test"))
	got := s.one("bob@ours.test", store.Inbox)
	require.True(t, strings.HasSuffix(got, left), "%q", got)
	top := strings.TrimSuffix(got, left)
	require.Regexp(t, `^Return-Path: <alice@pass\.test>\r\n`+
		`Delivered-To: bob@ours\.test\r\n`+
		`Received: from client\.pass\.test \(\[192\.0\.2\.1\]\)\r\n\tby mx\.ours\.test with ESMTP id [0-9A-V]{20}\r\n\tfor <bob@ours\.test>;\r\n\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n`+
		`Authentication-Results: mx\.ours\.test;\r\n(\t[^\r\n]+\r\n)+$`, top)
}

// A message that begins with a folded line must not continue our own field.
func TestFoldedFirstLine(t *testing.T) {
	s := newSystem(t, world(t), nil)
	msg := "\t; dmarc=pass header.from=bank.test\r\n more\r\n" + letter
	require.NoError(t, s.receive("198.51.100.1", "x@none.test", msg, "bob@ours.test"))
	got := s.one("bob@ours.test", "Junk")
	require.NotContains(t, got, "bank.test")
	require.True(t, strings.HasSuffix(got, "policy.dmarc=reject\r\n"+letter), got)
}

// Several recipients do not learn of each other.
func TestReceivedForSeveral(t *testing.T) {
	s := newSystem(t, world(t), nil)
	require.NoError(t, s.receive(from, "", letter, "bob@ours.test", "carol@ours.test", "BOB@ours.test"))
	got := s.one("bob@ours.test", store.Inbox)
	require.True(t, strings.HasPrefix(got, "Return-Path: <>\r\nDelivered-To: bob@ours.test\r\n"), got)
	require.NotContains(t, got, "for <")
	require.NotContains(t, got, "carol")
	require.Len(t, s.mail("carol@ours.test", store.Inbox), 1)
}

func TestHeaderLimits(t *testing.T) {
	hop := "Received: from a by b; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
	for _, c := range []struct {
		name, msg string
		code      int
		enhanced  smtp.EnhancedCode
	}{
		{"99 hops", strings.Repeat(hop, 99) + letter, 0, smtp.EnhancedCode{}},
		{"100 hops", strings.Repeat(hop, 100) + letter, 554, smtp.EnhancedCode{5, 4, 6}},
		{"100 hops in odd spelling", strings.Repeat("RECEIVED : x\r\n", 100) + letter, 554, smtp.EnhancedCode{5, 4, 6}},
		{"header too large", strings.Repeat("X: "+strings.Repeat("x", 900)+"\r\n", 1300) + letter, 552, smtp.EnhancedCode{5, 3, 4}},
		{"one huge field", "X: " + strings.Repeat(strings.Repeat("x", 900)+"\r\n ", 1300) + "\r\n" + letter, 552, smtp.EnhancedCode{5, 3, 4}},
		{"5,000 fields", strings.Repeat("X: y\r\n", 4997) + letter, 0, smtp.EnhancedCode{}},
		{"more fields than anybody looks at", strings.Repeat("X: y\r\n", 5000) + letter, 552, smtp.EnhancedCode{5, 3, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSystem(t, world(t), nil)
			err := s.receive(from, "alice@pass.test", c.msg, "bob@ours.test")
			if c.code == 0 {
				require.NoError(t, err)
				s.one("bob@ours.test", store.Inbox)
				return
			}
			refuses(t, err, c.code, c.enhanced)
			require.Empty(t, s.mail("bob@ours.test", store.Inbox))
		})
	}
	s := newSystem(t, world(t), func(s *system) { s.MaxHops = 3 })
	require.NoError(t, s.receive(from, "", strings.Repeat(hop, 2)+letter, "bob@ours.test"))
	refuses(t, s.receive(from, "", strings.Repeat(hop, 3)+letter, "bob@ours.test"), 554, smtp.EnhancedCode{5, 4, 6})
}

// Messages need not look like messages.
func TestOddMessages(t *testing.T) {
	for name, msg := range map[string]string{
		"empty": "", "blank line": "\r\n", "body only": "\r\nbody\r\n", "no header": "just text\r\nmore\r\n",
		"no blank line": "Subject: x\r\n", "NUL": "Subject: a\x00b\r\n\r\n\x00\r\n", "8 bit": "Subject: \xff\r\n\r\n\xfe\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t, world(t), nil)
			require.NoError(t, s.receive(from, "alice@pass.test", msg, "bob@ours.test"))
			got := s.one("bob@ours.test", store.Inbox)
			require.True(t, strings.HasSuffix(got, msg), "%q", got)
		})
	}
}

// The store fails: the client keeps the message, and nobody has it.
func TestStoreFails(t *testing.T) {
	broken := errors.New("broken disk")
	for _, c := range []struct {
		name     string
		set      func(*faultyStore)
		code     int
		enhanced smtp.EnhancedCode
	}{
		{"stage", func(f *faultyStore) { f.onStage = broken }, 451, smtp.EnhancedCode{4, 3, 0}},
		{"place", func(f *faultyStore) { f.onPlace = func(string) error { return broken } }, 451, smtp.EnhancedCode{4, 3, 0}},
		{"no space", func(f *faultyStore) { f.onPlace = func(string) error { return store.ErrNoSpace } }, 452, smtp.EnhancedCode{4, 3, 1}},
		{"full mailboxes", func(f *faultyStore) { f.onPlace = func(string) error { return store.ErrOverQuota } }, 452, smtp.EnhancedCode{4, 2, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSystem(t, world(t), nil)
			s.st.set(c.set)
			refuses(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test", "carol@ours.test"), c.code, c.enhanced)
			require.Empty(t, s.queued())
			require.Empty(t, s.mail("bob@ours.test", store.Inbox))
			s.st.set(func(f *faultyStore) { f.onStage, f.onPlace = nil, nil })
			require.NoError(t, s.receive(from, "alice@pass.test", letter, "bob@ours.test", "carol@ours.test"))
			s.one("bob@ours.test", store.Inbox)
			s.one("carol@ours.test", store.Inbox)
		})
	}
}

func TestZeroAgent(t *testing.T) {
	s := newSystem(t, world(t), func(s *system) { s.Agent = &mta.Agent{} })
	refuses(t, s.receive(from, "", letter, "bob@ours.test"), 550, smtp.EnhancedCode{5, 7, 1})
	s = newSystem(t, world(t), func(s *system) { s.Agent = &mta.Agent{Domains: []string{"ours.test"}} })
	refuses(t, s.receive(from, "", letter, "bob@ours.test"), 451, smtp.EnhancedCode{4, 3, 5})
	refuses(t, s.submit("bob@ours.test", letter, "bob@ours.test"), 451, smtp.EnhancedCode{4, 3, 5})
	refuses(t, s.submit("bob@ours.test", letter, "x@else.test"), 550, smtp.EnhancedCode{5, 7, 1})
	require.ErrorIs(t, s.Run(t.Context()), mta.ErrNoSpool)
	refuses(t, s.Submit(t.Context(), "", smtp.Path{}, []smtp.Path{path(t, "x@else.test")}, nil, staged(t, s, "x")), 550, smtp.EnhancedCode{5, 7, 1})
}

func staged(t testing.TB, s *system, msg string) store.Staged {
	t.Helper()
	b, err := s.st.Store.Stage(t.Context(), bytes.NewReader([]byte(msg)))
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Discard() })
	return b
}
