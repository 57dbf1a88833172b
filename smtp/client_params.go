package smtp

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrRequireTLS is wrapped by the error of a message with RequireTLS that
// cannot go over this connection: the server does not offer REQUIRETLS, or has
// not proved who it is (RFC 8689 §4.2.1). It is 550 5.7.30, for good as far as
// this server is concerned; another may do.
var ErrRequireTLS = errors.New("smtp: message requires TLS all the way")

// ExtensionError says that the server lacks what a message needs. It is wrapped
// by errors that wrap ErrNotSent too.
type ExtensionError struct {
	Keyword string // of the extension, as in EHLO, such as "SMTPUTF8"
}

func (e *ExtensionError) Error() string { return "smtp: server does not offer " + e.Keyword }

// lacking is the refusal of what needs an extension.
func lacking(keyword string, code int, e EnhancedCode, text string) error {
	return fmt.Errorf("%w: %w", &ExtensionError{keyword}, notSent(code, e, text))
}

// badValue is the refusal of a parameter that would not be understood.
func badValue(name string) error {
	return notSent(501, EnhancedCode{5, 5, 4}, "malformed value for "+name)
}

// params writes the arguments of MAIL or RCPT.
type params struct {
	t   *transaction
	b   []byte
	err error // the first
}

func (p *params) add(name, value string) {
	p.b = append(append(p.b, ' '), name...)
	if value != "" {
		p.b = append(append(p.b, '='), value...)
	}
}

func (p *params) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// drop notes that the message goes without an extension.
func (p *params) drop(keyword string) {
	if list := &p.t.res.Dropped; !slices.Contains(*list, keyword) {
		*list = append(*list, keyword)
	}
}

func (p *params) offered(keyword string) bool {
	_, ok := p.t.c.ext[keyword]
	return ok
}

// own adds the parameters of extensions that the package does not know: each
// named like the keyword that offers it.
func (p *params) own(values map[string]string) {
	if len(values) == 0 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		switch {
		case !isKeyword(name) || (value != "" && !isParamValue(value)):
			p.fail(badValue("a parameter"))
		case !p.offered(strings.ToUpper(name)):
			p.fail(lacking(strings.ToUpper(name), 554, EnhancedCode{5, 3, 3}, "server does not take "+strings.ToUpper(name)))
		default:
			p.add(name, value)
		}
	}
}

func (p *params) result() (string, error) {
	if p.err != nil {
		return "", p.err
	}
	return string(p.b), nil
}

// mailArgs are the arguments of MAIL; an error says what the server lacks.
func (t *transaction) mailArgs(size int64) (string, error) {
	env := t.env
	if err := env.From.check(); err != nil {
		return "", notSent(501, EnhancedCode{5, 1, 7}, "bad sender address")
	}
	if env.From.NeedsSMTPUTF8() && !t.utf8 {
		return "", notSent(553, EnhancedCode{5, 6, 7}, "address needs SMTPUTF8")
	}
	p := &params{t: t, b: make([]byte, 0, 96)}
	p.b = append(append(p.b, "FROM:"...), env.From.String()...)
	p.size(size)
	p.body(env.Body)
	if t.utf8 {
		p.add("SMTPUTF8", "")
	}
	if env.Auth != nil && p.offered("AUTH") && t.c.loggedIn {
		p.auth(*env.Auth)
	}
	p.dsnMail(&env.MailOptions)
	if env.RequireTLS {
		p.requireTLS()
	}
	if !env.HoldUntil.IsZero() {
		p.holdUntil(env.HoldUntil)
	}
	if env.DeliverBy != (DeliverBy{}) {
		p.deliverBy(env.DeliverBy)
	}
	if env.Priority != 0 {
		p.priority(env.Priority)
	}
	p.own(env.MailOptions.Params)
	return p.result()
}

// size: RFC 1870 §6.
func (p *params) size(size int64) {
	limit, ok := p.t.c.ext["SIZE"]
	if !ok {
		return
	}
	if n, err := strconv.ParseInt(limit, 10, 64); err == nil && n > 0 && size > n {
		p.fail(notSent(552, EnhancedCode{5, 3, 4}, "message is bigger than the server takes ("+limit+")"))
	}
	if size > 0 {
		p.add("SIZE", strconv.FormatInt(size, 10))
	}
}

func (p *params) body(b BodyType) {
	switch b {
	case "":
	case Body7Bit, Body8BitMIME:
		if p.offered("8BITMIME") {
			p.add("BODY", string(b))
		} else if b == Body8BitMIME && !p.t.c.cfg.Allow8Bit { // RFC 6152 §3
			p.fail(lacking("8BITMIME", 554, EnhancedCode{5, 6, 3}, "server does not take 8-bit messages"))
		}
	case BodyBinary: // RFC 3030 §3: needs both, and converting is not ours
		for _, keyword := range []string{"BINARYMIME", "CHUNKING"} {
			if !p.offered(keyword) {
				p.fail(lacking(keyword, 554, EnhancedCode{5, 6, 3}, "server does not take binary messages"))
			}
		}
		p.add("BODY", string(b))
	default:
		p.fail(badValue("BODY"))
	}
}

// auth: RFC 4954 §5.
func (p *params) auth(mailbox string) {
	if mailbox == "" {
		mailbox = "<>"
	}
	p.add("AUTH", encodeXtext(mailbox))
}

// dsnMail: RET and ENVID (RFC 3461 §4.3, §4.4).
func (p *params) dsnMail(o *MailOptions) {
	if o.Return == "" && o.EnvelopeID == "" {
		return
	}
	if !p.offered("DSN") { // RFC 3461 §5.2.2 (a)
		p.drop("DSN")
		return
	}
	if o.Return != "" {
		if o.Return != ReturnFull && o.Return != ReturnHeaders {
			p.fail(badValue("RET"))
		}
		p.add("RET", string(o.Return))
	}
	if o.EnvelopeID != "" {
		value := encodeXtext(o.EnvelopeID)
		if len(value) > maxEnvelopeID || !isPrintable(o.EnvelopeID) {
			p.fail(badValue("ENVID"))
		}
		p.add("ENVID", value)
	}
}

// requireTLS: RFC 8689 §4.2.1. Never without.
func (p *params) requireTLS() {
	const text = "REQUIRETLS support required"
	refusal := notSent(550, EnhancedCode{5, 7, 30}, text)
	switch {
	case p.t.c.verified != nil:
		p.fail(fmt.Errorf("%w: %w: %w", ErrRequireTLS, p.t.c.verified, refusal))
	case !p.offered("REQUIRETLS"):
		p.fail(fmt.Errorf("%w: %w: %w", ErrRequireTLS, &ExtensionError{"REQUIRETLS"}, refusal))
	}
	p.add("REQUIRETLS", "")
}

// holdUntil: RFC 4865 §4. What is due already needs no extension.
func (p *params) holdUntil(at time.Time) {
	if !time.Now().Before(at) {
		return
	}
	if !p.offered("FUTURERELEASE") {
		p.fail(lacking("FUTURERELEASE", 554, EnhancedCode{5, 3, 3}, "server does not hold messages"))
	}
	p.add("HOLDUNTIL", at.UTC().Format("2006-01-02T15:04:05Z"))
}

// deliverBy: RFC 2852. BY counts seconds from now on.
func (p *params) deliverBy(by DeliverBy) {
	if by.Deadline.IsZero() {
		p.fail(badValue("BY"))
		return
	}
	minimum, ok := p.t.c.ext["DELIVERBY"]
	if !ok && !by.Return {
		p.drop("DELIVERBY")
		return
	}
	left := int64(math.Floor(time.Until(by.Deadline).Seconds()))
	left = max(min(left, 999999999), -999999999)
	least, err := strconv.ParseInt(minimum, 10, 64)
	if err != nil {
		least = 1
	}
	switch {
	case by.Return && left < 1:
		p.fail(notSent(554, EnhancedCode{5, 4, 7}, "time for delivery has expired"))
	case !ok:
		p.fail(lacking("DELIVERBY", 554, EnhancedCode{5, 3, 3}, "server does not return what it cannot deliver in time"))
	case by.Return && left < least:
		p.fail(notSent(554, EnhancedCode{5, 4, 7}, "server needs more time to deliver: "+minimum+" s"))
	}
	mode := ";N"
	if by.Return {
		mode = ";R"
	}
	if by.Trace {
		mode += "T"
	}
	p.add("BY", strconv.FormatInt(left, 10)+mode)
}

// priority: RFC 6710 §4.
func (p *params) priority(n int) {
	switch {
	case n < -9 || n > 9:
		p.fail(badValue("MT-PRIORITY"))
	case !p.offered("MT-PRIORITY"):
		p.drop("MT-PRIORITY")
	default:
		p.add("MT-PRIORITY", strconv.Itoa(n))
	}
}

// rcptArgs are the arguments of RCPT for one recipient.
func (t *transaction) rcptArgs(to *Recipient) (string, error) {
	switch err := to.check(); {
	case err != nil || to.IsNull():
		return "", notSent(501, EnhancedCode{5, 1, 3}, "bad recipient address")
	case to.NeedsSMTPUTF8() && !t.utf8:
		return "", notSent(553, EnhancedCode{5, 6, 7}, "address needs SMTPUTF8")
	}
	p := &params{t: t, b: make([]byte, 0, 64)}
	p.b = append(append(p.b, "TO:"...), to.Path.String()...)
	if to.Notify != 0 || to.Original != (OriginalRecipient{}) {
		p.dsnRcpt(&to.RcptOptions)
	}
	if to.ValidSince != (ValidSince{}) {
		p.validSince(to.ValidSince)
	}
	p.own(to.RcptOptions.Params)
	return p.result()
}

// dsnRcpt: NOTIFY and ORCPT (RFC 3461 §4.1, §4.2).
func (p *params) dsnRcpt(o *RcptOptions) {
	if !p.offered("DSN") { // RFC 3461 §5.2.2 (a)
		p.drop("DSN")
		return
	}
	if o.Notify != 0 {
		if !o.Notify.valid() {
			p.fail(badValue("NOTIFY"))
		}
		p.add("NOTIFY", o.Notify.String())
	}
	if o.Original != (OriginalRecipient{}) {
		value, ok := o.Original.value()
		if !ok {
			p.fail(badValue("ORCPT"))
		}
		p.add("ORCPT", value)
	}
}

// value is o as it stands in ORCPT: up to 500 octets (RFC 3461 §4.2).
func (o OriginalRecipient) value() (string, bool) {
	address := encodeXtext(o.Address)
	if strings.EqualFold(o.Type, "utf-8") {
		address = encodeUTF8Xtext(o.Address)
	} else if !isASCII(o.Address) {
		return "", false
	}
	s := o.Type + ";" + address
	return s, isKeyword(o.Type) && o.Address != "" && utf8.ValidString(o.Address) && len(s) <= maxORCPT
}

// encodeUTF8Xtext writes utf-8-addr-xtext (RFC 6533 §3), which every server
// with DSN takes.
func encodeUTF8Xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r >= 0x7f || r == '\\' || r == '+' || r == '=' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// validSince: RFC 7293 §3.1.
func (p *params) validSince(v ValidSince) {
	switch {
	case v.Time.IsZero():
		p.fail(badValue("RRVS"))
	case p.offered("RRVS"):
		mode := ";R"
		if v.Continue {
			mode = ";C"
		}
		p.add("RRVS", v.Time.UTC().Format("2006-01-02T15:04:05Z")+mode)
	case v.Continue:
		p.drop("RRVS")
	default:
		p.fail(lacking("RRVS", 550, EnhancedCode{5, 7, 19}, "server cannot tell whose mailbox it was"))
	}
}

// maxHeader bounds how much of a message is looked at for its header.
const maxHeader = 256 << 10

// checkUTF8 settles whether SMTPUTF8 is used. A server that does not have it
// gets the message all the same if nothing in it needs that (RFC 6531 §3.5);
// addresses are looked at where they are sent.
func (t *transaction) checkUTF8(body *io.Reader) error {
	if !t.env.SMTPUTF8 {
		return nil
	}
	if _, t.utf8 = t.c.ext["SMTPUTF8"]; t.utf8 {
		return nil
	}
	if t.env.From.NeedsSMTPUTF8() {
		return lacking("SMTPUTF8", 553, EnhancedCode{5, 6, 7}, "server does not take internationalised addresses")
	}
	again, r := replay(*body)
	ascii, err := asciiHeader(r)
	if err != nil {
		return fmt.Errorf("reading the message: %w", err)
	}
	if *body = again(); !ascii {
		return lacking("SMTPUTF8", 554, EnhancedCode{5, 6, 9}, "server does not take internationalised headers")
	}
	if !slices.Contains(t.res.Dropped, "SMTPUTF8") {
		t.res.Dropped = append(t.res.Dropped, "SMTPUTF8")
	}
	return nil
}

// replay lets a body be read from where it is now, and again from there.
func replay(body io.Reader) (again func() io.Reader, r io.Reader) {
	if s, ok := body.(io.Seeker); ok {
		if start, err := s.Seek(0, io.SeekCurrent); err == nil {
			return func() io.Reader {
				if _, err := s.Seek(start, io.SeekStart); err != nil {
					return errorReader{err}
				}
				return body
			}, body
		}
	}
	var seen strings.Builder
	size := bodySize(body)
	return func() io.Reader {
		return &replayed{io.MultiReader(strings.NewReader(seen.String()), body), size}
	}, io.TeeReader(body, &seen)
}

// replayed is a body of which something has been read, with its size.
type replayed struct {
	io.Reader
	size int64
}

func (s *replayed) Size() int64 { return s.size }

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

// asciiHeader reports whether the header at the front of a message is ASCII;
// false if it does not end within maxHeader.
func asciiHeader(r io.Reader) (bool, error) {
	buf := make([]byte, 4096)
	empty := true // the line so far
	for read := 0; read < maxHeader; {
		n, err := r.Read(buf)
		for _, c := range buf[:n] {
			switch {
			case c >= utf8.RuneSelf:
				return false, nil
			case c == '\n' && empty:
				return true, nil
			case c != '\r':
				empty = c == '\n'
			}
		}
		if err == io.EOF {
			return true, nil
		} else if err != nil {
			return false, err
		}
		read += n
	}
	return false, nil
}
