package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// KeyRecord is a public key as published in the DNS (RFC 6376 §3.6.1).
type KeyRecord struct {
	// Type is k=: "rsa" or "ed25519"; other types are kept but have no Key.
	Type string
	// Key is an *rsa.PublicKey or ed25519.PublicKey, nil when revoked or of an
	// unknown type.
	Key crypto.PublicKey
	// Revoked: p= is empty.
	Revoked bool
	// Hashes is h=, nil for any; Services is s=, nil for any.
	Hashes, Services []string
	// Testing is t=y: the domain is only testing DKIM.
	Testing bool
	// Strict is t=s: the domain of i= must be d= itself.
	Strict bool
	// Notes is n=, for humans.
	Notes string
}

// ParseKeyRecord parses the text of a key record; errors are ErrKeySyntax.
func ParseKeyRecord(txt string) (*KeyRecord, error) {
	r := new(KeyRecord)
	if err := r.parse(txt, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// parse is ParseKeyRecord into r. room is for the key as it is published.
func (r *KeyRecord) parse(txt string, room []byte) error {
	var few [16]Tag
	tags, err := parseTags(few[:0], txt)
	if err != nil {
		return ErrKeySyntax
	}
	// RFC 6376 §3.6.1: v= is optional, but then first and DKIM1.
	if v, ok := tags.Get("v"); ok && (v != "DKIM1" || tags[0].Name != "v") {
		return fmt.Errorf("%w: v", ErrKeySyntax)
	}
	*r = KeyRecord{Type: "rsa"}
	if k, ok := tags.Get("k"); ok {
		r.Type = strings.ToLower(k)
	}
	if h, ok := tags.Get("h"); ok {
		r.Hashes = strings.Split(strings.ToLower(dropFWS(h)), ":")
	}
	if s, ok := tags.Get("s"); ok {
		r.Services = strings.Split(strings.ToLower(dropFWS(s)), ":")
	}
	if t, ok := tags.Get("t"); ok {
		r.Testing, r.Strict = listHas(t, "y"), listHas(t, "s")
	}
	r.Notes, _ = tags.Get("n")
	p, ok := tags.Get("p")
	if !ok {
		return fmt.Errorf("%w: no p", ErrKeySyntax)
	}
	if strings.Trim(p, fws) == "" {
		r.Revoked = true
		return nil
	}
	r.Key, err = parsePublicKey(r.Type, p, room)
	return err
}

func parsePublicKey(kind, text string, room []byte) (crypto.PublicKey, error) {
	if kind != "rsa" && kind != "ed25519" {
		return nil, nil // RFC 6376 §3.6.1: unrecognised types are ignored
	}
	der, err := decodeBase64(room[:0], text)
	if err != nil {
		return nil, fmt.Errorf("%w: p", ErrKeySyntax)
	}
	if kind == "ed25519" {
		// RFC 8463 §4.1: the bare key, not a SubjectPublicKeyInfo.
		if len(der) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: p", ErrKeySyntax)
		}
		return ed25519.PublicKey(bytes.Clone(der)), nil
	}
	if key, ok := parseRSA(der); ok {
		return key, nil
	}
	if pub, err := x509.ParsePKIXPublicKey(der); err == nil {
		if key, ok := pub.(*rsa.PublicKey); ok {
			return key, nil
		}
		return nil, fmt.Errorf("%w: p", ErrKeySyntax)
	}
	// RFC 6376 §3.6.1 names RSAPublicKey, its examples SubjectPublicKeyInfo
	// (erratum 3017): both are in use.
	key, err := x509.ParsePKCS1PublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: p", ErrKeySyntax)
	}
	return key, nil
}

// parseRSA reads the SubjectPublicKeyInfo of an RSA key as nearly all records
// have it (RFC 3279 §2.3.1). What it does not take x509 may, or find wrong.
func parseRSA(der []byte) (*rsa.PublicKey, bool) {
	var info, algorithm, oid, null, key cryptobyte.String
	var unused uint8
	input := cryptobyte.String(der)
	if !input.ReadASN1(&info, asn1.SEQUENCE) || !input.Empty() ||
		!info.ReadASN1(&algorithm, asn1.SEQUENCE) ||
		!algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || string(oid) != rsaEncryption ||
		!algorithm.ReadASN1(&null, asn1.NULL) || !null.Empty() || !algorithm.Empty() ||
		!info.ReadASN1(&key, asn1.BIT_STRING) || !info.Empty() ||
		!key.ReadUint8(&unused) || unused != 0 ||
		!key.ReadASN1(&key, asn1.SEQUENCE) {
		return nil, false
	}
	room := new(struct {
		key rsa.PublicKey
		n   big.Int
	})
	k := &room.key
	k.N = &room.n
	if !key.ReadASN1Integer(k.N) || !key.ReadASN1Integer(&k.E) || !key.Empty() || k.N.Sign() <= 0 || k.E <= 0 {
		return nil, false
	}
	return k, true
}

// rsaEncryption is 1.2.840.113549.1.1.1.
const rsaEncryption = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"

// Bits is the size of the key, 0 where there is none.
func (r *KeyRecord) Bits() int {
	switch k := r.Key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case ed25519.PublicKey:
		return len(k) * 8
	}
	return 0
}

// Allows reports as an error why the record's key may not be used for e-mail
// signatures of an algorithm: ErrKeyRevoked, ErrKeyMismatch or ErrAlgorithm.
func (r *KeyRecord) Allows(a Algorithm) error {
	kind, err := a.keyType()
	switch {
	case err != nil:
		return err
	case r.Revoked:
		return ErrKeyRevoked
	case r.Type != kind:
		return fmt.Errorf("%w: k", ErrKeyMismatch)
	case r.Hashes != nil && !slices.Contains(r.Hashes, "sha256"):
		return fmt.Errorf("%w: h", ErrKeyMismatch)
	case r.Services != nil && !slices.Contains(r.Services, "*") && !slices.Contains(r.Services, "email"):
		return fmt.Errorf("%w: s", ErrKeyMismatch)
	}
	return nil
}

// Verify checks a signature over a SHA-256 hash; the error is ErrSignature. It
// does not ask Allows nor judge the size of the key.
func (r *KeyRecord) Verify(sum, sig []byte) error {
	switch k := r.Key.(type) {
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(k, crypto.SHA256, sum, sig) == nil {
			return nil
		}
	case ed25519.PublicKey:
		// RFC 8463 §3: PureEdDSA over the hash.
		if len(sig) == ed25519.SignatureSize && ed25519.Verify(k, sum, sig) {
			return nil
		}
	}
	return ErrSignature
}
