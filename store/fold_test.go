package store_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/store"
)

func TestFold(t *testing.T) {
	same := func(a, b string) { assert.Equal(t, store.Fold(nil, a), store.Fold(nil, b), "%q and %q", a, b) }
	same("straße", "STRAßE")
	same("café", "CAFE\u0301")
	same("ﬁn", "FIN")
	same("a\xffb", "A\uFFFDB")
	same("", "")
	same(strings.Repeat("é", 5000), strings.Repeat("E\u0301", 5000))
	for i := range 8 { // wherever a piece ends
		pad := strings.Repeat("x", 505+i)
		assert.Equal(t, strings.ToUpper(pad)+"E\u0301Z", string(store.Fold(nil, pad+"éz")))
		assert.Equal(t, strings.ToUpper(pad)+"😀Z", string(store.Fold(nil, pad+"😀z")))
	}
	assert.Equal(t, "xA", string(store.Fold([]byte("x"), "a")))
	assert.Less(t, string(store.Fold(nil, "Zoe")), string(store.Fold(nil, "zoé")), "E is before E with an accent")
}
