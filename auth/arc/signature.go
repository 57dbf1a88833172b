package arc

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
)

// The three fields of a set.
const (
	nameResults = authres.ARCFieldName
	nameMessage = "ARC-Message-Signature"
	nameSeal    = "ARC-Seal"
)

// maxSignatureField bounds one signature field in octets.
const maxSignatureField = 32 << 10

// signature is a parsed ARC-Message-Signature or ARC-Seal.
type signature struct {
	field            []byte // as received, without final CRLF
	bStart, bEnd     int    // the value of b= in field, white space included
	instance         int
	algorithm        dkim.Algorithm
	domain, selector string
	b                []byte

	cv Status // of a seal

	headerC, bodyC dkim.Canonicalization // of a message signature, as all below
	headers        []string
	bh             []byte
	length         int64 // l= or -1
	expires        int64 // x= or -1
}

// parseSignature parses the tags that both fields have. On error the signature
// is still not nil and holds what is needed to report it.
func parseSignature(field []byte) (*signature, dkim.Tags, error) {
	s := &signature{field: field, headerC: dkim.Simple, bodyC: dkim.Simple, length: -1, expires: -1}
	if len(field) > maxSignatureField {
		return s, nil, fmt.Errorf("%w: longer than %d octets", dkim.ErrSyntax, maxSignatureField)
	}
	body := bytes.IndexByte(field, ':') + 1
	tags, err := dkim.ParseTags(string(field[body:]))
	if err != nil {
		return s, nil, err
	}
	// RFC 6376 §3.2: a semicolon may follow the last tag, but none another. What
	// package dkim forgives is not forgiven here: a chain is judged as a whole.
	list := bytes.TrimRight(field[body:], " \t\r\n")
	if bytes.Count(bytes.TrimSuffix(list, []byte(";")), []byte(";")) != len(tags)-1 {
		return s, nil, fmt.Errorf("%w: empty tag", dkim.ErrSyntax)
	}
	i, _ := tags.Get("i")
	n, err := strconv.ParseUint(i, 10, 8)
	if err != nil || n < 1 || n > maxInstance || len(i) > 2 {
		return s, nil, ErrInstance
	}
	s.instance = int(n)
	for _, name := range [...]string{"a", "b", "d", "s"} {
		if _, ok := tags.Get(name); !ok {
			return s, nil, fmt.Errorf("%w: %s", dkim.ErrMissingTag, name)
		}
	}
	d, _ := tags.Get("d")
	sel, _ := tags.Get("s")
	var ok1, ok2 bool
	s.domain, ok1 = dkim.CanonicalDomain(d, 2)
	s.selector, ok2 = dkim.CanonicalDomain(sel, 1)
	if !ok1 || !ok2 || len(s.keyName()) > 253 {
		return s, nil, dkim.ErrDomain
	}
	a, _ := tags.Get("a")
	s.algorithm = dkim.Algorithm(strings.ToLower(a))
	if s.algorithm != dkim.RSASHA256 && s.algorithm != dkim.Ed25519SHA256 {
		return s, nil, dkim.ErrAlgorithm // RFC 8301 §3.1
	}
	return s, tags, s.fillCommon(tags, body)
}

func (s *signature) keyName() string { return s.selector + "._domainkey." + s.domain }

func (s *signature) fillCommon(tags dkim.Tags, body int) (err error) {
	for i := range tags {
		if t := &tags[i]; t.Name == "b" {
			s.bStart, s.bEnd = body+t.Start, body+t.End
			if s.b, err = base64.StdEncoding.DecodeString(dropSpace(t.Value)); err != nil || len(s.b) == 0 {
				return fmt.Errorf("%w: b", dkim.ErrSyntax)
			}
		}
	}
	if q, ok := tags.Get("q"); ok && !slices.Contains(strings.Split(strings.ToLower(dropSpace(q)), ":"), "dns/txt") {
		return dkim.ErrQueryMethod
	}
	_, err = number(tags, "t", 12)
	return err
}

// parseSeal parses an ARC-Seal (RFC 8617 §4.1.3).
func parseSeal(field []byte) (*signature, error) {
	s, tags, err := parseSignature(field)
	if err != nil {
		return s, err
	}
	s.headerC = dkim.Relaxed // RFC 8617 §4.1.3: always
	if _, ok := tags.Get("h"); ok {
		return s, ErrSealHeaders
	}
	cv, ok := tags.Get("cv")
	if !ok {
		return s, fmt.Errorf("%w: cv", dkim.ErrMissingTag)
	}
	// Literals of the grammar are case-insensitive (RFC 5234 §2.3).
	switch s.cv = Status(strings.ToLower(cv)); s.cv {
	case StatusNone, StatusPass, StatusFail:
		return s, nil
	}
	s.cv = ""
	return s, ErrChainValue
}

// parseMessage parses an ARC-Message-Signature: a DKIM-Signature without v=,
// and with another i= (RFC 8617 §4.1.2).
func parseMessage(field []byte) (*signature, error) {
	s, tags, err := parseSignature(field)
	if err != nil {
		return s, err
	}
	for _, name := range [...]string{"bh", "h"} {
		if _, ok := tags.Get(name); !ok {
			return s, fmt.Errorf("%w: %s", dkim.ErrMissingTag, name)
		}
	}
	if c, ok := tags.Get("c"); ok {
		// RFC 6376 §3.5: one name alone is the header's, the body is simple.
		header, body, both := strings.Cut(strings.ToLower(c), "/")
		s.headerC = dkim.Canonicalization(header)
		if both {
			s.bodyC = dkim.Canonicalization(body)
		}
		for _, c := range [...]dkim.Canonicalization{s.headerC, s.bodyC} {
			if c != dkim.Simple && c != dkim.Relaxed {
				return s, fmt.Errorf("%w: c", dkim.ErrSyntax)
			}
		}
	}
	bh, _ := tags.Get("bh")
	if s.bh, err = base64.StdEncoding.DecodeString(dropSpace(bh)); err != nil || len(s.bh) != sha256.Size {
		return s, fmt.Errorf("%w: bh", dkim.ErrSyntax)
	}
	if s.length, err = number(tags, "l", 76); err != nil {
		return s, err
	}
	if s.expires, err = number(tags, "x", 12); err != nil {
		return s, err
	}
	h, _ := tags.Get("h")
	s.headers = strings.Split(strings.ToLower(dropSpace(h)), ":")
	if slices.Contains(s.headers, "arc-seal") {
		return s, ErrSealSigned
	}
	return s, nil
}

// number reads a tag of digits; -1 where there is none.
func number(tags dkim.Tags, name string, digits int) (int64, error) {
	v, ok := tags.Get(name)
	if !ok {
		return -1, nil
	}
	if len(v) == 0 || len(v) > digits || strings.Trim(v, "0123456789") != "" {
		return -1, fmt.Errorf("%w: %s", dkim.ErrSyntax, name)
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		n = math.MaxInt64 // all digits, so out of range
	}
	return n, nil
}

// appendUnsigned appends the field in canonical form with an empty b= and
// without final CRLF, the last thing that is signed (RFC 6376 §3.7).
func (s *signature) appendUnsigned(dst []byte) []byte {
	raw := make([]byte, 0, len(s.field))
	raw = append(raw, s.field[:s.bStart]...)
	raw = append(raw, s.field[s.bEnd:]...)
	return s.headerC.AppendHeader(dst, raw)
}

// dropSpace removes the folding white space that base64 and lists allow.
func dropSpace(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
}
