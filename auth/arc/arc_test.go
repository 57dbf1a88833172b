package arc

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
)

// zone is the text at each name.
type zone map[string]string

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	if text, ok := z[name]; ok {
		return []string{text}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// resolver is a function that answers.
type resolver func(ctx context.Context, name string) ([]string, error)

func (f resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return f(ctx, name)
}

func at(sec int64) func() time.Time {
	return func() time.Time { return time.Unix(sec, 0) }
}

// hopDomain is the domain of the nth sealer.
func hopDomain(n int) string { return fmt.Sprintf("hop%d.example", n) }

// hop is the nth sealer, with an Ed25519 key of its own, so that tests are quick.
func hop(n int) *Sealer {
	seed := fmt.Sprintf("%032d", n)
	return &Sealer{Signer: &dkim.Signer{
		Domain: hopDomain(n), Selector: "sel", Key: ed25519.NewKeyFromSeed([]byte(seed)), Clock: at(1_700_000_000),
	}}
}

// hops are the keys of the first n sealers.
func hops(t testing.TB, n int) zone {
	t.Helper()
	z := zone{}
	for i := 1; i <= n; i++ {
		text, err := dkim.Record(hop(i).Signer.Key)
		require.NoError(t, err)
		z["sel._domainkey."+hopDomain(i)] = text
	}
	return z
}

// wire gives text with LF line ends its CRLF.
func wire(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

var plainMessage = wire(`DKIM-Signature: v=1; a=rsa-sha256; d=author.example; s=x; h=from; bh=x; b=y
From: Author <author@author.example>
To: list@hop1.example
Subject: A subject
 on two lines
Date: Fri, 11 Jul 2003 21:00:37 -0700
Message-ID: <1@author.example>

Text.

More text.
`)

// passed are results that say that DMARC passed for the author.
func passed(n int, chain ...authres.Result) *authres.Header {
	h := &authres.Header{ServID: "mx." + hopDomain(n), Results: []authres.Result{
		authres.SPF("pass", "author@author.example", ""), authres.DMARC("pass", "author.example", "none"),
	}}
	h.Results = append(h.Results, chain...)
	return h
}

func verify(t testing.TB, z dkim.Resolver, msg string) *Result {
	t.Helper()
	r, err := (&Verifier{Resolver: z, Clock: at(1_700_000_100)}).Verify(context.Background(), strings.NewReader(msg))
	require.NoError(t, err)
	return r
}

// pass has a message go through a sealer.
func pass(t testing.TB, z dkim.Resolver, n int, msg string, change func(string) string) string {
	t.Helper()
	in := verify(t, z, msg)
	if change != nil {
		msg = change(msg)
	}
	fields, err := hop(n).Seal(context.Background(), in, passed(n), strings.NewReader(msg))
	require.NoError(t, err)
	return string(fields) + msg
}

// sealed is a message that has gone through the first n sealers.
func sealed(t testing.TB, z dkim.Resolver, n int) string {
	t.Helper()
	msg := plainMessage
	for i := 1; i <= n; i++ {
		msg = pass(t, z, i, msg, nil)
	}
	return msg
}
