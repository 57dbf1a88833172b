package mta_test

import (
	"strings"
	"testing"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/mta"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDKIMKeys signs with the keys that are aligned with the author's domain.
func TestDKIMKeys(t *testing.T) {
	key, err := dkim.GenerateKey(dkim.Ed25519SHA256)
	require.NoError(t, err)
	signer := mta.DKIM(&dkim.Signer{Domain: "example.org", Selector: "a", Key: key}, &dkim.Signer{Domain: "Sub.Example.org", Selector: "b", Key: key},
		&dkim.Signer{Domain: "b\u00fccher.example", Selector: "c", Key: key})
	for domain, want := range map[string]string{"example.org": "a", "sub.example.ORG": "ab", "x.sub.example.org": "ab", "notexample.org": "", "org": "",
		"xn--bcher-kva.example": "c", "B\u00dcCHER.example": "c", "": ""} {
		fields, err := signer.Sign(t.Context(), domain, strings.NewReader("From: x@example.org\r\n\r\nhello\r\n"))
		require.NoError(t, err)
		got := ""
		for _, s := range []string{"a", "b", "c"} {
			if strings.Contains(string(fields), "s="+s+";") {
				got += s
			}
		}
		assert.Equal(t, want, got, domain)
	}
}
