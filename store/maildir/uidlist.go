package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/store"
)

// uidlistName is Dovecot's list of UIDs, maxUIDList what is read of it.
const (
	uidlistName = "dovecot-uidlist"
	maxUIDList  = 512 << 20
)

// errUIDList is a list that cannot be taken over.
var errUIDList = errors.New("maildir: not a dovecot-uidlist of version 3")

// uidlist is what Dovecot knows of a mailbox.
type uidlist struct {
	validity uint32
	next     store.UID
	uids     map[string]store.UID // by base name
}

// parseUIDList reads version 3: a line "3 V<uidvalidity> N<uidnext> …", then
// "<uid> [fields] :<file name>" with growing UIDs. Lines that are out of order
// or unreadable are skipped: their messages get new UIDs.
func parseUIDList(data []byte) (*uidlist, error) {
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	f := strings.Fields(string(head[:min(len(head), 1000)]))
	if len(f) == 0 || f[0] != "3" {
		return nil, errUIDList
	}
	l := &uidlist{next: 1, uids: map[string]store.UID{}}
	for _, w := range f[1:] {
		n, err := strconv.ParseUint(w[1:], 10, 32)
		switch w[0] {
		case 'V':
			l.validity = uint32(n)
		case 'N':
			l.next = store.UID(n)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUIDList, err)
		}
	}
	if l.validity == 0 {
		return nil, errUIDList
	}
	last := store.UID(0)
	for line := range bytes.Lines(rest) {
		number, tail, ok := bytes.Cut(line, []byte(" "))
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(string(number), 10, 32)
		uid := store.UID(n)
		i := bytes.IndexByte(tail, ':')
		if err != nil || uid <= last || uid == 1<<32-1 || i < 0 {
			continue
		}
		base, _ := splitName(string(bytes.TrimRight(tail[i+1:], "\r\n")))
		if base == "" || l.uids[base] != 0 {
			continue
		}
		l.uids[base], last = uid, uid
	}
	l.next = max(l.next, last+1, 1)
	return l, nil
}
