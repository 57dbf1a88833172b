package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrLimit is wrapped by errors for what is beyond the limits that the server
// has told (RFC 9422). They are temporary: nothing has been sent.
var ErrLimit = errors.New("smtp: beyond the server's limit")

// ServerLimits are what a server takes, as it says by LIMITS (RFC 9422 §3).
// Zero means that it has not said so.
type ServerLimits struct {
	Mails      int // MAILMAX: transactions on one connection
	Recipients int // RCPTMAX: recipients in one transaction
	Domains    int // RCPTDOMAINMAX: different domains of recipients in one transaction
}

// Limits are the server's, as of the last EHLO. Values that are no numbers from 1
// on do not count.
func (c *Client) Limits() ServerLimits {
	var l ServerLimits
	text, ok := c.ext["LIMITS"]
	if !ok {
		return l
	}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			continue
		}
		switch strings.ToUpper(name) {
		case "MAILMAX":
			l.Mails = n
		case "RCPTMAX":
			l.Recipients = n
		case "RCPTDOMAINMAX":
			l.Domains = n
		}
	}
	return l
}

// Exhausted reports whether the server takes no further message over this
// connection (MAILMAX, RFC 9422 §4.1). Send then fails with ErrLimit: quit and
// connect anew.
func (c *Client) Exhausted() bool {
	limit := c.Limits().Mails
	return limit > 0 && c.mails >= limit
}

func overLimit(name string) error {
	return fmt.Errorf("%w: %w", ErrLimit, notSent(452, EnhancedCode{4, 5, 3}, "the server's "+name+" is reached"))
}

// room counts the recipients of a transaction against the limits.
type room struct {
	limits  ServerLimits
	taken   int
	domains map[string]struct{} // nil: not counted
}

func newRoom(l ServerLimits) *room {
	r := &room{limits: l}
	if l.Domains > 0 {
		r.domains = make(map[string]struct{})
	}
	return r
}

func (r *room) take(domain string) error {
	if r.limits.Recipients > 0 && r.taken >= r.limits.Recipients {
		return overLimit("RCPTMAX")
	}
	if r.domains != nil {
		if _, ok := r.domains[domain]; !ok && len(r.domains) >= r.limits.Domains {
			return overLimit("RCPTDOMAINMAX")
		}
		r.domains[domain] = struct{}{}
	}
	r.taken++
	return nil
}
