package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/internal/mutf7"
	"github.com/posta-mail/posta/store"
)

// rawName is a mailbox's name for the server.
func (s *IMAPSession) rawName(name string) (string, error) {
	if name == store.Inbox {
		return name, nil
	}
	if s.delim == "" {
		err := s.each(`LIST "" ""`, nil, func(r *imapResponse) error {
			if r.kind != "LIST" {
				return nil
			}
			if _, err := r.words(); err != nil {
				return err
			}
			if err := r.expect(' '); err != nil {
				return err
			}
			d, none, err := r.text()
			if !none {
				s.delim = d
			}
			return err
		})
		if err != nil {
			return "", err
		}
		if len(s.delim) != 1 {
			s.delim = "\x00" // one level
		}
	}
	levels := strings.Split(name, string(store.Separator))
	for i, l := range levels {
		levels[i] = mutf7.Encode(strings.ReplaceAll(l, s.delim, "_"))
	}
	sep := s.delim
	if sep == "\x00" {
		sep = "_"
	}
	return s.config.Prefix + strings.Join(levels, sep), nil
}

// Open implements Sink.
func (s *IMAPSession) Open(ctx context.Context, f Folder, at string) (FolderSink, error) {
	defer s.during(ctx)()
	raw, err := s.rawName(f.Name)
	if err != nil {
		return nil, s.orContext(ctx, err)
	}
	arg, err := mailboxArg(raw)
	if err != nil {
		return nil, err
	}
	st, err := s.status(arg)
	if errors.Is(err, ErrRefused) {
		if err = s.create(arg, f.SpecialUse); err == nil {
			st, err = s.status(arg)
		}
	}
	if err == nil && f.Subscribed {
		err = s.exec("SUBSCRIBE "+arg, nil)
	}
	if err != nil {
		return nil, s.orContext(ctx, err)
	}
	k := &imapSink{s: s, raw: raw, arg: arg, position: at}
	first := store.UID(1)
	if at != "" {
		if !strings.HasPrefix(at, fmt.Sprint(st.uidValidity, ":")) {
			return nil, fmt.Errorf("%w: UIDVALIDITY of %s", ErrChanged, f.Name)
		}
		first = behind(at, uint32(st.uidValidity))
	}
	if st.messages > 0 && int64(first) < st.uidNext {
		if err := k.look(first); err != nil {
			return nil, s.orContext(ctx, err)
		}
	}
	if k.position == "" {
		k.position = fmt.Sprintf("%d:0", st.uidValidity)
	}
	return k, nil
}

func (s *IMAPSession) status(arg string) (st imapStatus, err error) {
	err = s.each("STATUS "+arg+" (MESSAGES UIDVALIDITY UIDNEXT)", nil, func(r *imapResponse) error {
		if r.kind != "STATUS" {
			return nil
		}
		var err error
		_, st, err = r.status()
		return err
	})
	if err == nil && (st.uidValidity <= 0 || st.uidNext < 0) {
		err = s.fail(protocolError("STATUS without UIDVALIDITY"))
	}
	return st, err
}

// create makes a mailbox, with its special use where that can be said (RFC
// 6154 §3).
func (s *IMAPSession) create(arg, use string) error {
	if use != "" && s.caps["CREATE-SPECIAL-USE"] {
		if err := s.exec("CREATE "+arg+" (USE ("+use+"))", nil); !errors.Is(err, ErrRefused) {
			return err
		}
	}
	return s.exec("CREATE "+arg, nil)
}

// imapSink appends to one mailbox.
type imapSink struct {
	s        *IMAPSession
	raw, arg string
	position string // of the last append whose UID is known
	there    map[imapTwin][]store.UID
	waiting  []*imapAppend
	octets   int64
	refused  []*imapAppend // told when the next is taken, or never
}

// imapTwin is what two copies of a message have in common at first sight.
type imapTwin struct{ size, date int64 }

// imapAppend is a message that is being appended.
type imapAppend struct {
	body    store.Staged
	flags   []store.Flag
	date    time.Time
	done    func(Filed)
	tag     string
	filed   Filed
	refusal *imapRefusal
}

// look remembers what is in the mailbox from a UID on.
func (k *imapSink) look(first store.UID) error {
	_, exists, err := k.s.examine(k.raw)
	if err != nil || exists == 0 {
		return err
	}
	k.there = make(map[imapTwin][]store.UID)
	n := 0
	return k.s.each(fmt.Sprintf("UID FETCH %d:* (UID INTERNALDATE RFC822.SIZE)", first), nil, func(r *imapResponse) error {
		if r.kind != "FETCH" {
			return nil
		}
		f, err := r.fetch(nil)
		if err != nil || f.uid < first {
			return err
		}
		if n++; n > maxIMAPMessages {
			return fmt.Errorf("%w: more than %d messages", ErrLimit, maxIMAPMessages)
		}
		twin := imapTwin{f.size, parseInternalDate(f.date).Unix()}
		k.there[twin] = append(k.there[twin], f.uid)
		return nil
	})
}

func (a *imapAppend) twin() imapTwin { return imapTwin{a.body.Size(), a.date.Unix()} }

// isThere reports whether a message is in the mailbox already; each that is
// there is found once.
func (k *imapSink) isThere(a *imapAppend) (bool, error) {
	if err := k.settle(); err != nil {
		return false, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(a.body, 0, a.body.Size())); err != nil {
		return false, err
	}
	want := string(h.Sum(nil))
	uids := k.there[a.twin()]
	for i, uid := range uids {
		h.Reset()
		err := k.s.each(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[])", uid), nil, func(r *imapResponse) error {
			if r.kind != "FETCH" {
				return nil
			}
			_, err := r.fetch(func(_ *imapFetch, body io.Reader) error {
				_, err := io.Copy(h, body)
				return err
			})
			return err
		})
		if err != nil && !errors.Is(err, ErrRefused) {
			return false, err
		}
		if string(h.Sum(nil)) == want {
			k.there[a.twin()] = slices.Delete(uids, i, i+1)
			return true, nil
		}
	}
	return false, nil
}

func (k *imapSink) Put(ctx context.Context, m *Message, done func(Filed)) error {
	body, err := store.StageTemp(ctx, "", m.Body)
	if err != nil {
		return err
	}
	defer k.s.during(ctx)()
	a := &imapAppend{body: body, flags: cleanFlags(m.Flags), date: m.Date, done: done}
	if a.date.IsZero() {
		a.date = time.Now()
	}
	if len(k.there[a.twin()]) > 0 {
		there, err := k.isThere(a)
		if err != nil || there {
			body.Discard()
			if err == nil {
				done(Filed{Duplicate: true, Position: k.position})
			}
			return k.s.orContext(ctx, err)
		}
	}
	if err := k.send(a); err != nil {
		body.Discard()
		return k.s.orContext(ctx, err)
	}
	k.waiting = append(k.waiting, a)
	k.octets += body.Size()
	if len(k.waiting) < imapAhead && k.octets < batchOctets && k.ahead() {
		return nil
	}
	return k.s.orContext(ctx, k.settle())
}

// ahead reports whether literals need not wait for the server (RFC 7888).
func (k *imapSink) ahead() bool { return k.s.caps["LITERAL+"] }

// send sends an APPEND (RFC 9051 §6.3.12).
func (k *imapSink) send(a *imapAppend) error {
	flags := make([]string, len(a.flags))
	for i, f := range a.flags {
		flags[i] = string(f)
	}
	plus := ""
	if k.ahead() {
		plus = "+"
	}
	tag, err := k.s.send(fmt.Sprintf(`APPEND %s (%s) "%s" {%d%s}`, k.arg, strings.Join(flags, " "), a.date.UTC().Format(internalDate), a.body.Size(), plus))
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
	if _, err := io.Copy(k.s.w, io.NewSectionReader(a.body, 0, a.body.Size())); err != nil {
		return k.s.fail(err)
	}
	if _, err := k.s.w.WriteString("\r\n"); err != nil {
		return k.s.fail(err)
	}
	return nil
}

// proceed waits for the server to ask for a literal; false if it does not.
func (k *imapSink) proceed(a *imapAppend) (bool, error) {
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
	for _, a := range k.waiting {
		if a.refusal == nil {
			if err := k.answer(a); err != nil {
				return err
			}
		}
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

// answer reads the answer to an APPEND.
func (k *imapSink) answer(a *imapAppend) error {
	r, err := k.s.until(a.tag, func(r *imapResponse) error {
		if r.tag == "+" {
			return protocolError("unexpected continuation")
		}
		return nil
	})
	if errors.As(err, &a.refusal) {
		return nil
	}
	if err != nil {
		return err
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
				err = k.answer(a)
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
	defer k.s.during(ctx)()
	if err := k.settle(); err != nil {
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
