package dkim

import "errors"

// Why a signature was not accepted. Result.Err wraps one of these; find it with
// errors.Is. Their texts are fixed and hold nothing of the message.
var (
	// ErrSyntax: the DKIM-Signature field cannot be parsed (RFC 6376 §6.1.1).
	ErrSyntax = errors.New("malformed signature")
	// ErrVersion: v= is not 1.
	ErrVersion = errors.New("unsupported signature version")
	// ErrMissingTag: a required tag is absent.
	ErrMissingTag = errors.New("required tag missing")
	// ErrAlgorithm: a= names an algorithm that is unknown or no longer accepted,
	// such as rsa-sha1 (RFC 8301 §3.1).
	ErrAlgorithm = errors.New("signature algorithm not accepted")
	// ErrDomain: d= or s= is no usable domain name.
	ErrDomain = errors.New("invalid domain or selector")
	// ErrIdentifier: i= is not within d=, or not equal to it as the key demands.
	ErrIdentifier = errors.New("identifier outside the signing domain")
	// ErrFromNotSigned: h= does not list From.
	ErrFromNotSigned = errors.New("from field not signed")
	// ErrFromCount: the message has no From field or several (RFC 6376 §8.15).
	ErrFromCount = errors.New("not exactly one from field")
	// ErrQueryMethod: q= does not offer dns/txt.
	ErrQueryMethod = errors.New("unsupported key query method")
	// ErrExpired: x= has passed.
	ErrExpired = errors.New("signature expired")
	// ErrTooManySignatures: the signature stands behind the first MaxSignatures.
	ErrTooManySignatures = errors.New("too many signatures")
	// ErrKeyUnavailable: the key could not be fetched for now.
	ErrKeyUnavailable = errors.New("key unavailable")
	// ErrNoKey: there is no key record.
	ErrNoKey = errors.New("no key for signature")
	// ErrKeySyntax: the key record cannot be parsed.
	ErrKeySyntax = errors.New("malformed key record")
	// ErrKeyRecordSize: the key record exceeds MaxRecordBytes.
	ErrKeyRecordSize = errors.New("key record too large")
	// ErrKeyRevoked: the key record has an empty p=.
	ErrKeyRevoked = errors.New("key revoked")
	// ErrKeyMismatch: the key is not for this algorithm, hash or service.
	ErrKeyMismatch = errors.New("inappropriate key")
	// ErrKeyTooShort: the RSA key has fewer bits than accepted.
	ErrKeyTooShort = errors.New("key too short")
	// ErrKeyTooLong: the RSA key has more bits than accepted.
	ErrKeyTooLong = errors.New("key too long")
	// ErrBodyHash: the body is not the one signed.
	ErrBodyHash = errors.New("body hash did not verify")
	// ErrBodyLength: the body is shorter than l=.
	ErrBodyLength = errors.New("body shorter than signed length")
	// ErrPartialBody: the signature holds, but text that it does not cover
	// follows behind the l= octets of the body (RFC 6376 §8.2).
	ErrPartialBody = errors.New("body only partly signed")
	// ErrSignature: the header is not the one signed, or the key another.
	ErrSignature = errors.New("signature did not verify")
)

// Errors about the message or about the use of this package.
var (
	// ErrHeaderTooLarge: the header exceeds MaxHeaderBytes or MaxHeaderFields.
	ErrHeaderTooLarge = errors.New("dkim: header too large")
	// ErrBareNewline: the header has a CR or LF outside of CRLF, so that others
	// may see other fields than those that are signed.
	ErrBareNewline = errors.New("dkim: bare CR or LF in header")
	// ErrFolded: the message begins with white space, so that its first line would
	// become a part of the field that is put above it.
	ErrFolded = errors.New("dkim: message begins with white space")
	// ErrConfig: a Signer or key cannot be used as configured.
	ErrConfig = errors.New("dkim: invalid configuration")
)
