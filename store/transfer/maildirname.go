package transfer

import (
	"cmp"
	"slices"
	"strings"

	"github.com/posta-mail/posta/internal/mutf7"
	"github.com/posta-mail/posta/store"
)

// splitInfo parts a file's name into what stays and its flags: letters behind
// ":2,", or where a system has no colons, ";2," or "!2,".
func splitInfo(name string) (base, letters string) {
	for _, sep := range []string{":2,", ";2,", "!2,"} {
		if i := strings.LastIndex(name, sep); i >= 0 {
			return name[:i], name[i+len(sep):]
		}
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 { // ":1,": experimental
		return name[:i], ""
	}
	return name, ""
}

// maildirFlags are the letters of the flags.
var maildirFlags = []struct {
	letter byte
	flag   store.Flag
}{
	{'D', store.FlagDraft}, {'F', store.FlagFlagged}, {'P', "$Forwarded"}, {'R', store.FlagAnswered}, {'S', store.FlagSeen}, {'T', store.FlagDeleted},
}

// fromLetters gives the flags of letters; keywords are those of "a" to "z".
func fromLetters(letters string, keywords []store.Flag) (flags []store.Flag) {
	for i := range len(letters) {
		c := letters[i]
		var f store.Flag
		if k := int(c) - 'a'; k >= 0 && k < len(keywords) {
			f = keywords[k]
		}
		for _, m := range maildirFlags {
			if m.letter == c {
				f = m.flag
			}
		}
		if f != "" && !slices.Contains(flags, f) {
			flags = append(flags, f)
		}
	}
	return flags
}

// maxLetters is how many keywords a Maildir folder can have.
const maxLetters = 26

// toLetters gives the letters of flags, sorted, and the table of keywords with
// those added that it lacked; lost: there were too many.
func toLetters(flags []store.Flag, keywords []store.Flag) (letters string, table []store.Flag, lost bool) {
	var out []byte
next:
	for _, f := range flags {
		for _, m := range maildirFlags {
			if strings.EqualFold(string(m.flag), string(f)) {
				out = append(out, m.letter)
				continue next
			}
		}
		if !store.ValidKeyword(f) {
			continue
		}
		i := slices.IndexFunc(keywords, func(k store.Flag) bool { return strings.EqualFold(string(k), string(f)) })
		if i < 0 {
			if len(keywords) >= maxLetters {
				lost = true
				continue
			}
			i = len(keywords)
			keywords = append(slices.Clip(keywords), f)
		}
		out = append(out, byte('a'+i))
	}
	slices.Sort(out)
	return string(slices.Compact(out)), keywords, lost
}

// compareBase orders messages as they were delivered: by the number at the
// beginning of the name, seconds since 1970, then by the name.
func compareBase(a, b string) int {
	na, nb := leadingDigits(a), leadingDigits(b)
	return cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb), strings.Compare(a, b))
}

// leadingDigits is the number at the beginning without leading zeros.
func leadingDigits(s string) string {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return strings.TrimLeft(s[:i], "0")
}

// dotLevel is how a dot within a level is written: it separates levels.
const dotLevel = "&AC4-"

// decodeLevel is the level of a mailbox name that a folder's name, or a part of
// it, stands for: modified UTF-7, or what else it may be as it is.
func decodeLevel(s string) string {
	parts := strings.Split(s, dotLevel)
	for i, p := range parts {
		plain, err := mutf7.Decode(p)
		if err != nil {
			plain = p
		}
		parts[i] = strings.ReplaceAll(plain, string(store.Separator), "_")
	}
	return strings.Join(parts, ".")
}

// encodeLevel is the other way round.
func encodeLevel(s string) string {
	parts := strings.Split(s, ".")
	for i, p := range parts {
		parts[i] = mutf7.Encode(p)
	}
	return strings.Join(parts, dotLevel)
}

// maildirFolder is the name of a Maildir++ folder without its first dot.
func maildirFolder(name string) string {
	levels := strings.Split(name, string(store.Separator))
	for i, l := range levels {
		levels[i] = encodeLevel(l)
	}
	return strings.Join(levels, ".")
}

// maildirMailbox is the other way round; ok is false if a level is empty.
func maildirMailbox(folder string) string {
	levels := strings.Split(folder, ".")
	for i, l := range levels {
		levels[i] = decodeLevel(l)
	}
	return strings.Join(levels, string(store.Separator))
}
