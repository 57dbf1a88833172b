package authres

import (
	"bytes"
	"errors"
	"strings"

	"golang.org/x/net/idna"
)

// Remove reports whether a raw field of an incoming message, name included and
// folded as received, must not reach those who trust this server: it is an
// Authentication-Results field and claims one of its authserv-ids, or cannot be
// parsed and might be read as doing so (RFC 8601 §5). Ids are compared without
// regard to case and to A-labels or U-labels. Fields of other names are kept.
// White space before the colon, folded or not, is passed over (RFC 5322 §4.5.8
// allows it, but not folded).
func Remove(field []byte, ids ...string) bool {
	name, body, ok := bytes.Cut(field, []byte(":"))
	if !ok || !equalFold(string(bytes.TrimRight(name, " \t\r\n")), FieldName) {
		return false
	}
	h, err := Parse(string(body))
	if err != nil && !errors.Is(err, ErrVersion) {
		return true
	}
	claimed := canonicalID(h.ServID)
	for _, id := range ids {
		if canonicalID(id) == claimed {
			return true
		}
	}
	return false
}

func canonicalID(id string) string {
	id = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(id), "."))
	if a, err := idna.Lookup.ToASCII(id); err == nil {
		return a
	}
	return id
}
