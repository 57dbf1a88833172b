package interop

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"net/mail"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	theirres "github.com/emersion/go-msgauth/authres"
	theirs "github.com/emersion/go-msgauth/dkim"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var dkimField = regexp.MustCompile(`(?m)^DKIM-Signature:`)

// verifySigned has go-msgauth verify what the server signed, with the record
// that the server says to publish.
func verifySigned(t *testing.T, s *server, raw string) {
	t.Helper()
	m := regexp.MustCompile(`publish=(\S+) TXT="([^"]+)"`).FindStringSubmatch(s.out.String())
	require.NotNil(t, m)
	// Trace fields above the signature are part of the message that is verified.
	results, err := theirs.VerifyWithOptions(strings.NewReader(raw), &theirs.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if name != m[1] {
			return nil, fmt.Errorf("no key at %s", name)
		}
		return []string{m[2]}, nil
	}})
	require.NoError(t, err)
	require.NotEmpty(t, results, "no signature in\n%s", raw)
	for _, r := range results {
		assert.NoError(t, r.Err)
		assert.Equal(t, "posta.test", r.Domain)
		t.Logf("verified: d=%s i=%s fields %v", r.Domain, r.Identifier, r.HeaderKeys)
	}
}

// TestSignedElsewhere has the server verify what go-msgauth signed, and
// go-msgauth read what the server says about it.
func TestSignedElsewhere(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.dns.Set("peer.test", testdns.Records{MX: []string{"10 mx.peer.test"}, TXT: []string{"v=spf1 ip4:127.0.0.1 -all"}})
	s.dns.Set("_dmarc.peer.test", testdns.Records{TXT: []string{"v=DMARC1; p=none"}})
	c := dialSMTP(t, s, "smtp")
	for _, alg := range []dkim.Algorithm{dkim.RSASHA256, dkim.Ed25519SHA256} {
		for _, canon := range []string{"simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"} {
			for _, broken := range []bool{false, true} {
				name := fmt.Sprintf("%s %s broken=%v", alg, canon, broken)
				t.Run(name, func(t *testing.T) {
					key, err := dkim.GenerateKey(alg)
					require.NoError(t, err)
					record, err := dkim.Record(key)
					require.NoError(t, err)
					s.dns.Set("sel._domainkey.peer.test", testdns.Records{TXT: []string{record}, TTL: -1})
					head, body, _ := strings.Cut(canon, "/")
					id := strings.NewReplacer(" ", ".", "/", ".", "=", ".").Replace(name)
					raw := message("x@peer.test", bob, id, "  two  spaces \t\r\n\r\nend\r\n\r\n")
					var signed bytes.Buffer
					require.NoError(t, theirs.Sign(&signed, strings.NewReader(raw), &theirs.SignOptions{Domain: "peer.test", Selector: "sel", Signer: key,
						HeaderCanonicalization: theirs.Canonicalization(head), BodyCanonicalization: theirs.Canonicalization(body)}))
					out := signed.String()
					if broken {
						out = strings.Replace(out, "\r\n\r\nend", "\r\n\r\nEnd", 1)
					}
					require.NoError(t, c.SendMail("x@peer.test", []string{bob}, strings.NewReader(out)))
					checkResults(t, string(s.find(t, bob, "INBOX", "Subject: "+id+"\r\n").raw), broken)
				})
			}
		}
	}
}

// checkResults reads Authentication-Results with go-msgauth.
func checkResults(t *testing.T, raw string, broken bool) {
	t.Helper()
	parsed, err := mail.ReadMessage(strings.NewReader(raw))
	require.NoError(t, err)
	fields := parsed.Header["Authentication-Results"]
	require.Len(t, fields, 1)
	t.Log(fields[0])
	id, results, err := theirres.Parse(fields[0])
	require.NoError(t, err)
	assert.Equal(t, "localhost", id)
	want := theirres.ResultValue(theirres.ResultPass)
	if broken {
		want = theirres.ResultFail
	}
	seen := 0
	for _, r := range results {
		switch r := r.(type) {
		case *theirres.DKIMResult:
			assert.Equal(t, want, r.Value, "dkim")
			assert.Equal(t, "peer.test", r.Domain)
		case *theirres.SPFResult:
			if r.Helo != "" { // the other identity (RFC 7208 §2.3)
				assert.EqualValues(t, theirres.ResultNone, r.Value, "spf of HELO")
				continue
			}
			assert.EqualValues(t, theirres.ResultPass, r.Value, "spf")
			assert.Contains(t, r.From, "peer.test")
		case *theirres.DMARCResult:
			assert.EqualValues(t, theirres.ResultPass, r.Value, "dmarc, by spf at least")
			assert.Equal(t, "peer.test", r.From)
		default:
			continue
		}
		seen++
	}
	assert.Equal(t, 3, seen, fields[0])
}

// TestDKIMBothWays signs with one library and verifies with the other.
func TestDKIMBothWays(t *testing.T) {
	t.Parallel()
	for _, alg := range []dkim.Algorithm{dkim.RSASHA256, dkim.Ed25519SHA256} {
		key, err := dkim.GenerateKey(alg)
		require.NoError(t, err)
		switch key.(type) {
		case *rsa.PrivateKey, ed25519.PrivateKey:
		default:
			t.Fatalf("key of type %T", key)
		}
		record, err := dkim.Record(key)
		require.NoError(t, err)
		resolver := testdns.NewResolver(testdns.Zone{"sel._domainkey.peer.test": {TXT: []string{record}}})
		for i, body := range []string{"", "\r\n", "x", "x\r\n", "x\r\n\r\n\r\n", " \t\r\n x  y\t\r\n", strings.Repeat("long line ", 5000) + "\r\n", "\xff\x00\x01\r\n"} {
			for _, canon := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
				raw := "From: <x@peer.test>\r\nTo:  a@b.test,\r\n\tc@d.test\r\nSUBJECT : Grüße  x \r\nReceived: one\r\nReceived: two\r\n\r\n" + body
				ours, err := dkim.Sign(t.Context(), []*dkim.Signer{{Domain: "peer.test", Selector: "sel", Key: key, HeaderCanon: canon, BodyCanon: canon}}, strings.NewReader(raw))
				require.NoError(t, err)
				results, err := theirs.VerifyWithOptions(strings.NewReader(string(ours)+raw), &theirs.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
					return resolver.LookupTXT(context.Background(), name)
				}})
				require.NoError(t, err)
				require.Len(t, results, 1)
				assert.NoError(t, results[0].Err, "theirs verifies ours: %s, %s, body %d", alg, canon, i)

				var signed bytes.Buffer
				require.NoError(t, theirs.Sign(&signed, strings.NewReader(raw), &theirs.SignOptions{Domain: "peer.test", Selector: "sel", Signer: key,
					HeaderCanonicalization: theirs.Canonicalization(canon), BodyCanonicalization: theirs.Canonicalization(canon)}))
				got, err := (&dkim.Verifier{Resolver: resolver}).Verify(t.Context(), &signed)
				require.NoError(t, err)
				require.Len(t, got, 1)
				assert.NoError(t, got[0].Err, "ours verifies theirs: %s, %s, body %d", alg, canon, i)
			}
		}
	}
}

// TestAuthresBothWays writes with one library and reads with the other.
func TestAuthresBothWays(t *testing.T) {
	t.Parallel()
	ours := authres.Header{ServID: "mx.posta.test", Results: []authres.Result{
		authres.SPF("pass", "x@peer.test", "mx.peer.test"),
		authres.DKIM("fail", "peer.test", "sel", "@peer.test", "rsa-sha256", "AbCd"),
		authres.DMARC("none", "peer.test", "none"),
		authres.Auth("pass", "alice", ""),
		authres.IPRev("pass", netip.MustParseAddr("192.0.2.1"), "mx.peer.test"),
	}}
	field, err := ours.Field()
	require.NoError(t, err)
	_, body, _ := strings.Cut(field, ":")
	id, results, err := theirres.Parse(strings.TrimSpace(strings.ReplaceAll(body, "\r\n", "")))
	require.NoError(t, err, field)
	assert.Equal(t, "mx.posta.test", id)
	require.Len(t, results, 5)
	assert.Equal(t, &theirres.SPFResult{Value: theirres.ResultPass, From: "x@peer.test", Helo: "mx.peer.test"}, results[0])
	assert.Equal(t, "peer.test", results[1].(*theirres.DKIMResult).Domain)
	assert.EqualValues(t, theirres.ResultFail, results[1].(*theirres.DKIMResult).Value)
	assert.Equal(t, "peer.test", results[2].(*theirres.DMARCResult).From)

	text := theirres.Format("mx.peer.test", []theirres.Result{
		&theirres.SPFResult{Value: theirres.ResultSoftFail, From: "x@peer.test"},
		&theirres.DKIMResult{Value: theirres.ResultPass, Domain: "peer.test", Identifier: "@peer.test"},
		&theirres.AuthResult{Value: theirres.ResultPass, Auth: "alice"},
	})
	h, err := authres.Parse(text)
	require.NoError(t, err, text)
	assert.Equal(t, "mx.peer.test", h.ServID)
	require.Len(t, h.Results, 3)
	assert.Equal(t, "softfail", h.Find("spf")[0].Value)
	assert.Equal(t, "peer.test", h.Find("dkim")[0].Prop("header", "d"))
}
