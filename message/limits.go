package message

// Limits bounds the work and the memory spent on one message. A field of zero
// takes the default, a negative one means "none allowed". Nothing fails for
// being beyond a limit: the remainder becomes an opaque part or a raw field and
// a [Defect] says so; its octets are untouched. A nil *Limits has the defaults.
type Limits struct {
	// HeaderBytes is the size of one header block that is looked at, in
	// octets; default 1 MiB, at most 1 GiB. Fields after it are skipped. The
	// text an [Outline] keeps is bounded by four times this value.
	HeaderBytes int64
	// Fields is the number of fields looked at in one header; default 5,000.
	Fields int
	// Parts is the number of parts in an outline; default 1,000. Later ones
	// are octets of the multipart around them and have no [Part].
	Parts int
	// Depth is the nesting of multiparts and messages; default 100. What is
	// deeper is one opaque part.
	Depth int
	// Params is the number of parameters (and of RFC 2231 pieces) read from
	// one field; default 100.
	Params int
	// Addresses is the number of addresses read from one field, group markers
	// counted; default 10,000.
	Addresses int
	// CommentDepth is the nesting of comments; default 64. A field with
	// deeper ones is left raw: it has no addresses and no parameters.
	CommentDepth int
}

// maxHeaderBytes keeps offsets inside one header within 31 bits.
const maxHeaderBytes = 1 << 30

// withDefaults returns the effective limits; the receiver may be nil.
func (l *Limits) withDefaults() Limits {
	var v Limits
	if l != nil {
		v = *l
	}
	if v.HeaderBytes == 0 {
		v.HeaderBytes = 1 << 20
	}
	v.HeaderBytes = min(max(v.HeaderBytes, 0), maxHeaderBytes)
	v.Fields = limit(v.Fields, 5000)
	v.Parts = max(limit(v.Parts, 1000), 1) // the root is always there
	v.Depth = limit(v.Depth, 100)
	v.Params = limit(v.Params, 100)
	v.Addresses = limit(v.Addresses, 10000)
	v.CommentDepth = limit(v.CommentDepth, 64)
	return v
}

func limit(v, def int) int {
	if v == 0 {
		return def
	}
	return max(v, 0)
}
