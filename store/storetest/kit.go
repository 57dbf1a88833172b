package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// kit is a store under test and short words for using it.
type kit struct {
	testing.TB
	cfg Config
	st  store.Store
}

func newKit(t testing.TB, cfg Config) *kit {
	t.Helper()
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	k := &kit{TB: t, cfg: cfg, st: cfg.New(t)}
	t.Cleanup(func() {
		closed := make(chan error, 1)
		go func() { closed <- k.st.Close() }()
		select {
		case err := <-closed:
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Close: %v", err)
			}
		case <-time.After(cfg.Patience):
			t.Errorf("Close does not return")
		}
	})
	return k
}

// mail is a small message, different for each n.
func mail(n int) string {
	return fmt.Sprintf("From: Anna <anna@example.org>\r\nTo: bob@example.org\r\nSubject: Message %d\r\n"+
		"Date: Sun, 22 Nov 2026 10:%02d:00 +0000\r\nMessage-ID: <%d@example.org>\r\n\r\nThis is message %d.\r\n", n, n%60, n, n)
}

func (k *kit) stage(body string) store.Staged {
	k.Helper()
	s, err := k.st.Stage(k.Context(), strings.NewReader(body))
	require.NoError(k, err)
	k.Cleanup(func() { s.Discard() })
	return s
}

// account makes an account and opens it.
func (k *kit) account(name string) store.Account {
	k.Helper()
	require.NoError(k, k.st.CreateAccount(k.Context(), name))
	return k.open(name)
}

func (k *kit) open(name string) store.Account {
	k.Helper()
	a, err := k.st.Account(k.Context(), name, name)
	require.NoError(k, err)
	return a
}

func (k *kit) box(a store.Account, name string) store.Mailbox {
	k.Helper()
	mb, err := a.Mailbox(k.Context(), name)
	require.NoError(k, err)
	return mb
}

// create makes a mailbox and opens it.
func (k *kit) create(a store.Account, name string) store.Mailbox {
	k.Helper()
	_, err := a.Create(k.Context(), name, store.CreateOptions{})
	require.NoError(k, err)
	return k.box(a, name)
}

// add files messages mail(from) … mail(from+n-1), each placed by itself.
func (k *kit) add(a store.Account, mailbox string, from, n int) []store.Placed {
	k.Helper()
	var all []store.Placed
	for i := range n {
		p := k.place(store.Target{Account: a.Name(), Mailbox: mailbox, Body: k.stage(mail(from + i))})
		require.NoError(k, p[0].Err)
		all = append(all, p[0])
	}
	return all
}

func (k *kit) place(targets ...store.Target) []store.Placed {
	k.Helper()
	p := k.st.Place(k.Context(), targets)
	require.Len(k, p, len(targets), "one result per target")
	return p
}

func (k *kit) info(mb store.Mailbox) store.MailboxInfo {
	k.Helper()
	i, err := mb.Info(k.Context())
	require.NoError(k, err)
	return i
}

// snap takes a snapshot and checks it, and the mailbox's Info, for being sound.
func (k *kit) snap(mb store.Mailbox) *store.Snapshot {
	k.Helper()
	s, err := mb.Snapshot(k.Context())
	require.NoError(k, err)
	info := k.info(mb)
	require.NoError(k, soundSnapshot(s))
	unseen, deleted, size, deletedSize := 0, 0, int64(0), int64(0)
	for _, r := range s.All() {
		if r.Flags&store.BitSeen == 0 {
			unseen++
		}
		if r.Flags&store.BitDeleted != 0 {
			deleted++
			deletedSize += int64(r.Size)
		}
		size += int64(r.Size)
	}
	require.Equal(k, mb.ID(), s.Mailbox())
	require.Equal(k, mb.ID(), info.ID)
	require.Equal(k, info.UIDValidity, s.UIDValidity(), "UIDVALIDITY of Info and Snapshot")
	require.Equal(k, info.UIDNext, s.UIDNext(), "UIDNEXT of Info and Snapshot")
	require.Equal(k, info.ModSeq, s.ModSeq(), "mod-sequence of Info and Snapshot")
	require.Equal(k, info.Messages, s.Len(), "Info.Messages")
	require.Equal(k, info.Unseen, unseen, "Info.Unseen")
	require.Equal(k, info.Deleted, deleted, "Info.Deleted")
	require.Equal(k, info.Size, size, "Info.Size")
	require.Equal(k, info.DeletedSize, deletedSize, "Info.DeletedSize")
	return s
}

// soundSnapshot checks what holds in every snapshot.
func soundSnapshot(s *store.Snapshot) error {
	if s.UIDValidity() == 0 || s.UIDNext() == 0 || s.ModSeq() == 0 {
		return fmt.Errorf("zero UIDVALIDITY %d, UIDNEXT %d or mod-sequence %d", s.UIDValidity(), s.UIDNext(), s.ModSeq())
	}
	last := store.UID(0)
	for _, r := range s.All() {
		switch {
		case r.UID <= last:
			return fmt.Errorf("UID %d after %d", r.UID, last)
		case r.UID >= s.UIDNext():
			return fmt.Errorf("UID %d, UIDNEXT %d", r.UID, s.UIDNext())
		case r.ModSeq > s.ModSeq():
			return fmt.Errorf("UID %d has mod-sequence %d, the mailbox %d", r.UID, r.ModSeq, s.ModSeq())
		case r.Created == 0 || r.Created > r.ModSeq:
			return fmt.Errorf("UID %d created at %d, changed at %d", r.UID, r.Created, r.ModSeq)
		}
		last = r.UID
	}
	return nil
}

// follows checks that new can come after old: what differs has a greater
// mod-sequence, and no UID appears below the old UIDNEXT.
func follows(old, new *store.Snapshot) error {
	if new.ModSeq() < old.ModSeq() || new.UIDNext() < old.UIDNext() {
		return fmt.Errorf("mod-sequence %d to %d, UIDNEXT %d to %d", old.ModSeq(), new.ModSeq(), old.UIDNext(), new.UIDNext())
	}
	if err := soundSnapshot(new); err != nil {
		return err
	}
	d := store.Diff(old, new)
	if new.ModSeq() == old.ModSeq() && (len(d.Rows) > 0 || len(d.Vanished) > 0) {
		return fmt.Errorf("changes without a new mod-sequence %d: %v %v", new.ModSeq(), d.Rows, d.Vanished)
	}
	for _, r := range d.Rows {
		if r.ModSeq <= old.ModSeq() {
			return fmt.Errorf("UID %d changed at %d, after mod-sequence %d was seen", r.UID, r.ModSeq, old.ModSeq())
		}
		if _, had := old.Find(r.UID); !had && r.UID < old.UIDNext() {
			return fmt.Errorf("UID %d appeared after UIDNEXT %d was seen", r.UID, old.UIDNext())
		}
	}
	return nil
}

func uids(s *store.Snapshot) []store.UID {
	out := []store.UID{}
	for _, r := range s.All() {
		out = append(out, r.UID)
	}
	return out
}

func (k *kit) row(s *store.Snapshot, uid store.UID) store.Row {
	k.Helper()
	i, ok := s.Find(uid)
	require.True(k, ok, "UID %d is not in the mailbox", uid)
	return s.At(i)
}

// flags names the flags of one message now.
func (k *kit) flags(mb store.Mailbox, uid store.UID) []store.Flag {
	k.Helper()
	s := k.snap(mb)
	return s.Flags(k.row(s, uid).Flags)
}

func (k *kit) flag(mb store.Mailbox, op store.FlagOp, set store.UIDSet, flags ...store.Flag) store.Flagged {
	k.Helper()
	f, err := mb.Flag(k.Context(), set, store.FlagUpdate{Op: op, Flags: flags})
	require.NoError(k, err)
	return f
}

func (k *kit) changes(mb store.Mailbox, since store.ModSeq) store.Changes {
	k.Helper()
	c, err := mb.Changes(k.Context(), since)
	require.NoError(k, err)
	return c
}

// body reads a message to its end.
func (k *kit) body(mb store.Mailbox, row store.Row) string {
	k.Helper()
	b, err := mb.Open(k.Context(), row)
	require.NoError(k, err)
	return k.drain(b)
}

func (k *kit) drain(b store.Body) string {
	k.Helper()
	data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	require.NoError(k, err)
	require.EqualValues(k, b.Size(), len(data), "size")
	require.NoError(k, b.Close())
	return string(data)
}

// receive waits for a wake-up and tells whether the channel is still open.
func (k *kit) receive(ch <-chan struct{}) bool {
	k.Helper()
	select {
	case _, ok := <-ch:
		return ok
	case <-time.After(k.cfg.Patience):
		k.Fatal("no wake-up")
		return false
	}
}

// closed waits until a channel is closed; wake-ups before that are allowed.
func (k *kit) closed(ch <-chan struct{}) {
	k.Helper()
	for k.receive(ch) {
	}
}

// ended is a context that has been cancelled.
func (k *kit) ended() context.Context {
	ctx, cancel := context.WithCancel(k.Context())
	cancel()
	return ctx
}

// pattern is n octets of CRLF lines, cheap to make and to compare.
type pattern struct{ n, off int64 }

var patternLine = []byte("Subject: a long message of many lines that all look alike, so it is cheap.\r\n")

func (p *pattern) Read(b []byte) (int, error) {
	if p.off >= p.n {
		return 0, io.EOF
	}
	m := int(min(int64(len(b)), p.n-p.off, 7000))
	fillPattern(b[:m], p.off)
	p.off += int64(m)
	return m, nil
}

func fillPattern(b []byte, off int64) {
	for i := 0; i < len(b); {
		i += copy(b[i:], patternLine[(off+int64(i))%int64(len(patternLine)):])
	}
}

// samePattern compares size octets of r with the pattern.
func samePattern(r io.ReaderAt, off, size int64) error {
	got, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for done := int64(0); done < size; {
		m := int(min(int64(len(got)), size-done))
		if n, err := r.ReadAt(got[:m], off+done); n < m {
			return fmt.Errorf("read %d of %d octets at %d: %w", n, m, off+done, err)
		}
		fillPattern(want[:m], done)
		if !bytes.Equal(got[:m], want[:m]) {
			return fmt.Errorf("octets differ after offset %d", done)
		}
		done += int64(m)
	}
	return nil
}

// isAny reports whether err is one of the kinds.
func isAny(err error, kinds ...error) bool {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
