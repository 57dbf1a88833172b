package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
)

// KeyBits is the size of the RSA keys that GenerateKey makes: what RFC 8301
// §3.2 recommends, and what fits a DNS answer without TCP.
const KeyBits = 2048

// GenerateKey makes a new private key for an algorithm: an *rsa.PrivateKey of
// 2048 bits or an ed25519.PrivateKey.
func GenerateKey(a Algorithm) (crypto.Signer, error) {
	switch a {
	case RSASHA256:
		return rsa.GenerateKey(rand.Reader, KeyBits)
	case Ed25519SHA256:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("%w: algorithm %q", ErrConfig, string(a))
}

// MarshalKey returns a private key as PEM (PKCS #8, RFC 5958).
func MarshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads the first private key of a PEM file: PKCS #8, or PKCS #1 as
// older DKIM tools write it. Errors are ErrConfig.
func ParseKey(data []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, fmt.Errorf("%w: no private key in PEM", ErrConfig)
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			data = rest
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("%w: key of type %T cannot sign", ErrConfig, key)
		}
		if _, err := algorithmOf(signer.Public()); err != nil {
			return nil, err
		}
		return signer, nil
	}
}

// Record returns the TXT record text for a key, private or public, to publish
// at SELECTOR._domainkey.DOMAIN (RFC 6376 §3.6.1, RFC 8463 §4). It may be
// longer than the 255 octets of one character-string: see SplitText.
func Record(key any) (string, error) {
	if s, ok := key.(crypto.Signer); ok {
		key = s.Public()
	}
	a, err := algorithmOf(key)
	if err != nil {
		return "", err
	}
	if a == Ed25519SHA256 {
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key.(ed25519.PublicKey)), nil
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
}

// SplitText cuts the text of a TXT record into character-strings of at most 255
// octets, which a zone file holds one by one in quotes (RFC 1035 §3.3.14).
func SplitText(txt string) []string {
	var out []string
	for len(txt) > 255 {
		out = append(out, txt[:255])
		txt = txt[255:]
	}
	return append(out, txt)
}

// algorithmOf is the algorithm a public key signs with.
func algorithmOf(pub any) (Algorithm, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if k != nil {
			return RSASHA256, nil
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return Ed25519SHA256, nil
		}
	}
	return "", fmt.Errorf("%w: no DKIM algorithm for a key of type %T", ErrConfig, pub)
}
