package wire

// ThreadAlgorithm is a way to thread messages.
type ThreadAlgorithm uint8

// The algorithms (RFC 5256 §3, draft-ietf-morg-inthread).
const (
	ThreadOrderedSubject ThreadAlgorithm = iota
	ThreadReferences
	ThreadRefs
)

// Thread is THREAD or UID THREAD.
type Thread struct {
	Search
	Algorithm ThreadAlgorithm
}

// Thread reads the arguments of THREAD (RFC 5256 §3).
func (p *Parser) Thread() (c Thread) {
	s := searchParser{Parser: p, c: &c.Search}
	p.Space()
	const unknown = "Unknown threading algorithm"
	switch p.Keyword() {
	case "ORDEREDSUBJECT":
		p.needs("THREAD=ORDEREDSUBJECT", unknown)
	case "REFERENCES":
		c.Algorithm = ThreadReferences
		p.needs("THREAD=REFERENCES", unknown)
	case "REFS":
		c.Algorithm = ThreadRefs
		p.needs("THREAD=REFS", unknown)
	default:
		p.fail(unknown)
	}
	s.charset()
	s.program()
	return c
}
