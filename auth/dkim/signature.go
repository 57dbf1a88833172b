package dkim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"math"
	"strconv"
	"strings"
)

// fieldName is the name of the signature field in lower case.
const fieldName = "dkim-signature"

// maxSignatureField bounds one DKIM-Signature field in octets.
const maxSignatureField = 32 << 10

// signature is one parsed DKIM-Signature field (RFC 6376 §3.5).
type signature struct {
	field          []byte // as received, without final CRLF
	bStart, bEnd   int    // the value of b= in field, white space included
	algorithm      Algorithm
	headerC, bodyC Canonicalization
	domain         string // canonical, as selector
	selector       string
	identifier     string   // i= as written or its default
	idDomain       string   // the canonical domain of identifier
	headers        []string // h= in lower case
	length         int64    // l= or -1
	signed         int64    // t= or -1
	expires        int64    // x= or -1
	b, bh          []byte
	keyName        string // of the key record in DNS
	bText          string // b= without white space, the first 32 characters
	hashed         [48]byte
}

// parseSignature parses a raw field, without final CRLF. On error the signature
// returned is still not nil and holds what is needed to report it.
func parseSignature(field []byte) (*signature, error) {
	s := new(signature)
	return s, s.parse(field)
}

// parse is parseSignature into s, whose buffers it takes.
func (s *signature) parse(field []byte) error {
	*s = signature{field: field, length: -1, signed: -1, expires: -1, headerC: Simple, bodyC: Simple, b: s.b[:0]}
	if len(field) > maxSignatureField {
		return fmt.Errorf("%w: longer than %d octets", ErrSyntax, maxSignatureField)
	}
	body := bytes.IndexByte(field, ':') + 1
	var few [16]Tag
	tags, err := parseTags(few[:0], string(field[body:]))
	if err != nil {
		return err
	}
	for i := range tags {
		t := &tags[i]
		if t.Name == "b" {
			s.bStart, s.bEnd = body+t.Start, body+t.End
			s.bText = prefixOf(t.Value, maxPrefix)
		}
	}
	if err := s.identify(tags); err != nil {
		return err
	}
	return s.fill(tags)
}

// identify takes over who signs; it comes first so that a broken signature can
// be reported under its name.
func (s *signature) identify(tags Tags) error {
	d, ok1 := tags.Get("d")
	sel, ok2 := tags.Get("s")
	if !ok1 || !ok2 {
		return fmt.Errorf("%w: d or s", ErrMissingTag)
	}
	if s.domain, ok1 = canonicalDomain(d, 2); !ok1 {
		return ErrDomain
	}
	if s.selector, ok2 = canonicalDomain(sel, 1); !ok2 {
		return ErrDomain
	}
	both := s.selector + "._domainkey." + s.domain + "@" + s.domain
	at := len(both) - len(s.domain) - 1
	if s.keyName, s.identifier = both[:at], both[at:]; len(s.keyName) > 253 {
		return ErrDomain
	}
	s.idDomain = s.domain
	if i, ok := tags.Get("i"); ok {
		at := strings.LastIndexByte(i, '@')
		if at < 0 {
			return fmt.Errorf("%w: i", ErrSyntax)
		}
		idDomain, valid := canonicalDomain(dropFWS(i[at+1:]), 2)
		if !valid || !within(idDomain, s.domain) {
			return ErrIdentifier // RFC 6376 §3.5: i= is d= or below it
		}
		s.idDomain = idDomain
		s.identifier = dropFWS(i[:at]) + "@" + idDomain
	}
	return nil
}

func (s *signature) fill(tags Tags) error {
	for _, name := range [...]string{"v", "a", "b", "bh", "h"} {
		if _, ok := tags.Get(name); !ok {
			return fmt.Errorf("%w: %s", ErrMissingTag, name)
		}
	}
	if v, _ := tags.Get("v"); v != "1" {
		return ErrVersion
	}
	a, _ := tags.Get("a")
	// Literals of the grammar are case-insensitive (RFC 5234 §2.3).
	s.algorithm = Algorithm(strings.ToLower(a))
	if _, err := s.algorithm.keyType(); err != nil {
		return err
	}
	if err := s.fillHashes(tags); err != nil {
		return err
	}
	if err := s.fillNumbers(tags); err != nil {
		return err
	}
	if q, ok := tags.Get("q"); ok && !listHas(q, "dns/txt") {
		return ErrQueryMethod
	}
	h, _ := tags.Get("h")
	s.headers = strings.Split(lowerNoFWS(h), ":")
	for _, name := range s.headers {
		if name == "from" {
			return nil
		}
	}
	return ErrFromNotSigned // RFC 6376 §5.4
}

func (s *signature) fillHashes(tags Tags) error {
	if c, ok := tags.Get("c"); ok {
		// RFC 6376 §3.5: one name alone is the header's, the body is simple.
		header, body, both := strings.Cut(strings.ToLower(c), "/")
		s.headerC = Canonicalization(header)
		if both {
			s.bodyC = Canonicalization(body)
		}
		if !s.headerC.valid() || !s.bodyC.valid() {
			return fmt.Errorf("%w: c", ErrSyntax)
		}
	}
	var err error
	b, _ := tags.Get("b")
	if s.b, err = decodeBase64(s.b, b); err != nil || len(s.b) == 0 {
		return fmt.Errorf("%w: b", ErrSyntax)
	}
	bh, _ := tags.Get("bh")
	if s.bh, err = decodeBase64(s.hashed[:0], bh); err != nil || len(s.bh) != sha256.Size {
		return fmt.Errorf("%w: bh", ErrSyntax)
	}
	return nil
}

func (s *signature) fillNumbers(tags Tags) error {
	var err error
	if s.length, err = number(tags, "l", 76); err != nil {
		return err
	}
	if s.signed, err = number(tags, "t", 12); err != nil {
		return err
	}
	if s.expires, err = number(tags, "x", 12); err != nil {
		return err
	}
	if s.signed >= 0 && s.expires >= 0 && s.expires <= s.signed {
		return fmt.Errorf("%w: x not after t", ErrSyntax) // RFC 6376 §3.5
	}
	return nil
}

// number is the value of a tag of up to so many digits, -1 if there is none.
func number(tags Tags, name string, digits int) (int64, error) {
	v, ok := tags.Get(name)
	if !ok {
		return -1, nil
	}
	if len(v) == 0 || len(v) > digits || strings.Trim(v, "0123456789") != "" {
		return -1, fmt.Errorf("%w: %s", ErrSyntax, name)
	}
	num, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		num = math.MaxInt64 // all digits, so out of range
	}
	return num, nil
}

// hashSelf writes the field itself with an empty b= and without final CRLF, the
// last thing that is signed (RFC 6376 §3.7). It returns room, which may have
// grown.
func (s *signature) hashSelf(w hash.Hash, room []byte) []byte {
	room = append(append(room[:0], s.field[:s.bStart]...), s.field[s.bEnd:]...)
	n := len(room)
	room = s.headerC.AppendHeader(room, room)
	w.Write(room[n:])
	return room
}

// listHas reports whether a colon-separated list has an item.
func listHas(list, item string) bool {
	for v := range strings.SplitSeq(dropFWS(list), ":") {
		if strings.EqualFold(v, item) {
			return true
		}
	}
	return false
}
