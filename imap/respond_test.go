package imap_test

import (
	"fmt"
	"regexp"
	"strings"
)

// Forms of RFC 9051 §9 and of extensions, as this reader sees them.
var (
	respStatus  = regexp.MustCompile(`^(OK|NO|BAD|BYE) `)
	respCode    = regexp.MustCompile(`^\[[A-Z][A-Z0-9-]*( [^\]\x00-\x1f\x7f]+)?\] `)
	respText    = regexp.MustCompile(`^[^\x00-\x1f\x7f-\xff]+$`)
	respTag     = regexp.MustCompile(`^[^\x00-\x20\x7f-\xff(){%*"\\+]+`)
	respAtom    = regexp.MustCompile(`^[^\x00-\x20\x7f-\xff(){%*"\\\]]+`)
	respAstring = regexp.MustCompile(`^[^\x00-\x20\x7f-\xff(){%*"\\]+`)
	respCap     = regexp.MustCompile(`^[^\x00-\x20\x7f-\xff(){%*"\\\]]+(=[^\x00-\x20\x7f-\xff(){%*"\\\]]*)?`)
	respSet     = regexp.MustCompile(`^[1-9][0-9]*(:[1-9][0-9]*)?(,[1-9][0-9]*(:[1-9][0-9]*)?)*`)
	respPage    = regexp.MustCompile(`^(-?[1-9][0-9]*:-?[1-9][0-9]*)`)
	respAttr    = regexp.MustCompile(`^\\?[A-Za-z-]+`)
	respRights  = regexp.MustCompile(`^[a-z0-9]+`)
)

// readResponse reads one response of any kind, without its last CRLF, as
// strictly as readFetch. kind is the tag, "+", or the word that says what an
// untagged response is.
func readResponse(s string, utf8Quoted bool) (kind string, err error) {
	r := &respReader{s: s, utf8: utf8Quoted}
	defer func() {
		if e, ok := recover().(respError); ok {
			err = fmt.Errorf("%s at octet %d: %.80q after %.80q", string(e), r.i, s[min(r.i, len(s)):], s[max(0, r.i-80):min(r.i, len(s))])
		}
	}()
	switch {
	case r.try("+ "):
		if r.i < len(s) {
			r.match(respText, "text")
		}
		return "+", nil
	case !r.try("* "):
		kind = r.match(respTag, "a tag")
		r.want(" ")
		if w := r.match(respStatus, "a status"); w == "BYE " {
			r.fail("BYE with a tag")
		}
		r.respText()
		return kind, nil
	case respStatus.MatchString(s[r.i:]):
		kind = strings.TrimSpace(r.match(respStatus, "a status"))
		r.respText()
		return kind, nil
	case respNumber.MatchString(s[r.i:]):
		r.number()
		r.want(" ")
		kind = r.match(respAtom, "a word")
		switch kind {
		case "FETCH", "UIDFETCH":
			if _, err := readFetch(strings.Replace(s, " UIDFETCH (", " FETCH (", 1), utf8Quoted); err != nil {
				return kind, err
			}
			return kind, nil
		case "EXISTS", "RECENT", "EXPUNGE":
		default:
			r.fail("unknown response")
		}
	default:
		kind = r.match(respAtom, "a word")
		read := untagged[kind]
		if read == nil {
			r.fail("unknown response")
		}
		read(r)
	}
	if r.i != len(s) {
		r.fail("text behind the response")
	}
	return kind, nil
}

// respText reads a code in brackets and text.
func (r *respReader) respText() {
	if strings.HasPrefix(r.s[r.i:], "[") {
		r.match(respCode, "a response code")
	}
	r.match(respText, "text")
	r.i = len(r.s)
}

// each reads what comes behind spaces to the end.
func (r *respReader) each(read func()) {
	for r.i < len(r.s) {
		r.want(" ")
		read()
	}
}

// parens reads a parenthesised list.
func (r *respReader) parens(read func()) {
	r.want("(")
	for n := 0; !r.try(")"); n++ {
		if n > 0 {
			r.want(" ")
		}
		read()
	}
}

// astring reads an atom or a string.
func (r *respReader) astring() {
	if c := r.s[r.i:]; strings.HasPrefix(c, `"`) || strings.HasPrefix(c, "{") {
		r.str(false)
		return
	}
	r.match(respAstring, "a string or atom")
}

// untagged reads what follows the word of an untagged response.
var untagged = map[string]func(*respReader){
	"CAPABILITY": func(r *respReader) { r.each(func() { r.match(respCap, "a capability") }) },
	"ENABLED":    func(r *respReader) { r.each(func() { r.match(respCap, "a capability") }) },
	"FLAGS":      func(r *respReader) { r.want(" "); r.parens(func() { r.match(respFlag, "a flag") }) },
	"LIST":       (*respReader).listed,
	"LSUB":       (*respReader).listed,
	"STATUS":     (*respReader).status,
	"SEARCH":     (*respReader).found,
	"SORT":       (*respReader).found,
	"THREAD": func(r *respReader) {
		if r.i < len(r.s) {
			r.want(" ")
			for r.i < len(r.s) {
				r.branch()
			}
		}
	},
	"ESEARCH":  (*respReader).esearch,
	"VANISHED": func(r *respReader) { _ = r.try(" (EARLIER)"); r.want(" "); r.match(respSet, "a set") },
	"NAMESPACE": func(r *respReader) {
		for range 3 {
			r.want(" ")
			if r.try("NIL") {
				continue
			}
			r.want("(")
			for !r.try(")") {
				r.parens(func() { r.nstring(false) })
			}
		}
	},
	"ID": func(r *respReader) {
		r.want(" ")
		if !r.try("NIL") {
			r.parens(func() { r.str(false); r.want(" "); r.nstring(false) })
		}
	},
	"QUOTA": func(r *respReader) {
		r.want(" ")
		r.astring()
		r.want(" ")
		r.parens(func() { r.match(respAtom, "a resource"); r.want(" "); r.number(); r.want(" "); r.number() })
	},
	"QUOTAROOT": func(r *respReader) { r.each(r.astring) },
	"ACL": func(r *respReader) {
		r.want(" ")
		r.astring()
		r.each(func() { r.astring(); r.want(" "); r.astring() })
	},
	"LISTRIGHTS": func(r *respReader) { r.each(r.astring) },
	"MYRIGHTS": func(r *respReader) {
		r.want(" ")
		r.astring()
		r.want(" ")
		if !r.try(`""`) {
			r.match(respRights, "rights")
		}
	},
	"METADATA": func(r *respReader) {
		r.want(" ")
		r.astring()
		r.want(" ")
		if strings.HasPrefix(r.s[r.i:], "(") {
			r.parens(func() { r.astring(); r.want(" "); r.nstring(true) })
			return
		}
		r.astring()
		r.each(r.astring)
	},
	"GENURLAUTH": func(r *respReader) { r.each(r.astring) },
	"URLFETCH":   func(r *respReader) { r.each(func() { r.astring(); r.want(" "); r.nstring(false) }) },
	"JMAPACCESS": func(r *respReader) { r.want(" "); r.str(false) },
	"UIDBATCHES": func(r *respReader) {
		r.want(" (TAG ")
		r.str(false)
		r.want(")")
		if r.try(" ") {
			r.match(respSet, "a set")
		}
	},
}

// listed reads LIST and LSUB with extended data (RFC 5258 §6).
func (r *respReader) listed() {
	r.want(" ")
	r.parens(func() { r.match(respAttr, "an attribute") })
	r.want(" ")
	r.nstring(false)
	r.want(" ")
	r.astring()
	if r.try(" ") {
		r.parens(func() {
			r.astring()
			r.want(" ")
			if strings.HasPrefix(r.s[r.i:], "(") {
				r.parens(r.astring)
			} else {
				r.astring()
			}
		})
	}
}

func (r *respReader) status() {
	r.want(" ")
	r.astring()
	r.want(" ")
	r.parens(func() {
		switch name := r.match(respAtom, "an item"); name {
		case "MAILBOXID":
			r.want(" ")
			r.match(respID, "an id")
		case "APPENDLIMIT":
			r.want(" ")
			if !r.try("NIL") {
				r.number()
			}
		default:
			r.want(" ")
			r.number()
		}
	})
}

// found reads numbers, and the highest mod-sequence (RFC 7162 §3.1.5).
func (r *respReader) found() {
	r.each(func() {
		if r.try("(MODSEQ ") {
			r.number()
			r.want(")")
			if r.i != len(r.s) {
				r.fail("text behind MODSEQ")
			}
			return
		}
		if r.number() == 0 {
			r.fail("message 0")
		}
	})
}

// branch reads a thread: numbers, then branches (RFC 5256 §4).
func (r *respReader) branch() {
	r.want("(")
	for n := 0; ; n++ {
		if n > 0 && r.try(")") {
			return
		}
		if strings.HasPrefix(r.s[r.i:], "(") {
			for n = 0; strings.HasPrefix(r.s[r.i:], "("); n++ {
				r.branch()
			}
			if n < 2 {
				r.fail("one branch alone")
			}
			r.want(")")
			return
		}
		if n > 0 {
			r.fail("space expected")
		}
		r.number()
		for r.try(" ") {
			if strings.HasPrefix(r.s[r.i:], "(") {
				break
			}
			r.number()
		}
	}
}

// esearch reads ESEARCH (RFC 4466 §2.6.2).
func (r *respReader) esearch() {
	if r.try(" (TAG ") {
		r.str(false)
		for r.try(" ") { // RFC 7377 §2.1
			r.match(respAtom, "a correlator")
			r.want(" ")
			r.astring()
		}
		r.want(")")
	}
	if r.i == len(r.s) {
		return
	}
	_ = r.try(" UID")
	seen := map[string]bool{}
	r.each(func() {
		name := r.match(respAtom, "an item")
		if seen[name] && name != "ADDTO" && name != "REMOVEFROM" {
			r.fail("item twice")
		}
		seen[name] = true
		r.want(" ")
		switch name {
		case "MIN", "MAX", "COUNT", "MODSEQ":
			r.number()
		case "ALL":
			r.match(respSet, "a set")
		case "PARTIAL":
			r.want("(")
			r.match(respPage, "a range")
			r.want(" ")
			if !r.try("NIL") {
				r.match(respSet, "a set")
			}
			r.want(")")
		case "ADDTO", "REMOVEFROM":
			r.parens(func() { r.number(); r.want(" "); r.match(respSet, "a set") })
		case "RELEVANCY":
			r.parens(func() { r.number() })
		default:
			r.fail("unknown item " + name)
		}
	})
}
