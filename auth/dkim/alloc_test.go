//go:build !race

package dkim

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fixed answers every question alike.
type fixed []string

func (f fixed) LookupTXT(context.Context, string) ([]string, error) { return f, nil }

// TestAllocations bounds what one signature costs, lookup and RSA included: the
// race detector makes more of it.
func TestAllocations(t *testing.T) {
	key, err := GenerateKey(RSASHA256)
	require.NoError(t, err)
	record, err := Record(key)
	require.NoError(t, err)
	texts := []string{record}
	v := &Verifier{Resolver: fixed(texts)}
	msg := "From: alice@a.test\r\nTo: bob@b.test\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\n" + strings.Repeat("some words\r\n", 300)
	fields, err := Sign(context.Background(), []*Signer{{Domain: "a.test", Selector: "k", Key: key}}, strings.NewReader(msg))
	require.NoError(t, err)
	raw := append(fields, msg...)
	allocs := testing.AllocsPerRun(200, func() {
		res, err := v.Verify(context.Background(), bytes.NewReader(raw))
		if err != nil || !res[0].Trusted {
			t.Error(res, err)
		}
	})
	assert.LessOrEqual(t, allocs, 25.0)
}
