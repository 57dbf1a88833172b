package message

import (
	"cmp"
	"slices"
	"strconv"
)

// DefectKind says what is wrong with a message. The numbers are part of the
// stored form of an [Outline] and do not change.
type DefectKind uint8

// The kinds of defects. None of them makes a message unreadable.
const (
	// NoColon: a header line that is neither a field nor a continuation (RFC 5322 §2.2).
	NoColon DefectKind = iota + 1
	// BadFieldName: a field name with other characters than RFC 5322 §3.6.8 allows.
	BadFieldName
	// BareCR: a CR that is not followed by LF (RFC 5322 §2.3).
	BareCR
	// BareLF: a LF that does not follow a CR (RFC 5322 §2.3).
	BareLF
	// NUL: an octet of value zero (RFC 5322 §4: obs-NO-WS-CTL excludes it).
	NUL
	// UnlabelledEightBit: octets above 127 in a header that are not UTF-8 (RFC
	// 6532 §3.2), or in a body whose encoding says 7bit (RFC 2045 §2.7).
	UnlabelledEightBit
	// LongLine: a line of more than 998 octets (RFC 5322 §2.1.1).
	LongLine
	// DuplicateField: a field that may occur once only occurs again (RFC 5322
	// §3.6, RFC 2045 §3); the first is used. Detail is the name. Who must be
	// sure that there is no second one (authentication must) looks for
	// HeaderTooLong and TooManyFields too: what is behind them is not seen.
	DuplicateField
	// MissingField: a message without From or Date (RFC 5322 §3.6). Detail is
	// the name.
	MissingField
	// NoBlankLine: a header that is ended by something other than an empty
	// line: a boundary, or the end of the message after nameless lines.
	NoBlankLine
	// HeaderTooLong: a header block beyond Limits.HeaderBytes.
	HeaderTooLong
	// TooManyFields: more fields than Limits.Fields.
	TooManyFields
	// TooManyParts: more parts than Limits.Parts.
	TooManyParts
	// TooDeep: parts nested beyond Limits.Depth or comments beyond
	// Limits.CommentDepth.
	TooDeep
	// TooManyParams: more parameters than Limits.Params.
	TooManyParams
	// TooManyAddresses: more addresses than Limits.Addresses.
	TooManyAddresses
	// TooMuchText: text left out of an outline because all of it together
	// would be beyond its bound (see Limits.HeaderBytes).
	TooMuchText
	// MissingBoundary: a multipart without a usable boundary parameter, without
	// any delimiter line, or without its closing one (RFC 2046 §5.1.1).
	MissingBoundary
	// BadContentType: an unreadable Content-Type, taken as text/plain (RFC
	// 2045 §5.2).
	BadContentType
	// BadEncoding: a Content-Transfer-Encoding on a multipart or message that
	// is not 7bit, 8bit or binary (RFC 2045 §6.4).
	BadEncoding
	// BadParam: an unreadable parameter (RFC 2045 §5.1, RFC 2231).
	BadParam
	// BadAddress: an address that does not follow RFC 5322 §3.4 and §4.4.
	BadAddress
	// BadDate: an unreadable Date (RFC 5322 §3.3).
	BadDate

	maxDefectKind
)

var defectNames = [maxDefectKind]string{
	NoColon: "line without colon", BadFieldName: "bad field name", BareCR: "bare CR", BareLF: "bare LF",
	NUL: "NUL octet", UnlabelledEightBit: "unlabelled 8-bit octets", LongLine: "line over 998 octets",
	DuplicateField: "duplicate field", MissingField: "missing field", NoBlankLine: "no blank line after header",
	HeaderTooLong: "header too long", TooManyFields: "too many fields", TooManyParts: "too many parts",
	TooDeep: "nested too deep", TooManyParams: "too many parameters", TooManyAddresses: "too many addresses",
	TooMuchText: "too much text", MissingBoundary: "missing boundary", BadContentType: "bad Content-Type",
	BadEncoding: "bad Content-Transfer-Encoding", BadParam: "bad parameter", BadAddress: "bad address",
	BadDate: "bad date",
}

// String is a short English name.
func (k DefectKind) String() string {
	if k < maxDefectKind && defectNames[k] != "" {
		return defectNames[k]
	}
	return "defect " + strconv.Itoa(int(k))
}

// Defect is something in a message that its standard forbids. It is a
// finding, not an error: the message stays readable.
type Defect struct {
	Kind DefectKind
	// Offset is where it was seen, in octets from the start of what was
	// parsed: the message, the header or the value. It is the first place of
	// its kind where a kind is reported once.
	Offset int64
	// Detail is a short addition, such as a field name. It may hold text of
	// the message, cut to a few dozen octets, without control characters.
	Detail string
}

// String is a line for a log.
func (d Defect) String() string {
	s := d.Kind.String() + " at " + strconv.FormatInt(d.Offset, 10)
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	return s
}

// maxDefects is the number of defects kept of one message or field.
const maxDefects = 100

// defectList collects defects up to its cap.
type defectList []Defect

func (l *defectList) add(k DefectKind, off int64, detail string) {
	if len(*l) < maxDefects {
		*l = append(*l, Defect{k, off, cleanDetail(detail)})
	}
}

// findings collects the defects of one message. There is always room for those
// that tell about the whole or that others act on, so that a message cannot
// hide them behind many small ones.
type findings struct {
	major, minor defectList
	noted        uint64 // the kinds reported by first
}

// maxMinor leaves room for each kind once, the missing and the doubled fields.
const maxMinor = maxDefects - int(maxDefectKind) - 2 - int(fkCount)

// first reports a kind at its first place only.
func (f *findings) first(k DefectKind, off int64, detail string) {
	if !f.has(k) {
		f.noted |= 1 << k
		f.major.add(k, off, detail)
	}
}

// has reports whether first was called with k.
func (f *findings) has(k DefectKind) bool { return f.noted&(1<<k) != 0 }

// always reports what the caller sees to be rare.
func (f *findings) always(k DefectKind, off int64, detail string) { f.major.add(k, off, detail) }

// add reports a kind as often as it occurs, up to the cap.
func (f *findings) add(k DefectKind, off int64, detail string) {
	if len(f.minor) < maxMinor {
		f.minor.add(k, off, detail)
	}
}

// list is all of them, by place.
func (f *findings) list() []Defect {
	if len(f.major)+len(f.minor) == 0 {
		return nil
	}
	all := slices.Concat(f.major, f.minor)
	slices.SortStableFunc(all, func(a, b Defect) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

// cleanDetail makes text of a message fit for a log line.
func cleanDetail(s string) string {
	const most = 60
	clean := len(s) <= most
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	b := []byte(s[:min(len(s), most)])
	for i, c := range b {
		if c < ' ' || c >= 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}
