package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/internal/testdns"
)

func TestVerify(t *testing.T) {
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	require.NoError(t, err)
	record, err := dkim.Record(key)
	require.NoError(t, err)
	server := testdns.New(t, testdns.Zone{
		"a.example":              {MX: []string{"10 mx.a.example"}, TXT: []string{"v=spf1 include:s.a.example -all"}},
		"s.a.example":            {TXT: []string{"v=spf1 ip4:192.0.2.1 -all"}},
		"mx.a.example":           {A: []string{"192.0.2.1"}},
		"192.0.2.1":              {PTR: []string{"mx.a.example"}},
		"k._domainkey.a.example": {TXT: []string{record}},
		"_dmarc.a.example":       {TXT: []string{"v=DMARC1; p=reject"}},
		"evil.example":           {TXT: []string{"v=spf1 +all"}},
	})
	letter := "From: alice@a.example\r\nSubject: hello\r\n\r\nHello\r\n"
	signature, err := dkim.Sign(context.Background(), []*dkim.Signer{{Domain: "a.example", Selector: "k", Key: key}}, strings.NewReader(letter))
	require.NoError(t, err)
	trace := "Return-Path: <alice@a.example>\r\nReceived: from mx.a.example (mx.a.example [192.0.2.1])\r\n\tby b.example; Mon, 23 Nov 2026 04:05:06 +0000\r\n"
	good := trace + string(signature) + letter
	for name, c := range map[string]struct {
		args   []string
		text   string
		status int
		want   []string
	}{
		"from the message": {text: good, want: []string{"client pass", "SPF    pass", "s.a.example", "DKIM   pass", "DMARC  pass", "so     accept", "Authentication-Results: verify.example;"}},
		"LF":               {text: strings.ReplaceAll(good, "\r\n", "\n"), want: []string{"DKIM   pass", "so     accept"}},
		"forged":           {args: []string{"-ip", "198.51.100.1", "-helo", "x", "-from", "<a@evil.example>"}, text: letter, status: 1, want: []string{"SPF    pass", "DKIM   none", "DMARC  fail", "so     quarantine"}},
		"changed":          {args: []string{"-ip", "198.51.100.1"}, text: strings.Replace(good, "Hello", "Hallo", 1), status: 1, want: []string{"SPF    fail", "DKIM   fail", "so     quarantine"}},
		"open":             {args: []string{"-dns", "127.0.0.1:1", "-ip", "198.51.100.1", "-from", "a@a.example"}, text: letter, status: 2, want: []string{"SPF    temperror", "DMARC  temperror", "no policy"}},
		"no address":       {text: "From: x@nothing.example\r\n\r\n", want: []string{"SPF    none       the address", "DMARC  none       author \"nothing.example\", no policy"}},
		"unreadable":       {text: "DKIM-Signature: x\r\n" + letter, status: 1, want: []string{"a signature that cannot be read"}},
		"two files":        {args: []string{"a", "-ip", "192.0.2.1"}, status: 2},
		"help":             {args: []string{"-h"}},
		"no such address":  {args: []string{"-ip", "x"}, status: 2},
		"domain":           {args: []string{"-domain", "a.example", "-selectors", "k"}, status: 1, want: []string{"a.example: ", "MX", "spf1 include", "dmarc-no-reports"}},
		"no such domain":   {args: []string{"-domain", "a..example"}, status: 2, want: []string{"bad-domain"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			status, err := run(t.Context(), append([]string{"-dns", server.Addr()}, c.args...), strings.NewReader(c.text), &out)
			assert.Equal(t, c.status, status, "%v\n%s", err, &out)
			for _, w := range c.want {
				assert.Contains(t, out.String(), w)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "message.eml")
	require.NoError(t, os.WriteFile(file, []byte(good), 0o600))
	var out bytes.Buffer
	status, err := run(t.Context(), []string{"-dns", server.Addr(), file}, nil, &out)
	require.NoError(t, err)
	assert.Zero(t, status)
	_, err = run(t.Context(), []string{filepath.Join(t.TempDir(), "gone")}, nil, &out)
	assert.Error(t, err)
}

// TestTerminal has strangers write to the terminal of whoever looks: by the
// message, by the records of its domains, and by those of a domain that is
// judged.
func TestTerminal(t *testing.T) {
	const evil = "\x1b[2J\x07\u009b2J\u202e"
	server := testdns.New(t, testdns.Zone{
		"a.example":              {MX: []string{"10 mx.a.example"}, TXT: []string{"v=spf1 exists:%{l}.a.example foo:" + evil}},
		"b.example":              {TXT: []string{"v=spf1 redirect=c.example exp=e.example"}},
		"c.example":              {TXT: []string{"v=spf1 exists:%{l}.a.example -all"}},
		"e.example":              {TXT: []string{evil}},
		"k._domainkey.a.example": {TXT: []string{"v=DKIM1; k=" + evil + "; p=" + evil}},
		"_dmarc.a.example":       {TXT: []string{"v=DMARC1; p=reject; rua=mailto:" + evil + "@a.example; x=" + evil}},
		"_mta-sts.a.example":     {TXT: []string{"v=STSv1; id=" + evil}},
		"_smtp._tls.a.example":   {TXT: []string{"v=TLSRPTv1; rua=" + evil}},
	})
	header := "Return-Path: <" + evil + "@b.example>\r\nReceived: from " + evil + " (" + evil + " [192.0.2.1]) by " + evil + "; x\r\n" +
		"ARC-Seal: i=1; a=" + evil + "; d=" + evil + "; s=" + evil + "; b=" + evil + "\r\n" +
		"DKIM-Signature: v=1; a=" + evil + "; d=a.example; s=k; h=from; bh=AAAA; b=AAAA\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; d=" + evil + "; s=" + evil + "; i=" + evil + "; h=from; bh=AAAA; b=AAAA\r\n" +
		"DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=k; i=" + evil + "@a.example; h=from; bh=AAAA; b=AAAA\r\n"
	for name, c := range map[string]struct {
		args []string
		text string
	}{
		"message": {text: header + "From: a@a.example\r\n\r\n"},
		"sender":  {args: []string{"-from", evil + "@a.example", "-helo", evil}, text: header + "From: " + evil + "@" + evil + "\r\n\r\n"},
		"domain":  {args: []string{"-domain", "a.example", "-selectors", "k"}},
		"itself":  {args: []string{"-domain", evil + ".example"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := run(t.Context(), append([]string{"-dns", server.Addr()}, c.args...), strings.NewReader(c.text), &out)
			require.NoError(t, err)
			require.NotEmpty(t, out.String())
			for _, r := range strings.NewReplacer("\r\n", "\n").Replace(out.String()) {
				if !assert.True(t, r == '\n' || r == '\t' || unicode.IsPrint(r), "%q in %s", r, strconv.Quote(out.String())) {
					break
				}
			}
		})
	}
}
