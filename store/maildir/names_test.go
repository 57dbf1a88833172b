package maildir

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func TestAccountFolder(t *testing.T) {
	for name, want := range map[string]string{
		"anna@example.org": "anna@example.org",
		"..":               "%2e%2e",
		".":                "%2e",
		".posta":           "%2eposta",
		"a.b":              "a.b",
		"a/../b":           "a%2f..%2fb",
		`a\b:c%d`:          "a%5cb%3ac%25d",
		" a.":              "%20a%2e",
		"žofie":            "žofie",
	} {
		got, err := AccountFolder(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		back, ok := accountName(got)
		assert.True(t, ok)
		assert.Equal(t, name, back)
	}
	for _, bad := range []string{"", "a\x00", "\xff", strings.Repeat("/", 86)} {
		_, err := AccountFolder(bad)
		assert.ErrorIs(t, err, store.ErrInvalidName, "%q", bad)
	}
	for _, foreign := range []string{".posta", "%41", "a%", "a%2", "a%2F", "lost+found%zz"} {
		_, ok := accountName(foreign)
		assert.False(t, ok, foreign)
	}
}

func TestBoxFolder(t *testing.T) {
	for name, want := range map[string][2]string{
		"INBOX":           {"", ""},
		"Sent":            {".Sent", ".Sent"},
		"INBOX/below":     {".INBOX.below", ".INBOX.below"},
		"Lists/Go":        {".Lists.Go", ".Lists.Go"},
		"a.b/c":           {`.a\2eb.c`, `.a\2eb.c`},
		`a\2e`:            {`.a\5c2e`, `.a\5c2e`},
		".hidden":         {`.\2ehidden`, `.\2ehidden`},
		"Entwürfe & mehr": {".Entw&APw-rfe &- mehr", ".Entwürfe & mehr"},
		"台北":              {".&U,BTFw-", ".台北"},
	} {
		for i, utf8 := range []bool{false, true} {
			got, err := boxFolder(name, utf8)
			require.NoError(t, err)
			assert.Equal(t, want[i], got)
			back, err := boxName(got, utf8)
			require.NoError(t, err, got)
			assert.Equal(t, name, back)
		}
	}
	_, err := boxFolder(strings.Repeat("ü", 100), false)
	assert.ErrorIs(t, err, store.ErrInvalidName, "too long when encoded")
	for _, bad := range []string{".", "..", "...", ".a..b", ".INBOX", ".inbox", ".a&b", ".ü", "x", ".a%"} {
		_, err := boxName(bad, false)
		assert.ErrorIs(t, err, store.ErrInvalidName, bad)
	}
}

func FuzzBoxName(f *testing.F) {
	for _, s := range []string{"", ".a", `.a\2eb`, ".&U,BTFw-", ".INBOX.x", ".a..b", `.\5c.\2E`, ".&AGE-", ".\xff"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, folder string, utf8 bool) {
		name, err := boxName(folder, utf8)
		if err != nil {
			require.ErrorIs(t, err, store.ErrInvalidName)
			return
		}
		canonical, err := store.CanonicalName(name)
		require.NoError(t, err)
		require.Equal(t, canonical, name)
		if again, err := boxFolder(name, utf8); err == nil {
			require.NotContains(t, again, "/")
			back, err := boxName(again, utf8)
			require.NoError(t, err)
			require.Equal(t, name, back)
		}
	})
}

func TestParseBase(t *testing.T) {
	for base, want := range map[string]fields{
		"1700000000.M123P4Vab12Q7.host,S=10,W=12": {1700000000, 123, 10, 12},
		"1700000000.P4Q7.host":                    {1700000000, 0, -1, -1},
		"1700000000.12345_1.host,W=7":             {1700000000, 0, -1, 7},
		"foo":                                     {0, 0, -1, -1},
		"":                                        {0, 0, -1, -1},
		"x.M99999999999y,S=-1,W=99999999999":      {0, 9999999, -1, -1},
		"99999999999999999999.M1.h,S=,W=a":        {0, 1, -1, -1},
	} {
		assert.Equal(t, want, parseBase(base), base)
	}
}

func TestChangeLetters(t *testing.T) {
	for _, c := range []struct{ suffix, add, remove, want string }{
		{"", "", "", ":2,"},
		{"", "S", "", ":2,S"},
		{":2,S", "F", "", ":2,FS"},
		{":2,FSa", "T", "a", ":2,FST"},
		{":2,SS", "", "", ":2,S"},
		{":2,XS", "R", "S", ":2,RX"},
		{":1,whatever", "S", "", ":2,S"},
		{":2,S,extra", "F", "S", ":2,F,extra"},
	} {
		assert.Equal(t, c.want, changeLetters(c.suffix, c.add, c.remove), "%+v", c)
	}
}

func FuzzFileName(f *testing.F) {
	for _, s := range []string{"", "1.M2P3.h,S=4,W=5:2,FS", ":2,", "a:2,a,b", "a:1,x", ":", "1.M.h,S=", "x:2,zzZ\xff"} {
		f.Add(s, "S", "T")
	}
	f.Fuzz(func(t *testing.T, name, add, remove string) {
		base, suffix := splitName(name)
		require.Equal(t, name, base+suffix)
		fl := parseBase(base)
		require.GreaterOrEqual(t, fl.size, int64(-1))
		require.GreaterOrEqual(t, fl.seconds, int64(0))
		if strings.ContainsAny(add, ",") {
			return
		}
		now := changeLetters(suffix, add, remove)
		got, _, _ := strings.Cut(letters(now), ",")
		for i := range len(add) {
			require.Contains(t, got, add[i:i+1])
		}
		require.Equal(t, now, changeLetters(now, add, remove), "it is done once")
		var keys keywordFile
		flagsOf(letters(now), &keys)
	})
}

func TestLetters(t *testing.T) {
	keys := parseKeywords([]byte("0 Work\n3 $Junk\n"))
	table := []store.Flag{"$Junk", "later", "work", "$forwarded"}
	bits, _, err := store.InternFlags(table, []store.Flag{`\Seen`, `\Draft`, "work", "$junk", "later", "$Forwarded"})
	require.NoError(t, err)
	assert.ElementsMatch(t, []byte("SDadP"), []byte(lettersOf(bits, table, &keys)), "later has no letter")
	system, names := flagsOf("DPSadz,x", &keys)
	assert.Equal(t, store.BitSeen|store.BitDraft, system)
	assert.Equal(t, []store.Flag{"$Forwarded", "Work", "$Junk"}, names)
}

func TestParseKeywords(t *testing.T) {
	k := parseKeywords([]byte("0 Work\n2 $Junk\r\nx y\n1\n26 toomany\n-1 a\n2 again\n4 work\n5 (bad\n25 last"))
	assert.Equal(t, [...]store.Flag{0: "Work", 2: "$Junk", 25: "last"}, k.names)
	assert.Equal(t, k, parseKeywords(k.encode()))
	assert.True(t, k.add("new"))
	assert.EqualValues(t, 'b', k.letter("NEW"))
}

func FuzzKeywords(f *testing.F) {
	f.Add([]byte("0 Work\n1 $Junk\n"))
	f.Add([]byte("25 a\n25 b\n26 c\n 1 d\n1  e\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k := parseKeywords(data)
		require.Equal(t, k, parseKeywords(k.encode()))
	})
}

func TestParseUIDList(t *testing.T) {
	l, err := parseUIDList([]byte("3 V1700000001 N120 Gabcdef\n3 :1.a.h:2,S\n5 W12 S10 :2.b.h,S=10\n4 :late\n7 :1.a.h\n8\nx :y\n119 K :z:\n"))
	require.NoError(t, err)
	assert.Equal(t, &uidlist{1700000001, 120, map[string]store.UID{"1.a.h": 3, "2.b.h,S=10": 5, "z": 119}}, l)
	l, err = parseUIDList([]byte("3 V1 N2\n9 :a"))
	require.NoError(t, err)
	assert.EqualValues(t, 10, l.next, "above all there are")
	for _, bad := range []string{"", "1 2 3\n", "3 N5\n", "3 Vx N5\n", "3 V5 N99999999999\n", "4 V1 N1\n"} {
		_, err := parseUIDList([]byte(bad))
		assert.ErrorIs(t, err, errUIDList, bad)
	}
}

func FuzzUIDList(f *testing.F) {
	f.Add([]byte("3 V1700000001 N120 Gabcdef\n3 :1.a.h:2,S\n5 W12 S10 :2.b.h,S=10\n"))
	f.Add([]byte("3 V1 N4294967295\n4294967294 :a\n4294967295 :b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseUIDList(data)
		if err != nil {
			require.ErrorIs(t, err, errUIDList)
			return
		}
		for base, uid := range l.uids {
			require.NotEmpty(t, base)
			require.Less(t, uid, max(l.next, 1<<32-1))
			require.NotZero(t, uid)
		}
		require.NotZero(t, l.validity)
		require.NotZero(t, l.next)
	})
}

func TestSubscriptions(t *testing.T) {
	names := []string{"Archive/2026", "Entwürfe", "INBOX", "a.b"}
	assert.Equal(t, names, parseSubs(string(formatSubs(names, false)), false))
	assert.Equal(t, names, parseSubs(string(formatSubs(names, true)), true))
	assert.Equal(t, []string{"Lists/Go", "INBOX", "Sent"}, parseSubs("Lists.Go\ninbox\n\n..\n&\nSent", false), "the first version")
}
