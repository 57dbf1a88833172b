package imap_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
)

// graceless has no details of what has been expunged, not even for a while.
type graceless struct{ store.Mailbox }

func (m graceless) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		now, err := m.Snapshot(ctx)
		for d, e := range m.Mailbox.Details(ctx, rows) {
			if err == nil && e == nil {
				if _, ok := now.Find(d.Row.UID); !ok {
					d, e = store.Detail{Row: d.Row}, store.ErrExpunged
				}
			}
			if !yield(d, errors.Join(err, e)) {
				return
			}
		}
	}
}

// sorted is what a client makes of a result from what it is told alone.
type sorted struct {
	tag, command string
	uid          bool
	list         []int
}

var (
	resultLine = regexp.MustCompile(`^\* ESEARCH \(TAG "(t\d+)"\)( UID)?(?: (ADDTO|REMOVEFROM) \((.*)\))?(?: ALL (\S+))?$`)
	gone       = regexp.MustCompile(`^\* (\d+) EXPUNGE$`)
)

// numbers are those of a set, in the order written.
func numbers(t *testing.T, set string) (list []int) {
	for r := range strings.SplitSeq(set, ",") {
		a, b, span := strings.Cut(r, ":")
		from, err := strconv.Atoi(a)
		require.NoError(t, err)
		to := from
		if span {
			to, err = strconv.Atoi(b)
			require.NoError(t, err)
		}
		require.LessOrEqual(t, from, to)
		for n := from; n <= to; n++ {
			list = append(list, n)
		}
	}
	return list
}

// apply takes over what the server has told.
func (x *sorted) apply(t *testing.T, lines []string) {
	for _, l := range lines {
		if m := gone.FindStringSubmatch(l); m != nil && !x.uid {
			n, _ := strconv.Atoi(m[1])
			require.NotContains(t, x.list, n, "a number goes after its message has left")
			for i := range x.list {
				if x.list[i] > n {
					x.list[i]--
				}
			}
		}
		m := resultLine.FindStringSubmatch(l)
		if m == nil || m[1] != x.tag {
			continue
		}
		require.Equal(t, x.uid, m[2] != "", l)
		words := strings.Fields(m[4])
		for i := 0; i < len(words); i += 2 {
			at, err := strconv.Atoi(words[i])
			require.NoError(t, err)
			set := numbers(t, words[i+1])
			require.True(t, slices.IsSorted(set), l)
			if at--; m[3] == "ADDTO" {
				x.list = slices.Insert(x.list, at, set...)
			} else {
				require.Equal(t, set, x.list[at:at+len(set)], l)
				x.list = slices.Delete(x.list, at, at+len(set))
			}
		}
	}
}

// A client that puts what it is told where it is told to has what a fresh SORT
// gives, whatever has come, gone and changed meanwhile (RFC 5267 §4.3).
func TestSortContexts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 267))
	w := newWorld(t, func(s *imap.Server) {
		s.Store = openedStore{s.Store, func(mb store.Mailbox) store.Mailbox { return graceless{mb} }}
	})
	deliver := func() {
		m := sortable{from: string(rune('a' + r.IntN(26))), subject: string(rune('a' + r.IntN(4))), size: r.IntN(9)}
		m.field = w.since.Add(time.Duration(r.IntN(1000)) * time.Hour).Format(time.RFC1123Z)
		var flags []store.Flag
		if r.IntN(3) == 0 {
			flags = append(flags, `\Flagged`)
		}
		w.deliver("anna", store.Inbox, m.text(), w.since.Add(time.Duration(r.IntN(20))*time.Hour), flags...)
	}
	for range 40 {
		deliver()
	}
	c, other := w.login("anna"), w.login("anna")
	c.ok("SELECT INBOX")
	other.ok("SELECT INBOX")
	var all []*sorted
	for _, program := range []string{
		"(SUBJECT) UTF-8 UNFLAGGED", "(REVERSE DATE) UTF-8 UNFLAGGED", "(SIZE REVERSE FROM) UTF-8 ALL", "(REVERSE ARRIVAL) UTF-8 UNDELETED",
		"(DISPLAYFROM) UTF-8 OR FLAGGED UID 20:*",
	} {
		for _, uid := range []bool{true, false} {
			x := &sorted{uid: uid, command: "SORT RETURN (%s) " + program}
			if uid {
				x.command = "UID " + x.command
			}
			lines := c.ok(fmt.Sprintf(x.command, "UPDATE ALL"))
			x.tag = "t" + strconv.Itoa(c.tag)
			require.Len(t, lines, 1)
			if m := resultLine.FindStringSubmatch(lines[0]); m[5] != "" {
				x.list = numbers(t, m[5])
			}
			all = append(all, x)
		}
	}
	told := func(lines []string) {
		for _, x := range all {
			x.apply(t, lines)
		}
	}
	count := 40
	for range 150 {
		for range r.IntN(6) {
			switch sets := fmt.Sprintf("%d:%d", 1+r.IntN(count), 1+r.IntN(count)); r.IntN(7) {
			case 0:
				other.ok("STORE " + sets + " +FLAGS.SILENT (\\Flagged)")
			case 1:
				other.ok("STORE " + sets + " -FLAGS.SILENT (\\Flagged)")
			case 2:
				told(c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)"))
			case 3: // a few go
				other.ok(fmt.Sprintf("STORE %d +FLAGS.SILENT (\\Deleted)", 1+r.IntN(count)))
				other.ok("EXPUNGE")
			case 4: // and are still in results where that may not be told
				for range 1 + r.IntN(4) {
					other.ok(fmt.Sprintf("STORE %d +FLAGS.SILENT (\\Deleted)", 1+r.IntN(count)))
				}
				other.ok("EXPUNGE")
				deliver()
				told(c.ok("FETCH 1 FLAGS"))
			default:
				for range 1 + r.IntN(1+r.IntN(8)) {
					deliver()
				}
			}
			other.ok("NOOP")
			lines := other.ok("SEARCH RETURN (COUNT) ALL")
			_, n, _ := strings.Cut(lines[len(lines)-1], " COUNT ")
			var err error
			count, err = strconv.Atoi(n)
			require.NoError(t, err)
		}
		told(c.ok("NOOP"))
		for _, x := range all {
			want := []int{}
			lines := c.ok(fmt.Sprintf(x.command, "ALL"))
			if m := resultLine.FindStringSubmatch(lines[len(lines)-1]); m[5] != "" {
				want = numbers(t, m[5])
			}
			require.Equal(t, want, append([]int{}, x.list...), x.command)
		}
	}
}

// What cannot be read now is told later; what there is no memory for, never.
func TestSortContextFails(t *testing.T) {
	var broken error
	w := newWorld(t, func(s *imap.Server) {
		s.MemoryBudget = 128 << 10
		s.Store = openedStore{s.Store, func(mb store.Mailbox) store.Mailbox { return failing{mb, &broken} }}
	})
	w.fill("anna", store.Inbox, 5)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	require.Len(t, c.ok("UID SORT RETURN (COUNT UPDATE) (REVERSE DATE) UTF-8 UNFLAGGED"), 1)
	c.ok(`UID STORE 2,4 +FLAGS.SILENT (\Flagged)`)
	require.Equal(t, []string{`* ESEARCH (TAG "t3") UID REMOVEFROM (2 4 3 2)`}, c.ok("NOOP"))
	broken = store.ErrUnavailable
	c.ok(`UID STORE 2,3 FLAGS.SILENT ()`)
	c.ok(`UID STORE 5 +FLAGS.SILENT (\Flagged)`)
	require.Equal(t, []string{`* ESEARCH (TAG "t3") UID REMOVEFROM (1 5)`}, c.ok("NOOP"))
	require.Empty(t, c.ok("NOOP"))
	broken = nil
	require.Equal(t, []string{`* ESEARCH (TAG "t3") UID ADDTO (2 2)`}, c.ok("NOOP"))
	for range 9 {
		require.Len(t, c.ok(`UID SEARCH RETURN (COUNT UPDATE) SUBJECT "`+strings.Repeat("x", 7500)+`"`), 1)
	}
	c.ok(`UID STORE 4 -FLAGS.SILENT (\Flagged)`)
	require.Equal(t, []string{`* NO [NOUPDATE "t3"] The result is not kept up to date`}, c.ok("NOOP"))
	_, end := c.do(`CANCELUPDATE "t3"`)
	require.Equal(t, "BAD No search of this tag is kept up to date", end)
}

// BenchmarkSortContext is a message that comes to a sorted result of 100,000.
func BenchmarkSortContext(b *testing.B) {
	w := newWorld(b, nil)
	for i := range 100_000 {
		w.deliver("anna", store.Inbox, simple(i%5000), w.since)
	}
	c := w.login("anna")
	c.ok("SELECT INBOX")
	c.ok("UID SORT RETURN (COUNT UPDATE) (SUBJECT) UTF-8 ALL")
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		w.deliver("anna", store.Inbox, simple(4711), w.since)
		b.StartTimer()
		if lines := c.ok("NOOP"); len(lines) < 2 {
			b.Fatal(lines)
		}
	}
}
