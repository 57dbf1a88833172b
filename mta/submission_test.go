package mta_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

const submitted = "From: Bob <bob@ours.test>\r\nTo: x@else.test\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@ours.test>\r\nSubject: hello\r\n\r\nHello.\r\n"

// TestSubmissionDialogues runs testdata/submission-*.txt against a server
// whose RequireAuth is off.
func TestSubmissionDialogues(t *testing.T) {
	testscript.RunDir(t, filepath.Join("testdata", "submission-*.txt"), func(t *testing.T, name string) testscript.Config {
		s := newSystem(t, world(t), nil)
		return testscript.Config{Dial: s.msa.Dial}
	})
}

// Who may be named in the header, and in how many ways it can be tried.
func TestAuthors(t *testing.T) {
	ok := smtp.EnhancedCode{2, 0, 0}
	foreign, malformed := smtp.EnhancedCode{5, 7, 1}, smtp.EnhancedCode{5, 6, 0}
	for _, c := range []struct {
		name, header string
		want         smtp.EnhancedCode
	}{
		{"own", "From: bob@ours.test", ok},
		{"own with a name", `From: "Bob, the builder" <bob@ours.test>`, ok},
		{"own with UTF-8 name", "From: Bj\u00f6rn <bob@ours.test>", ok},
		{"own in other case", "FROM: BOB@Ours.TEST", ok},
		{"own in quotes", `From: "bob"@ours.test`, ok},
		{"second address", "From: bob.smith@ours.test", ok},
		{"both addresses", "From: bob@ours.test, bob.smith@ours.test\r\nSender: bob@ours.test", ok},
		{"a group of own addresses", "From: The Bobs: bob@ours.test, bob.smith@ours.test;", ok},
		{"comment", "From: bob@ours.test (Bob (really))", ok},
		{"folded", "From:\r\n Bob\r\n\t<bob@ours.test>", ok},
		{"encoded words in the name", "From: =?utf-8?q?victim=40b.test?= <bob@ours.test>", ok},
		{"quoted name with an address", `From: "victim@b.test" <bob@ours.test>`, ok},
		{"own Sender", "From: bob@ours.test\r\nSender: Bob <bob.smith@ours.test>", ok},

		{"foreign", "From: victim@b.test", foreign},
		{"foreign local part", "From: carol@ours.test", foreign},
		{"foreign subdomain", "From: bob@sub.ours.test", foreign},
		{"foreign behind own", "From: bob@ours.test, victim@b.test", foreign},
		{"foreign before own", "From: victim@b.test, bob@ours.test", foreign},
		{"foreign in a group", "From: bob@ours.test, Friends: victim@b.test;", foreign},
		{"own address as name", "From: bob@ours.test <victim@b.test>", foreign},
		{"own address as quoted name", `From: "bob@ours.test" <victim@b.test>`, foreign},
		{"own address in a comment", "From: (bob@ours.test) victim@b.test", foreign},
		{"two in brackets", "From: <bob@ours.test> <victim@b.test>", foreign},
		{"two without comma", "From: bob@ours.test victim@b.test", malformed},
		{"own address in an encoded name", "From: =?utf-8?q?bob=40ours.test?= <victim@b.test>", foreign},
		{"domain in encoded words", "From: bob@=?utf-8?q?ours.test?=", malformed},
		{"folded foreign", "From: bob@ours.test,\r\n victim@b.test", foreign},
		{"foreign Sender", "From: bob@ours.test\r\nSender: victim@b.test", foreign},

		{"no From", "Subject: x", malformed},
		{"empty From", "From:", malformed},
		{"null From", "From: <>", malformed},
		{"empty group", "From: Undisclosed:;", malformed},
		{"no domain", "From: bob", malformed},
		{"final dot", "From: bob@ours.test.", malformed},
		{"two From fields", "From: bob@ours.test\r\nFrom: bob@ours.test", malformed},
		{"two From fields, one foreign", "From: bob@ours.test\r\nfrom : victim@b.test", malformed},
		{"two Sender fields", "From: bob@ours.test\r\nSender: bob@ours.test\r\nSender: bob@ours.test", malformed},
		{"empty Sender", "From: bob@ours.test\r\nSender:", malformed},
		{"foreign address as name", "From: victim@b.test <bob@ours.test>", malformed},
		{"foreign address as group name", "From: victim@b.test: bob@ours.test;", foreign},
		{"source route", "From: <@b.test:bob@ours.test>", malformed},
		{"comment that does not end", "From: bob@ours.test (x", malformed},
		{"quote that does not end", `From: "x <bob@ours.test>`, malformed},
		{"text behind the address", "From: <bob@ours.test> victim", malformed},
		{"two at signs", "From: <bob@ours.test@b.test>", malformed},
		{"NUL cuts the field", "From: victim@b.test\x00 <bob@ours.test>", malformed},
		{"NUL in the name", "From: a\x00b <bob@ours.test>", malformed},
		{"not UTF-8", "From: \xff\xfe <bob@ours.test>", malformed},
		{"unclosed bracket", "From: <bob@ours.test, victim@b.test", foreign},
		{"address list with a limit", "From: " + strings.Repeat("bob@ours.test, ", 10_001) + "victim@b.test", malformed},
		{"deep comments", "From: " + strings.Repeat("(", 100) + strings.Repeat(")", 100) + " bob@ours.test", malformed},
		{"From behind 5,000 fields", "From: bob@ours.test\r\n" + strings.Repeat("X: y\r\n", 5000) + "From: victim@b.test", smtp.EnhancedCode{5, 3, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSystem(t, world(t), nil)
			err := s.submit("bob@ours.test", c.header+"\r\n\r\n", "carol@ours.test")
			if c.want == ok {
				require.NoError(t, err)
				s.one("carol@ours.test", store.Inbox)
				return
			}
			var e *smtp.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, e.Enhanced, e.Text)
			assert.Equal(t, 5, e.Code/100)
			require.Empty(t, s.mail("carol@ours.test", store.Inbox))
		})
	}
}

// Whoever may use a whole domain may not smuggle another address in by a local
// part that careless programs decode.
func TestEncodedWordAsLocalPart(t *testing.T) {
	s := newSystem(t, world(t), nil)
	s.users["bob"].Senders = []string{"@ours.test"}
	refuses(t, s.submit("bob@ours.test", "From: =?utf-8?b?dmljdGltQGIudGVzdAA=?=@ours.test\r\n\r\n", "carol@ours.test"), 554, smtp.EnhancedCode{5, 6, 0})
	require.NoError(t, s.submit("x@ours.test", "From: anybody@ours.test\r\n\r\n", "carol@ours.test"))
}

func TestEnvelopeSender(t *testing.T) {
	s := newSystem(t, world(t), nil)
	for _, a := range []string{"bob@ours.test", "BOB@ours.test", "bob.smith@ours.test", ""} {
		require.NoError(t, s.submit(a, submitted, "carol@ours.test"), a)
	}
	for _, a := range []string{"victim@b.test", "carol@ours.test", `"bob@ours.test"@b.test`, "bob@sub.ours.test"} {
		refuses(t, s.submit(a, submitted, "carol@ours.test"), 550, smtp.EnhancedCode{5, 7, 1})
	}
	// The null sender is for receipts: From must be one's own all the same.
	refuses(t, s.submit("", letter, "carol@ours.test"), 550, smtp.EnhancedCode{5, 7, 1})
	list := s.mail("carol@ours.test", store.Inbox)
	require.Len(t, list, 4)
	require.True(t, strings.HasPrefix(list[3], "Return-Path: <>\r\n"))
}

// Date and Message-ID are added if they are missing; Bcc and fields that only
// this system may write are taken out; the rest is untouched.
func TestCompletion(t *testing.T) {
	s := newSystem(t, world(t), nil)
	require.NoError(t, s.submit("bob@ours.test", submitted, "carol@ours.test"))
	got := s.mail("carol@ours.test", store.Inbox)[0]
	require.True(t, strings.HasSuffix(got, submitted))
	require.Regexp(t, `^Return-Path: <bob@ours\.test>\r\nDelivered-To: carol@ours\.test\r\nReceived: from \[127\.0\.0\.1\] \(\[127\.0\.0\.1\]\)\r\n\tby mx\.ours\.test with ESMTPA id \w+\r\n\tfor <carol@ours\.test>;\r\n\t[^\r\n]+\r\n$`, strings.TrimSuffix(got, submitted))

	msg := "\tfolded: at the top\r\nReturn-Path: <x@y.test>\r\nFrom: bob@ours.test\r\nBcc: secret@else.test,\r\n more@else.test\r\nX-Odd:  kept \r\nbcc : other@else.test\r\nResent-Bcc: x\r\nX-BCC: y\r\n" +
		"Authentication-Results: mx.ours.test; dmarc=pass\r\nAuthentication-Results: else.test; none\r\n\r\nBcc: in the body\r\n"
	require.NoError(t, s.submit("bob@ours.test", msg, "carol@ours.test"))
	got = s.mail("carol@ours.test", store.Inbox)[1]
	left := "From: bob@ours.test\r\nX-Odd:  kept \r\nAuthentication-Results: else.test; none\r\n\r\nBcc: in the body\r\n"
	require.True(t, strings.HasSuffix(got, left), got)
	h := message.ParseHeader([]byte(got))
	require.Len(t, h.All("Date"), 1)
	when, err := message.ParseDate(h.Get("Date"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), when, time.Minute)
	require.Regexp(t, `^<[^@]+@mx\.ours\.test>$`, h.Get("Message-ID"))
	for _, no := range []string{"secret", "other@", "Resent-Bcc", "X-BCC", "x@y.test", "dmarc", "folded:"} {
		require.NotContains(t, got, no)
	}
}

// The signature holds over what is delivered, here and elsewhere, whatever the
// checks add.
func TestSignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, func(s *system) {
			key, record := signer(t, "ours.test")
			other, _ := signer(t, "other.test")
			s.dns.Set("k1._domainkey.ours.test", testdns.Records{TXT: []string{record}})
			s.Signer = mta.DKIM(other, key)
			s.SubmissionChecks = []mta.Check{mta.CheckFunc(func(_ context.Context, tr *mta.Transaction) mta.Verdict {
				if tr.Phase == mta.AtData {
					return mta.Verdict{Header: []byte("Reply-To: bob@ours.test\r\nX-Checked: yes\r\n")}
				}
				return mta.Verdict{}
			})}
		})
		s.run()
		require.NoError(t, s.submit("bob@ours.test", "From: bob@ours.test\r\nBcc: x@else.test\r\n\r\n.dot\r\n\xff\r\n", "carol@ours.test", "x@else.test", "y@more.test"))
		synctest.Wait()
		sent := rec.Messages()
		require.Len(t, sent, 2)
		for _, got := range []string{s.one("carol@ours.test", store.Inbox), string(sent[0].Data), string(sent[1].Data)} {
			results, err := (&dkim.Verifier{Resolver: s.Resolver}).Verify(t.Context(), strings.NewReader(got))
			require.NoError(t, err)
			require.Len(t, results, 1)
			require.NoError(t, results[0].Err)
			require.Equal(t, "ours.test", results[0].Domain)
			require.Subset(t, results[0].SignedFields, []string{"from", "date", "message-id", "reply-to"})
			require.Contains(t, got, "X-Checked: yes\r\n")
			require.NotContains(t, got, "Bcc")
			require.True(t, strings.HasSuffix(got, "\r\n\r\n.dot\r\n\xff\r\n"))
		}
	})
}

func TestSignerFor(t *testing.T) {
	key, _ := signer(t, "ours.test")
	for domain, want := range map[string]bool{"ours.test": true, "OURS.test": true, "sub.ours.test": true, "xours.test": false, "test": false, "": false} {
		sig, err := mta.DKIM(key).Sign(t.Context(), domain, strings.NewReader(submitted))
		require.NoError(t, err)
		require.Equal(t, want, len(sig) > 0, domain)
	}
}

// badSigner is a Signer that returns what it is told.
type badSigner struct {
	fields string
	err    error
}

func (b badSigner) Sign(_ context.Context, _ string, r io.Reader) ([]byte, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return []byte(b.fields), b.err
}

// Without its signature a message is not sent.
func TestSigningFails(t *testing.T) {
	for _, c := range []struct {
		signer   badSigner
		code     int
		enhanced smtp.EnhancedCode
	}{
		{badSigner{err: errors.New("key server is down")}, 451, smtp.EnhancedCode{4, 3, 0}},
		{badSigner{fields: "garbage\r\n\r\n"}, 451, smtp.EnhancedCode{4, 3, 0}},
		{badSigner{err: dkim.ErrHeaderTooLarge}, 554, smtp.EnhancedCode{5, 6, 0}},
	} {
		s := newSystem(t, world(t), func(s *system) { s.Signer = c.signer })
		refuses(t, s.submit("bob@ours.test", submitted, "carol@ours.test"), c.code, c.enhanced)
		require.Empty(t, s.mail("carol@ours.test", store.Inbox))
	}
}

// Local and remote recipients of one message: filed here at once, queued by
// domain, nobody twice.
func TestLocalAndRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, rec := bothEnds(t, nil)
		require.NoError(t, s.submit("bob@ours.test", submitted, "x@else.test", "carol@ours.test", "y@more.test", "X@else.test", "x@else.test", "carol+box@ours.test"))
		s.one("carol@ours.test", store.Inbox)
		require.Equal(t, []string{"else.test: x@else.test X@else.test", "more.test: y@more.test"}, s.queued())
		s.run()
		synctest.Wait()
		sent := rec.Messages()
		require.Len(t, sent, 2)
		require.Len(t, sent[0].To, 3-len(sent[1].To))
		require.True(t, bytes.HasSuffix(sent[0].Data, []byte(submitted)))
		require.Equal(t, 1, bytes.Count(sent[0].Data, []byte("Received: ")))
		require.NotContains(t, string(sent[0].Data), "Delivered-To")
		require.Empty(t, s.queued())
	})
}

// AUTH= of a client is not repeated in this system's name.
func TestAuthParameterEnds(t *testing.T) {
	s := newSystem(t, world(t), nil)
	testscript.Run(t, "auth", `
S~ 220 .*
C: EHLO x.test
S* 250 .*
C: AUTH PLAIN AGJvYgBzZWNyZXQ=
S~ 235 .*
C: MAIL FROM:<bob@ours.test> AUTH=boss@ours.test
S~ 250 .*
C: RCPT TO:<x@else.test>
S~ 250 .*
C: DATA
S~ 354 .*
C: From: bob@ours.test
C: 
C: .
S~ 250 .*
`, testscript.Config{Dial: s.msa.Dial})
	list, err := s.Queue.List(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Nil(t, list[0].Message.Options.Auth)
}

// Answers to recipients.
func TestSubmissionRecipients(t *testing.T) {
	s := newSystem(t, world(t), func(s *system) { s.Resolver = &dns.Resolver{Dial: s.dns.Dial, Servers: []string{s.dns.Addr()}} })
	refuses(t, s.submit("bob@ours.test", submitted, "nobody@ours.test"), 550, smtp.EnhancedCode{5, 1, 1})
	require.NoError(t, s.submit("bob@ours.test", submitted, "x@[192.0.2.1]"))
	require.Equal(t, []string{"[192.0.2.1]: x@[192.0.2.1]"}, s.queued())
}
