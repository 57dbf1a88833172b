package smtp

// BinaryMIME says that a Session takes messages of any octets (RFC 3030 §3).
// They come by BDAT only; what is read of one is as it was sent: neither line
// ends nor the length of lines are looked at, and no line end is added at its
// end. MaxMessageBytes holds as ever.
func BinaryMIME() Extension { return Extension{Keyword: "BINARYMIME", binary: true} }

// takesBinary reports whether BODY=BINARYMIME may be said.
func (c *session) takesBinary() bool {
	for i := range c.ext {
		if c.ext[i].binary {
			return true
		}
	}
	return false
}
