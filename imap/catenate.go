package imap

import "io"

// part is the octets of a URL of CATENATE.
type part struct {
	r     io.Reader
	close func()
}

func (in *incoming) closePart()                     {}
func (in *incoming) beginPart() error               { return nil }
func (in *incoming) readPart(b []byte) (int, error) { return 0, nil }
