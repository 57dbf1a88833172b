//go:build unix

package maildir_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
)

// rig is a store with an account, and the account's folder for other programs.
type rig struct {
	*testing.T
	root, dir string
	st        *maildir.Store
	a         store.Account
	inbox     store.Mailbox
}

func newRig(t *testing.T, opt maildir.Options) *rig {
	r := &rig{T: t, root: t.TempDir()}
	r.dir = filepath.Join(r.root, "anna")
	r.st = r.opened(opt)
	require.NoError(t, r.st.CreateAccount(t.Context(), "anna"))
	r.use(r.st)
	return r
}

// opened opens the store as one more process would.
func (r *rig) opened(opt maildir.Options) *maildir.Store {
	r.Helper()
	st, err := opt.Open(r.root)
	require.NoError(r, err)
	r.Cleanup(func() { st.Close() })
	return st
}

func (r *rig) use(st *maildir.Store) {
	r.Helper()
	var err error
	r.st = st
	r.a, err = st.Account(r.Context(), "anna", "anna")
	require.NoError(r, err)
	r.inbox = r.box(store.Inbox)
}

func (r *rig) box(name string) store.Mailbox {
	r.Helper()
	mb, err := r.a.Mailbox(r.Context(), name)
	require.NoError(r, err)
	return mb
}

func (r *rig) snap(mb store.Mailbox) *store.Snapshot {
	r.Helper()
	s, err := mb.Snapshot(r.Context())
	require.NoError(r, err)
	return s
}

func (r *rig) read(mb store.Mailbox, row store.Row) string {
	r.Helper()
	b, err := mb.Open(r.Context(), row)
	require.NoError(r, err)
	defer b.Close()
	data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	require.NoError(r, err)
	require.EqualValues(r, row.Size, len(data))
	return string(data)
}

func (r *rig) place(text string, flags ...store.Flag) store.Placed {
	r.Helper()
	s, err := r.st.Stage(r.Context(), strings.NewReader(text))
	require.NoError(r, err)
	defer s.Discard()
	p := r.st.Place(r.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Flags: flags}})[0]
	require.NoError(r, p.Err)
	return p
}

// deliver does what another program's delivery does.
func deliver(dir, base, text string) error {
	tmp := filepath.Join(dir, "tmp", base)
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "new", base))
}

func (r *rig) deliver(dir, base, text string) {
	r.Helper()
	require.NoError(r, deliver(dir, base, text))
}

// files are the names in new and cur.
func (r *rig) files(dir string) (names []string) {
	r.Helper()
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		require.NoError(r, err)
		for _, e := range entries {
			names = append(names, sub+"/"+e.Name())
		}
	}
	return names
}

// eventually waits for what other programs did to show.
func (r *rig) eventually(what string, f func() bool) {
	r.Helper()
	require.Eventually(r, f, 10*time.Second, 5*time.Millisecond, what)
}

const lfMail = "Subject: from afar\nFrom: bob@example.org\n\nline one\nline two\n"

func TestForeignDelivery(t *testing.T) {
	r := newRig(t, maildir.Options{})
	r.deliver(r.dir, "1700000002.M5.host", lfMail)
	r.deliver(r.dir, "1700000001.M9.host", strings.ReplaceAll(lfMail, "\n", "\r\n"))
	r.deliver(r.dir, "1700000002.M4.host,S=62", lfMail)
	s := r.snap(r.inbox)
	require.Equal(t, 3, s.Len(), "shows at once")
	for i, name := range []string{"M9", "M4", "M5"} {
		row := s.At(i)
		assert.EqualValues(t, i+1, row.UID, "in order of delivery, %s", name)
		assert.Equal(t, strings.ReplaceAll(lfMail, "\n", "\r\n"), r.read(r.inbox, row), "with CRLF")
		assert.Zero(t, row.Flags)
		for d, err := range r.inbox.Details(t.Context(), []store.Row{row, row}) {
			require.NoError(t, err)
			assert.Equal(t, "from afar", d.Outline.Envelope.Subject)
			assert.EqualValues(t, row.Size, d.Outline.Size)
		}
	}
	p := r.place(lfMail)
	assert.EqualValues(t, 4, p.UID)
	assert.Equal(t, lfMail, r.read(r.inbox, r.snap(r.inbox).At(3)), "what is placed is kept as it is")
	// A copy of what has LF reads the same.
	c, err := r.inbox.Copy(t.Context(), store.AllUIDs(), r.inbox.ID())
	require.NoError(t, err)
	s = r.snap(r.inbox)
	for i := range 4 {
		assert.Equal(t, r.read(r.inbox, s.At(i)), r.read(r.inbox, s.At(4+i)))
	}
	assert.Len(t, c.To, 4)
}

func TestForeignFlags(t *testing.T) {
	r := newRig(t, maildir.Options{})
	p := r.place(lfMail)
	before := r.snap(r.inbox)
	name := strings.TrimPrefix(r.files(r.dir)[0], "new/")
	require.NoError(t, os.Rename(filepath.Join(r.dir, "new", name), filepath.Join(r.dir, "cur", name+":2,FSbX")))
	r.eventually("flags", func() bool { return r.snap(r.inbox).ModSeq() > before.ModSeq() })
	// What a letter means may be told after it was used.
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "dovecot-keywords"), []byte("1 $Junk\n"), 0o600))
	s := r.snap(r.inbox)
	require.Equal(t, 1, s.Len())
	assert.Equal(t, p.UID, s.At(0).UID, "the UID stays")
	assert.Equal(t, []store.Flag{store.FlagSeen, store.FlagFlagged, "$Junk"}, s.Flags(s.At(0).Flags))
	// Ours keep what they mean to others, and what we do not know.
	_, err := r.inbox.Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Op: store.FlagsReplace, Flags: []store.Flag{store.FlagAnswered, "Work", "$Forwarded"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"cur/" + name + ":2,PRXac"}, r.files(r.dir))
	data, err := os.ReadFile(filepath.Join(r.dir, "dovecot-keywords"))
	require.NoError(t, err)
	assert.Equal(t, "0 Work\n1 $Junk\n2 $Forwarded\n", string(data))
}

// A change of ours adds to what another program changed just before, unseen.
func TestFlagsMeet(t *testing.T) {
	r := newRig(t, maildir.Options{})
	r.place(lfMail, store.FlagSeen)
	for i := range 20 {
		old := filepath.Join(r.dir, r.files(r.dir)[0])
		base, _, _ := strings.Cut(filepath.Base(old), ":")
		flags := []string{":2,FS", ":2,S"}[i%2]
		require.NoError(t, os.Rename(old, filepath.Join(r.dir, "cur", base+flags)))
		_, err := r.inbox.Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Op: store.FlagOp(i % 2), Flags: []store.Flag{store.FlagAnswered}})
		require.NoError(t, err)
		want := []string{":2,FRS", ":2,S"}[i%2]
		r.eventually("both changes", func() bool {
			s := r.snap(r.inbox)
			return r.files(r.dir)[0] == "cur/"+base+want && len(s.Flags(s.At(0).Flags)) == []int{3, 1}[i%2]
		})
	}
}

func TestForeignExpunge(t *testing.T) {
	r := newRig(t, maildir.Options{})
	for range 3 {
		r.place(lfMail)
	}
	before := r.snap(r.inbox)
	require.NoError(t, os.Remove(filepath.Join(r.dir, r.files(r.dir)[1])))
	r.eventually("it is gone", func() bool { return r.snap(r.inbox).Len() == 2 })
	c, err := r.inbox.Changes(t.Context(), before.ModSeq())
	require.NoError(t, err)
	assert.Len(t, c.Vanished, 1)
	for u := range c.Vanished.All() {
		i, _ := before.Find(u)
		_, err := r.inbox.Open(t.Context(), before.At(i))
		require.ErrorIs(t, err, store.ErrExpunged)
	}
	_, err = r.inbox.Expunge(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	assert.Empty(t, r.files(r.dir), "ours go for others too")
}

func TestForeignFolders(t *testing.T) {
	r := newRig(t, maildir.Options{})
	mk := func(name string) string {
		dir := filepath.Join(r.dir, name)
		for _, sub := range []string{"tmp", "new", "cur"} {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
		}
		return dir
	}
	r.deliver(mk(".Lists.Go"), "1.a.h", lfMail)
	mk(".a..b")
	require.NoError(t, os.Symlink(r.dir, filepath.Join(r.dir, ".Loop")))
	names := func() (out []string) {
		boxes, err := r.a.Mailboxes(t.Context())
		require.NoError(t, err)
		for _, b := range boxes {
			out = append(out, b.Name)
		}
		return out
	}
	r.eventually("a new folder", func() bool { return slices.Equal(names(), []string{"INBOX", "Lists/Go"}) })
	mb := r.box("Lists/Go")
	first := r.snap(mb)
	require.Equal(t, 1, first.Len())
	// Renamed, it is the same mailbox.
	require.NoError(t, os.Rename(filepath.Join(r.dir, ".Lists.Go"), filepath.Join(r.dir, ".Go")))
	r.eventually("a renamed folder", func() bool { return slices.Equal(names(), []string{"Go", "INBOX"}) })
	assert.Equal(t, mb.ID(), r.box("Go").ID())
	now := r.snap(mb)
	assert.Equal(t, first.UIDValidity(), now.UIDValidity())
	assert.Equal(t, first.At(0), now.At(0))
	// Removed and made again, it is another.
	require.NoError(t, os.RemoveAll(filepath.Join(r.dir, ".Go")))
	r.eventually("a removed folder", func() bool { return slices.Equal(names(), []string{"INBOX"}) })
	mk(".Go")
	r.eventually("made again", func() bool { return slices.Equal(names(), []string{"Go", "INBOX"}) })
	assert.NotEqual(t, mb.ID(), r.box("Go").ID())
	assert.Greater(t, r.snap(r.box("Go")).UIDValidity(), first.UIDValidity())
}

// Only regular files are messages.
func TestOddFiles(t *testing.T) {
	r := newRig(t, maildir.Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(lfMail), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(r.dir, "new", "1.link.h")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(r.dir, "cur", "2.fifo.h:2,S"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "cur", "3.dir.h:2,"), 0o700))
	r.deliver(r.dir, ".hidden", lfMail)
	r.deliver(r.dir, "4.ok.h", lfMail)
	s := r.snap(r.inbox)
	require.Equal(t, 1, s.Len())
	row := s.At(0)
	// One that is put in a message's place later is not followed either.
	name := filepath.Join(r.dir, "new", "4.ok.h")
	require.NoError(t, os.Truncate(name, 5))
	_, err := r.inbox.Open(t.Context(), row)
	require.ErrorIs(t, err, store.ErrCorrupt, "shorter than recorded")
	require.NoError(t, os.Remove(name))
	require.NoError(t, os.Symlink(secret, name))
	_, err = r.inbox.Open(t.Context(), row)
	require.ErrorIs(t, err, store.ErrCorrupt, "a link is not followed")
	require.NoError(t, os.Remove(name))
	require.NoError(t, syscall.Mkfifo(name, 0o600))
	_, err = r.inbox.Open(t.Context(), row)
	require.ErrorIs(t, err, store.ErrCorrupt, "a pipe is not waited for")
	r.place(lfMail)
	s = r.snap(r.inbox)
	assert.Equal(t, lfMail, r.read(r.inbox, s.At(s.Len()-1)), "the session lives")
}

// Two files of one base name are two messages; none is lost.
func TestSameBaseTwice(t *testing.T) {
	r := newRig(t, maildir.Options{})
	r.deliver(r.dir, "1.a.h", lfMail)
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "cur", "1.a.h:2,S"), []byte(lfMail+"other\n"), 0o600))
	r.eventually("both", func() bool { return r.snap(r.inbox).Len() == 2 })
	assert.Len(t, r.files(r.dir), 2)
}

func TestAdoption(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "anna")
	for _, d := range []string{"", ".Sent"} {
		for _, sub := range []string{"tmp", "new", "cur"} {
			require.NoError(t, os.MkdirAll(filepath.Join(dir, d, sub), 0o700))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cur", "1.a.h:2,S"), []byte(lfMail), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cur", "2.b.h:2,Fa"), []byte(lfMail), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new", "0.c.h"), []byte(lfMail), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dovecot-keywords"), []byte("0 Work\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dovecot-uidlist"), []byte("3 V1234567 N90 G0\n7 :2.b.h:2,F\n20 :1.a.h\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "subscriptions"), []byte("V\t2\n\nSent\n"), 0o600))
	r := &rig{T: t, root: root, dir: dir}
	r.use(r.opened(maildir.Options{}))
	s := r.snap(r.inbox)
	assert.EqualValues(t, 1234567, s.UIDValidity())
	assert.EqualValues(t, 91, s.UIDNext())
	require.Equal(t, 3, s.Len())
	assert.Equal(t, []store.UID{7, 20, 90}, []store.UID{s.At(0).UID, s.At(1).UID, s.At(2).UID})
	assert.Equal(t, []store.Flag{store.FlagFlagged, "Work"}, s.Flags(s.At(0).Flags))
	subs, err := r.a.Subscriptions(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"Sent"}, subs)
	assert.NotEqual(t, s.UIDValidity(), r.snap(r.box("Sent")).UIDValidity())
	var names []string
	for name, err := range r.st.Accounts(t.Context()) {
		require.NoError(t, err)
		names = append(names, name)
	}
	assert.Equal(t, []string{"anna"}, names)
}

// Without its index the mail is all there, under another UIDVALIDITY.
func TestIndexLost(t *testing.T) {
	for what, harm := range map[string]func(t *testing.T, index string){
		"deleted": func(t *testing.T, index string) { require.NoError(t, os.RemoveAll(filepath.Dir(index))) },
		"damaged": func(t *testing.T, index string) {
			require.NoError(t, os.WriteFile(index, []byte(strings.Repeat("no database ", 1000)), 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, maildir.Options{})
			_, err := r.a.Create(t.Context(), "Lists", store.CreateOptions{})
			require.NoError(t, err)
			require.NoError(t, r.a.Subscribe(t.Context(), "Lists", true))
			for i := range 5 {
				r.place(fmt.Sprint("Subject: ", i, "\r\n\r\nbody\r\n"), store.FlagSeen, "Work")
			}
			_, err = r.inbox.Move(t.Context(), store.UIDs(5), r.box("Lists").ID())
			require.NoError(t, err)
			_, err = r.inbox.Expunge(t.Context(), store.UIDs(1))
			require.NoError(t, err)
			before := r.snap(r.inbox)
			require.NoError(t, r.st.Close())
			harm(t, filepath.Join(r.dir, "posta", "index.db"))
			r.use(r.opened(maildir.Options{}))
			s := r.snap(r.inbox)
			require.Equal(t, 3, s.Len())
			assert.Greater(t, s.UIDValidity(), before.UIDValidity())
			for i, row := range s.All() {
				assert.Equal(t, fmt.Sprint("Subject: ", i+1, "\r\n\r\nbody\r\n"), r.read(r.inbox, row))
				assert.Equal(t, []store.Flag{store.FlagSeen, "Work"}, s.Flags(row.Flags))
			}
			assert.Equal(t, 1, r.snap(r.box("Lists")).Len())
			subs, err := r.a.Subscriptions(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []string{"Lists"}, subs)
		})
	}
}

// Another program delivers, flags and deletes while ours does: in the end both
// see the same, and no UID was ever given to two messages.
func TestForeignConcurrently(t *testing.T) {
	r := newRig(t, maildir.Options{})
	const rounds = 150
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range rounds {
			assert.NoError(t, deliver(r.dir, fmt.Sprintf("%d.foreign.h", 1000+i), fmt.Sprintf("Subject: f%d\n\n", i)))
		}
	})
	var foreignGone sync.Map
	wg.Go(func() { // flags or deletes whatever it finds
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 6 * rounds {
			entries, _ := os.ReadDir(filepath.Join(r.dir, "cur"))
			from := "cur"
			if len(entries) == 0 || rnd.IntN(3) == 0 {
				entries, _ = os.ReadDir(filepath.Join(r.dir, "new"))
				from = "new"
			}
			if len(entries) == 0 {
				continue
			}
			name := entries[rnd.IntN(len(entries))].Name()
			old := filepath.Join(r.dir, from, name)
			base, _, _ := strings.Cut(name, ":")
			if rnd.IntN(6) == 0 {
				if os.Remove(old) == nil {
					foreignGone.Store(base, true)
				}
				continue
			}
			os.Rename(old, filepath.Join(r.dir, "cur", base+":2,"+[]string{"", "S", "FS", "RS", "R"}[rnd.IntN(5)]))
		}
	})
	seen := map[store.UID]string{}
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(3, 4))
		for i := range rounds {
			s, err := r.st.Stage(t.Context(), strings.NewReader(fmt.Sprintf("Subject: o%d\r\n\r\n", i)))
			if !assert.NoError(t, err) {
				return
			}
			p := r.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s}})[0]
			assert.NoError(t, p.Err)
			snap, err := r.inbox.Snapshot(t.Context())
			if !assert.NoError(t, err) {
				return
			}
			for _, row := range snap.All() {
				b, err := r.inbox.Open(t.Context(), row)
				if err != nil {
					assert.ErrorIs(t, err, store.ErrExpunged)
					continue
				}
				data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
				b.Close()
				assert.NoError(t, err)
				if was, ok := seen[row.UID]; ok {
					assert.Equal(t, was, string(data), "UID %d", row.UID)
				}
				seen[row.UID] = string(data)
			}
			if snap.Len() == 0 {
				continue
			}
			one := store.UIDs(snap.At(rnd.IntN(snap.Len())).UID)
			_, err = r.inbox.Flag(t.Context(), one, store.FlagUpdate{Op: store.FlagOp(rnd.IntN(3)), Flags: []store.Flag{store.FlagFlagged, "Work"}})
			assert.NoError(t, err)
			if i%5 == 0 {
				_, err = r.inbox.Expunge(t.Context(), one)
				assert.NoError(t, err)
			}
		}
	})
	wg.Wait()
	// When all is quiet, the folder and the mailbox are the same.
	same := func() bool {
		snap := r.snap(r.inbox)
		var want, got []string
		for _, f := range r.files(r.dir) {
			_, flags, _ := strings.Cut(f, ":2,")
			data, err := os.ReadFile(filepath.Join(r.dir, f))
			require.NoError(t, err)
			want = append(want, strings.TrimSpace(string(data))+" "+flags)
		}
		for _, row := range snap.All() {
			var flags []byte
			for _, f := range snap.Flags(row.Flags) {
				flags = append(flags, map[store.Flag]byte{store.FlagSeen: 'S', store.FlagAnswered: 'R', store.FlagFlagged: 'F', "Work": 'a'}[f])
			}
			slices.Sort(flags)
			got = append(got, strings.TrimSpace(r.read(r.inbox, row))+" "+string(flags))
		}
		slices.Sort(want)
		slices.Sort(got)
		return slices.Equal(want, got)
	}
	r.eventually("both see the same", same)
	n := 0
	foreignGone.Range(func(_, _ any) bool { n++; return true })
	t.Logf("%d messages seen, %d left, %d deleted by the other program", len(seen), r.snap(r.inbox).Len(), n)
}
