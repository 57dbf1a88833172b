package store

import (
	"bytes"
	"fmt"
	"strings"
)

// Limits of what is placed and enqueued, kept by Target.Check and
// SpoolItem.Check.
const (
	MaxTokenOctets    = 128
	MaxPrefixOctets   = 1 << 20
	MaxSiteOctets     = 255
	MaxEnvelopeOctets = 1 << 20
)

// Check reports what is wrong with a target whatever the store: ErrLimit for
// a token, prefix or message that is too long, ErrInvalid for a missing body,
// a flag or a prefix that is malformed. Engines call it before they place.
func (t *Target) Check() error {
	if len(t.Token) > MaxTokenOctets {
		return fmt.Errorf("%w: token of %d octets", ErrLimit, len(t.Token))
	}
	if _, _, err := InternFlags(nil, t.Flags); err != nil {
		return err
	}
	if (t.Replaces == 0) != (t.ReplacesIn == 0) {
		return fmt.Errorf("%w: Replaces and ReplacesIn belong together", ErrInvalid)
	}
	if err := checkUIDL(t.UIDL); err != nil {
		return err
	}
	return checkContent(t.Prefix, t.Body)
}

// Check reports what is wrong with an item whatever the spool: ErrLimit for a
// site, envelope, prefix or message that is too long, ErrInvalid for a missing
// body or a malformed prefix. Engines call it before they enqueue.
func (i *SpoolItem) Check() error {
	if err := checkSchedule(i.Site, i.Envelope); err != nil {
		return err
	}
	return checkContent(i.Prefix, i.Body)
}

// Check reports ErrLimit for a site or envelope that is too long.
func (r *Reschedule) Check() error { return checkSchedule(r.Site, r.Envelope) }

func checkSchedule(site string, envelope []byte) error {
	if len(site) > MaxSiteOctets {
		return fmt.Errorf("%w: site of %d octets", ErrLimit, len(site))
	}
	if len(envelope) > MaxEnvelopeOctets {
		return fmt.Errorf("%w: envelope of %d octets", ErrLimit, len(envelope))
	}
	return nil
}

func checkContent(prefix []byte, body Staged) error {
	if body == nil {
		return fmt.Errorf("%w: no body", ErrInvalid)
	}
	if len(prefix) > MaxPrefixOctets {
		return fmt.Errorf("%w: prefix of %d octets", ErrLimit, len(prefix))
	}
	if body.Size() > MaxMessageSize-int64(len(prefix)) {
		return fmt.Errorf("%w: message above %d octets", ErrLimit, int64(MaxMessageSize))
	}
	return checkPrefix(prefix)
}

// checkPrefix makes sure that a prefix can neither end the header nor change
// what the body is: complete fields, each line ended by CRLF (RFC 5322 §2.2),
// none of them of MIME (RFC 2045 §3).
func checkPrefix(prefix []byte) error {
	for first := true; len(prefix) > 0; first = false {
		line, rest, ok := bytes.Cut(prefix, []byte("\r\n"))
		switch {
		case !ok:
			return fmt.Errorf("%w: prefix does not end in CRLF", ErrInvalid)
		case bytes.ContainsAny(line, "\r\n\x00"):
			return fmt.Errorf("%w: bare CR, LF or NUL in prefix", ErrInvalid)
		case len(line) > 0 && (line[0] == ' ' || line[0] == '\t'):
			if first {
				return fmt.Errorf("%w: prefix starts with a folded line", ErrInvalid)
			}
		default:
			name, _, ok := bytes.Cut(line, []byte(":"))
			if !ok || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				return fmt.Errorf("%w: prefix line is no header field", ErrInvalid)
			}
			if len(name) > 8 && strings.EqualFold(string(name[:8]), "Content-") {
				return fmt.Errorf("%w: MIME field in prefix", ErrInvalid)
			}
		}
		prefix = rest
	}
	return nil
}
