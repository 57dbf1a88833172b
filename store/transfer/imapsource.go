package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/internal/mutf7"
	"github.com/posta-mail/posta/store"
)

// Folders implements Source: what LIST shows and can be selected. Special uses,
// subscriptions and counts are known as far as the server has RFC 5258, RFC
// 6154 and RFC 5819, or LSUB.
func (s *IMAPSession) Folders(ctx context.Context) ([]Folder, error) {
	defer s.during(ctx)()
	l := imapList{s: s, index: make(map[string]int)}
	err := l.extended()
	if errors.Is(err, ErrRefused) {
		err = l.plain()
	}
	if err != nil {
		return nil, s.orContext(ctx, err)
	}
	return slices.DeleteFunc(l.folders, func(f Folder) bool { return f.Name == "" }), nil
}

// imapList collects what LIST says.
type imapList struct {
	s       *IMAPSession
	folders []Folder
	index   map[string]int // by name as sent
	octets  int            // of the names
}

// extended asks for everything at once; ErrRefused if that cannot be.
func (l *imapList) extended() error {
	caps := l.s.caps
	if !caps["LIST-EXTENDED"] && !caps["IMAP4REV2"] {
		return ErrRefused
	}
	command := `LIST "" "*" RETURN (SUBSCRIBED`
	if caps["SPECIAL-USE"] || caps["IMAP4REV2"] {
		command += " SPECIAL-USE"
	}
	if caps["LIST-STATUS"] || caps["IMAP4REV2"] {
		command += " STATUS (MESSAGES)"
	}
	return l.s.each(command+")", nil, l.take)
}

// plain is for servers of RFC 3501.
func (l *imapList) plain() error {
	if err := l.s.each(`LIST "" "*"`, nil, l.take); err != nil {
		return err
	}
	err := l.s.each(`LSUB "" "*"`, nil, func(r *imapResponse) error {
		if r.kind != "LSUB" {
			return nil
		}
		raw, _, err := r.list(l.s)
		if i, ok := l.index[raw]; ok && err == nil {
			l.folders[i].Subscribed = true
		}
		return err
	})
	if errors.Is(err, ErrRefused) {
		return nil
	}
	return err
}

func (l *imapList) take(r *imapResponse) error {
	switch r.kind {
	case "LIST":
		raw, f, err := r.list(l.s)
		if err != nil || f.Err != nil {
			return err
		}
		if _, twice := l.index[raw]; twice {
			return nil
		}
		if len(l.folders) >= maxFolders {
			return fmt.Errorf("%w: more than %d mailboxes", ErrLimit, maxFolders)
		}
		if l.octets += len(raw); l.octets > maxIMAPNames {
			return fmt.Errorf("%w: names of mailboxes of more than %d octets", ErrLimit, maxIMAPNames)
		}
		l.index[raw] = len(l.folders)
		l.folders = append(l.folders, f)
	case "STATUS": // it follows its LIST (RFC 5819 §2)
		raw, st, err := r.status()
		if i, ok := l.index[raw]; ok && err == nil && st.messages >= 0 {
			l.folders[i].Messages = int(st.messages)
		}
		return err
	}
	return nil
}

// orContext prefers the context's error to that of the connection which it
// closed.
func (s *IMAPSession) orContext(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// errNoMailbox marks what LIST shows but cannot be selected.
var errNoMailbox = errors.New("not a mailbox")

// list takes a LIST or LSUB response; raw is the name as sent.
func (r *imapResponse) list(s *IMAPSession) (raw string, f Folder, err error) {
	attributes, err := r.words()
	if err == nil {
		err = r.expect(' ')
	}
	if err != nil {
		return "", f, err
	}
	delim, none, err := r.text()
	if err == nil {
		err = r.expect(' ')
	}
	if err != nil {
		return "", f, err
	}
	if none {
		delim = ""
	} else if len(delim) != 1 {
		return "", f, protocolError("delimiter %.40q", delim)
	}
	if raw, _, err = r.text(); err != nil {
		return "", f, err
	}
	f = Folder{Name: s.plainName(raw, delim), Key: raw, Messages: -1, Octets: -1}
	for _, a := range attributes {
		switch strings.ToLower(a) {
		case `\noselect`, `\nonexistent`:
			f.Err = errNoMailbox
		case `\subscribed`:
			f.Subscribed = true
		case `\all`, `\archive`, `\drafts`, `\flagged`, `\important`, `\junk`, `\sent`, `\trash`:
			f.SpecialUse = a
		}
	}
	return raw, f, nil
}

// plainName is a mailbox's name with our separator and in UTF-8; empty if it
// lacks the prefix.
func (s *IMAPSession) plainName(raw, delim string) string {
	if strings.EqualFold(raw, store.Inbox) {
		return store.Inbox
	}
	name, ok := strings.CutPrefix(raw, s.config.Prefix)
	if !ok {
		return ""
	}
	levels := []string{name}
	if delim != "" {
		levels = strings.Split(name, delim)
	}
	for i, l := range levels {
		if plain, err := mutf7.Decode(l); err == nil && !s.utf8() {
			l = plain
		}
		levels[i] = strings.ReplaceAll(l, string(store.Separator), "_")
	}
	return strings.Join(levels, string(store.Separator))
}

// utf8 reports whether names are sent as they are, because that has been enabled
// (RFC 9755 §3) or the server knows nothing older than RFC 9051 (§5.1).
func (s *IMAPSession) utf8() bool {
	return s.utf8Accept || s.caps["IMAP4REV2"] && !s.caps["IMAP4REV1"]
}

// imapStatus is what STATUS says; negative: nothing.
type imapStatus struct{ messages, uidValidity, uidNext int64 }

// status takes a STATUS response.
func (r *imapResponse) status() (raw string, st imapStatus, err error) {
	st = imapStatus{-1, -1, -1}
	if raw, _, err = r.text(); err != nil {
		return "", st, err
	}
	if err = r.expect(' '); err != nil {
		return "", st, err
	}
	words, err := r.words()
	for i := 0; i+1 < len(words); i += 2 {
		n, e := strconv.ParseUint(words[i+1], 10, 32)
		if e != nil {
			continue
		}
		switch strings.ToUpper(words[i]) {
		case "MESSAGES":
			st.messages = int64(n)
		case "UIDVALIDITY":
			st.uidValidity = int64(n)
		case "UIDNEXT":
			st.uidNext = int64(n)
		}
	}
	return raw, st, err
}

// mailboxArg encodes a name as sent for a command; what no quoted string can hold
// was never sent by a server.
func mailboxArg(raw string) (string, error) {
	if strings.ContainsAny(raw, "\r\n\x00") {
		return "", fmt.Errorf("%w: mailbox name %.40q", store.ErrInvalidName, raw)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(raw) + `"`, nil
}

// examine selects a mailbox for reading.
func (s *IMAPSession) examine(raw string) (validity uint32, exists uint32, err error) {
	arg, err := mailboxArg(raw)
	if err != nil {
		return 0, 0, err
	}
	err = s.each("EXAMINE "+arg, nil, func(r *imapResponse) error {
		switch r.kind {
		case "EXISTS":
			exists = r.num
		case "OK":
			if text, ok := strings.CutPrefix(strings.ToUpper(string(r.b)), "[UIDVALIDITY "); ok {
				num, _, _ := strings.Cut(text, "]")
				n, err := strconv.ParseUint(num, 10, 32)
				if err != nil {
					return protocolError("UIDVALIDITY %.40q", num)
				}
				validity = uint32(n)
			}
		}
		return nil
	})
	if errors.Is(err, ErrRefused) {
		err = fmt.Errorf("%w: %w", ErrFolder, err)
	}
	if err == nil && validity == 0 {
		err = s.fail(protocolError("no UIDVALIDITY"))
	}
	if err == nil && exists > maxIMAPMessages {
		err = fmt.Errorf("%w: mailbox of %d messages", ErrLimit, exists)
	}
	return validity, exists, err
}

// uids lists the UIDs of the selected mailbox from first on.
func (s *IMAPSession) uids(first store.UID, exists uint32) ([]store.UID, error) {
	if exists == 0 {
		return nil, nil
	}
	var uids []store.UID
	err := s.each(fmt.Sprintf("UID FETCH %d:* (UID)", first), nil, func(r *imapResponse) error {
		if r.kind != "FETCH" {
			return nil
		}
		f, err := r.fetch(nil)
		if err != nil {
			return err
		}
		// "*" is the last message even if that is below first.
		if f.uid >= first {
			if len(uids) >= maxIMAPMessages {
				return fmt.Errorf("%w: more than %d messages", ErrLimit, maxIMAPMessages)
			}
			uids = append(uids, f.uid)
		}
		return nil
	})
	slices.Sort(uids)
	return slices.Compact(uids), err
}

// How many messages are asked for at once.
const (
	imapMetadata = 200 // flags, dates and sizes
	imapBodies   = 50
)

// Messages implements Source.
func (s *IMAPSession) Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		defer s.during(ctx)()
		err := s.messages(f, after, yield)
		if err != nil && err != errStopped {
			yield(nil, s.orContext(ctx, err))
		}
	}
}

// errStopped: the caller wants no more.
var errStopped = errors.New("stopped")

func (s *IMAPSession) messages(f Folder, after string, yield func(*Message, error) bool) error {
	validity, exists, err := s.examine(f.key())
	if err != nil {
		return err
	}
	uids, err := s.uids(behind(after, validity), exists)
	if err != nil {
		return err
	}
	for len(uids) > 0 {
		n := min(len(uids), imapMetadata)
		if err := s.some(validity, uids[:n], yield); err != nil {
			return err
		}
		uids = uids[n:]
	}
	return nil
}

// some yields a few messages: first what is small is asked for of all, then the
// bodies.
func (s *IMAPSession) some(validity uint32, uids []store.UID, yield func(*Message, error) bool) error {
	known := make(map[store.UID]*imapFetch, len(uids))
	set := fmt.Sprintf("%d:%d", uids[0], uids[len(uids)-1])
	err := s.each("UID FETCH "+set+" (UID FLAGS INTERNALDATE RFC822.SIZE)", nil, func(r *imapResponse) error {
		if r.kind != "FETCH" {
			return nil
		}
		f, err := r.fetch(nil)
		if _, wanted := slices.BinarySearch(uids, f.orZero()); wanted && err == nil {
			known[f.uid] = f
		}
		return err
	})
	if err != nil {
		return err
	}
	uids = slices.DeleteFunc(slices.Clone(uids), func(u store.UID) bool { return known[u] == nil }) // expunged
	for len(uids) > 0 {
		n := 0
		for n < min(len(uids), imapBodies) && known[uids[n]].size <= store.MaxMessageSize {
			n++
		}
		done, err := s.bodies(validity, uids[:n], known, yield)
		for ; err == nil && done < max(n, 1); done++ {
			err = s.one(validity, known[uids[done]], yield)
		}
		if err != nil {
			return err
		}
		uids = uids[done:]
	}
	return nil
}

// bodies yields messages that one command asks for, as long as they come in
// order, and returns how many these were. What comes otherwise, because one is
// missing or the server has an order of its own, is not looked at.
func (s *IMAPSession) bodies(validity uint32, uids []store.UID, known map[store.UID]*imapFetch, yield func(*Message, error) bool) (done int, err error) {
	if len(uids) < 2 {
		return 0, nil
	}
	var set strings.Builder
	for _, u := range uids {
		fmt.Fprintf(&set, ",%d", u)
	}
	err = s.each("UID FETCH "+set.String()[1:]+" (UID BODY.PEEK[])", nil, func(r *imapResponse) error {
		if r.kind != "FETCH" {
			return nil
		}
		uid := store.UID(0)
		got, err := r.fetch(func(got *imapFetch, body io.Reader) error {
			if done == len(uids) || got.uid != uids[done] {
				return nil
			}
			uid = got.uid
			m := known[uid].message(validity)
			m.Body = body
			if !yield(m, nil) {
				return errStopped
			}
			done++
			return nil
		})
		if err == nil && uid != 0 && got.uid != uid {
			err = protocolError("UID %d and %d", uid, got.uid)
		}
		return err
	})
	var refusal *imapRefusal
	if errors.As(err, &refusal) {
		err = nil // which are concerned shows when each is asked for alone
	}
	return done, err
}

// message is what is known of a message before its body.
func (f *imapFetch) message(validity uint32) *Message {
	id := fmt.Sprintf("%d:%d", validity, f.uid)
	return &Message{ID: id, Position: id, Flags: f.flags, Date: parseInternalDate(f.date), Size: f.size}
}

func (f *imapFetch) orZero() store.UID {
	if f == nil {
		return 0
	}
	return f.uid
}

// one yields one message while its octets come, or says why they do not.
func (s *IMAPSession) one(validity uint32, f *imapFetch, yield func(*Message, error) bool) error {
	m := f.message(validity)
	if f.size > store.MaxMessageSize {
		if !yield(m, fmt.Errorf("%w: %d octets", ErrTooBig, m.Size)) {
			return errStopped
		}
		return nil
	}
	seen, empty := false, false
	err := s.each(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[])", f.uid), nil, func(r *imapResponse) error {
		if r.kind != "FETCH" {
			return nil
		}
		got, err := r.fetch(func(got *imapFetch, body io.Reader) error {
			if got.uid != 0 && got.uid != f.uid || seen {
				return protocolError("a message that was not asked for")
			}
			seen = true
			m.Body = body
			if !yield(m, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil {
			return err
		}
		if got.body && got.uid != f.uid {
			return protocolError("UID %d instead of %d", got.uid, f.uid)
		}
		empty = empty || got.uid == f.uid && !got.body
		return nil
	})
	var refusal *imapRefusal
	switch {
	case errors.As(err, &refusal) && !seen:
		err = nil
		if !yield(m, fmt.Errorf("%w: %w", ErrBroken, refusal)) {
			return errStopped
		}
	case errors.As(err, &refusal):
		err = nil // it was all there
	case err == nil && !seen && empty:
		if !yield(m, fmt.Errorf("%w: the server gives no content", ErrBroken)) {
			return errStopped
		}
	}
	return err
}

const internalDate = "_2-Jan-2006 15:04:05 -0700"

// parseInternalDate reads a date-time (RFC 9051 §9); the zero time if it is
// none.
func parseInternalDate(s string) time.Time {
	t, err := time.Parse(internalDate, s)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
