package store

import (
	"context"
	"fmt"
)

// MaxUIDLOctets is the length of a unique-id of POP3 (RFC 1939 §7).
const MaxUIDLOctets = 70

// UIDLs is an optional ability of a Mailbox: unique-ids of POP3 that messages
// had in the system they came from (Target.UIDL), so that clients do not fetch
// everything again. Messages without one have what the protocol makes of
// UIDVALIDITY and UID.
type UIDLs interface {
	// UIDLs returns those of all messages that have one.
	UIDLs(ctx context.Context) (map[UID]string, error)
}

// checkUIDL: 1 to 70 characters from 0x21 to 0x7E (RFC 1939 §7).
func checkUIDL(s string) error {
	if len(s) > MaxUIDLOctets {
		return fmt.Errorf("%w: UIDL of %d octets", ErrLimit, len(s))
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return fmt.Errorf("%w: character in UIDL", ErrInvalid)
		}
	}
	return nil
}
