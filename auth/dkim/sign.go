package dkim

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/internal/ctxio"
)

// Defaults of Signer.
const (
	DefaultExpiry         = 7 * 24 * time.Hour
	DefaultMinSignRSABits = 2048
)

// Signer is one key and how to sign with it. Domain, Selector and Key are
// required. It may be used by several goroutines at once if Key may.
type Signer struct {
	// Domain is d= and Selector s=; U-labels are converted (RFC 8616 §5).
	Domain, Selector string
	// Key is an RSA or Ed25519 key, possibly kept elsewhere: only its Public
	// and Sign methods are used.
	Key crypto.Signer
	// Identifier is i=, an address within Domain; empty leaves it out.
	Identifier string
	// HeaderCanon and BodyCanon are c=; empty means Relaxed.
	HeaderCanon, BodyCanon Canonicalization
	// Headers are the names of the fields to sign, all instances of each; nil
	// means DefaultHeaders. From is always signed.
	Headers []string
	// Oversign are the names that are listed once more than they occur, so that
	// none can be added later (RFC 6376 §5.4.2, §8.15); nil means
	// DefaultOversign, an empty slice only From.
	Oversign []string
	// Expiry sets x= that long after t=, against replay (RFC 6376 §8.6); zero
	// means 7 days, which outlasts the retries of a queue, negative no x=.
	Expiry time.Duration
	// MinRSABits is the smallest RSA key to sign with: zero means 2048 (RFC 8301
	// §3.2), the lowest possible is 1024.
	MinRSABits int
	// Clock tells the time for t=; nil means time.Now.
	Clock func() time.Time
}

// DefaultHeaders returns the fields signed by default where they are present:
// those that RFC 6376 §5.4.1 recommends and RFC 8058 §4 requires.
func DefaultHeaders() []string {
	return []string{
		"From", "Sender", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc",
		"Resent-Date", "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Message-ID",
		"In-Reply-To", "References", "Auto-Submitted",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe",
		"List-Post", "List-Owner", "List-Archive",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	}
}

// DefaultOversign returns the fields that by default cannot be added to a
// signed message: each of them changes what a reader sees or does.
func DefaultOversign() []string {
	return []string{
		"From", "Reply-To", "Subject", "Date", "Message-ID", "To", "Cc",
		"List-Unsubscribe", "List-Unsubscribe-Post",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	}
}

// Sign reads a message to its end and returns the DKIM-Signature fields to put
// on top of it, one per signer in their order, folded and each ending in CRLF.
// The message is read once. What is sent must be these very bytes.
//
// Errors are r's, ctx's, a Key's, ErrConfig for a signer that cannot sign, and
// ErrFromCount, ErrBareNewline, ErrHeaderTooLarge, ErrFolded for a message that
// no verifier would accept once it is signed.
func Sign(ctx context.Context, signers []*Signer, r io.Reader) ([]byte, error) {
	s, err := NewSigning(signers)
	if err != nil {
		return nil, err
	}
	if err := ctxio.Feed(ctx, s, r); err != nil {
		return nil, err
	}
	return s.Fields()
}

// Signing is the signing of one message that is being written to it. It is not
// safe for concurrent use.
type Signing struct {
	header  headerCollector
	body    BodyHasher
	signers []signing
}

// signing is a Signer in the form needed.
type signing struct {
	*Signer
	algorithm        Algorithm
	domain, selector string
	identifier       string
	headerC, bodyC   Canonicalization
	hash             *BodyHash
}

// NewSigning starts the signing of a message: write the message to it, then ask
// Fields. The error is ErrConfig.
func NewSigning(signers []*Signer) (*Signing, error) {
	s := &Signing{signers: make([]signing, len(signers))}
	s.header.maxBytes, s.header.maxFields = defaultHeaderBytes, defaultHeaderFields
	if len(signers) == 0 {
		return nil, fmt.Errorf("%w: no signer", ErrConfig)
	}
	for i, signer := range signers {
		g, err := signer.prepare()
		if err != nil {
			return nil, err
		}
		g.hash = s.body.Add(g.bodyC, -1)
		s.signers[i] = g
	}
	return s, nil
}

func (s *Signer) prepare() (g signing, err error) {
	g.Signer, g.headerC, g.bodyC = s, s.HeaderCanon, s.BodyCanon
	if g.headerC == "" {
		g.headerC = Relaxed
	}
	if g.bodyC == "" {
		g.bodyC = Relaxed
	}
	if !g.headerC.valid() || !g.bodyC.valid() {
		return g, fmt.Errorf("%w: unknown canonicalization", ErrConfig)
	}
	var okDomain, okSelector bool
	g.domain, okDomain = canonicalDomain(s.Domain, 2)
	g.selector, okSelector = canonicalDomain(s.Selector, 1)
	if !okDomain || !okSelector {
		return g, fmt.Errorf("%w: domain %q, selector %q", ErrConfig, s.Domain, s.Selector)
	}
	if s.Key == nil {
		return g, fmt.Errorf("%w: no key for %s", ErrConfig, g.domain)
	}
	if g.algorithm, err = algorithmOf(s.Key.Public()); err != nil {
		return g, err
	}
	if pub, ok := s.Key.Public().(*rsa.PublicKey); ok {
		need := max(orDefault(s.MinRSABits, DefaultMinSignRSABits), DefaultMinRSABits)
		if pub.N.BitLen() < need { // RFC 8301 §3.2
			return g, fmt.Errorf("%w: RSA key of %d bits for %s", ErrConfig, pub.N.BitLen(), g.domain)
		}
	}
	if err := g.setIdentifier(); err != nil {
		return g, err
	}
	for _, list := range [][]string{s.Headers, s.Oversign} {
		for _, name := range list {
			ok := name != "" && !strings.Contains(name, ";") &&
				string(appendFieldName(nil, []byte(name+":"))) == strings.ToLower(name)
			if !ok {
				return g, fmt.Errorf("%w: field name %q", ErrConfig, name)
			}
		}
	}
	return g, nil
}

func (g *signing) setIdentifier() error {
	if g.Identifier == "" {
		return nil
	}
	at := strings.LastIndexByte(g.Identifier, '@')
	domain, ok := canonicalDomain(g.Identifier[at+1:], 2)
	if at < 0 || !ok || !within(domain, g.domain) {
		return fmt.Errorf("%w: identifier %q not within %s", ErrConfig, g.Identifier, g.domain)
	}
	g.identifier = quoteLocalPart(g.Identifier[:at]) + "@" + domain
	return nil
}

// quoteLocalPart is the dkim-quoted-printable of RFC 6376 §2.11.
func quoteLocalPart(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ';' || c == '=' {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Write takes the next piece of the message. It always takes all of it: what is
// wrong with the message is the error of Fields.
func (s *Signing) Write(p []byte) (int, error) {
	size := len(p)
	if !s.header.done {
		p = s.header.write(p)
	}
	if len(p) > 0 {
		s.body.Write(p)
	}
	return size, nil
}

// Fields ends the message and returns its signatures; see Sign.
func (s *Signing) Fields() ([]byte, error) {
	s.header.close()
	if s.header.err != nil {
		return nil, s.header.err
	}
	if s.header.folded() {
		return nil, ErrFolded
	}
	if s.header.count("from") != 1 {
		return nil, ErrFromCount
	}
	s.body.Close()
	out := make([]byte, 0, 1024*len(s.signers))
	for i := range s.signers {
		var err error
		if out, err = s.sign(out, &s.signers[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sign appends one signature field.
func (s *Signing) sign(out []byte, g *signing) ([]byte, error) {
	names := s.names(g)
	field := g.template(names)
	h := sha256.New()
	s.header.hashFields(h, g.headerC, names)
	h.Write(g.headerC.AppendHeader(nil, field))
	sum := h.Sum(nil)
	sig, err := g.signSum(sum)
	if err != nil {
		return nil, err
	}
	f := folder{buf: append(out, field...), width: len("\tb=")}
	f.chunks(base64.StdEncoding.EncodeToString(sig))
	return append(f.buf, crlf...), nil
}

// signSum signs a hash with the key.
func (g *signing) signSum(sum []byte) ([]byte, error) {
	opts := crypto.Hash(0) // RFC 8463 §3: PureEdDSA over the hash
	if g.algorithm == RSASHA256 {
		opts = crypto.SHA256
	}
	sig, err := g.Key.Sign(rand.Reader, sum, opts)
	if err == nil && len(sig) == 0 {
		err = errors.New("empty signature")
	}
	if err != nil {
		return nil, fmt.Errorf("dkim: key of %s._domainkey.%s: %w", g.selector, g.domain, err)
	}
	return sig, nil
}

// names is the h= of a signature in lower case: each field to sign as often as
// the message has it, and once more where it is oversigned.
func (s *Signing) names(g *signing) []string {
	headers, over := g.Headers, g.Oversign
	if headers == nil {
		headers = DefaultHeaders()
	}
	if over == nil {
		over = DefaultOversign()
	}
	from := []string{"from"} // RFC 6376 §5.4: must be signed
	names := make([]string, 0, len(headers)+len(over))
	listed := make(map[string]bool, len(headers))
	for _, list := range [][]string{from, headers, over} {
		for _, name := range list {
			if name = strings.ToLower(name); !listed[name] {
				listed[name] = true
				for range s.header.named(name) {
					names = append(names, name)
				}
			}
		}
	}
	clear(listed)
	for _, list := range [][]string{from, over} {
		for _, name := range list {
			if name = strings.ToLower(name); !listed[name] {
				listed[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// template is the field with an empty b= and without final CRLF.
func (g *signing) template(names []string) []byte {
	now := time.Now
	if g.Clock != nil {
		now = g.Clock
	}
	t := now().Unix()
	f := folder{buf: make([]byte, 0, 1024)}
	f.add("DKIM-Signature: v=1;")
	f.add(" a=" + string(g.algorithm) + ";")
	f.add(" c=" + string(g.headerC) + "/" + string(g.bodyC) + ";")
	f.add(" d=" + g.domain + ";")
	f.add(" s=" + g.selector + ";")
	if g.identifier != "" {
		f.add(" i=" + g.identifier + ";")
	}
	f.add(" t=" + strconv.FormatInt(t, 10) + ";")
	if expiry := g.Expiry; expiry >= 0 {
		if expiry == 0 {
			expiry = DefaultExpiry
		}
		f.add(" x=" + strconv.FormatInt(t+max(1, int64(expiry/time.Second)), 10) + ";")
	}
	f.newline()
	f.add("h=" + names[0])
	for _, name := range names[1:] {
		f.add(":" + name)
	}
	f.add(";")
	f.newline()
	f.add("bh=" + base64.StdEncoding.EncodeToString(g.hash.Sum()) + ";")
	f.newline()
	f.add("b=")
	return f.buf
}

// folder writes a field in lines of at most 78 characters where that is
// possible (RFC 5322 §2.1.1).
type folder struct {
	buf   []byte
	width int
}

const maxWidth = 78

func (f *folder) newline() {
	f.buf = append(f.buf, "\r\n\t"...)
	f.width = 1
}

// add writes a part that must not be broken, on a new line if need be.
func (f *folder) add(part string) {
	if f.width > 1 && f.width+len(part) > maxWidth {
		f.newline()
		part = strings.TrimPrefix(part, " ")
	}
	f.buf = append(f.buf, part...)
	f.width += len(part)
}

// chunks writes text that may be broken anywhere.
func (f *folder) chunks(text string) {
	for {
		n := min(len(text), maxWidth-f.width)
		f.buf = append(f.buf, text[:n]...)
		if text = text[n:]; text == "" {
			return
		}
		f.newline()
	}
}
