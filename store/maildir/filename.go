package maildir

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/store"
)

// maxName is the length of a file name, in octets; longer ones are ignored.
const maxName = 255

// splitName cuts the name of a message's file into its base, which is its
// identity, and the rest with the flags.
func splitName(name string) (base, suffix string) {
	if i := strings.IndexByte(name, infoMark); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// letters are the flags in a suffix such as ":2,FS"; none if it is of another
// kind.
func letters(suffix string) string {
	if len(suffix) < 3 || suffix[0] != infoMark || suffix[1:3] != "2," {
		return ""
	}
	return suffix[3:]
}

// changeLetters is the suffix after letters are added and removed: sorted, as
// the other programs write it, each once; what follows a comma is kept.
func changeLetters(suffix, add, remove string) string {
	flags, rest := letters(suffix), ""
	if i := strings.IndexByte(flags, ','); i >= 0 {
		flags, rest = flags[:i], flags[i:]
	}
	var has [256]bool
	for i := range len(flags) {
		has[flags[i]] = true
	}
	for i := range len(remove) {
		has[remove[i]] = false
	}
	for i := range len(add) {
		has[add[i]] = true
	}
	out := []byte{infoMark, '2', ','}
	for c, on := range has {
		if on {
			out = append(out, byte(c))
		}
	}
	return string(out) + rest
}

// fields are what a base name tells.
type fields struct {
	seconds int64 // since 1970; 0: not told
	micros  int64
	size    int64 // S=; -1: not told
	virtual int64 // W=; -1: not told
}

// parseBase reads a base name. Anything is a base name; what cannot be read is
// not told.
func parseBase(base string) fields {
	f := fields{size: -1, virtual: -1}
	parts := strings.Split(base, ",")
	for _, p := range parts[1:] {
		switch {
		case strings.HasPrefix(p, "S="):
			f.size = parseSize(p[2:])
		case strings.HasPrefix(p, "W="):
			f.virtual = parseSize(p[2:])
		}
	}
	seconds, rest, ok := strings.Cut(parts[0], ".")
	if !ok {
		return f
	}
	if n, err := strconv.ParseInt(seconds, 10, 64); err == nil && n > 0 && n < 1<<40 {
		f.seconds = n
	}
	if i := strings.IndexByte(rest, 'M'); i >= 0 {
		rest = rest[i+1:]
		end := 0
		for end < len(rest) && end < 7 && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		if n, err := strconv.ParseInt(rest[:end], 10, 64); err == nil {
			f.micros = n
		}
	}
	return f
}

func parseSize(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxUint32 {
		return -1
	}
	return n
}

// namer makes base names that nobody else makes.
type namer struct {
	host string
	pid  int
	salt string
	seq  atomic.Uint64
}

func newNamer() *namer {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\:;,`, r) {
			return '_'
		}
		return r
	}, host)
	if len(host) > 100 {
		host = host[:100]
	}
	salt := make([]byte, 4)
	rand.Read(salt) // never fails
	return &namer{host: host, pid: os.Getpid(), salt: hex.EncodeToString(salt)}
}

// unique is a name without sizes.
func (n *namer) unique() string {
	now := time.Now()
	return fmt.Sprintf("%d.M%dP%dV%sQ%d.%s", now.Unix(), now.Nanosecond()/1000, n.pid, n.salt, n.seq.Add(1), n.host)
}

// withSizes is a base name that tells the size and the size with CRLF.
func withSizes(unique string, size, virtual int64) string {
	return fmt.Sprintf("%s,S=%d,W=%d", unique, size, virtual)
}

// systemLetters are the letters of the system flags, by bit.
var systemLetters = [...]struct {
	bit    store.FlagBits
	letter byte
}{{store.BitSeen, 'S'}, {store.BitAnswered, 'R'}, {store.BitFlagged, 'F'}, {store.BitDeleted, 'T'}, {store.BitDraft, 'D'}}

// forwarded is the keyword that has a letter of its own, P.
const forwarded store.Flag = "$Forwarded"

// lettersOf are the letters of a set of flags. Keywords without a letter have
// none.
func lettersOf(bits store.FlagBits, table []store.Flag, keys *keywordFile) string {
	var out []byte
	for _, s := range systemLetters {
		if bits&s.bit != 0 {
			out = append(out, s.letter)
		}
	}
	for _, f := range store.FlagNames(bits&^systemBits, table) {
		if strings.EqualFold(string(f), string(forwarded)) {
			out = append(out, 'P')
		}
		if l := keys.letter(f); l != 0 {
			out = append(out, l)
		}
	}
	return string(out)
}

// systemBits are the bits of all system flags.
const systemBits = store.BitSeen | store.BitAnswered | store.BitFlagged | store.BitDeleted | store.BitDraft

// flagsOf are the flags that letters stand for.
func flagsOf(letters string, keys *keywordFile) (system store.FlagBits, keywords []store.Flag) {
	letters, _, _ = strings.Cut(letters, ",")
	for i := range len(letters) {
		c := letters[i]
		for _, s := range systemLetters {
			if c == s.letter {
				system |= s.bit
			}
		}
		if c == 'P' {
			keywords = append(keywords, forwarded)
		}
		if c >= 'a' && c <= 'z' {
			if k := keys.names[c-'a']; k != "" {
				keywords = append(keywords, k)
			}
		}
	}
	return system, keywords
}
