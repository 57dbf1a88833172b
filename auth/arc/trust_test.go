package arc

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/authres"
)

func TestTrusted(t *testing.T) {
	z := hops(t, 4)
	r := verify(t, z, sealed(t, z, 4))
	require.Equal(t, StatusPass, r.Status)
	for _, c := range []struct {
		trusted Trusted
		from    int // the oldest set that is believed, 0 for none
	}{
		{nil, 0},
		{Trusted{"other.example"}, 0},
		{Trusted{"hop4.example"}, 4},
		{Trusted{"HOP4.Example."}, 4},
		{Trusted{"example"}, 0},
		{Trusted{"sub.hop4.example"}, 0},
		{Trusted{"hop3.example", "hop4.example"}, 3},
		{Trusted{"hop4.example", "hop2.example", "hop1.example"}, 4}, // hop3 may have invented them
		{Trusted{"hop1.example", "hop2.example", "hop3.example"}, 0},
		{Trusted{"hop1.example", "hop2.example", "hop3.example", "hop4.example"}, 1},
	} {
		sets := c.trusted.Sets(r)
		assert.Equal(t, c.from == 1, c.trusted.Chain(r), "%v", c.trusted)
		says := c.trusted.DMARC(r, "author.example")
		if c.from == 0 {
			assert.Empty(t, sets, "%v", c.trusted)
			assert.Nil(t, says)
			continue
		}
		require.Len(t, sets, 5-c.from, "%v", c.trusted)
		assert.Equal(t, c.from, sets[0].Instance)
		require.NotNil(t, says)
		assert.Equal(t, c.from, says.Instance)
		assert.Nil(t, c.trusted.DMARC(r, "other.example"))
		assert.Nil(t, c.trusted.DMARC(r, "sub.author.example"))
		assert.NotNil(t, c.trusted.DMARC(r, "Author.Example"))
	}
	assert.Empty(t, Trusted{"hop4.example"}.Sets(nil))
	assert.Empty(t, Trusted{"hop4.example"}.Sets(&Result{Status: StatusPass}))
	assert.False(t, Trusted{}.Chain(&Result{Status: StatusNone}))
}

// TestTrustedNot: an intact chain by a trusted sealer that is not good enough.
func TestTrustedNot(t *testing.T) {
	z := hops(t, 2)
	all := Trusted{"hop1.example", "hop2.example"}
	require.True(t, all.Chain(verify(t, z, sealed(t, z, 2))))

	t.Run("broken", func(t *testing.T) {
		assert.Empty(t, all.Sets(verify(t, z, sealed(t, z, 2)+"x")))
	})
	t.Run("from not signed", func(t *testing.T) {
		r := verify(t, z, sealed(t, z, 2))
		r.Sets[1].Message.SignedFields = []string{"subject"}
		assert.Empty(t, all.Sets(r))
	})
	t.Run("testing", func(t *testing.T) {
		signed := verify(t, z, sealed(t, z, 2))
		signed.Sets[1].Message.Testing = true // by another key than the seal's
		assert.Empty(t, all.Sets(signed))
		test := hops(t, 2)
		name := "sel._domainkey.hop2.example"
		test[name] = strings.Replace(test[name], "v=DKIM1;", "v=DKIM1; t=y;", 1)
		r := verify(t, test, sealed(t, z, 2))
		require.Equal(t, StatusPass, r.Status)
		assert.Empty(t, all.Sets(r))
		test = hops(t, 2)
		name = "sel._domainkey.hop1.example"
		test[name] = strings.Replace(test[name], "v=DKIM1;", "v=DKIM1; t=y;", 1)
		assert.Len(t, all.Sets(verify(t, test, sealed(t, z, 2))), 1)
	})
	t.Run("dmarc", func(t *testing.T) {
		for _, h := range []authres.Header{
			{Results: []authres.Result{authres.DMARC("fail", "author.example", "none")}},
			{Results: []authres.Result{authres.DMARC("pass", "", "none")}},
			{Results: []authres.Result{authres.DKIM("pass", "author.example", "s", "", "", "")}},
			{},
		} {
			h.ServID = "mx.hop1.example"
			fields, err := hop(1).Seal(context.Background(), nil, &h, strings.NewReader(plainMessage))
			require.NoError(t, err)
			r := verify(t, z, string(fields)+plainMessage)
			require.True(t, all.Chain(r), "%v", r.Err)
			assert.Nil(t, all.DMARC(r, "author.example"))
			assert.Nil(t, all.DMARC(r, ""))
		}
	})
}
