package imap_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
)

// openedStore opens mailboxes through a function.
type openedStore struct {
	store.Store
	open func(store.Mailbox) store.Mailbox
}

func (s openedStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return openedAccount{a, s.open}, err
}

type openedAccount struct {
	store.Account
	open func(store.Mailbox) store.Mailbox
}

func (a openedAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	return a.open(mb), nil
}

// crawling takes 10 ms for the details of each message.
type crawling struct{ store.Mailbox }

func (m crawling) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	time.Sleep(time.Duration(len(rows)) * 10 * time.Millisecond)
	return m.Mailbox.Details(ctx, rows)
}

// A long search tells how far it is, and a short one does not (RFC 9585 §4).
func TestInProgress(t *testing.T) {
	for _, off := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(s *imap.Server) {
				s.Store = openedStore{s.Store, func(mb store.Mailbox) store.Mailbox { return crawling{mb} }}
				if off {
					s.Disable = []string{"INPROGRESS"}
				}
			})
			w.fill("anna", store.Inbox, 2600)
			c := w.login("anna")
			c.ok("SELECT INBOX")
			lines := c.ok("UID SEARCH SUBJECT nothing")
			want := []string{"* SEARCH"}
			if !off {
				want = []string{`* OK [INPROGRESS ("t3" 1024 2600)] Working`, `* OK [INPROGRESS ("t3" 2048 2600)] Working`, "* SEARCH"}
			}
			assert.Equal(t, want, lines)
			assert.Equal(t, []string{"* SEARCH"}, c.ok("UID SEARCH SUBJECT nothing UID 1:500"))
			_ = c.Close()
		})
	}
}

// indexed has an index of texts, which finds every message.
type indexed struct{ store.Mailbox }

func (indexed) Candidates(context.Context, *store.Snapshot, *store.Criteria) (store.UIDSet, bool) {
	return store.AllUIDs(), true
}

// FUZZY is there where the store has an index (RFC 6203).
func TestFuzzy(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) {
		s.Store = openedStore{s.Store, func(mb store.Mailbox) store.Mailbox { return indexed{mb} }}
	})
	w.fill("anna", store.Inbox, 3)
	c := w.login("anna")
	assert.Contains(t, c.ok("CAPABILITY")[0], " SEARCH=FUZZY ")
	c.ok("SELECT INBOX")
	assert.Equal(t, []string{"* SEARCH 2"}, c.ok(`SEARCH FUZZY SUBJECT "message 2"`))
	assert.Equal(t, []string{"* SEARCH 1 3"}, c.ok(`SEARCH NOT FUZZY (SUBJECT "message 2" SEEN) NOT SUBJECT "message 2"`))
	_, end := c.do("SEARCH FUZZY")
	assert.Regexp(t, "^BAD ", end)
}

// No session keeps more than ten results up to date.
func TestContexts(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", store.Inbox, 1)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	for range 10 {
		assert.Len(t, c.ok("UID SEARCH RETURN (COUNT UPDATE) FLAGGED"), 1)
	}
	refused := c.ok("UID SEARCH RETURN (COUNT UPDATE) FLAGGED")
	assert.Equal(t, fmt.Sprintf(`* NO [NOUPDATE "t%d"] The result is not kept up to date`, c.tag), refused[0])
	c.ok("UID STORE 1 +FLAGS.SILENT (\\Flagged)")
	assert.Len(t, c.ok("NOOP"), 10)
	c.ok(`CANCELUPDATE "t3" "t4"`)
	require.Len(t, c.ok("UID SEARCH RETURN (COUNT UPDATE) FLAGGED"), 1, "there is room again")
	c.ok("UID STORE 1 -FLAGS.SILENT (\\Flagged)")
	assert.Len(t, c.ok("NOOP"), 9)
}

// failing answers details with an error as long as it is told to.
type failing struct {
	store.Mailbox
	err *error
}

func (m failing) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	if *m.err == nil {
		return m.Mailbox.Details(ctx, rows)
	}
	return func(yield func(store.Detail, error) bool) {
		for _, r := range rows {
			if !yield(store.Detail{Row: r}, *m.err) {
				return
			}
		}
	}
}

// What cannot be read says nothing new about results that are kept up to date.
func TestContextOfUnreadable(t *testing.T) {
	var broken error
	w := newWorld(t, func(s *imap.Server) {
		s.Store = openedStore{s.Store, func(mb store.Mailbox) store.Mailbox { return failing{mb, &broken} }}
	})
	w.fill("anna", store.Inbox, 2)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	assert.Equal(t, []string{`* ESEARCH (TAG "t3") UID ALL 2`}, c.ok(`UID SEARCH RETURN (ALL UPDATE) SUBJECT "message 2"`))
	for _, broken = range []error{store.ErrCorrupt, store.ErrUnavailable} {
		c.ok("UID STORE 1:2 +FLAGS.SILENT (\\Flagged)")
		assert.Empty(t, c.ok("NOOP"), "%v", broken)
		broken = nil
		assert.Empty(t, c.ok("NOOP"))
		c.ok("UID STORE 1:2 -FLAGS.SILENT (\\Flagged)")
		assert.Empty(t, c.ok("NOOP"))
	}
}

// MIN and MAX alone are found from the ends of the mailbox, and are the same as
// with all others.
func TestSearchEnds(t *testing.T) {
	w := newWorld(t, nil)
	w.fill("anna", store.Inbox, 1300)
	c := w.login("anna")
	c.ok("ENABLE CONDSTORE")
	c.ok("SELECT INBOX")
	for range 5 {
		c.ok("UID STORE 1:* -FLAGS.SILENT (\\Flagged)")
		from := 1 + rand.IntN(1300)
		c.ok(fmt.Sprintf("UID STORE %d:%d +FLAGS.SILENT (\\Flagged)", from, from+rand.IntN(1301-from)))
		for _, program := range []string{"FLAGGED", "UNFLAGGED", "ALL", "SUBJECT \"message 12\"", "FLAGGED UID 600:700", "NOT ALL", "FLAGGED MODSEQ 1"} {
			for _, ret := range []string{"MIN", "MAX", "MIN MAX"} {
				ends := c.ok("UID SEARCH RETURN (" + ret + ") " + program)[0]
				all := c.ok("UID SEARCH RETURN (" + ret + " COUNT) " + program)[0]
				all = regexp.MustCompile(`^\* ESEARCH \(TAG "t\d+"\)| COUNT \d+| MODSEQ \d+`).ReplaceAllString(all, "")
				ends = regexp.MustCompile(`^\* ESEARCH \(TAG "t\d+"\)| MODSEQ \d+`).ReplaceAllString(ends, "")
				require.Equal(t, all, ends, "%s of %s", ret, program)
				c.ok("UID SEARCH RETURN (" + ret + " SAVE) " + program)
				want := regexp.MustCompile(`\d+`).FindAllString(ends, -1)
				got := strings.Fields(strings.TrimPrefix(c.ok("UID SEARCH UID $")[0], "* SEARCH"))
				slices.SortFunc(want, cmpNumbers)
				require.Equal(t, strings.Join(slices.Compact(want), " "), strings.Join(got, " "))
			}
		}
	}
}

// cmpNumbers compares decimal numbers.
func cmpNumbers(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) }
