package transfer

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func TestMboxRoundTrip(t *testing.T) {
	from := anna(t, some()...)
	dir := t.TempDir()
	r := copyAll(t, from, Mbox{Path: dir}, Options{})
	assert.Equal(t, int64(len(some())), r.Messages)
	assert.Zero(t, r.Skipped)
	same(t, from, Mbox{Path: dir})
	to := anna(t)
	copyAll(t, Mbox{Path: dir}, to, Options{})
	same(t, from, to)
	_, err := os.Stat(filepath.Join(dir, "Work", "Plans.mbox"))
	require.NoError(t, err)

	_, err = Copy(t.Context(), from, Mbox{Path: dir}, Options{})
	require.ErrorIs(t, err, store.ErrExists)
}

const from1 = "From a@example.org Thu Jan  1 00:00:00 2026\n"

func TestMboxRead(t *testing.T) {
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	one := func(text string, f ...store.Flag) mail { return mail{"INBOX", flags(f...), day, "", text} }
	for _, c := range []struct {
		name, in string
		format   MboxFormat
		want     []mail
	}{
		{"empty", "", MboxRD, nil},
		{"no blank at the end", from1 + "A: b\n\ntext", MboxRD, []mail{one("A: b\r\n\r\ntext")}},
		{"CRLF", strings.ReplaceAll(from1+"A: b\n\ntext\n\n"+from1+"C: d\n\n", "\n", "\r\n"), MboxRD, []mail{one("A: b\r\n\r\ntext\r\n"), one("C: d\r\n")}},
		{"rd", from1 + "A: b\n\n>From x\n>>From y\n>from z\n\n", MboxRD, []mail{one("A: b\r\n\r\nFrom x\r\n>From y\r\n>from z\r\n")}},
		{"o", from1 + "A: b\n\n>From x\n>>From y\n\n", MboxO, []mail{one("A: b\r\n\r\nFrom x\r\n>>From y\r\n")}},
		{"unquoted", from1 + "A: b\n\nFrom here\n\nFrom there on we go\nFrom a@b.c Thu Jan  1 00:00:00 2026\n\n", MboxRD,
			[]mail{one("A: b\r\n\r\nFrom here\r\n\r\nFrom there on we go\r\nFrom a@b.c Thu Jan  1 00:00:00 2026\r\n")}},
		{"cl", from1 + "A: b\nContent-Length: 8\n\n\n" + "From \n\n\n" + from1 + "C: d\n\n", MboxCL, []mail{one("A: b\r\n\r\n\r\nFrom \r\n\r\n"), one("C: d\r\n")}},
		{"cl2 with a separator inside", from1 + "Content-Length: 54\n\ntext\n\n" + from1 + ">Fro\n" + from1 + "C: d\n\ne\n", MboxCL2,
			[]mail{one("\r\ntext\r\n\r\n" + strings.TrimSuffix(from1, "\n") + "\r\n>Fro"), one("C: d\r\n\r\ne\r\n")}},
		{"cl that lies", from1 + "Content-Length: 3\n\ntext\n\n" + from1 + "C: d\n\n", MboxCL, []mail{one("\r\ntext\r\n"), one("C: d\r\n")}},
		{"cl beyond", from1 + "Content-Length: 9223372036854775807\n\ntext\n\n" + from1, MboxCL2, []mail{one("\r\ntext\r\n"), one("")}},
		{"flags", from1 + "Status: RO\nX-Status: AF\nX-Keywords: $Fwd\n\twork  bad( \nX-UID: 7\nA: b\n\ntext\n\n", MboxRD,
			[]mail{one("A: b\r\n\r\ntext\r\n", store.FlagSeen, store.FlagAnswered, store.FlagFlagged, "$Fwd", "work")}},
		{"status in the body", from1 + "A: b\n\nStatus: RO\n\n", MboxRD, []mail{one("A: b\r\n\r\nStatus: RO\r\n")}},
		{"nothing but separators", from1 + "\n" + from1 + "\n\n", MboxRD, []mail{one(""), one("\r\n")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "box")
			require.NoError(t, os.WriteFile(name, []byte(c.in), 0o600))
			got := contents(t, Mbox{Path: name, Format: c.format})
			for i := range got {
				if len(got[i].flags) == 0 {
					got[i].flags = nil
				}
			}
			assert.Equal(t, c.want, got)
		})
	}
	name := filepath.Join(t.TempDir(), "box")
	require.NoError(t, os.WriteFile(name, []byte("Subject: no mbox\n\n"), 0o600))
	_, err := Copy(t.Context(), Mbox{Path: name}, anna(t), Options{})
	require.ErrorIs(t, err, ErrBroken)
}

func TestFromLine(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for line, want := range map[string]time.Time{
		"From a@b Wed Mar  4 05:06:07 2026":       at,
		"From  Wed Mar  4 05:06:07 2026":          at,
		"From a@b Wed Mar 4 06:06:07 2026 +0100":  at,
		"From a@b Wed Mar 4 06:06:07 +0100 2026":  at,
		"From a@b Wed Mar 4 05:06:07 UTC 2026":    at,
		"From a b c Wed Mar 4 05:06 2026":         at.Add(-7 * time.Second),
		"From a@b Wed Mar 4 05:06:07 2026 remote": at,
		"From here to there":                      {},
		"From a@b Wed Mar 44 05:06:07 2026":       {},
		"From: Wed Mar  4 05:06:07 2026":          {},
		"From Wed":                                {},
	} {
		got, ok := parseFrom(line)
		assert.Equal(t, !want.IsZero(), ok, line)
		assert.Equal(t, want, got, line)
	}
}

func TestMboxPaths(t *testing.T) {
	for _, name := range []string{"INBOX", "a/b/c", ".hidden", "x.", "a.mbox", "a.sbd/b", "C:", `back\slash`, "Entwürfe", "a.b.c", "...", "a|b/.c/d?"} {
		p := mboxPath(name)
		assert.Equal(t, name, mboxFolder(p), p)
		assert.True(t, filepath.IsLocal(p), p)
	}
	assert.Equal(t, "Work/Plans", mboxFolder("Work.sbd/Plans"))
}

// A file that is appended to is read on; one that has changed is refused.
func TestMboxResume(t *testing.T) {
	name := mboxFile(t, 10)
	state := filepath.Join(t.TempDir(), "state")
	to := anna(t)
	r := copyAll(t, Mbox{Path: name}, to, Options{Checkpoint: state})
	assert.Equal(t, int64(10), r.Messages)
	r = copyAll(t, Mbox{Path: name}, to, Options{Checkpoint: state})
	assert.Zero(t, r.Messages)
	assert.Equal(t, int64(10), r.Earlier)
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.WriteString(f, from1+"Subject: new\n\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	r = copyAll(t, Mbox{Path: name}, to, Options{Checkpoint: state})
	assert.Equal(t, int64(1), r.Messages)
	assert.Len(t, contents(t, to), 11)

	b, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, b[:len(b)-30], 0o600))
	_, err = Copy(t.Context(), Mbox{Path: name}, to, Options{Checkpoint: state})
	require.ErrorIs(t, err, ErrChanged)
}

// An export that was stopped goes on where it was, whatever stands behind.
func TestMboxExportResume(t *testing.T) {
	from := anna(t, some()...)
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	stopped := io.ErrClosedPipe
	_, err := Copy(t.Context(), &cut{from, 2, stopped}, Mbox{Path: dir}, Options{Checkpoint: state})
	require.ErrorIs(t, err, stopped)
	matches, err := filepath.Glob(filepath.Join(dir, "*.part"))
	require.NoError(t, err)
	require.Len(t, matches, 1)
	f, err := os.OpenFile(matches[0], os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.WriteString(f, "From half a mess")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	copyAll(t, from, Mbox{Path: dir}, Options{Checkpoint: state})
	same(t, from, Mbox{Path: dir})

	// What came later is appended.
	fill(t, from, mail{"INBOX", nil, 5, "", "Subject: later\r\n\r\n"})
	copyAll(t, from, Mbox{Path: dir}, Options{Checkpoint: state})
	same(t, from, Mbox{Path: dir})
}

func FuzzMbox(f *testing.F) {
	for _, s := range []string{from1 + "A: b\n\ntext\n\n" + from1, from1 + "Content-Length: 5\nStatus: RO\n\n\ntext", from1 + "\r\r\n>From \r\n\r\n" + from1 + ">>From x"} {
		for format := range MboxCL2 + 1 {
			f.Add([]byte(s), byte(format))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, format byte) {
		if len(in) > 1<<20 {
			return
		}
		name := filepath.Join(t.TempDir(), "box")
		if err := os.WriteFile(name, in, 0o600); err != nil {
			t.Fatal(err)
		}
		src := Mbox{Path: name, Format: MboxFormat(format % 4)}
		total, last, n := 0, "", 0
		for m, err := range src.Messages(t.Context(), Folder{Key: "."}, "") {
			if m == nil {
				if n > 0 {
					t.Fatal(err)
				}
				return
			}
			b, err := io.ReadAll(m.Body)
			if err != nil {
				t.Fatal(err)
			}
			if m.Position == "" || m.Position == last {
				t.Fatalf("position %q after %q", m.Position, last)
			}
			n, last, total = n+1, m.Position, total+len(b)
		}
		if total > 2*len(in) {
			t.Fatalf("%d octets of %d", total, len(in))
		}
		if n == 0 || src.Format >= MboxCL {
			return
		}
		// Going on behind the first gives the rest.
		rest := 0
		for m, err := range src.Messages(t.Context(), Folder{Key: "."}, "") {
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, m.Body)
			for _, err := range src.Messages(t.Context(), Folder{Key: "."}, m.Position) {
				if err != nil {
					t.Fatal(err)
				}
				rest++
			}
			break
		}
		if rest != n-1 {
			t.Fatalf("%d messages behind the first of %d", rest, n)
		}
	})
}
