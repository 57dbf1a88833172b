package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRights(t *testing.T) {
	for _, c := range []struct{ in, stored, sent string }{
		{"", "", ""},
		{"lrswipkxtea", "lrswipkxtea", "lrswipkxteacd"},
		{"aetxkpiwsrl", "lrswipkxtea", "lrswipkxteacd"},
		{"lrr", "lr", "lr"},
		{"c", "kx", "kxc"},                       // RFC 4314 §2.1.1
		{"d", "te", "ted"},                       // likewise
		{"lrswida", "lrswitea", "lrswitead"},     // David's example there
		{"lrswikda", "lrswiktea", "lrswikteacd"}, // Byron's
		{"x", "x", "xc"}, {"t", "t", "td"},       // one member is enough
		{"cdcd", "kxte", "kxtecd"}, {"p", "p", "p"}, // no more than once
	} {
		r, err := ParseRights(c.in)
		require.NoError(t, err, c.in)
		assert.Equal(t, c.stored, r.String(), c.in)
		assert.Equal(t, c.sent, r.Protocol(), c.in)
	}
	for _, bad := range []string{"L", "lrQswicda", "lrqswicda", "l r", "0", "é", "+l", "\x00", "\xff"} {
		_, err := ParseRights(bad)
		assert.ErrorIs(t, err, ErrInvalid, bad)
	}
}

func TestRightsModify(t *testing.T) {
	for _, c := range []struct{ old, mod, want string }{
		{"lr", "swi", "swi"}, {"lr", "", ""}, {"lr", "+", "lr"}, {"lr", "-", "lr"},
		{"lrswi", "+cda", "lrswikxtea"}, // RFC 4314 §3.1
		{"lrswi", "-wz", "!"}, {"lrswi", "-wi", "lrs"}, {"lr", "+-l", "!"}, {"lr", "++l", "!"}, {"lr", "--", "!"},
	} {
		old, err := ParseRights(c.old)
		require.NoError(t, err)
		got, err := old.Modify(c.mod)
		if c.want == "!" {
			assert.ErrorIs(t, err, ErrInvalid, c.mod)
			assert.Equal(t, old, got, "nothing changes")
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, c.want, got.String(), "%s %s", c.old, c.mod)
	}
}

func TestMaySet(t *testing.T) {
	r := RightSeen | RightLookup
	assert.True(t, r.MaySet(`\seen`))
	assert.False(t, r.MaySet(FlagDeleted))
	assert.False(t, r.MaySet(FlagDraft))
	assert.False(t, r.MaySet("$Forwarded"))
	assert.True(t, RightMark.MaySet(`\DELETED`))
	assert.True(t, RightWrite.MaySet("Seen"), "a keyword")
	assert.False(t, r.Writable(), `\Seen is nobody else's`)
	assert.True(t, RightInsert.Writable())
	assert.True(t, RightMark.Writable())
}

func TestListRights(t *testing.T) {
	always, optional := ListRights("ann", "ann")
	assert.Equal(t, "lrswipkxteacd", always)
	assert.Empty(t, optional)
	always, optional = ListRights("ann", Anyone)
	assert.Empty(t, always)
	assert.Equal(t, "l r s w i p k x t e a c d", strings.Join(optional, " "))
	always, optional = ListRights("ann", "-ann")
	assert.Empty(t, always)
	assert.Empty(t, optional)
}

func FuzzParseRights(f *testing.F) {
	for _, s := range []string{"", "lrswipkxtea", "+cd", "-x", "lrQ", "\xff", "dddd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Rights(RightLookup).Modify(s)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		require.True(t, AllRights.Has(r))
		again, err := ParseRights(r.Protocol())
		require.NoError(t, err)
		// c and d that are sent for one member say more than the member alone.
		require.True(t, again.Has(r))
		again, err = ParseRights(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

func TestUIDSetWithout(t *testing.T) {
	for _, c := range []struct{ s, t, want UIDSet }{
		{UIDRanges(UIDRange{1, 10}), nil, UIDRanges(UIDRange{1, 10})},
		{nil, AllUIDs(), nil},
		{AllUIDs(), AllUIDs(), nil},
		{AllUIDs(), UIDs(5), UIDSet{{1, 4}, {6, 1<<32 - 1}}},
		{AllUIDs(), UIDSet{{9, 1<<32 - 1}}, UIDSet{{1, 8}}},
		{UIDs(1, 3, 5, 7), UIDSet{{3, 5}}, UIDs(1, 7)},
		{UIDSet{{1, 5}, {8, 12}}, UIDSet{{4, 9}, {11, 11}}, UIDSet{{1, 3}, {10, 10}, {12, 12}}},
	} {
		assert.True(t, c.want.Equal(c.s.Without(c.t)), "%v without %v: %v", c.s, c.t, c.s.Without(c.t))
	}
}
