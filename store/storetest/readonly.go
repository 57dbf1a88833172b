package storetest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// ReadOnlyConfig tells RunReadOnly how to get at a back end that cannot be
// written to.
type ReadOnlyConfig struct {
	// New opens the back end with mail in it that does not change meanwhile:
	// at least one account with a mailbox of at least three messages. The
	// suite closes it. Each check opens its own. Required.
	New func(t testing.TB) store.Store
	// Patience is Config.Patience.
	Patience time.Duration
}

// RunReadOnly checks the reading half of the contract, one subtest for each
// property, and that every change is refused with ErrReadOnly and changes
// nothing. Stage may work or be refused likewise. It looks at the first 5
// accounts, their first 20 mailboxes, and the first 200 messages of each.
func RunReadOnly(t *testing.T, cfg ReadOnlyConfig) {
	for _, c := range readOnlyChecks {
		t.Run(c.name, func(t *testing.T) {
			c.run(newKit(t, Config{New: cfg.New, Patience: cfg.Patience}))
		})
	}
}

var readOnlyChecks = []check{
	{"Accounts", readOnlyAccounts},
	{"Mailboxes", readOnlyMailboxes},
	{"Snapshot", readOnlySnapshot},
	{"Open", readOnlyOpen},
	{"Details", readOnlyDetails},
	{"Unknown", readUnknownRows},
	{"Changes", readOnlyChanges},
	{"Watch", readOnlyWatch},
	{"Search", readOnlySearch},
	{"Context", readOnlyContext},
	{"Mutations", readOnlyMutations},
	{"Concurrent", readOnlyConcurrent},
	{"Close", readOnlyClose},
}

// visited is a mailbox and what is in it.
type visited struct {
	a    store.Account
	mb   store.Mailbox
	info store.MailboxInfo
	snap *store.Snapshot
	rows []store.Row // at most the first 200
}

// walk opens the mailboxes of the first accounts. It fails where there is
// nothing to look at.
func (k *kit) walk() []visited {
	k.Helper()
	var all []visited
	accounts := 0
	for name, err := range k.st.Accounts(k.Context()) {
		require.NoError(k, err)
		a := k.open(name)
		infos, err := a.Mailboxes(k.Context())
		require.NoError(k, err)
		for _, info := range infos[:min(20, len(infos))] {
			v := visited{a: a, mb: k.box(a, info.Name), info: info}
			v.snap = k.snap(v.mb)
			for _, r := range v.snap.Range(0, 200) {
				v.rows = append(v.rows, r)
			}
			all = append(all, v)
		}
		if accounts++; accounts == 5 {
			break
		}
	}
	require.NotEmpty(k, all, "no mailboxes to look at")
	return all
}

// fullest is the mailbox with the most messages, three at least.
func (k *kit) fullest() visited {
	k.Helper()
	v := slices.MaxFunc(k.walk(), func(a, b visited) int { return len(a.rows) - len(b.rows) })
	require.GreaterOrEqual(k, len(v.rows), 3, "a mailbox of at least three messages is needed")
	return v
}

func readOnlyAccounts(k *kit) {
	ctx := k.Context()
	var names []string
	for name, err := range k.st.Accounts(ctx) {
		require.NoError(k, err)
		require.NoError(k, store.CheckAccountName(name))
		names = append(names, name)
	}
	require.NotEmpty(k, names)
	require.True(k, slices.IsSorted(names), "in order: %q", names)
	require.Len(k, slices.Compact(slices.Clone(names)), len(names), "each once")
	for stop := range min(3, len(names)) {
		n := 0
		for name, err := range k.st.Accounts(ctx) {
			require.NoError(k, err)
			require.Equal(k, names[n], name)
			k.open(name) // nothing is locked while the caller has the word
			if n == stop {
				break
			}
			n++
		}
	}
	a := k.open(names[0])
	require.Equal(k, names[0], a.Name())
	require.Equal(k, names[0], a.Actor())
	for _, bad := range []string{"no-such-account@invalid", "", "a\x00b", "../" + names[0], "\xff", strings.Repeat("x", 10_000)} {
		_, err := k.st.Account(ctx, bad, bad)
		require.True(k, isAny(err, store.ErrNotFound, store.ErrInvalidName), "%.40q: %v", bad, err)
	}
	switch other, err := k.st.Account(ctx, names[0], "somebody@else.invalid"); {
	case err != nil:
		require.True(k, isAny(err, store.ErrReadOnly, store.ErrNotFound), "%v", err)
	default:
		require.Equal(k, "somebody@else.invalid", other.Actor())
	}
}

func readOnlyMailboxes(k *kit) {
	ctx := k.Context()
	for name, err := range k.st.Accounts(ctx) {
		require.NoError(k, err)
		a := k.open(name)
		infos, err := a.Mailboxes(ctx)
		require.NoError(k, err)
		var names []string
		ids := map[store.MailboxID]bool{}
		for _, info := range infos {
			canonical, err := store.CanonicalName(info.Name)
			require.NoError(k, err, "%q", info.Name)
			require.Equal(k, canonical, info.Name, "names are canonical")
			require.False(k, ids[info.ID], "id %d twice", info.ID)
			ids[info.ID] = true
			names = append(names, info.Name)
		}
		require.True(k, slices.IsSorted(names), "in name order: %q", names)
		require.Len(k, slices.Compact(slices.Clone(names)), len(names), "each once")
		require.Contains(k, names, store.Inbox, "every account has an INBOX")
		require.Equal(k, names, k.names(a))
		require.Equal(k, k.box(a, store.Inbox).ID(), k.box(a, "iNbOx").ID(), "every spelling of INBOX (RFC 9051 §5.1)")
		for _, bad := range []string{"no/such mailbox", "", "..", "a//b", "a\x00b", "\xff", strings.Repeat("x", 10_000), strings.Repeat("a/", 1000)} {
			_, err := a.Mailbox(ctx, bad)
			require.True(k, isAny(err, store.ErrNotFound, store.ErrInvalidName), "%.40q: %v", bad, err)
		}
		subscribed, err := a.Subscriptions(ctx)
		require.NoError(k, err)
		require.True(k, slices.IsSorted(subscribed), "in order: %q", subscribed)
		for _, info := range infos {
			require.Equal(k, slices.Contains(subscribed, info.Name), info.Subscribed, "Subscribed of %s", info.Name)
		}
	}
}

// The mailbox is what its Info says (see kit.snap), and stays so.
func readOnlySnapshot(k *kit) {
	for _, v := range k.walk() {
		require.Equal(k, v.info, k.info(v.mb))
		again := k.snap(k.box(v.a, v.info.Name))
		require.NoError(k, sameContent(v.snap, again), "nothing has changed")
		require.NoError(k, sameContent(again, v.snap), "nothing has changed")
		require.Equal(k, v.snap.UIDValidity(), again.UIDValidity())
	}
}

func readOnlyOpen(k *kit) {
	n := 0
	for _, v := range k.walk() {
		for _, r := range v.rows {
			b, err := v.mb.Open(k.Context(), r)
			require.NoError(k, err, "%s UID %d", v.info.Name, r.UID)
			require.EqualValues(k, r.Size, b.Size(), "Row.Size of %s UID %d", v.info.Name, r.UID)
			h := make([]byte, 2)
			m, err := b.ReadAt(h, max(b.Size()-1, 0))
			require.EqualValues(k, min(b.Size(), 1), m)
			require.ErrorIs(k, err, io.EOF)
			m, err = b.ReadAt(h, b.Size()+100)
			require.Zero(k, m)
			require.ErrorIs(k, err, io.EOF)
			whole := k.drain(b)
			part := make([]byte, len(whole)/2)
			b, err = v.mb.Open(k.Context(), r)
			require.NoError(k, err)
			m, err = b.ReadAt(part, int64(len(whole)/3))
			require.Equal(k, len(part), m)
			require.True(k, err == nil || err == io.EOF)
			require.Equal(k, whole[len(whole)/3:][:len(part)], string(part), "by range as in whole")
			require.NoError(k, b.Close())
			n++
		}
	}
	require.GreaterOrEqual(k, n, 3, "a mailbox of at least three messages is needed")
}

func readOnlyDetails(k *kit) {
	for _, v := range k.walk() {
		rows := slices.Clone(v.rows)
		slices.Reverse(rows)
		if len(rows) > 0 {
			rows = append(rows, rows[0]) // one twice
		}
		n := 0
		for d, err := range v.mb.Details(k.Context(), rows) {
			require.NoError(k, err)
			require.Equal(k, rows[n], d.Row, "in the order asked for")
			text := k.body(v.mb, d.Row) // nothing is locked meanwhile
			require.EqualValues(k, d.Row.Size, d.Outline.Size)
			require.Equal(k, message.ParseBytes([]byte(text), nil), d.Outline, "the outline is the message's")
			require.Regexp(k, objectID, d.EmailID)
			if d.ThreadID != "" {
				require.Regexp(k, objectID, d.ThreadID)
			}
			n++
		}
		require.Equal(k, len(rows), n)
	}
	v := k.fullest()
	ids := map[store.UID]string{}
	for range 2 {
		for d, err := range v.mb.Details(k.Context(), v.rows[:3]) {
			require.NoError(k, err)
			require.True(k, ids[d.Row.UID] == "" || ids[d.Row.UID] == d.EmailID, "EMAILID stays (RFC 8474 §5.1)")
			ids[d.Row.UID] = d.EmailID
		}
	}
	for stop := range 3 {
		n := 0
		for range v.mb.Details(k.Context(), v.rows) {
			if n == stop {
				break
			}
			n++
		}
	}
	for range v.mb.Details(k.Context(), nil) {
		k.Fatal("details of no rows")
	}
}

// A row of nowhere is an error, and does not end the iteration of Details.
func readUnknownRows(k *kit) {
	v := k.fullest()
	for _, row := range []store.Row{{}, {UID: 1<<32 - 1}, {UID: 1<<32 - 1, Ref: 1 << 60, Size: 5}, {UID: 1<<32 - 2, Ref: 1 << 63}} {
		_, err := v.mb.Open(k.Context(), row)
		require.True(k, isAny(err, store.ErrExpunged, store.ErrNotFound), "%v: %v", row, err)
	}
	bad := v.rows[0]
	bad.UID, bad.Ref = 1<<32-1, 1<<60
	var errs []bool
	for d, err := range v.mb.Details(k.Context(), []store.Row{v.rows[1], bad, v.rows[0]}) {
		errs = append(errs, err != nil)
		require.True(k, err == nil || isAny(err, store.ErrExpunged, store.ErrNotFound), "%v", err)
		require.True(k, err != nil || d.Row.UID != bad.UID)
	}
	require.Equal(k, []bool{false, true, false}, errs)
}

func readOnlyChanges(k *kit) {
	for _, v := range k.walk() {
		empty := store.NewSnapshot(v.mb.ID(), v.snap.UIDValidity(), 1, 0, nil, nil)
		c, err := v.mb.Changes(k.Context(), 0)
		if !errors.Is(err, store.ErrHistoryGone) {
			require.NoError(k, err)
			require.Zero(k, c.Since)
			require.GreaterOrEqual(k, c.Through, v.snap.ModSeq())
			c.Through = v.snap.ModSeq() // it may be the account's
			require.NoError(k, sameContent(v.snap, empty.With(c)), "Changes(0) leads to the snapshot")
		}
		c = k.changes(v.mb, v.snap.ModSeq())
		require.Empty(k, c.Rows)
		require.Empty(k, c.Vanished)
		require.Equal(k, v.snap.UIDNext(), c.UIDNext)
		if v.snap.Len() > 0 { // what changed after the oldest change
			oldest := slices.MinFunc(v.rows, func(a, b store.Row) int { return int(a.ModSeq) - int(b.ModSeq) }).ModSeq
			c, err := v.mb.Changes(k.Context(), oldest)
			if !errors.Is(err, store.ErrHistoryGone) {
				require.NoError(k, err)
				for _, r := range c.Rows {
					require.Greater(k, r.ModSeq, oldest)
				}
			}
		}
		ac, err := v.a.Changes(k.Context(), 0)
		if !errors.Is(err, store.ErrHistoryGone) {
			require.NoError(k, err)
			require.GreaterOrEqual(k, ac.Through, v.snap.ModSeq(), "the account's mod-sequence is the highest")
			require.Empty(k, k.accountChanges(v.a, ac.Through).Events)
		}
		ac, err = v.a.Changes(k.Context(), 1<<62)
		require.NoError(k, err, "there is nothing after the end")
		require.Empty(k, ac.Events)
	}
}

func readOnlyWatch(k *kit) {
	a := k.fullest().a
	ctx, cancel := context.WithCancel(k.Context())
	one, two := a.Watch(ctx), a.Watch(k.Context())
	cancel()
	k.closed(one)
	k.closed(a.Watch(k.ended()))
	require.NoError(k, k.st.Close())
	k.closed(two)
	k.closed(a.Watch(context.Background()))
}

// Search gives what looking at each message gives.
func readOnlySearch(k *kit) {
	v := k.fullest()
	snap := store.NewSnapshot(v.mb.ID(), v.snap.UIDValidity(), v.snap.UIDNext(), v.snap.ModSeq(), v.snap.Keywords(), v.rows)
	search := func(c *store.Criteria) []store.UID {
		found := []store.UID{}
		for r, err := range store.Search(k.Context(), v.mb, snap, c) {
			require.NoError(k, err)
			found = append(found, r.UID)
		}
		return found
	}
	naive := func(match func(store.Row, string) bool) []store.UID {
		found := []store.UID{}
		for _, r := range v.rows {
			if match(r, k.body(v.mb, r)) {
				found = append(found, r.UID)
			}
		}
		return found
	}
	middle := v.rows[len(v.rows)/2]
	size := int64(middle.Size)
	require.Equal(k, uids(snap), search(nil), "every message")
	require.Equal(k, []store.UID{middle.UID}, search(&store.Criteria{UIDs: []store.UIDSet{store.UIDs(middle.UID)}}))
	require.Equal(k, naive(func(r store.Row, _ string) bool { return int64(r.Size) > size }), search(&store.Criteria{Larger: &size}))
	require.Equal(k, naive(func(r store.Row, _ string) bool { return r.Flags&store.BitSeen == 0 }), search(&store.Criteria{NotFlags: []store.Flag{store.FlagSeen}}))
	day := middle.InternalDate().Truncate(24 * time.Hour)
	require.Equal(k, naive(func(r store.Row, _ string) bool { return !r.InternalDate().Before(day) }), search(&store.Criteria{Since: day}))
	for d, err := range v.mb.Details(k.Context(), []store.Row{middle}) {
		require.NoError(k, err)
		if d.Outline.Envelope.MessageID == "" {
			continue
		}
		id := d.Outline.Envelope.MessageID
		require.Contains(k, search(&store.Criteria{Header: []store.HeaderCriterion{{Name: "Message-ID", Text: id}}}), middle.UID)
		require.Contains(k, search(&store.Criteria{Text: []string{id}}), middle.UID)
	}
	none := search(&store.Criteria{Text: []string{"a text that is in no message \U0001F9FE 5f3759df"}})
	require.Empty(k, none)
}

// readingCalls is every call that reads.
func (k *kit) readingCalls(v visited) map[string]func(ctx context.Context) error {
	all := k.calls(v.a, v.mb, nil, v.rows[0])
	for name := range all {
		switch name {
		case "Accounts", "Mailboxes", "Mailbox", "Subscriptions", "Account.Changes", "Info", "Snapshot", "Changes", "Open", "Details":
		default:
			delete(all, name)
		}
	}
	all["Account"] = func(ctx context.Context) error { _, err := k.st.Account(ctx, v.a.Name(), v.a.Name()); return err }
	for _, name := range []string{"Changes", "Account.Changes"} { // history may be gone
		call := all[name]
		all[name] = func(ctx context.Context) error {
			if err := call(ctx); !errors.Is(err, store.ErrHistoryGone) {
				return err
			}
			return nil
		}
	}
	return all
}

func readOnlyContext(k *kit) {
	v := k.fullest()
	for name, call := range k.readingCalls(v) {
		require.NoError(k, call(k.Context()), name)
		if err := call(k.ended()); err != nil {
			require.ErrorIs(k, err, context.Canceled, name)
		}
	}
	ctx, cancel := context.WithCancel(k.Context())
	defer cancel()
	n, failed := 0, false
	for _, err := range v.mb.Details(ctx, v.rows) {
		if n++; n == 2 {
			cancel()
		}
		failed = failed || err != nil
	}
	require.True(k, failed || n == len(v.rows), "%d of %d details and no error", n, len(v.rows))
	k.snap(v.mb)
}
