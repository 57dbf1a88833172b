package dkim

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// textMessage is a message of about size octets with an ordinary header.
func textMessage(size int) string {
	var b strings.Builder
	b.WriteString("Received: from client.example.com (client.example.com [192.0.2.1])\r\n\tby mx.example.net with ESMTPS id 4711; Fri, 11 Jul 2003 21:01:54 -0700\r\n" +
		"From: Alice <alice@example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: A subject of ordinary length\r\n" +
		"Date: Fri, 11 Jul 2003 21:00:37 -0700\r\nMessage-ID: <20030712040037.46341.5F8J@example.com>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	for b.Len() < size {
		b.WriteString("The quick brown fox jumps over the lazy dog and runs away from it.\r\n")
	}
	return b.String()
}

var sizes = []struct {
	name string
	size int
}{{"4KiB", 4 << 10}, {"1MiB", 1 << 20}}

func benchSigner(b *testing.B, a Algorithm) (*Signer, crypto.Signer) {
	key, err := GenerateKey(a)
	require.NoError(b, err)
	s := testSigner()
	s.Key = key
	return s, key
}

func BenchmarkVerify(b *testing.B) {
	for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
		for _, c := range []Canonicalization{Simple, Relaxed} {
			for _, size := range sizes {
				b.Run(fmt.Sprintf("%s/%s/%s", a, c, size.name), func(b *testing.B) {
					s, key := benchSigner(b, a)
					s.HeaderCanon, s.BodyCanon = c, c
					msg := []byte(signed(b, textMessage(size.size), s))
					v := &Verifier{Resolver: staticKey(record(b, key)), Clock: at(1_700_000_100)}
					b.SetBytes(int64(len(msg)))
					b.ReportAllocs()
					for b.Loop() {
						rs, err := v.Verify(context.Background(), bytes.NewReader(msg))
						if err != nil || len(rs) != 1 || rs[0].Err != nil {
							b.Fatal(rs, err)
						}
					}
				})
			}
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("%s/%s", a, size.name), func(b *testing.B) {
				s, _ := benchSigner(b, a)
				msg := []byte(textMessage(size.size))
				b.SetBytes(int64(len(msg)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Sign(context.Background(), []*Signer{s}, bytes.NewReader(msg)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkBodyHash(b *testing.B) {
	for _, body := range []struct{ name, text string }{
		{"text", textMessage(1 << 20)},
		{"blank", strings.Repeat("\r\n", 1<<19)},
		{"spaced", strings.Repeat("a  ", 1<<20/3)},
	} {
		for _, c := range []Canonicalization{Simple, Relaxed} {
			b.Run(fmt.Sprintf("%s/%s", body.name, c), func(b *testing.B) {
				p := []byte(body.text)
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				for b.Loop() {
					var h BodyHasher
					h.Add(c, -1)
					h.Write(p)
					h.Close()
				}
			})
		}
	}
}

type staticKey string

func (s staticKey) LookupTXT(context.Context, string) ([]string, error) {
	return []string{string(s)}, nil
}
