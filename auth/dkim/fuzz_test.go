package dkim

import (
	"context"
	"crypto/ed25519"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

func FuzzParseSignature(f *testing.F) {
	for _, s := range []string{
		"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=brisbane; c=simple; q=dns/txt; i=@eng.example.net; t=1117574938; x=1118006938; h=from:to:subject:date; z=From:foo@eng.example.net|To:joe@example.com; bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=; b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR",
		"DKIM-Signature: v=1; a=ed25519-sha256; d=a.b; s=c; h=from; bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=; b=AAAA; l=99999999999999999999",
		"DKIM-Signature:v=1;;b=;b =\r\n a",
		"dkim-signature: d=bücher.example; s=x; i=\xff@bücher.example",
		"dkim-signature",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, field []byte) {
		s, err := parseSignature(field)
		if err != nil {
			return
		}
		require.NotEmpty(t, s.b)
		require.LessOrEqual(t, s.bStart, s.bEnd)
		require.True(t, within(s.idDomain, s.domain))
		again, ok := canonicalDomain(s.domain, 2)
		require.True(t, ok)
		require.Equal(t, s.domain, again)
		// What is signed must not depend on the value of b=.
		h1, h2 := new(captured), new(captured)
		s.hashSelf(h1, nil)
		other := append([]byte(nil), field[:s.bStart]...)
		other = append(append(other, "AAAA"...), field[s.bEnd:]...)
		s2, err := parseSignature(other)
		require.NoError(t, err)
		s2.hashSelf(h2, nil)
		require.Equal(t, h1.String(), h2.String())
	})
}

func FuzzParseKeyRecord(f *testing.F) {
	f.Add("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
	f.Add("v=DKIM1; h=sha256; t=y:s; s=email; n=note; p=")
	f.Add("k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB")
	f.Fuzz(func(t *testing.T, txt string) {
		r, err := ParseKeyRecord(txt)
		if err != nil {
			require.ErrorIs(t, err, ErrKeySyntax)
			return
		}
		for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
			if r.Allows(a) == nil {
				require.NotNil(t, r.Key)
				if r.Bits() <= DefaultMaxRSABits {
					require.Error(t, r.Verify(make([]byte, 32), make([]byte, 64)))
				}
				if k, ok := r.Key.(ed25519.PublicKey); ok {
					_, err := Record(k)
					require.NoError(t, err)
				}
			}
		}
	})
}

// FuzzCanonicalization compares a body in one piece, octet by octet and by the
// letter of the RFC.
func FuzzCanonicalization(f *testing.F) {
	for _, s := range []string{"", "a", " a \r\n\r\n b\t\tc\r\n\r\n", "\r\r\n \r", "\r\n\r\nx\n \n", " \r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		pieces := strings.Split(body, "")
		if strings.ToValidUTF8(body, "") != body {
			pieces = nil
			for i := range len(body) {
				pieces = append(pieces, body[i:i+1])
			}
		}
		for _, c := range []Canonicalization{Simple, Relaxed} {
			want := slowCanon(c, body)
			require.Equal(t, want, canonBody(c, body))
			require.Equal(t, want, canonBody(c, pieces...))
		}
	})
}

// FuzzVerify verifies arbitrary messages in two ways and expects the same.
func FuzzVerify(f *testing.F) {
	key := testKey()
	rec := record(f, key)
	msg := signed(f, plainMessage)
	f.Add([]byte(msg))
	f.Add([]byte(strings.Replace(msg, "v=1;", "v=1; l=3;", 1)))
	f.Add([]byte("From: a\r\nDKIM-Signature: x\r\n y\r\n\r\n"))
	f.Add([]byte("\r\n\r\nDKIM-Signature:\n"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, lf := range []bool{false, true} {
			v := &Verifier{Resolver: newZone(testName, rec), Clock: at(1_700_000_100), AcceptLF: lf, MaxHeaderBytes: 8192}
			whole := v.NewVerification(context.Background())
			whole.Write(msg)
			rs, err := v.Verify(context.Background(), iotest.OneByteReader(strings.NewReader(string(msg))))
			require.NoError(t, err)
			require.Equal(t, whole.Results(), rs)
			for _, r := range rs {
				require.NotEmpty(t, r.Status)
				require.Equal(t, r.Err == nil, r.Status == StatusPass)
				require.True(t, !r.Trusted || r.Status == StatusPass)
			}
		}
	})
}

// FuzzSignVerify signs whatever may be signed and verifies it, in one piece and
// in pieces of a size, and expects a change of the body to be seen.
func FuzzSignVerify(f *testing.F) {
	f.Add("From: a@example.com\r\nSubject:  x\r\n\ty \r\n\r\nbody \t\r\n\r\n", uint8(7), uint8(3))
	f.Add("From: a\r\n\r\n", uint8(0), uint8(1))
	f.Add("From: a\r\n\r\n\r\r\n \n", uint8(9), uint8(2))
	f.Add(" a\r\nfrom:\r\nX\r\n", uint8(1), uint8(0))
	key := testKey()
	rec := record(f, key)
	canons := []Canonicalization{Simple, Relaxed}
	f.Fuzz(func(t *testing.T, msg string, piece, canon uint8) {
		s := testSigner()
		s.HeaderCanon, s.BodyCanon = canons[canon&1], canons[canon>>1&1]
		g, err := NewSigning([]*Signer{s})
		require.NoError(t, err)
		for rest := msg; rest != ""; {
			n := min(len(rest), int(piece)+1)
			g.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		fields, err := g.Fields()
		if err != nil {
			return
		}
		whole, err := Sign(context.Background(), []*Signer{s}, strings.NewReader(msg))
		require.NoError(t, err)
		require.Equal(t, string(whole), string(fields))
		v := &Verifier{Resolver: newZone(testName, rec), Clock: at(1_700_000_100)}
		check := func(msg string) Result {
			rs, err := v.Verify(context.Background(), strings.NewReader(msg))
			require.NoError(t, err)
			require.NotEmpty(t, rs)
			return rs[0]
		}
		require.NoError(t, check(string(fields)+msg).Err)
		if strings.Contains(msg, "\r\n\r\n") || strings.HasPrefix(msg, "\r\n") {
			require.ErrorIs(t, check(string(fields)+msg+"\r\nmore\r\n").Err, ErrBodyHash)
		}
	})
}

// FuzzZoneLine: one line comes out, whatever goes in, and its text is the same.
func FuzzZoneLine(f *testing.F) {
	f.Add("example.org", "sel", "v=DKIM1; p=")
	f.Add("b\u00fccher.example.", "s\n", "\"\\\r\n\x00\xff;")
	f.Add("a.b", "_x", strings.Repeat("\"", 600))
	f.Fuzz(func(t *testing.T, domain, selector, text string) {
		line, err := ZoneLine(domain, selector, text, 0)
		if err != nil {
			require.ErrorIs(t, err, ErrConfig)
			return
		}
		owner, data, ok := strings.Cut(line, " IN TXT ")
		require.True(t, ok)
		require.NotContains(t, owner, " ")
		require.Equal(t, text, zoneText(t, data))
	})
}
