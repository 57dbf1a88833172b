package wire

import (
	"strings"
	"time"
)

// DateTime reads a quoted date-time (RFC 9051 §9): "dd-Mon-yyyy hh:mm:ss +zzzz"
// where the day may be filled with a space.
func (p *Parser) DateTime() time.Time {
	if p.peek() != '"' {
		p.fail("Date expected")
		return time.Time{}
	}
	s := p.quoted()
	if p.err != nil {
		return time.Time{}
	}
	if len(s) != 26 {
		p.fail("Invalid date")
		return time.Time{}
	}
	if s[0] == ' ' {
		s = "0" + s[1:]
	}
	t, err := time.Parse("02-Jan-2006 15:04:05 -0700", canonicalMonth(s))
	if err != nil || !strings.ContainsRune("+-", rune(s[21])) {
		p.fail("Invalid date")
		return time.Time{}
	}
	return t
}

// date reads a date of a search, quoted or not: d-Mon-yyyy.
func (p *Parser) date() time.Time {
	var s string
	if p.peek() == '"' {
		s = p.quoted()
	} else {
		s = string(p.run(classAtom))
	}
	if p.err != nil {
		return time.Time{}
	}
	day, rest, _ := strings.Cut(s, "-")
	if len(day) == 1 {
		day = "0" + day
	}
	t, err := time.Parse("02-Jan-2006", canonicalMonth(day+"-"+rest))
	if err != nil {
		p.fail("Invalid date")
		return time.Time{}
	}
	return t
}

// canonicalMonth gives the month after the first two digits the case that
// package time wants.
func canonicalMonth(s string) string {
	if len(s) < 6 {
		return s
	}
	return s[:3] + strings.ToUpper(s[3:4]) + strings.ToLower(s[4:6]) + s[6:]
}
