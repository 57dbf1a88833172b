package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func TestMaildirRoundTrip(t *testing.T) {
	from := anna(t, some()...)
	acct, err := from.open(t.Context())
	require.NoError(t, err)
	require.NoError(t, acct.Subscribe(t.Context(), "Work/Plans", true))
	dir := Maildir{t.TempDir()}
	r := copyAll(t, from, dir, Options{})
	assert.Equal(t, int64(7), r.Messages)
	assert.DirExists(t, filepath.Join(dir.Path, ".Work.Plans", "cur"))
	assert.FileExists(t, filepath.Join(dir.Path, ".Entw&APw-rfe", "maildirfolder"))
	assert.DirExists(t, filepath.Join(dir.Path, ".a&AC4-mbox"))
	folders, err := dir.Folders(t.Context())
	require.NoError(t, err)
	for _, f := range folders {
		assert.Equal(t, f.Name == "Work/Plans", f.Subscribed, f.Name)
		assert.GreaterOrEqual(t, f.Messages, 0)
	}
	// Messages come in the order of their dates.
	bydate := contents(t, from)
	slices.SortStableFunc(bydate, func(a, b mail) int {
		if c := strings.Compare(a.box, b.box); c != 0 {
			return c
		}
		return int(a.date - b.date)
	})
	got := contents(t, dir)
	slices.SortStableFunc(got, func(a, b mail) int { return strings.Compare(a.box, b.box) })
	assert.Equal(t, bydate, got)

	to := anna(t)
	copyAll(t, dir, to, Options{})
	same(t, dir, to)
	// Again: what is there is not written twice.
	r = copyAll(t, from, dir, Options{})
	assert.Equal(t, int64(7), r.Duplicates)
	assert.Zero(t, r.Messages)
	same(t, dir, to)
}

// put writes a file of a Maildir.
func put(t testing.TB, dir, name, text string) string {
	t.Helper()
	name = filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	day := time.Unix(1700000000, 0)
	require.NoError(t, os.Chtimes(name, day, day))
	return name
}

func TestMaildirRead(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "cur/1000.b.host,S=5:2,FS", "A: b\n\nx\n")
	put(t, dir, "cur/999.a.host:2,Pab", "A: 1\r\n\r\nlast line without an end")
	put(t, dir, "new/2000.c.host", "")
	put(t, dir, "new/1000.b.host,S=5", "seen already under its other name")
	put(t, dir, "cur/.hidden", "no message")
	put(t, dir, "tmp/3000.d.host", "not complete")
	put(t, dir, "dovecot-keywords", "0 $Label1\n1 work\n2 bad(\n99 x\nnonsense\n")
	put(t, dir, "dovecot-uidlist", "3 V1 N9 Gabc\n1 P0000abcd W9 :1000.b.host,S=5\n2 :999.a.host\nrubbish\n")
	put(t, dir, ".Work.B&APw-cher/new/1.x", "B: c\n\n")
	put(t, dir, ".a..b/cur/1.x:2,", "C: d\n\n")
	put(t, dir, "nested/Deep &- down/cur/1.y:2,R", "D: e\n\n")
	put(t, dir, "nested/.more/cur/1.z;2,D", "E: f\n\n")
	put(t, dir, "subscriptions", "V\t2\n\nWork\tB&APw-cher\n")
	day := int64(1700000000)
	got := contents(t, Maildir{dir})
	slices.SortStableFunc(got, func(a, b mail) int { return strings.Compare(a.box, b.box) })
	assert.Equal(t, []mail{
		{"INBOX", flags("$Forwarded", "$Label1", "work"), day, "", "A: 1\r\n\r\nlast line without an end"},
		{"INBOX", flags(store.FlagFlagged, store.FlagSeen), day, "0000abcd", "A: b\r\n\r\nx\r\n"},
		{"INBOX", nil, day, "", ""},
		{"Work/Bücher", nil, day, "", "B: c\r\n\r\n"},
		{"a//b", nil, day, "", "C: d\r\n\r\n"},
		{"nested/Deep & down", flags(store.FlagAnswered), day, "", "D: e\r\n\r\n"},
		{"nested/more", flags(store.FlagDraft), day, "", "E: f\r\n\r\n"},
	}, got)
	to := anna(t)
	r := copyAll(t, Maildir{dir}, to, Options{})
	assert.Equal(t, int64(7), r.Messages)
	assert.Equal(t, map[string]string{"a//b": "a/b"}, r.Renamed)
}

// Broken files are left out, and so are folders that cannot be read.
func TestMaildirBroken(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "cur/1.good:2,", "A: b\n")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "cur", "2.folder"), 0o700))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(dir, "cur", "3.endless")))
	put(t, dir, "cur/4.good:2,", "C: d\n")
	put(t, dir, "cur/5.\xff\n.octets", "E: f\n")
	state := filepath.Join(t.TempDir(), "state")
	to := anna(t)
	r := copyAll(t, Maildir{dir}, to, Options{Checkpoint: state})
	assert.Equal(t, int64(3), r.Messages)
	require.Len(t, r.Skips, 2)
	for _, s := range r.Skips {
		require.ErrorIs(t, s.Err, ErrBroken)
	}
	r = copyAll(t, Maildir{dir}, to, Options{Checkpoint: state})
	assert.Zero(t, r.Messages+r.Duplicates+r.Skipped, "the name's octets are remembered")

	_, err := Copy(t.Context(), Maildir{filepath.Join(dir, "missing")}, to, Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Another program may rename and delete files meanwhile.
func TestMaildirBusy(t *testing.T) {
	dir := t.TempDir()
	one := put(t, dir, "new/1.one", "A: 1\n")
	two := put(t, dir, "cur/2.two:2,", "A: 2\n")
	three := put(t, dir, "cur/3.three:2,", "A: 3\n")
	var got []mail
	for m, err := range (Maildir{dir}).Messages(t.Context(), Folder{Key: "."}, "") {
		require.NoError(t, err)
		if m.ID == "1.one" {
			require.NoError(t, os.Rename(two, two+"S"))
			require.NoError(t, os.Remove(three))
			require.NoError(t, os.Rename(one, filepath.Join(dir, "cur", "1.one:2,")))
		}
		got = append(got, mail{flags: m.Flags, text: m.ID})
	}
	assert.Equal(t, []mail{{text: "1.one"}, {text: "2.two", flags: flags(store.FlagSeen)}}, got)
}

func TestMaildirResume(t *testing.T) {
	for at := range 8 {
		from, dir := anna(t, some()...), Maildir{t.TempDir()}
		opt := Options{Checkpoint: filepath.Join(t.TempDir(), "state")}
		stopped := errors.New("stopped")
		Copy(t.Context(), &cut{from, at, stopped}, dir, opt)
		if at%2 == 0 { // a crash before the checkpoint was written
			os.Remove(opt.Checkpoint)
		}
		copyAll(t, from, dir, opt)
		whole := Maildir{t.TempDir()}
		copyAll(t, from, whole, Options{})
		same(t, whole, dir)

		to := anna(t)
		opt.Checkpoint += "2"
		Copy(t.Context(), &cut{dir, at, stopped}, to, opt)
		r := copyAll(t, dir, to, opt)
		assert.Zero(t, r.Duplicates)
		same(t, dir, to)
	}
}

func TestMaildirKeywords(t *testing.T) {
	var mails []mail
	for i := range maxLetters + 2 {
		mails = append(mails, mail{"INBOX", flags(store.Flag(fmt.Sprintf("k%02d", i)), store.FlagSeen), int64(i), "", "x"})
	}
	dir := Maildir{t.TempDir()}
	r := copyAll(t, anna(t, mails...), dir, Options{})
	assert.Equal(t, int64(2), r.Altered)
	got := contents(t, dir)
	for i := range maxLetters {
		assert.Equal(t, mails[i].flags, got[i].flags)
	}
	assert.Equal(t, flags(store.FlagSeen), got[maxLetters].flags)
}

func TestCRLF(t *testing.T) {
	for in, want := range map[string]string{"": "", "a\nb": "a\r\nb", "\n\n": "\r\n\r\n", "a\r\nb\r": "a\r\nb\r", "\r\r\n": "\r\r\n"} {
		for _, size := range []int{1, 2, 100} {
			var got []byte
			r, buf := newCRLFReader(strings.NewReader(in)), make([]byte, size)
			for {
				n, err := r.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					break
				}
			}
			assert.Equal(t, want, string(got))
		}
		var b strings.Builder
		l := &lfWriter{w: &b}
		for _, c := range []byte(want) {
			l.Write([]byte{c})
		}
		require.NoError(t, l.end())
		assert.Equal(t, strings.ReplaceAll(want, "\r\n", "\n"), b.String())
	}
}

func FuzzMaildirNames(f *testing.F) {
	for _, s := range []string{"1.a:2,FS", ".Work.B&APw-cher", "a&AC4-b", "&", "1:2,a:1,", "&AC8-", "\xff;2,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		base, letters := splitInfo(s)
		if len(base)+len(letters) > len(s) {
			t.Fatal("longer")
		}
		if again, rest := splitInfo(base); again+rest != base && !strings.Contains(base, ":") && !strings.ContainsAny(base, ";!") {
			t.Fatalf("%q: %q has flags", s, base)
		}
		fs := fromLetters(letters, []store.Flag{"k1", "", "k2"})
		if back, table, _ := toLetters(fs, []store.Flag{"k1", "x", "k2"}); len(table) != 3 || !slices.Equal(sorted(fromLetters(back, table)), sorted(fs)) {
			t.Fatalf("%v became %q", fs, back)
		}
		// Any name becomes one that a store takes, which comes back.
		clean := cleanName(maildirMailbox(s))
		if canonical, err := store.CanonicalName(clean); err != nil || canonical != clean {
			t.Fatalf("%q: %q, %v", s, clean, err)
		}
		folder := maildirFolder(clean)
		if !utf8.ValidString(folder) || strings.ContainsAny(folder, "/\x00") || maildirMailbox(folder) != clean {
			t.Fatalf("%q becomes %q, which is %q", clean, folder, maildirMailbox(folder))
		}
		tokenOf(s)
	})
}

func sorted(f []store.Flag) []store.Flag {
	slices.Sort(f)
	return f
}
