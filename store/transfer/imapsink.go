package transfer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/internal/mutf7"
	"github.com/posta-mail/posta/store"
)

// rawName is a mailbox's name for the server. Names that become equal there, for
// what separates levels stands in one of them, are made distinct.
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
	sep := s.delim
	if sep == "\x00" {
		sep = "_"
	}
	raw := s.config.Prefix + s.encode(strings.ReplaceAll(strings.ReplaceAll(name, sep, "_"), string(store.Separator), sep))
	if s.delim == string(store.Separator) {
		raw = s.config.Prefix + s.encode(name)
	}
	return s.distinct(raw, name), nil
}

// distinct changes a mailbox's name for the server if another has it.
func (s *IMAPSession) distinct(raw, name string) string {
	if other, taken := s.opened[raw]; taken && other != name {
		raw = distinct(raw, name)
	}
	if s.opened == nil {
		s.opened = make(map[string]string)
	}
	s.opened[raw] = name
	return raw
}

// simpleName has "_" for what stands between levels, letters and digits.
func (s *IMAPSession) simpleName(raw string) string {
	rest, _ := strings.CutPrefix(raw, s.config.Prefix)
	return raw[:len(raw)-len(rest)] + strings.Map(func(r rune) rune {
		switch {
		case r >= 0x80, r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" -_&,+", r), string(r) == s.delim:
			return r // "&", "," and "+" are those of modified UTF-7
		}
		return '_'
	}, rest)
}

// ready finds a mailbox, or makes it.
func (s *IMAPSession) ready(raw, use string) (arg string, st imapStatus, err error) {
	if arg, err = mailboxArg(raw); err != nil {
		return "", st, err
	}
	st, err = s.status(arg)
	if errors.Is(err, ErrRefused) {
		if err = s.create(arg, use); err == nil {
			st, err = s.status(arg)
		}
	}
	return arg, st, err
}

// encode gives a name the form in which it is sent (RFC 9051 §A.1).
func (s *IMAPSession) encode(name string) string {
	if s.utf8() {
		return name
	}
	return mutf7.Encode(name)
}

// Open implements Sink.
func (s *IMAPSession) Open(ctx context.Context, f Folder, at string) (FolderSink, error) {
	defer s.during(ctx)()
	raw, err := s.rawName(f.Name)
	if err != nil {
		return nil, s.orContext(ctx, err)
	}
	arg, st, err := s.ready(raw, f.SpecialUse)
	if plain := s.simpleName(raw); errors.Is(err, ErrRefused) && plain != raw {
		// Some servers have characters that they do not take.
		delete(s.opened, raw)
		raw = s.distinct(plain, f.Name)
		arg, st, err = s.ready(raw, f.SpecialUse)
	}
	if errors.Is(err, ErrRefused) {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	if err == nil && f.Subscribed {
		if err = s.exec("SUBSCRIBE "+arg, nil); errors.Is(err, ErrRefused) {
			err = nil // the mail counts more
		}
	}
	if err != nil {
		return nil, s.orContext(ctx, err)
	}
	k := &imapSink{s: s, raw: raw, arg: arg, position: at, max: s.appendLimit()}
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

// appendLimit is the size above which the server says that it takes nothing
// (RFC 7889), in octets.
func (s *IMAPSession) appendLimit() int64 {
	for c := range s.caps {
		if limit, ok := strings.CutPrefix(c, "APPENDLIMIT="); ok {
			if n, err := strconv.ParseInt(limit, 10, 64); err == nil {
				return n
			}
		}
	}
	return store.MaxMessageSize
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
	max      int64  // octets of a message
	there    []imapTwin
	waiting  []*imapAppend
	octets   int64
	refused  []*imapAppend // told when the next is taken, or never
	broken   error
}

// imapTwin is a message in the mailbox, known by a part of a hash of its size
// and date: ten million of them take 80 MB.
type imapTwin struct {
	key uint32
	uid store.UID // 0: it has been found by one to be appended
}

func twinKey(size, date int64) uint32 {
	h := fnv.New32a()
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(size)), uint64(date)))
	return h.Sum32()
}

// look remembers what is in the mailbox from a UID on.
func (k *imapSink) look(first store.UID) error {
	_, exists, err := k.s.examine(k.raw)
	if err != nil || exists == 0 {
		return err
	}
	err = k.s.each(fmt.Sprintf("UID FETCH %d:* (UID INTERNALDATE RFC822.SIZE)", first), nil, func(r *imapResponse) error {
		if r.kind != "FETCH" {
			return nil
		}
		f, err := r.fetch(nil)
		if err != nil || f.uid < first {
			return err
		}
		if len(k.there) >= maxIMAPMessages {
			return fmt.Errorf("%w: more than %d messages", ErrLimit, maxIMAPMessages)
		}
		k.there = append(k.there, imapTwin{twinKey(f.size, parseInternalDate(f.date).Unix()), f.uid})
		return nil
	})
	slices.SortFunc(k.there, func(a, b imapTwin) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.uid, b.uid)) })
	// A server that says something twice has it once.
	k.there = slices.Compact(k.there)
	return err
}

// twins are those that a message may be the same as.
func (k *imapSink) twins(a *imapAppend) []imapTwin {
	key := twinKey(a.body.Size(), a.date.Unix())
	i, _ := slices.BinarySearchFunc(k.there, key, func(t imapTwin, key uint32) int { return cmp.Compare(t.key, key) })
	n := i
	for n < len(k.there) && k.there[n].key == key {
		n++
	}
	return k.there[i:n]
}

// isThere reports whether a message is in the mailbox already; each that is
// there is found once.
func (k *imapSink) isThere(a *imapAppend, twins []imapTwin) (bool, error) {
	if err := k.settle(); err != nil {
		return false, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, a.content(true)); err != nil {
		return false, err
	}
	want := string(h.Sum(nil))
	for i, t := range twins {
		if t.uid == 0 {
			continue
		}
		h.Reset()
		err := k.s.each(fmt.Sprintf("UID FETCH %d (UID BODY.PEEK[])", t.uid), nil, func(r *imapResponse) error {
			if r.kind != "FETCH" {
				return nil
			}
			_, err := r.fetch(func(_ *imapFetch, body io.Reader) error {
				if a.nul {
					body = &maskReader{body, servedNUL}
				}
				_, err := io.Copy(h, body)
				return err
			})
			return err
		})
		if err != nil && !errors.Is(err, ErrRefused) {
			return false, err
		}
		if string(h.Sum(nil)) == want {
			twins[i].uid = 0
			return true, nil
		}
	}
	return false, nil
}
