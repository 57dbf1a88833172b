package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posta-mail/posta/store"
)

// cleanName is the canonical name nearest to a folder's: what
// store.CanonicalName accepts stays, characters that it does not are replaced
// by "_", empty levels go, and what is too long is cut and made distinct by
// part of a hash.
func cleanName(name string) string {
	if n, err := store.CanonicalName(name); err == nil {
		return n
	}
	var levels []string
	for level := range strings.SplitSeq(strings.ToValidUTF8(name, "_"), string(store.Separator)) {
		level = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '*' || r == '%' {
				return '_'
			}
			return r
		}, level)
		switch level {
		case "":
			continue
		case ".", "..":
			level = strings.Repeat("_", len(level))
		}
		if n := hashed(level, store.MaxLevelOctets); n != level {
			level = n
		}
		levels = append(levels, level)
	}
	if len(levels) > store.MaxNameLevels {
		rest := strings.Join(levels[store.MaxNameLevels-1:], "_")
		levels = append(levels[:store.MaxNameLevels-1], hashed(rest+strings.Repeat("_", store.MaxLevelOctets), store.MaxLevelOctets/2))
	}
	if n, err := store.CanonicalName(strings.Join(levels, string(store.Separator))); err == nil {
		return n
	}
	// Too long as a whole, longer in NFC, or nothing left.
	if len(levels) == 0 {
		levels = []string{"_"}
	}
	if n, err := store.CanonicalName(hashed(levels[0], 64)); err == nil && n != store.Inbox {
		return distinct(n, name)
	}
	return distinct("folder", name)
}

// hashed cuts a text to at most max octets, saying which it was by a hash.
func hashed(s string, max int) string {
	if len(s) <= max {
		return s
	}
	cut := max - 10
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return distinct(s[:cut], s)
}

func distinct(prefix, s string) string {
	sum := sha256.Sum256([]byte(s))
	return prefix + "~" + hex.EncodeToString(sum[:4])
}

// nameMap gives each folder a name of its own in the sink.
type nameMap struct {
	names map[string]string // by key of the folder
	taken map[string]bool
}

// take is for a name that an earlier run gave.
func (m *nameMap) take(key, name string) {
	if m.names == nil {
		m.names, m.taken = make(map[string]string), make(map[string]bool)
	}
	m.names[key], m.taken[name] = name, true
}

// add gives a name: the clean one, with a number if another folder has it.
func (m *nameMap) add(key, name string) {
	clean := cleanName(name)
	try := clean
	for i := 2; m.taken[try]; i++ {
		try = cleanName(fmt.Sprintf("%s-%d", clean, i))
	}
	m.take(key, try)
}
