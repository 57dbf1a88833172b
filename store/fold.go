package store

// Fold appends text to dst in the form in which Search compares texts: equal
// forms are equal texts, and their order octet by octet is that of the
// collation i;unicode-casemap (RFC 5051). What is not UTF-8 counts as U+FFFD.
// The form is up to 18 times as long as the text; for ASCII as long.
func Fold(dst []byte, text string) []byte {
	for len(text) > 0 { // in pieces, for the sake of the memory
		var piece [512]byte
		n := copy(piece[:], text)
		if n < len(text) {
			n = completeRunes(piece[:n])
		}
		dst = fold(dst, piece[:n])
		text = text[n:]
	}
	return dst
}
