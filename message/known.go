package message

import "encoding/binary"

// fieldKind is one of the fields this package gives a meaning to. Each may
// occur at most once (RFC 5322 §3.6, RFC 2045 §3, RFC 2183 §2).
type fieldKind uint8

const (
	fkOther fieldKind = iota
	fkDate
	fkFrom
	fkSender
	fkReplyTo
	fkTo
	fkCc
	fkBcc
	fkMessageID
	fkInReplyTo
	fkReferences
	fkSubject
	fkMIMEVersion
	fkContentType
	fkContentEncoding
	fkContentID
	fkContentDescription
	fkContentDisposition
	fkContentLanguage
	fkContentLocation
	fkContentMD5
	fkCount
)

var fieldNames = [fkCount]string{
	"", "Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To",
	"References", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-ID",
	"Content-Description", "Content-Disposition", "Content-Language", "Content-Location", "Content-MD5",
}

func (k fieldKind) name() string { return fieldNames[k] }

// fieldOf recognises a name. It looks at the first letter and the length
// before it compares.
func fieldOf(name []byte) fieldKind {
	if len(name) < 2 || len(name) > 25 {
		return fkOther
	}
	var k fieldKind
	switch lower(name[0]) {
	case 'd':
		k = fkDate
	case 'f':
		k = fkFrom
	case 't':
		k = fkTo
	case 'b':
		k = fkBcc
	case 'i':
		k = fkInReplyTo
	case 's':
		k = fkSubject
		if len(name) == 6 {
			k = fkSender
		}
	case 'r':
		k = fkReplyTo
		if len(name) == 10 {
			k = fkReferences
		}
	case 'm':
		k = fkMessageID
		if len(name) == 12 {
			k = fkMIMEVersion
		}
	case 'c':
		switch len(name) {
		case 2:
			k = fkCc
		case 10:
			k = fkContentID
		case 11:
			k = fkContentMD5
		case 12:
			k = fkContentType
		case 16:
			k = fkContentLanguage
			if lower(name[9]) == 'o' {
				k = fkContentLocation
			}
		case 19:
			k = fkContentDescription
			if lower(name[9]) == 'i' {
				k = fkContentDisposition
			}
		case 25:
			k = fkContentEncoding
		}
	}
	if k != fkOther && equalFold(name, fieldNames[k]) {
		return k
	}
	return fkOther
}

// fieldSet is a set of kinds.
type fieldSet uint32

// add reports whether k is new in the set.
func (s *fieldSet) add(k fieldKind) bool {
	bit := fieldSet(1) << k
	isNew := *s&bit == 0
	*s |= bit
	return isNew
}

func (s fieldSet) has(k fieldKind) bool { return s&(1<<k) != 0 }

const highBits = 0x8080808080808080

// isASCII looks at eight octets at a time.
func isASCII(b []byte) bool {
	for len(b) >= 32 {
		if (binary.LittleEndian.Uint64(b)|binary.LittleEndian.Uint64(b[8:])|
			binary.LittleEndian.Uint64(b[16:])|binary.LittleEndian.Uint64(b[24:]))&highBits != 0 {
			return false
		}
		b = b[32:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// firstHigh is the index of the first octet above 127.
func firstHigh(b []byte) int {
	for i, c := range b {
		if c >= 0x80 {
			return i
		}
	}
	return len(b)
}
