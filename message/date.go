package message

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrDate is the kind of all errors of [ParseDate].
var ErrDate = errors.New("message: bad date")

// ParseDate reads a date-time (RFC 5322 §3.3) with the obsolete forms of §4.3:
// comments, years of two and three digits, zone names. The day of the week is
// not checked, a missing zone is UTC, unknown zone names are UTC (§4.3). The
// time is in a fixed zone with the offset as written.
//
// The error wraps [ErrDate]: bad syntax, a day the month does not have, a year
// outside 1900–9999, an offset beyond ±23:59.
func ParseDate(value string) (time.Time, error) {
	p := dateParser{s: value}
	t, why := p.parse()
	if why != "" {
		return time.Time{}, fmt.Errorf("%w: %s", ErrDate, why)
	}
	return t, nil
}

// FormatDate writes a date-time in the zone of t (RFC 5322 §3.3).
func FormatDate(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }

// dateParser reads left to right; no step moves back.
type dateParser struct {
	s string
	i int
}

func (p *dateParser) parse() (t time.Time, why string) {
	word := p.word()
	if word != "" { // the day of the week; the comma may be missing
		p.skip(',')
		p.skip('.')
	}
	day, n := p.number()
	if n < 1 || n > 2 {
		return t, "day"
	}
	dashes := p.skip('-') // "02-Nov-2026", as some programs write
	month := monthOf(p.word())
	if month == 0 || dashes && !p.skip('-') {
		return t, "month"
	}
	year, n := p.number()
	switch { // RFC 5322 §4.3
	case n == 2 && year < 50:
		year += 2000
	case n == 2 || n == 3:
		year += 1900
	case n != 4:
		return t, "year"
	}
	if year < 1900 {
		return t, "year"
	}
	hour, n1 := p.number()
	if n1 < 1 || n1 > 2 || hour > 23 || !p.skip(':') {
		return t, "hour"
	}
	minute, n2 := p.number()
	if n2 < 1 || n2 > 2 || minute > 59 {
		return t, "minute"
	}
	second := 0
	if p.skip(':') {
		if second, n = p.number(); n < 1 || n > 2 || second > 60 {
			return t, "second"
		}
	}
	zone, ok := p.zone()
	if !ok {
		return t, "zone"
	}
	if p.space(); p.i < len(p.s) {
		return t, "text behind it"
	}
	t = time.Date(year, month, day, hour, minute, second, 0, zone)
	if day < 1 || day > daysIn(year, month) {
		return time.Time{}, "day"
	}
	return t, ""
}

func daysIn(year int, m time.Month) int {
	return time.Date(year, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// space moves over white space and comments; an open comment ends the value.
func (p *dateParser) space() {
	for depth := 0; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			p.i++
		case depth > 0 || isWSP(c) || c == '\r' || c == '\n':
		default:
			return
		}
	}
	p.i = len(p.s)
}

// word reads letters.
func (p *dateParser) word() string {
	p.space()
	start := p.i
	for p.i < len(p.s) && 'a' <= p.s[p.i]|0x20 && p.s[p.i]|0x20 <= 'z' {
		p.i++
	}
	return p.s[start:p.i]
}

// number reads at most five digits; n is their count.
func (p *dateParser) number() (v, n int) {
	p.space()
	for n < 5 && p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' {
		v = v*10 + int(p.s[p.i]-'0')
		p.i++
		n++
	}
	return v, n
}

// skip moves over c if it comes next.
func (p *dateParser) skip(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// zone reads an offset or a name.
func (p *dateParser) zone() (*time.Location, bool) {
	p.space()
	if p.i == len(p.s) {
		return time.UTC, true
	}
	sign := 0
	switch p.s[p.i] {
	case '+':
		sign = 1
	case '-':
		sign = -1
	default:
		name := p.word()
		for _, z := range zoneNames {
			if strings.EqualFold(z.name, name) {
				return fixedZone(z.hours * 3600), true
			}
		}
		return time.UTC, name != "" // RFC 5322 §4.3: all others mean -0000
	}
	p.i++
	v, n := p.number()
	if n != 4 || v%100 > 59 || v/100 > 23 {
		return nil, false
	}
	return fixedZone(sign * (v/100*3600 + v%100*60)), true
}

func fixedZone(offset int) *time.Location {
	if offset == 0 {
		return time.UTC
	}
	return time.FixedZone("", offset)
}

// zoneNames have a meaning of their own (RFC 5322 §4.3).
var zoneNames = [...]struct {
	name  string
	hours int
}{{"EST", -5}, {"EDT", -4}, {"CST", -6}, {"CDT", -5}, {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7}}

// monthOf knows the short names, and the long ones some programs write.
func monthOf(s string) time.Month {
	if len(s) < 3 {
		return 0
	}
	for m := time.January; m <= time.December; m++ {
		if name := m.String(); strings.EqualFold(s, name[:3]) || strings.EqualFold(s, name) {
			return m
		}
	}
	return 0
}
