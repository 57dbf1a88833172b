package smtp

import (
	"errors"
	"fmt"
	"strings"
)

// EnhancedCode is an enhanced status code (RFC 3463): class, subject, detail.
// The zero value means none.
type EnhancedCode [3]int

func (c EnhancedCode) String() string { return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2]) }

// Reply is what a server answers (RFC 5321 §4.2).
type Reply struct {
	Code     int // three digits, 200 to 599
	Enhanced EnhancedCode
	// Text may have several lines, separated by "\n". Octets that must not
	// appear in a reply are replaced when it is written.
	Text string
}

func (r Reply) String() string {
	if r.Enhanced != (EnhancedCode{}) {
		return fmt.Sprintf("%d %v %s", r.Code, r.Enhanced, r.Text)
	}
	return fmt.Sprintf("%d %s", r.Code, r.Text)
}

// or is r, or another reply if r is the zero value.
func (r Reply) or(code int, e EnhancedCode, text string) Reply {
	if r == (Reply{}) {
		return Reply{code, e, text}
	}
	if r.Code == 0 {
		r.Code = code
	}
	if r = r.sound(); r.Code/100 != 2 {
		return Reply{code, e, text} // who refuses returns an error
	}
	return r
}

// Error is a reply that refuses: returned by handlers to say what the server
// shall answer, and by the client for what the server answered.
type Error Reply

func (e *Error) Error() string { return "smtp: " + strings.ReplaceAll(Reply(*e).String(), "\n", " / ") }

// Temporary reports whether trying again later makes sense: a 4yz code
// (RFC 5321 §4.2.1).
func (e *Error) Temporary() bool { return e.Code/100 == 4 }

// Errorf makes an Error from a code, an enhanced code and a text.
func Errorf(code int, enhanced EnhancedCode, format string, args ...any) *Error {
	return &Error{Code: code, Enhanced: enhanced, Text: fmt.Sprintf(format, args...)}
}

// AsError finds the Error in err. For any other error it returns the reply of
// a local failure, 451 4.3.0, whose text reveals nothing of err.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: 451, Enhanced: EnhancedCode{4, 3, 0}, Text: "Local error, try again later"}
}
