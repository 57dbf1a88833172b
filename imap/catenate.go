package imap

import (
	"errors"
	"io"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// part is what a URL of CATENATE names (RFC 4469 §3), while it is being read.
type part struct {
	resource
	at int64
}

// beginPart finds what the URL at hand names.
func (in *incoming) beginPart() error {
	if err := in.countPart(); err != nil {
		return err
	}
	in.s.settle() // the selected mailbox is looked at
	u, err := wire.ParseURL(in.args.URL)
	if err == nil {
		in.part.resource, err = in.s.resolveURL(&u)
	}
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return &refusal{in.s.failed(err)}
	case err != nil:
		return &refusal{badURL(in.args.URL)}
	}
	if err := in.room(uint64(in.part.n)); err != nil {
		return err // TOOBIG (RFC 4469 §4)
	}
	in.part.at = 0
	in.size += in.part.n
	return nil
}

// readPart reads on.
func (in *incoming) readPart(b []byte) (int, error) {
	p := &in.part
	b = b[:min(int64(len(b)), p.n-p.at)]
	n, err := p.r.ReadAt(b, p.off+p.at)
	p.at += int64(n)
	if n < len(b) {
		return n, &refusal{in.s.failed(unexpectedStore(err))}
	}
	if p.at == p.n {
		p.close()
	}
	return n, nil
}

// unexpectedStore is the error of a store that gave too little.
func unexpectedStore(err error) error {
	if err == nil || err == io.EOF {
		return store.ErrCorrupt
	}
	return err
}

// badURL names a URL that cannot be resolved (RFC 4469 §4), as far as it can
// stand in a response code.
func badURL(u string) reply {
	clean := strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f || c == ']' {
			return '?'
		}
		return c
	}, u[:min(len(u), 1000)])
	return no("BADURL "+clean, "URL names nothing here")
}
