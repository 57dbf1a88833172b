package maildir

import (
	"fmt"
	"strings"

	"github.com/posta-mail/posta/internal/mutf7"
	"github.com/posta-mail/posta/store"
)

// maxFolder is the length of a name that file systems allow, in octets.
const maxFolder = 255

// AccountFolder is the folder of an account below the root: its name with each
// octet that is a control character, '/', '\', ':', '%', or a dot or a space at
// either end, as "%xx" in lower-case hexadecimal. ErrInvalidName if that is
// longer than 255 octets, or what store.CheckAccountName says.
func AccountFolder(account string) (string, error) {
	if err := store.CheckAccountName(account); err != nil {
		return "", err
	}
	var b strings.Builder
	for i := range len(account) {
		c := account[i]
		end := i == 0 || i == len(account)-1
		if c < ' ' || c == 0x7f || strings.IndexByte(`/\:%`, c) >= 0 || end && (c == '.' || c == ' ') {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	if b.Len() > maxFolder {
		return "", fmt.Errorf("%w: folder name of %d octets", store.ErrInvalidName, b.Len())
	}
	return b.String(), nil
}

// accountName is the account whose folder this is; ok is false for a folder
// that is none.
func accountName(folder string) (name string, ok bool) {
	var b []byte
	for i := 0; i < len(folder); i++ {
		c := folder[i]
		if c == '%' {
			if i+2 >= len(folder) {
				return "", false
			}
			hi, lo := unhex(folder[i+1]), unhex(folder[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		b = append(b, c)
	}
	back, err := AccountFolder(string(b))
	return string(b), err == nil && back == folder
}

func unhex(c byte) int { return strings.IndexByte("0123456789abcdef", c) }

// boxFolder is the folder of a mailbox, by its canonical name, within the
// account's. INBOX is "".
func boxFolder(name string, utf8 bool) (string, error) {
	if name == store.Inbox {
		return "", nil
	}
	var b strings.Builder
	for level := range strings.SplitSeq(name, string(store.Separator)) {
		b.WriteByte('.')
		for i := range len(level) {
			switch c := level[i]; c {
			case '.':
				b.WriteString(`\2e`)
			case '\\':
				b.WriteString(`\5c`)
			default:
				b.WriteByte(c)
			}
		}
	}
	folder := b.String()
	if !utf8 {
		folder = mutf7.Encode(folder)
	}
	if len(folder) > maxFolder {
		return "", fmt.Errorf("%w: folder name of %d octets", store.ErrInvalidName, len(folder))
	}
	return folder, nil
}

// boxName is the mailbox whose folder this is.
func boxName(folder string, utf8 bool) (string, error) {
	if folder == "" {
		return store.Inbox, nil
	}
	if !utf8 {
		var err error
		if folder, err = mutf7.Decode(folder); err != nil {
			return "", fmt.Errorf("%w: %w", store.ErrInvalidName, err)
		}
	}
	if folder[0] != '.' || strings.IndexByte(folder, store.Separator) >= 0 {
		return "", fmt.Errorf("%w: folder %.60q", store.ErrInvalidName, folder)
	}
	levels := strings.Split(folder[1:], ".")
	for i, l := range levels {
		levels[i] = unescapeLevel(l)
	}
	name, err := store.CanonicalName(strings.Join(levels, string(store.Separator)))
	if err == nil && name == store.Inbox { // ".INBOX" is not the INBOX
		return "", fmt.Errorf("%w: folder %.60q", store.ErrInvalidName, folder)
	}
	return name, err
}

func unescapeLevel(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	return strings.NewReplacer(`\2e`, ".", `\2E`, ".", `\5c`, `\`, `\5C`, `\`).Replace(s)
}
