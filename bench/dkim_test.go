package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"github.com/posta-mail/posta/auth/dkim"
)

// keys answers key lookups without a network.
type keys map[string]string

func (k keys) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txt, ok := k[strings.TrimSuffix(name, ".")]; ok {
		return []string{txt}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// Lines of the messages: prose, and one in which every other octet is a space
// and the last is to be dropped, the worst case of relaxed canonicalisation.
var lines = map[string]string{
	"prose":  "The quick brown fox jumps over the lazy dog, and it does so many times.\r\n",
	"spaces": strings.Repeat("x ", 36) + "\r\n",
}

func signed(b *testing.B, line string, size int) ([]byte, keys) {
	b.Helper()
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	if err != nil {
		b.Fatal(err)
	}
	record, err := dkim.Record(key)
	if err != nil {
		b.Fatal(err)
	}
	msg := []byte("From: alice@a.test\r\nTo: bob@b.test\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.test>\r\n\r\n" +
		strings.Repeat(line, size/len(line)))
	sig, err := dkim.Sign(context.Background(), []*dkim.Signer{{Domain: "a.test", Selector: "k", Key: key}}, bytes.NewReader(msg))
	if err != nil {
		b.Fatal(err)
	}
	return append(sig, msg...), keys{"k._domainkey.a.test": record}
}

func BenchmarkDKIMVerify(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"4KiB", 4 << 10}, {"1MiB", 1 << 20}} {
		for kind, line := range lines {
			msg, keys := signed(b, line, size.bytes)
			b.Run(size.name+"/"+kind+"/posta", func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(msg)))
				v := &dkim.Verifier{Resolver: keys}
				for b.Loop() {
					res, err := v.Verify(context.Background(), bytes.NewReader(msg))
					if err != nil || len(res) != 1 || !res[0].Trusted {
						b.Fatal(res, err)
					}
				}
			})
			b.Run(size.name+"/"+kind+"/go-msgauth", func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(msg)))
				lookup := func(name string) ([]string, error) { return keys.LookupTXT(context.Background(), name) }
				for b.Loop() {
					res, err := msgauth.VerifyWithOptions(bytes.NewReader(msg), &msgauth.VerifyOptions{LookupTXT: lookup})
					if err != nil || len(res) != 1 || res[0].Err != nil {
						b.Fatal(res, err)
					}
				}
			})
		}
	}
}

// BenchmarkDKIMSign signs with RSA-2048, relaxed/relaxed as both do by their
// defaults or are told.
func BenchmarkDKIMSign(b *testing.B) {
	key, err := dkim.GenerateKey(dkim.RSASHA256)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []struct {
		name  string
		bytes int
	}{{"4KiB", 4 << 10}, {"1MiB", 1 << 20}} {
		for kind, line := range lines {
			msg := []byte("From: alice@a.test\r\nTo: bob@b.test\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@a.test>\r\n\r\n" +
				strings.Repeat(line, size.bytes/len(line)))
			b.Run(size.name+"/"+kind+"/posta", func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(msg)))
				signers := []*dkim.Signer{{Domain: "a.test", Selector: "k", Key: key}}
				for b.Loop() {
					if _, err := dkim.Sign(context.Background(), signers, bytes.NewReader(msg)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(size.name+"/"+kind+"/go-msgauth", func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(msg)))
				opt := &msgauth.SignOptions{Domain: "a.test", Selector: "k", Signer: key,
					HeaderCanonicalization: msgauth.CanonicalizationRelaxed, BodyCanonicalization: msgauth.CanonicalizationRelaxed}
				for b.Loop() {
					if err := msgauth.Sign(io.Discard, bytes.NewReader(msg), opt); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkDKIMBlank verifies bodies of blank lines: twice the size costs twice
// the time.
func BenchmarkDKIMBlank(b *testing.B) {
	key, err := dkim.GenerateKey(dkim.Ed25519SHA256)
	if err != nil {
		b.Fatal(err)
	}
	record, err := dkim.Record(key)
	if err != nil {
		b.Fatal(err)
	}
	for _, canon := range []dkim.Canonicalization{dkim.Simple, dkim.Relaxed} {
		for _, size := range []int{1, 2, 4, 8} {
			msg := []byte("From: alice@a.test\r\n\r\n" + strings.Repeat("\r\n", size<<19) + "x\r\n")
			sig, err := dkim.Sign(context.Background(), []*dkim.Signer{{Domain: "a.test", Selector: "k", Key: key, BodyCanon: canon}}, bytes.NewReader(msg))
			if err != nil {
				b.Fatal(err)
			}
			msg = append(sig, msg...)
			b.Run(fmt.Sprintf("%s/%dMiB", canon, size), func(b *testing.B) {
				b.SetBytes(int64(len(msg)))
				v := &dkim.Verifier{Resolver: keys{"k._domainkey.a.test": record}}
				for b.Loop() {
					res, err := v.Verify(context.Background(), bytes.NewReader(msg))
					if err != nil || !res[0].Trusted {
						b.Fatal(res, err)
					}
				}
			})
		}
	}
}
