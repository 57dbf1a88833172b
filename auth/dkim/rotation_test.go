package dkim

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const day = 24 * time.Hour

func TestRotationStates(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	keys := []RotatedKey{
		{"b", RSASHA256, start.Add(180 * day)},
		{"a", RSASHA256, start},
		{"e", Ed25519SHA256, start},
	}
	var r Rotation
	for _, c := range []struct {
		after time.Duration
		want  string
	}{
		{-3 * day, "[waiting waiting waiting]"},
		{-2 * day, "[waiting published published]"},
		{-1, "[waiting published published]"},
		{0, "[waiting signing signing]"},
		{178*day - 1, "[waiting signing signing]"},
		{178 * day, "[published signing signing]"},
		{180 * day, "[signing retired signing]"},
		{194*day - 1, "[signing retired signing]"},
		{194 * day, "[signing revoked signing]"},
		{224 * day, "[signing removed signing]"},
		{5000 * day, "[signing removed signing]"},
	} {
		assert.Equal(t, c.want, fmt.Sprint(r.States(keys, start.Add(c.after))), c.after)
	}
	assert.Equal(t, "state 9", KeyState(9).String())
	two := []RotatedKey{{"a", RSASHA256, start}, {"b", RSASHA256, start}}
	assert.Equal(t, []KeyState{KeyRetired, KeySigning}, r.States(two, start))
}

// TestRotationOverlap follows Next for years: at every hour each algorithm has
// one key that signs, it has been published for long enough, and a message of
// the last days still finds its key.
func TestRotationOverlap(t *testing.T) {
	r := Rotation{Period: 10 * day, Publish: 36 * time.Hour, Keep: 9 * day, Revoke: 3 * day}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	algorithms := []Algorithm{RSASHA256, Ed25519SHA256}
	var keys []RotatedKey
	published, signed := map[string]time.Time{}, map[string]time.Time{}
	begun := now.Add(r.Publish)
	for range 24 * 100 {
		for _, a := range algorithms {
			if publish, start := r.Next(keys, a, now); !publish.After(now) {
				keys = append(keys, RotatedKey{fmt.Sprint(len(keys)), a, start})
			}
		}
		signing := map[Algorithm]int{}
		for i, s := range r.States(keys, now) {
			name := keys[i].Selector
			if _, seen := published[name]; s.Published() && !seen {
				published[name] = now
			}
			if s == KeySigning {
				signing[keys[i].Algorithm]++
				signed[name] = now
				require.GreaterOrEqual(t, now.Sub(published[name]), r.Publish)
			}
			if last, ok := signed[name]; ok && now.Sub(last) < r.Keep {
				require.True(t, s.Published(), "%s at %s: %s", name, now, s)
			}
		}
		if !now.Before(begun) {
			require.Equal(t, map[Algorithm]int{RSASHA256: 1, Ed25519SHA256: 1}, signing)
		}
		now = now.Add(time.Hour)
	}
	assert.Len(t, keys, 20, "one of each algorithm in ten days")
}

// A character-string in quotes and its escapes, as RFC 1035 §5.1 has them.
var (
	zoneString = regexp.MustCompile(`^"((?:[ !#-\[\]-~]|\\["\\]|\\[0-9]{3})*)" `)
	zoneEscape = regexp.MustCompile(`\\([0-9]{3}|.)`)
)

// zoneText reads the character-strings of a record.
func zoneText(t *testing.T, data string) string {
	var got []byte
	for rest := data + " "; rest != ""; {
		part := zoneString.FindStringSubmatch(rest)
		require.NotNil(t, part, "%q", rest)
		rest = rest[len(part[0]):]
		plain := zoneEscape.ReplaceAllStringFunc(part[1], func(e string) string {
			if n, err := strconv.Atoi(e[1:]); err == nil {
				return string([]byte{byte(n)})
			}
			return e[1:]
		})
		require.LessOrEqual(t, len(plain), 255)
		got = append(got, plain...)
	}
	return string(got)
}

func TestZoneLine(t *testing.T) {
	key, err := GenerateKey(RSASHA256)
	require.NoError(t, err)
	for _, text := range []string{record(t, key), RevokedRecord, `v=DKIM1; n="a\b"` + "\x00\xff" + strings.Repeat("x", 600) + "; p="} {
		line, err := ZoneLine("Bücher.example.", "sel", text, time.Hour)
		require.NoError(t, err)
		data, ok := strings.CutPrefix(line, "sel._domainkey.xn--bcher-kva.example. 3600 IN TXT ")
		require.True(t, ok, line)
		assert.Equal(t, text, zoneText(t, data))
	}
	line, err := ZoneLine("example.org", "sel", "x", 0)
	require.NoError(t, err)
	assert.Equal(t, `sel._domainkey.example.org. IN TXT "x"`, line)
	for _, bad := range [][2]string{{"", "s"}, {"a b.example", "s"}, {"example.org", "s\n"}, {"example.org", ""}, {strings.Repeat("a.", 125) + "example", "s"}} {
		_, err := ZoneLine(bad[0], bad[1], "x", 0)
		assert.ErrorIs(t, err, ErrConfig, "%q", bad)
	}
}
