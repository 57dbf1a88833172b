package sqlite

import (
	"fmt"
	"strings"

	"github.com/posta-mail/posta/store"
)

// Problem is something that Check found or Repair mended. Account, Mailbox and
// UID say where, as far as it is known and applies; they are empty else.
type Problem struct {
	Account, Mailbox string
	UID              store.UID
	// Err says what is wrong. It wraps store.ErrCorrupt.
	Err error
	// Mended says that Repair has put it right: nothing of it is left, and
	// Check will not name it again. What was lost on the way, Err says.
	Mended bool
}

// Error names the place, then the error.
func (p Problem) Error() string {
	var b strings.Builder
	for _, part := range []string{p.Account, p.Mailbox} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	if p.UID != 0 {
		fmt.Fprintf(&b, "UID %d: ", p.UID)
	}
	fmt.Fprint(&b, p.Err)
	if p.Mended {
		b.WriteString(" (mended)")
	}
	return b.String()
}

// Unwrap returns Err.
func (p Problem) Unwrap() error { return p.Err }

// damage is an error that wraps store.ErrCorrupt.
func damage(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{store.ErrCorrupt}, args...)...)
}
