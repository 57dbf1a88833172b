package transfer

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/store"
)

// statusFields is what header fields of an mbox file say of a message.
type statusFields struct {
	status, xstatus string
	keywords        []byte
	length          int64 // Content-Length plus one; 0: none
	folding         bool  // keywords go on
}

// maxKeywordField bounds the octets of keywords read for one message.
const maxKeywordField = 16 << 10

// mboxFields are those that belong to the file, not to the message.
var mboxFields = []string{"Status", "X-Status", "X-Keywords", "X-UID", "X-IMAP", "X-IMAPbase"}

// isMboxField reports whether a line begins such a field.
func isMboxField(line []byte) bool {
	name, _, ok := bytes.Cut(line[:min(len(line), 32)], []byte(":"))
	return ok && slices.ContainsFunc(mboxFields, func(f string) bool { return strings.EqualFold(f, string(name)) })
}

// take looks at a field and reports whether it is to be left out.
func (h *statusFields) take(line []byte, lengths bool) (drop bool) {
	h.folding = false
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) > 20 {
		return false
	}
	text := strings.TrimSpace(string(value[:min(len(value), 64)]))
	switch strings.ToLower(string(name)) {
	case "status":
		h.status = text
	case "x-status":
		h.xstatus = text
	case "x-keywords":
		h.folding = true
		h.fold(value)
	case "content-length":
		if lengths {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n < 1<<62 {
				h.length = n + 1
			}
			return true
		}
		return false
	}
	return isMboxField(line)
}

// fold takes a line that continues the field before.
func (h *statusFields) fold(line []byte) {
	if h.folding && len(h.keywords)+len(line) < maxKeywordField {
		h.keywords = append(append(h.keywords, ' '), line...)
	}
}

// flags are those that mutt, Dovecot and Python mean by the letters.
func (h *statusFields) flags() []store.Flag {
	var flags []store.Flag
	for _, x := range [...]struct {
		in     string
		letter string
		flag   store.Flag
	}{
		{h.status, "R", store.FlagSeen}, {h.xstatus, "A", store.FlagAnswered}, {h.xstatus, "F", store.FlagFlagged},
		{h.xstatus, "D", store.FlagDeleted}, {h.xstatus, "T", store.FlagDraft},
	} {
		if strings.Contains(x.in, x.letter) {
			flags = append(flags, x.flag)
		}
	}
	for _, k := range strings.Fields(string(h.keywords)) {
		if f := store.Flag(k); store.ValidKeyword(f) && !slices.Contains(flags, f) && len(flags) < 200 {
			flags = append(flags, f)
		}
	}
	return flags
}

// appendStatus appends the fields for flags, lines ended by LF.
func appendStatus(b []byte, flags []store.Flag) []byte {
	status, xstatus, keywords := "O", "", ""
	for _, f := range flags {
		switch {
		case strings.EqualFold(string(f), string(store.FlagSeen)):
			status = "RO"
		case strings.EqualFold(string(f), string(store.FlagAnswered)):
			xstatus += "A"
		case strings.EqualFold(string(f), string(store.FlagFlagged)):
			xstatus += "F"
		case strings.EqualFold(string(f), string(store.FlagDeleted)):
			xstatus += "D"
		case strings.EqualFold(string(f), string(store.FlagDraft)):
			xstatus += "T"
		case store.ValidKeyword(f):
			if len(keywords) > 0 && (len(keywords)+len(f))/900 > len(keywords)/900 {
				keywords += "\n" // folded, RFC 5322 §2.1.1
			}
			keywords += " " + string(f)
		}
	}
	b = append(append(append(b, "Status: "...), status...), '\n')
	if xstatus != "" {
		b = append(append(append(b, "X-Status: "...), xstatus...), '\n')
	}
	if keywords != "" {
		b = append(append(append(b, "X-Keywords:"...), keywords...), '\n')
	}
	return b
}

// asctime is the date in a separator, in UTC (RFC 4155 appendix A).
const asctime = "Mon Jan _2 15:04:05 2006"

// parseFrom reads a separator: "From ", a sender and a date with or without
// seconds and a zone, before or behind the year.
func parseFrom(line string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(line, "From ")
	if !ok || len(line) > maxFromLine {
		return time.Time{}, false
	}
	words := strings.Fields(rest)
	// The sender may be missing, and have spaces: the date is found from its
	// weekday on.
	for i, w := range words {
		if len(w) == 3 && strings.Contains("MonTueWedThuFriSatSun", w) && len(words)-i >= 4 {
			if t, ok := parseAsctime(words[i+1:]); ok {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// parseAsctime reads month, day, time and year, and zones where they may be.
func parseAsctime(words []string) (time.Time, bool) {
	clock, year, zone := words[2], "", ""
	for _, w := range words[3:min(len(words), 6)] {
		switch {
		case len(w) == 4 && year == "" && w[0] >= '0' && w[0] <= '9':
			year = w
		case zone == "" && (w[0] == '+' || w[0] == '-'):
			zone = w
		}
	}
	layout := "Jan 2 15:04:05 2006"
	if strings.Count(clock, ":") == 1 {
		layout = "Jan 2 15:04 2006"
	}
	text := words[0] + " " + words[1] + " " + clock + " " + year
	t, err := time.Parse(layout, text)
	if err == nil && zone != "" {
		if z, err := time.Parse(layout+" -0700", text+" "+zone); err == nil {
			t = z
		}
	}
	return t.UTC(), err == nil
}
