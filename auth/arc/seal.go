package arc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/internal/ctxio"
)

// Sealer adds sets to chains. It may be used by several goroutines at once if
// its key may.
type Sealer struct {
	// Signer says who seals, with which key and how: Domain, Selector, Key and
	// the other fields as for DKIM, but for Identifier and Expiry, which ARC does
	// not have. Headers nil means dkim.DefaultHeaders and DKIM-Signature, as RFC
	// 8617 §4.1.2 recommends; Authentication-Results and the fields of ARC itself
	// may be listed neither there nor in Oversign. Take an RSA key: a set has one
	// signature only, and to many verifiers Ed25519 is unknown in ARC.
	Signer *dkim.Signer
}

// Seal reads a message to its end and returns the set to put on top of it: the
// three fields, folded and each ending in CRLF. The message must be in its
// final form, and what is sent must be these very bytes (RFC 8617 §5.1).
//
// in is what a Verifier said of the message as it came, before anything was
// changed; nil stands for a message without a chain. A chain that is not intact
// is sealed as failed, which is final. results are what is known about the
// message as it came; put in.AuthResult among them.
//
// Errors are r's, ctx's, the key's, those of authres.Header.ARCField, ErrConfig,
// ErrFinal, ErrFull, ErrUndecided, ErrChanged and ErrFolded, and of package dkim
// ErrFromCount, ErrBareNewline and ErrHeaderTooLarge. With ErrFinal and ErrFull
// the message is sent without another set.
func (s *Sealer) Seal(ctx context.Context, in *Result, results *authres.Header, r io.Reader) ([]byte, error) {
	g, err := s.NewSealing(in, results)
	if err != nil {
		return nil, err
	}
	if err := ctxio.Feed(ctx, g, r); err != nil {
		return nil, err
	}
	return g.Fields()
}

// Sealing is the sealing of one message that is being written to it. It is not
// safe for concurrent use.
type Sealing struct {
	key      *dkim.SchemeKey
	now      time.Time
	in       *Result
	instance int
	results  string // the field
	header   *dkim.Header
	body     dkim.BodyHasher
	hash     *dkim.BodyHash

	begun, folded bool // whether there was text, and began with white space
}

// NewSealing starts the sealing of a message: write the message to it, then ask
// Fields. Arguments and errors are those of Seal.
func (s *Sealer) NewSealing(in *Result, results *authres.Header) (*Sealing, error) {
	if in == nil {
		in = &Result{Status: StatusNone}
	}
	switch {
	case in.Status == StatusTempError:
		return nil, ErrUndecided
	case in.final:
		return nil, ErrFinal
	case in.Instance >= maxInstance || errors.Is(in.Err, ErrTooManySets):
		return nil, ErrFull
	case in.Status != StatusNone && in.Status != StatusPass && in.Status != StatusFail:
		return nil, fmt.Errorf("%w: chain of status %q", ErrConfig, string(in.Status))
	case results == nil:
		return nil, fmt.Errorf("%w: no results", ErrConfig)
	}
	key, err := s.schemeKey()
	if err != nil {
		return nil, err
	}
	g := &Sealing{key: key, now: time.Now(), in: in, instance: in.Instance + 1, header: dkim.NewHeader(0, 0)}
	if s.Signer.Clock != nil {
		g.now = s.Signer.Clock()
	}
	if g.results, err = results.ARCField(g.instance); err != nil {
		return nil, err
	}
	g.hash = g.body.Add(key.BodyCanon, -1)
	return g, nil
}

func (s *Sealer) schemeKey() (*dkim.SchemeKey, error) {
	if s.Signer == nil {
		return nil, fmt.Errorf("%w: no signer", ErrConfig)
	}
	signer := *s.Signer
	if signer.Headers == nil {
		signer.Headers = append(dkim.DefaultHeaders(), "DKIM-Signature")
	}
	for _, name := range slices.Concat(signer.Headers, signer.Oversign) {
		// RFC 8617 §4.1.2: those of ARC must not, the other should not be signed,
		// because systems on the way add and remove them.
		name = strings.ToLower(name)
		if name == "authentication-results" || name == "arc-seal" ||
			name == "arc-message-signature" || name == "arc-authentication-results" {
			return nil, fmt.Errorf("%w: %s cannot be signed", ErrConfig, name)
		}
	}
	key, err := signer.SchemeKey()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return key, nil
}

// Write takes the next piece of the message. It always takes all of it: what is
// wrong with the message is the error of Fields.
func (g *Sealing) Write(p []byte) (int, error) {
	if !g.begun && len(p) > 0 {
		g.begun, g.folded = true, p[0] == ' ' || p[0] == '\t'
	}
	if body := g.header.Take(p); len(body) > 0 {
		_, _ = g.body.Write(body)
	}
	return len(p), nil
}

// Fields ends the message and returns its set; see Sealer.Seal.
func (g *Sealing) Fields() ([]byte, error) {
	if err := g.header.Close(); err != nil {
		return nil, err
	}
	if g.folded {
		return nil, ErrFolded
	}
	if len(g.header.Fields("from")) > 1 {
		return nil, dkim.ErrFromCount // RFC 6376 §8.15: nobody should believe it
	}
	_ = g.body.Close()
	c := collect(g.header, maxInstance)
	if !g.verified(c) {
		return nil, ErrChanged
	}
	message, err := g.message()
	if err != nil {
		return nil, err
	}
	seal, err := g.seal(c, message)
	if err != nil {
		return nil, err
	}
	out := slices.Concat(seal, []byte("\r\n"), message, []byte("\r\n"), []byte(g.results))
	return out, nil
}

// verified reports whether a chain is the one that the Result is about. The
// newest seal stands for the others: it covers them.
func (g *Sealing) verified(c *chain) bool {
	if len(c.sets) != g.in.Instance || c.err != nil && g.in.Status == StatusPass {
		return false
	}
	if len(c.sets) == 0 {
		return true
	}
	s := c.newest().seal
	return s == nil && g.in.seal == nil || s != nil && bytes.Equal(s.b, g.in.seal)
}

// message makes the ARC-Message-Signature, without final CRLF (RFC 8617 §4.1.2).
func (g *Sealing) message() ([]byte, error) {
	names := g.key.Names(g.header)
	field := dkim.AppendTags(nil, nameMessage, dkim.Tags{
		{Name: "i", Value: strconv.Itoa(g.instance)},
		{Name: "a", Value: string(g.key.Algorithm)},
		{Name: "c", Value: string(g.key.HeaderCanon) + "/" + string(g.key.BodyCanon)},
		{Name: "d", Value: g.key.Domain},
		{Name: "s", Value: g.key.Selector},
		{Name: "t", Value: strconv.FormatInt(g.now.Unix(), 10)},
		{Name: "h", Value: strings.Join(names, ":")},
		{Name: "bh", Value: base64.StdEncoding.EncodeToString(g.hash.Sum())},
		{Name: "b"},
	})
	h := sha256.New()
	g.header.HashFields(h, g.key.HeaderCanon, names)
	h.Write(g.key.HeaderCanon.AppendHeader(nil, field))
	return g.sign(field, h.Sum(nil))
}

// seal makes the ARC-Seal, without final CRLF (RFC 8617 §4.1.3).
func (g *Sealing) seal(c *chain, message []byte) ([]byte, error) {
	field := dkim.AppendTags(nil, nameSeal, dkim.Tags{
		{Name: "i", Value: strconv.Itoa(g.instance)},
		{Name: "a", Value: string(g.key.Algorithm)},
		{Name: "t", Value: strconv.FormatInt(g.now.Unix(), 10)},
		{Name: "cv", Value: string(g.in.Status)},
		{Name: "d", Value: g.key.Domain},
		{Name: "s", Value: g.key.Selector},
		{Name: "b"},
	})
	h := sha256.New()
	buf := make([]byte, 0, 4096)
	if g.in.Status == StatusPass {
		for i := range c.sets {
			buf = c.sets[i].appendSealed(buf[:0])
			h.Write(c.sets[i].seal.appendSeal(buf))
		}
	} // RFC 8617 §5.1.2: a set that says fail covers itself alone
	own := set{resultsField: []byte(g.results), message: &signature{field: message}}
	h.Write(dkim.Relaxed.AppendHeader(own.appendSealed(buf[:0]), field))
	return g.sign(field, h.Sum(nil))
}

// sign completes a field that ends in an empty b=.
func (g *Sealing) sign(field, sum []byte) ([]byte, error) {
	sig, err := g.key.Sign(sum)
	if err != nil {
		return nil, err
	}
	return dkim.AppendSignature(field, base64.StdEncoding.EncodeToString(sig)), nil
}
