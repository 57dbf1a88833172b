package transfer

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// imapAppend is a message that is being appended.
type imapAppend struct {
	body    store.Staged
	nul     bool // there is one in it
	masked  bool // and the server does not take it
	flags   []store.Flag
	date    time.Time
	done    func(Filed)
	tag     string
	filed   Filed
	refusal *imapRefusal
}

// NUL cannot be sent but in a literal8. Servers show something else in its
// place: a space, or 0x80.
const (
	sentNUL   = "\x00"
	servedNUL = "\x00\x80"
)

// maskReader gives a space for each octet of some.
type maskReader struct {
	r      io.Reader
	octets string
}

func (m *maskReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	for i, b := range p[:n] {
		if strings.IndexByte(m.octets, b) >= 0 {
			p[i] = ' '
		}
	}
	return n, err
}

// content is what is sent, or what it is compared by.
func (a *imapAppend) content(compare bool) io.Reader {
	r := io.Reader(io.NewSectionReader(a.body, 0, a.body.Size()))
	switch {
	case a.nul && compare:
		return &maskReader{r, servedNUL}
	case a.masked:
		return &maskReader{r, sentNUL}
	}
	return r
}

func (k *imapSink) Put(ctx context.Context, m *Message, done func(Filed)) error {
	body, err := store.StageTemp(ctx, "", m.Body)
	if err != nil {
		return err
	}
	if body.Size() > k.max {
		body.Discard()
		return fmt.Errorf("%w: the server takes %d octets", ErrTooBig, k.max)
	}
	defer k.s.during(ctx)()
	a := &imapAppend{body: body, flags: cleanFlags(m.Flags), date: m.Date, done: done}
	a.nul = body.Outline().Traits&message.HasNUL != 0
	a.masked = a.nul && !k.s.caps["BINARY"]
	a.filed.Altered = a.masked
	if a.date.IsZero() {
		a.date = time.Now()
	}
	return k.s.orContext(ctx, k.note(k.put(a)))
}

// note remembers that nothing can be filed any more.
func (k *imapSink) note(err error) error {
	if err != nil {
		k.broken = err
	}
	return err
}

func (k *imapSink) put(a *imapAppend) error {
	if twins := k.twins(a); len(twins) > 0 {
		there, err := k.isThere(a, twins)
		if err != nil || there {
			a.body.Discard()
			if err == nil {
				a.done(Filed{Duplicate: true, Position: k.position})
			}
			return err
		}
	}
	if !k.ahead(a) {
		// The answers to others would come between.
		if err := k.settle(); err != nil {
			a.body.Discard()
			return err
		}
	}
	if err := k.send(a); err != nil {
		a.body.Discard()
		return err
	}
	k.waiting = append(k.waiting, a)
	if k.octets += a.body.Size(); len(k.waiting) < imapAhead && k.octets < batchOctets && k.ahead(a) {
		return nil
	}
	return k.settle()
}

// imapAhead is how many messages are sent before the answers are waited for.
const imapAhead = 16

// askAbove is the size in octets above which the server is asked first, so that
// it can refuse a message without reading it.
const askAbove = 1 << 20

// ahead reports whether a literal need not wait for the server (RFC 7888).
func (k *imapSink) ahead(a *imapAppend) bool {
	return k.s.caps["LITERAL+"] && a.body.Size() <= askAbove
}

// send sends an APPEND (RFC 9051 §6.3.12); with a literal8 if the message needs
// one (RFC 3516 §4.4).
func (k *imapSink) send(a *imapAppend) error {
	flags := make([]string, len(a.flags))
	for i, f := range a.flags {
		flags[i] = string(f)
	}
	tilde, plus := "", ""
	if a.nul && k.s.caps["BINARY"] {
		tilde = "~"
	}
	if k.ahead(a) {
		plus = "+"
	}
	tag, err := k.s.send(fmt.Sprintf(`APPEND %s (%s) "%s" %s{%d%s}`,
		k.arg, strings.Join(flags, " "), a.date.UTC().Format(internalDate), tilde, a.body.Size(), plus))
	if err != nil {
		return err
	}
	a.tag = tag
	if plus == "" {
		if err := k.s.flush(); err != nil {
			return err
		}
		if ok, err := k.proceed(a); err != nil || !ok {
			return err
		}
	}
	if _, err := io.Copy(k.s.w, a.content(false)); err != nil {
		return k.s.fail(err)
	}
	if _, err := k.s.w.WriteString("\r\n"); err != nil {
		return k.s.fail(err)
	}
	return nil
}

// proceed waits for the server to ask for a literal; false if it does not.
func (k *imapSink) proceed(a *imapAppend) (bool, error) {
	k.s.in.begin()
	for range maxIMAPLines {
		r, err := k.s.response()
		if err != nil {
			return false, err
		}
		switch {
		case r.tag == "+":
			return true, nil
		case r.tag == "*":
			if err := r.skip(); err != nil {
				return false, k.s.fail(err)
			}
		case r.tag == a.tag && r.kind != "OK":
			a.refusal = &imapRefusal{kind: r.kind, text: clip(r.b)}
			return false, nil
		default:
			return false, k.s.fail(protocolError("answer %.40q", r.buf))
		}
	}
	return false, k.s.fail(fmt.Errorf("%w: more than %d responses", ErrLimit, maxIMAPLines))
}

// maxRefused is how many messages in a row may be refused without a reason that
// is theirs, before the server is taken to refuse everything.
const maxRefused = 5

// settle waits for what has been sent.
func (k *imapSink) settle() error {
	if len(k.waiting) == 0 {
		return nil
	}
	if err := k.s.flush(); err != nil {
		return err
	}
	k.s.in.begin()
	if err := k.answers(k.waiting); err != nil {
		return err
	}
	waiting := k.waiting
	k.waiting, k.octets = nil, 0
	defer func() {
		for _, a := range waiting {
			a.body.Discard()
		}
	}()
	for _, a := range waiting {
		if err := k.outcome(a); err != nil {
			return err
		}
	}
	return nil
}

// answers reads the answers to APPENDs, which may come in any order (RFC 9051
// §5.5).
func (k *imapSink) answers(of []*imapAppend) error {
	open := make(map[string]*imapAppend)
	for _, a := range of {
		if a.refusal == nil {
			open[a.tag] = a
		}
	}
	for n := 0; len(open) > 0; n++ {
		if n > maxIMAPLines {
			return k.s.fail(fmt.Errorf("%w: more than %d responses", ErrLimit, maxIMAPLines))
		}
		r, err := k.s.response()
		if err != nil {
			return err
		}
		a := open[r.tag]
		switch {
		case a != nil:
			delete(open, r.tag)
			k.s.in.begin()
			if err := k.answer(a, r); err != nil {
				return k.s.fail(err)
			}
		case r.tag == "*":
			if err := r.skip(); err != nil {
				return k.s.fail(err)
			}
		default:
			return k.s.fail(protocolError("answer %.40q", r.buf))
		}
	}
	return nil
}

// answer takes the answer to an APPEND.
func (k *imapSink) answer(a *imapAppend, r *imapResponse) error {
	switch r.kind {
	case "NO", "BAD":
		a.refusal = &imapRefusal{kind: r.kind, text: clip(r.b)}
		return nil
	case "OK":
	default:
		return protocolError("answer %.40q", r.buf)
	}
	// [APPENDUID uidvalidity uid] (RFC 4315 §3)
	if words := strings.Fields(strings.TrimPrefix(string(r.b), "[")); len(words) >= 3 && strings.EqualFold(words[0], "APPENDUID") {
		v, err1 := strconv.ParseUint(words[1], 10, 32)
		u, err2 := strconv.ParseUint(strings.TrimSuffix(words[2], "]"), 10, 32)
		if err1 == nil && err2 == nil {
			k.position = fmt.Sprintf("%d:%d", v, u)
		}
	}
	a.filed.Position = k.position
	return nil
}

// outcome tells what has become of a message. A refusal that may be of the
// flags is tried again without keywords.
func (k *imapSink) outcome(a *imapAppend) error {
	if a.refusal != nil {
		if system := systemFlagsOf(a.flags); len(system) < len(a.flags) {
			a.flags, a.refusal, a.filed.Altered = system, nil, true
			err := k.send(a)
			if err == nil {
				err = k.s.flush()
			}
			if err == nil && a.refusal == nil {
				err = k.answers([]*imapAppend{a})
			}
			if err != nil {
				return err
			}
		}
	}
	if a.refusal == nil {
		k.confirm()
		a.done(a.filed)
		return nil
	}
	a.filed = Filed{Err: a.refusal, Position: k.position}
	switch a.refusal.code() {
	case "TOOBIG", "LIMIT", "CANNOT":
		k.confirm()
		a.done(a.filed)
		return nil
	case "OVERQUOTA":
		return fmt.Errorf("%w: %w", store.ErrOverQuota, a.refusal)
	case "TRYCREATE", "NOPERM", "UNAVAILABLE", "INUSE", "SERVERBUG", "CONTACTADMIN", "EXPIRED", "AUTHORIZATIONFAILED":
		return a.refusal
	}
	if k.refused = append(k.refused, a); len(k.refused) >= maxRefused {
		return fmt.Errorf("%d messages in a row: %w", maxRefused, a.refusal)
	}
	return nil
}

// confirm tells of refusals: the server does take other messages.
func (k *imapSink) confirm() {
	for _, a := range k.refused {
		a.done(a.filed)
	}
	k.refused = nil
}

// systemFlagsOf leaves out keywords.
func systemFlagsOf(flags []store.Flag) []store.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f store.Flag) bool { return !strings.HasPrefix(string(f), `\`) })
}

func (k *imapSink) Flush(ctx context.Context) error {
	if k.broken != nil {
		return k.broken
	}
	defer k.s.during(ctx)()
	if err := k.note(k.settle()); err != nil {
		return k.s.orContext(ctx, err)
	}
	k.confirm()
	return nil
}

func (k *imapSink) Close(bool) error {
	for _, a := range k.waiting {
		a.body.Discard()
	}
	k.waiting = nil
	return nil
}
