package imap_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// fetched is a FETCH response as an independent reader of RFC 9051 §9 sees it.
type fetched struct {
	number int
	items  map[string]string // strings without quoting; all else as it is written
	parts  []fetchedPart     // the leaves of BODYSTRUCTURE
}

// fetchedPart is a leaf of BODYSTRUCTURE, or an embedded message.
type fetchedPart struct {
	path   string
	octets int
}

// respReader reads a response strictly; the first error panics with a respError.
type respReader struct {
	s    string
	i    int
	utf8 bool // quoted strings may be UTF-8
	deep int
	out  fetched
}

type respError string

// readFetch reads one FETCH response, without its last CRLF.
func readFetch(s string, utf8Quoted bool) (f fetched, err error) {
	r := &respReader{s: s, utf8: utf8Quoted}
	defer func() {
		if e, ok := recover().(respError); ok {
			err = fmt.Errorf("%s at octet %d: %.80q after %.80q", string(e), r.i, s[min(r.i, len(s)):], s[max(0, r.i-80):min(r.i, len(s))])
		}
	}()
	r.out.items = map[string]string{}
	r.want("* ")
	r.out.number = r.number()
	r.want(" FETCH (")
	for {
		r.item()
		if r.try(")") {
			break
		}
		r.want(" ")
	}
	if r.i != len(r.s) {
		r.fail("text behind the response")
	}
	return r.out, nil
}

func (r *respReader) fail(why string) { panic(respError(why)) }

func (r *respReader) try(s string) bool {
	if strings.HasPrefix(r.s[r.i:], s) {
		r.i += len(s)
		return true
	}
	return false
}

func (r *respReader) want(s string) {
	if !r.try(s) {
		r.fail("want " + strconv.Quote(s))
	}
}

var (
	respNumber   = regexp.MustCompile(`^(0|[1-9][0-9]{0,18})`)
	respItemName = regexp.MustCompile(`^[A-Z0-9.]+`)
	respSection  = regexp.MustCompile(`^\[[0-9.]*([A-Z.]+( \(([^()\]"\r\n ]+ ?)+\))?)?\](<[0-9]+>)?`)
	respFlag     = regexp.MustCompile(`^\\?[^\x00-\x20\x7f-\xff(){%*"\\\]]+`)
	respDate     = regexp.MustCompile(`^"[ 0-3][0-9]-(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] [-+][0-9]{4}"`)
	respID       = regexp.MustCompile(`^\([A-Za-z0-9_-]{1,255}\)`)
)

func (r *respReader) match(re *regexp.Regexp, what string) string {
	m := re.FindString(r.s[r.i:])
	if m == "" {
		r.fail("want " + what)
	}
	r.i += len(m)
	return m
}

func (r *respReader) number() int {
	n, err := strconv.Atoi(r.match(respNumber, "a number"))
	if err != nil {
		r.fail("number too large")
	}
	return n
}

func (r *respReader) item() {
	name := r.match(respItemName, "the name of an item")
	if strings.HasPrefix(r.s[r.i:], "[") {
		name += r.match(respSection, "a section")
	}
	r.want(" ")
	at := r.i
	value := ""
	switch {
	case name == "FLAGS":
		r.want("(")
		for n := 0; !r.try(")"); n++ {
			if n > 0 {
				r.want(" ")
			}
			r.match(respFlag, "a flag")
		}
	case name == "UID", name == "RFC822.SIZE", strings.HasPrefix(name, "BINARY.SIZE["):
		r.number()
	case name == "MODSEQ":
		r.want("(")
		r.number()
		r.want(")")
	case name == "INTERNALDATE":
		r.match(respDate, "a date")
	case name == "SAVEDATE":
		if !r.try("NIL") {
			r.match(respDate, "a date")
		}
	case name == "EMAILID":
		r.match(respID, "an id")
	case name == "THREADID":
		if !r.try("NIL") {
			r.match(respID, "an id")
		}
	case name == "ENVELOPE":
		r.envelope()
	case name == "BODY":
		r.body("", true, false)
	case name == "BODYSTRUCTURE":
		r.body("", true, true)
	case name == "PREVIEW":
		value, _ = r.nstring(false)
		if !utf8.ValidString(value) || utf8.RuneCountInString(value) > 256 {
			r.fail("preview of other than 256 characters of UTF-8")
		}
		r.out.items[name] = value
		return
	case strings.HasPrefix(name, "BODY["), strings.HasPrefix(name, "BINARY["), strings.HasPrefix(name, "RFC822"):
		value, ok := r.nstring(strings.HasPrefix(name, "BINARY["))
		if !ok {
			value = "NIL"
		}
		r.out.items[name] = value
		return
	default:
		r.fail("unknown item " + name)
	}
	r.out.items[name] = r.s[at:r.i]
}

// nstring reads a string, or NIL as ok false.
func (r *respReader) nstring(binary bool) (s string, ok bool) {
	if r.try("NIL") {
		return "", false
	}
	return r.str(binary), true
}

func (r *respReader) str(binary bool) string {
	if r.try(`"`) {
		var b strings.Builder
		for {
			if r.i >= len(r.s) {
				r.fail("unfinished quoted string")
			}
			c := r.s[r.i]
			r.i++
			switch {
			case c == '"':
				if s := b.String(); !utf8.ValidString(s) {
					r.fail("quoted string is no UTF-8")
				}
				return b.String()
			case c == '\\':
				if c = r.s[r.i]; c != '"' && c != '\\' {
					r.fail("escape")
				}
				r.i++
			case c == 0 || c == '\r' || c == '\n' || c >= 0x80 && !r.utf8:
				r.fail("character in a quoted string")
			}
			b.WriteByte(c)
		}
	}
	eight := binary && r.try("~")
	r.want("{")
	n := r.number()
	r.want("}\r\n")
	if n > len(r.s)-r.i {
		r.fail("literal is cut short")
	}
	s := r.s[r.i : r.i+n]
	r.i += n
	if !eight && strings.IndexByte(s, 0) >= 0 {
		r.fail("NUL in a literal")
	}
	return s
}

func (r *respReader) envelope() {
	r.want("(")
	for i := range 10 {
		if i > 0 {
			r.want(" ")
		}
		if i < 2 || i > 7 {
			r.nstring(false)
			continue
		}
		if r.try("NIL") {
			continue
		}
		r.want("(")
		for r.try("(") {
			for k := range 4 {
				if k > 0 {
					r.want(" ")
				}
				r.nstring(false)
			}
			r.want(")")
		}
		r.want(")")
	}
	r.want(")")
}

func (r *respReader) params() {
	if r.try("NIL") {
		return
	}
	r.want("(")
	for n := 0; !r.try(")"); n++ {
		if n > 0 {
			r.want(" ")
		}
		r.str(false)
		r.want(" ")
		r.str(false)
	}
}

// body reads a part whose number is path; root: it is the root of a message, so
// that it has the number of the message, or 1 if it is no multipart.
func (r *respReader) body(path string, root, extended bool) {
	if r.deep++; r.deep > 5000 {
		r.fail("too deep")
	}
	defer func() { r.deep-- }()
	below := func(n int) string { return strings.TrimPrefix(path+"."+strconv.Itoa(n), ".") }
	r.want("(")
	if strings.HasPrefix(r.s[r.i:], "(") {
		for n := 1; strings.HasPrefix(r.s[r.i:], "("); n++ {
			r.body(below(n), false, extended)
		}
		r.want(" ")
		r.str(false)
		if extended {
			r.want(" ")
			r.params()
			r.extension()
		}
		r.want(")")
		return
	}
	if root {
		path = below(1)
	}
	typ := strings.ToLower(r.str(false))
	r.want(" ")
	sub := strings.ToLower(r.str(false))
	r.want(" ")
	r.params()
	r.want(" ")
	r.nstring(false)
	r.want(" ")
	r.nstring(false)
	r.want(" ")
	r.str(false)
	r.want(" ")
	r.out.parts = append(r.out.parts, fetchedPart{path, r.number()})
	message := typ == "message" && (sub == "rfc822" || sub == "global")
	if message {
		r.want(" ")
		r.envelope()
		r.want(" ")
		r.body(path, true, extended)
	}
	if message || typ == "text" {
		r.want(" ")
		r.number()
	}
	if extended {
		r.want(" ")
		r.nstring(false)
		r.extension()
	}
	r.want(")")
}

// extension reads disposition, language and location.
func (r *respReader) extension() {
	r.want(" ")
	if !r.try("NIL") {
		r.want("(")
		r.str(false)
		r.want(" ")
		r.params()
		r.want(")")
	}
	r.want(" ")
	if r.try("(") {
		r.str(false)
		for r.try(" ") {
			r.str(false)
		}
		r.want(")")
	} else {
		r.nstring(false)
	}
	r.want(" ")
	r.nstring(false)
}
