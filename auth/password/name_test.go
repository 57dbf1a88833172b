package password

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"bob":                              "bob",
		"Bob@Example.ORG":                  "bob@example.org",
		"bob@example.org.":                 "bob@example.org",
		"bob+tag@example.org":              "bob+tag@example.org",
		"a@b@example.org":                  "a@b@example.org",
		"\u00dcmit@B\u00dccher.example":    "\u00fcmit@xn--bcher-kva.example",
		"u\u0308mit@xn--BCHER-kva.example": "\u00fcmit@xn--bcher-kva.example",
		"\uff42ob":                         "bob",
		"bob@[192.0.2.1]":                  "bob@[192.0.2.1]",
		"bob@my_host":                      "bob@my_host",
		"":                                 "",
		"@example.org":                     "",
		"bob@":                             "",
		"bob@.":                            "",
		"b b@example.org":                  "",
		"bob@exa mple.org":                 "",
		"bob@example\x00.org":              "",
		"bob\n@example.org":                "",
		"#bob":                             "",
		"bob\xff":                          "",
		"\u2168":                           "", // PRECIS leaves out compatibility characters
		"bob@\u2024\u2024":                 "",
		strings.Repeat("b", MaxName+1):     "",
	} {
		got, err := canonical(in)
		assert.Equal(t, want, got, "%q", in)
		if want == "" {
			require.ErrorIs(t, err, ErrName, "%q", in)
		} else {
			require.NoError(t, err, "%q", in)
		}
	}
}

// A canonical name stays as it is, and fits in the file.
func FuzzCanonical(f *testing.F) {
	f.Add("Bob+x@B\u00fccher.example")
	f.Add("\uff42ob@[192.0.2.1]")
	f.Add("a@b\u3002c.")
	f.Fuzz(func(t *testing.T, s string) {
		name, err := canonical(s)
		if err != nil {
			return
		}
		again, err := canonical(name)
		require.NoError(t, err, "%q from %q", name, s)
		require.Equal(t, name, again)
		require.Equal(t, []string{name}, strings.Fields(name))
	})
}
