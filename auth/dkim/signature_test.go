package dkim

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// resign changes the text of a field template before it is signed: what a
// careless or hostile signer would have signed.
func resign(t *testing.T, msg string, change func(field string) string) string {
	s, err := NewSigning([]*Signer{testSigner()})
	require.NoError(t, err)
	_, err = s.Write([]byte(msg))
	require.NoError(t, err)
	s.header.close()
	s.body.Close()
	g := &s.signers[0]
	field := change(string(g.template(s.names(g))))
	sig, err := parseSignature([]byte(field + "AAAA"))
	headers := sig.headers
	if err != nil && headers == nil {
		headers = []string{"from"}
	}
	return signRaw(s, g, field, headers) + msg
}

func signRaw(s *Signing, g *signing, field string, headers []string) string {
	h := s.body.Add(Relaxed, -1).h
	h.Reset()
	s.header.hashFields(h, g.headerC, headers)
	h.Write(g.headerC.AppendHeader(nil, []byte(field)))
	sig := ed25519.Sign(testKey(), h.Sum(nil))
	return field + base64.StdEncoding.EncodeToString(sig) + "\r\n"
}

func swap(from, to string) func(string) string {
	return func(s string) string {
		if !strings.Contains(s, from) {
			panic("no " + from + " in " + s)
		}
		return strings.Replace(s, from, to, 1)
	}
}

func TestSignatureRules(t *testing.T) {
	long := strings.Repeat("x", 64)
	for _, c := range []struct {
		name   string
		change func(string) string
		status Status
		err    error
	}{
		{"unchanged", func(s string) string { return s }, StatusPass, nil},
		{"unknown tag", swap("v=1;", "v=1; zz=what;"), StatusPass, nil},
		{"empty item", swap("v=1;", "v=1; ;"), StatusPass, nil},
		{"duplicate tag", swap("v=1;", "v=1; s=sel;"), StatusNeutral, ErrSyntax},
		{"no equals", swap("v=1;", "v=1; what;"), StatusNeutral, ErrSyntax},
		{"bad tag name", swap("v=1;", "v=1; 1x=2;"), StatusNeutral, ErrSyntax},
		{"control character", swap("v=1;", "v=1; y=\x01;"), StatusNeutral, ErrSyntax},
		{"version 2", swap("v=1;", "v=2;"), StatusNeutral, ErrVersion},
		{"no version", swap("v=1;", ""), StatusPermError, ErrMissingTag},
		{"no domain", swap("d=example.com;", ""), StatusPermError, ErrMissingTag},
		{"no body hash", swap("bh=", "bx="), StatusPermError, ErrMissingTag},
		{"rsa-sha1", swap("ed25519-sha256", "rsa-sha1"), StatusPermError, ErrAlgorithm},
		{"rsa key wanted", swap("ed25519-sha256", "rsa-sha256"), StatusPermError, ErrKeyMismatch},
		{"upper case algorithm", swap("ed25519-sha256", "Ed25519-SHA256"), StatusPass, nil},
		{"unknown canonicalization", swap("c=relaxed/relaxed", "c=nowsp"), StatusNeutral, ErrSyntax},
		{"top-level domain", swap("d=example.com", "d=com"), StatusPermError, ErrDomain},
		{"domain with a space", swap("d=example.com", "d=exa mple.com"), StatusPermError, ErrDomain},
		{"label too long", swap("s=sel", "s="+long), StatusPermError, ErrDomain},
		{"empty label", swap("s=sel", "s=a..b"), StatusPermError, ErrDomain},
		{"upper case domain", swap("d=example.com", "d=EXAMPLE.Com"), StatusPass, nil},
		{"identifier below", swap("v=1;", "v=1; i=x@sub.example.com;"), StatusPass, nil},
		{"identifier elsewhere", swap("v=1;", "v=1; i=x@notexample.com;"), StatusPermError, ErrIdentifier},
		{"identifier above", swap("v=1;", "v=1; i=@com;"), StatusPermError, ErrIdentifier},
		{"identifier without @", swap("v=1;", "v=1; i=example.com;"), StatusNeutral, ErrSyntax},
		{"from not signed", swap("h=from:subject:to:from:", "h=subject:to:"), StatusPermError, ErrFromNotSigned},
		{"key query by http", swap("v=1;", "v=1; q=http/foo;"), StatusNeutral, ErrQueryMethod},
		{"one good query", swap("v=1;", "v=1; q=http/foo : dns/txt;"), StatusPass, nil},
		{"expired", swap("x=1700604800", "x=1700000099"), StatusFail, ErrExpired},
		{"expires now", swap("x=1700604800", "x=1700000100"), StatusPass, nil},
		{"x before t", swap("x=1700604800", "x=1700000000"), StatusNeutral, ErrSyntax},
		{"x no number", swap("x=1700604800", "x=soon"), StatusNeutral, ErrSyntax},
		{"x too many digits", swap("x=1700604800", "x=1234567890123"), StatusNeutral, ErrSyntax},
		{"l of the whole body", swap("v=1;", "v=1; l=19;"), StatusPass, nil},
		{"l one too long", swap("v=1;", "v=1; l=20;"), StatusFail, ErrBodyLength},
		{"l over 64 bits", swap("v=1;", "v=1; l=99999999999999999999999;"), StatusFail, ErrBodyLength},
		{"l negative", swap("v=1;", "v=1; l=-1;"), StatusNeutral, ErrSyntax},
		{"body hash too short", swap("bh=", "bh=AAAA; by="), StatusNeutral, ErrSyntax},
		{"no key there", swap("s=sel", "s=other"), StatusPermError, ErrNoKey},
		{"huge field", swap("v=1;", "v=1; zz="+strings.Repeat("z", maxSignatureField)+";"), StatusNeutral, ErrSyntax},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := verifyOne(t, verifier(t), resign(t, plainMessage, c.change))
			assert.Equal(t, c.status, r.Status)
			assert.ErrorIs(t, r.Err, c.err)
			assert.Equal(t, c.status == StatusPass, r.Trusted)
			assert.Equal(t, c.err == ErrExpired, r.Expired)
			if c.err != nil {
				assert.Equal(t, c.err.Error(), r.Reason())
			}
		})
	}
}

// TestBodyLengthShort: what follows the signed octets is anyone's.
func TestBodyLengthShort(t *testing.T) {
	for _, l := range []int64{0, 5} {
		s, err := NewSigning([]*Signer{testSigner()})
		require.NoError(t, err)
		s.signers[0].hash = s.body.Add(Relaxed, l)
		s.Write([]byte(plainMessage))
		s.header.close()
		s.body.Close()
		g := &s.signers[0]
		field := swap("v=1;", fmt.Sprintf("v=1; l=%d;", l))(string(g.template(s.names(g))))
		r := verifyOne(t, verifier(t), signRaw(s, g, field, s.names(g))+plainMessage)
		assert.Equal(t, StatusPolicy, r.Status, "l=%d", l)
		assert.ErrorIs(t, r.Err, ErrPartialBody)
		assert.True(t, r.Partial)
		assert.False(t, r.Trusted)
		assert.Equal(t, l, r.BodyLength)
	}
}
