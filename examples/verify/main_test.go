package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
