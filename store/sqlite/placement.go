package sqlite

import (
	"encoding/binary"
	"math"

	"github.com/posta-mail/posta/internal/varint"
	"github.com/posta-mail/posta/store"
)

// placement is what a record says of where a message was first filed.
type placement struct {
	prefix           int64 // octets of it
	ref, body        uint64
	bodySize         int64
	account, mailbox string
	uid              store.UID
	uidValidity      uint32 // 0: not known
	date, saved      int64
	flags            []store.Flag
	uidl             string
}

// parsePlacement reads the payload of a placement record; see FORMAT.md. It
// keeps nothing of it.
func parsePlacement(payload []byte, version byte) (p placement, ok bool) {
	prefix, rest, ok := cutBytes(payload)
	if !ok {
		return p, false
	}
	if _, rest, ok = cutBytes(rest); !ok {
		return p, false
	}
	v := varint.Reader{Rest: rest}
	p.prefix = int64(len(prefix))
	p.ref, p.body = v.Next(), v.Next()
	size := v.Next()
	p.account, p.mailbox = v.String(), v.String()
	uid := v.Next()
	p.date = v.Signed()
	p.saved = p.date
	flags := v.Next()
	if v.Bad || size > store.MaxMessageSize || uid == 0 || uid > math.MaxUint32 || flags > uint64(len(v.Rest)) {
		return p, false
	}
	for range flags {
		p.flags = append(p.flags, store.Flag(v.String()))
	}
	if version >= 2 {
		p.saved += v.Signed()
		p.uidl = v.String()
		p.uidValidity = uint32(min(v.Next(), math.MaxUint32))
	}
	p.bodySize, p.uid = int64(size), store.UID(uid)
	return p, !v.Bad && len(v.Rest) == 0
}

// placementIDs returns the reference and the id of the body's record, which is
// all that tells one record from another.
func placementIDs(payload []byte) (ref, body uint64, ok bool) {
	_, rest, ok := cutBytes(payload)
	if ok {
		_, rest, ok = cutBytes(rest)
	}
	if !ok {
		return 0, 0, false
	}
	ref, n := binary.Uvarint(rest)
	if n <= 0 {
		return 0, 0, false
	}
	body, k := binary.Uvarint(rest[n:])
	return ref, body, k > 0
}
