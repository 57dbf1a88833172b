package wire

import (
	"errors"
	"unicode/utf8"

	"github.com/posta-mail/posta/internal/mutf7"
)

// ErrMailboxName is a mailbox name that is not in the encoding of the session:
// modified UTF-7 (RFC 3501 §5.1.3), or UTF-8 once that is enabled.
var ErrMailboxName = errors.New("wire: mailbox name is not properly encoded")

// DecodeMailbox turns a mailbox name as sent into UTF-8.
func DecodeMailbox(name string, utf8Names bool) (string, error) {
	if utf8Names {
		if !utf8.ValidString(name) {
			return "", ErrMailboxName
		}
		return name, nil
	}
	plain, err := mutf7.Decode(name)
	if err != nil {
		return "", ErrMailboxName
	}
	return plain, nil
}

// AppendMailbox appends a mailbox name given in UTF-8 as a string of the
// session's encoding.
func AppendMailbox(b []byte, name string, utf8Names bool) []byte {
	if utf8Names {
		return AppendString(b, name, true)
	}
	return AppendString(b, mutf7.Encode(name), false)
}
