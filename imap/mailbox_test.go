package imap_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

func TestNamespacesThatCannotBe(t *testing.T) {
	for _, n := range []imap.Namespaces{
		{OtherUsers: "a/b"}, {OtherUsers: "INBOX"}, {OtherUsers: "inbox"}, {Shared: "*"}, {Shared: "x", OtherUsers: "x"},
		{OtherUsers: "Shared"}, {Shared: "u\u0308"}, {OtherUsers: "."}, {OtherUsers: "a\x00"},
	} {
		s := &imap.Server{Namespaces: n}
		assert.ErrorContains(t, s.Serve(memnet.Listen()), "Namespaces", "%+v", n)
	}
}

// opened counts which accounts are opened.
type opened struct {
	*memory.Store
	n atomic.Int64
}

func (o *opened) Account(ctx context.Context, name, actor string) (store.Account, error) {
	if name != actor {
		o.n.Add(1)
	}
	return o.Store.Account(ctx, name, actor)
}

// crowd is a server whose accounts u000 to u999 exist, of which u100, u200 …
// share a mailbox with anna.
func crowd(t *testing.T, n imap.Namespaces) (*client, *opened) {
	st := &opened{Store: memory.New()}
	w := newWorld(t, func(s *imap.Server) {
		s.Store = st
		s.Namespaces = n
	})
	ctx := t.Context()
	require.NoError(t, st.CreateAccount(ctx, "anna"))
	for i := range 1000 {
		name := fmt.Sprintf("u%03d", i)
		require.NoError(t, st.CreateAccount(ctx, name))
		if i%100 != 0 {
			continue
		}
		acc, err := st.Account(ctx, name, name)
		require.NoError(t, err)
		info, err := acc.Create(ctx, "For all", store.CreateOptions{})
		require.NoError(t, err)
		require.NoError(t, store.WriteACL(ctx, acc, info.ID, store.ACLEntry{Identifier: "anna", Rights: store.RightLookup | store.RightRead}))
	}
	t.Cleanup(func() { _ = st.Close() })
	return w.login("anna"), st
}

// TestListOpensFew: what LIST opens of other accounts follows from who shares
// and from the pattern, not from how many accounts there are.
func TestListOpensFew(t *testing.T) {
	c, st := crowd(t, imap.Namespaces{})
	for _, x := range []struct {
		cmd    string
		lines  int
		opened int // at most; an account is opened a few times
	}{
		{`LIST "" *`, 1 + 1 + 2*10, 3 * 10},
		{`LIST "" %`, 2, 3},
		{`LIST "" "Other Users/%"`, 10, 3 * 10},
		{`LIST "" "Other Users/u300/%"`, 1, 1},
		{`LIST "" "Other Users/u300/For all"`, 1, 1},
		{`LIST "" ("Other Users/u300/*" "Other Users/u400/*" INBOX)`, 3, 2},
		{`LIST "Other Users/u300/" "*"`, 1, 1},
		{`LIST "" "Other Users/u301/*"`, 0, 1},
		{`LIST "" "Other Users/u3%"`, 1, 3 * 10},
		{`LIST "" INBOX`, 1, 0},
		{`LIST "" I*`, 1, 0},
		{`LIST "" ""`, 1, 0},
		{`LIST (SUBSCRIBED) "" *`, 0, 0},
		{`LSUB "" *`, 0, 0},
		{`LIST (SPECIAL-USE) "" *`, 0, 0},
		{`STATUS INBOX (MESSAGES)`, 1, 0},
		{`SELECT "Other Users/u301/For all"`, 0, 1},
	} {
		st.n.Store(0)
		lines, _ := c.do(x.cmd)
		assert.Len(t, lines, x.lines, x.cmd)
		assert.LessOrEqual(t, st.n.Load(), int64(x.opened), x.cmd)
	}
	c.ok(`SUBSCRIBE "Other Users/u500/For all"`)
	st.n.Store(0)
	assert.Equal(t, []string{`* LIST (\HasNoChildren \Subscribed) "/" "Other Users/u500/For all"`}, c.ok(`LIST (SUBSCRIBED) "" *`))
	assert.LessOrEqual(t, st.n.Load(), int64(1))
}

func TestListIsBounded(t *testing.T) {
	c, _ := crowd(t, imap.Namespaces{OtherUsers: "Users", MaxAccounts: 3})
	assert.Equal(t, []string{
		`* LIST (\NonExistent \Noselect \HasChildren) "/" "Users/u000"`,
		`* LIST (\NonExistent \Noselect \HasChildren) "/" "Users/u100"`,
		`* LIST (\NonExistent \Noselect \HasChildren) "/" "Users/u200"`,
	}, c.ok(`LIST "" Users/%`))
	assert.Len(t, c.ok(`LIST "" "Users/u900/*"`), 1, "what is named is there")
	assert.Len(t, c.ok(`LIST "" ("Users/u900/*" "Users/u800/*" "Users/u700/*" "Users/u600/*")`), 3)

	c, _ = crowd(t, imap.Namespaces{Off: true})
	assert.Equal(t, []string{`* LIST (\HasNoChildren) "/" "INBOX"`}, c.ok(`LIST "" *`))
	assert.Equal(t, []string{`* NAMESPACE (("" "/")) NIL NIL`}, c.ok("NAMESPACE"))
	_, end := c.do(`STATUS "Other Users/u100/For all" (MESSAGES)`)
	assert.Equal(t, "NO [NONEXISTENT] No such mailbox", end)
	c.ok(`CREATE "Other Users/u100/For all"`) // a name like any other
}

// TestAccountsThatAreNoLevel: an account whose name cannot be part of a mailbox
// name is not there, and does no harm.
func TestAccountsThatAreNoLevel(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"a/b", "a*b", "u\u0308", ".", "fine", strings.Repeat("x", 255)} {
		require.NoError(t, w.st.CreateAccount(t.Context(), name))
		acc, err := w.st.Account(t.Context(), name, name)
		require.NoError(t, err)
		box, err := acc.Mailbox(t.Context(), store.Inbox)
		require.NoError(t, err)
		require.NoError(t, store.WriteACL(t.Context(), acc, box.ID(), store.ACLEntry{Identifier: store.Anyone, Rights: store.AllRights}))
	}
	c := w.login("anna")
	lines := strings.Join(c.ok(`LIST "" "Other Users/%"`), "\n")
	assert.Contains(t, lines, `"Other Users/fine"`)
	assert.Contains(t, lines, strings.Repeat("x", 255))
	assert.Equal(t, 1, strings.Count(lines, "\n"))
	for _, name := range []string{"a/b", "a/b/INBOX", "./INBOX", "a*b/INBOX"} {
		_, end := c.do(`STATUS "Other Users/` + name + `" (MESSAGES)`)
		assert.True(t, strings.HasPrefix(end, "NO "), end)
	}
	c.ok(`STATUS "Other Users/fine/INBOX" (MESSAGES)`)
}

func TestCapabilitiesAreToldOnce(t *testing.T) {
	c := newWorld(t, func(s *imap.Server) { s.JMAP = "https://x.test/" }).login("anna")
	seen := map[string]bool{}
	for _, name := range strings.Fields(c.ok("CAPABILITY")[0]) {
		assert.False(t, seen[name], name)
		seen[name] = true
	}
	assert.True(t, seen["ACL"] && seen["RIGHTS=texk"] && seen["QUOTA=RES-STORAGE"] && seen["OBJECTID"])
}

// slow is a store that takes its time to answer what is there, so that two who
// read and then change meet. Correct code holds a lock meanwhile, so that neither
// can wait for the other to have read.
type slow struct{ store.Store }

func (s slow) Account(ctx context.Context, name, actor string) (store.Account, error) {
	acc, err := s.Store.Account(ctx, name, actor)
	return tardyAccount{acc, acc.(store.Annotations)}, err
}

type tardyAccount struct {
	store.Account
	notes store.Annotations
}

func (a tardyAccount) Mailboxes(ctx context.Context) ([]store.MailboxInfo, error) {
	defer time.Sleep(2 * time.Millisecond)
	return a.Account.Mailboxes(ctx)
}

func (a tardyAccount) Annotations(ctx context.Context, box store.MailboxID, prefix string) ([]store.Annotation, error) {
	defer time.Sleep(2 * time.Millisecond)
	return a.notes.Annotations(ctx, box, prefix)
}

func (a tardyAccount) Annotate(ctx context.Context, box store.MailboxID, set ...store.Annotation) (store.ModSeq, error) {
	return a.notes.Annotate(ctx, box, set...)
}

func slowWorld(t *testing.T) *world {
	st := memory.New()
	t.Cleanup(func() { _ = st.Close() })
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	return newWorld(t, func(s *imap.Server) { s.Store = slow{st} })
}

// TestRightsAreNotLost: rights that several sessions add at the same time are
// all there afterwards.
func TestRightsAreNotLost(t *testing.T) {
	w := slowWorld(t)
	var all sync.WaitGroup
	for _, l := range "lrswipkxtea" {
		c := w.login("anna")
		all.Go(func() {
			for range 3 {
				c.ok("SETACL INBOX bob -" + string(l))
				c.ok("SETACL INBOX bob +" + string(l))
			}
		})
	}
	all.Wait()
	assert.Equal(t, []string{`* ACL "INBOX" "anna" lrswipkxteacd "bob" lrswipkxteacd`}, w.login("anna").ok("GETACL INBOX"))
}

// TestOneSpecialUse: of many that make a mailbox with the same use, one gets it.
func TestOneSpecialUse(t *testing.T) {
	w := slowWorld(t)
	var all sync.WaitGroup
	var made atomic.Int64
	for i := range 8 {
		c := w.login("anna")
		all.Go(func() {
			if _, end := c.do(fmt.Sprintf(`CREATE Sent%d (USE (\Sent))`, i)); strings.HasPrefix(end, "OK ") {
				made.Add(1)
			} else {
				assert.Equal(t, "NO [USEATTR] Another mailbox has this special use", end)
			}
		})
	}
	all.Wait()
	assert.Equal(t, int64(1), made.Load())
}

// TestOwnerIsToldOnce: an entry of the owner, which a program may have written,
// changes nothing.
func TestOwnerIsToldOnce(t *testing.T) {
	w := newWorld(t, nil)
	acc, err := w.st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	box, err := acc.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	require.NoError(t, store.WriteACL(t.Context(), acc, box.ID(), store.ACLEntry{Identifier: "anna", Rights: store.RightLookup}))
	c := w.login("anna")
	assert.Equal(t, []string{`* ACL "INBOX" "anna" lrswipkxteacd`}, c.ok("GETACL INBOX"))
	assert.Equal(t, []string{`* MYRIGHTS "INBOX" lrswipkxteacd`}, c.ok("MYRIGHTS INBOX"))
}

// TestHiddenByANamespace: a mailbox of one's own whose name begins like those of
// others is not there.
func TestHiddenByANamespace(t *testing.T) {
	w := newWorld(t, nil)
	acc, err := w.st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	_, err = acc.Create(t.Context(), "Other Users/bob/Mine", store.CreateOptions{})
	require.NoError(t, err)
	c := w.login("anna")
	assert.Equal(t, []string{`* LIST (\HasNoChildren) "/" "INBOX"`}, c.ok(`LIST "" *`))
	_, end := c.do(`SELECT "Other Users/bob/Mine"`)
	assert.Equal(t, "NO [NONEXISTENT] No such mailbox", end)
}

// TestStoreWithoutAnnotations: where nothing can be kept with mailboxes, nothing
// is told of it.
func TestStoreWithoutAnnotations(t *testing.T) {
	st := memory.New()
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	w := newWorld(t, func(s *imap.Server) { s.Store = plainAccounts{st} })
	t.Cleanup(func() { _ = st.Close() })
	c := w.login("anna")
	capabilities := c.ok("CAPABILITY")[0]
	for _, name := range []string{"ACL", "RIGHTS", "MYRIGHTS", "METADATA", "QUOTA"} {
		assert.NotContains(t, capabilities, name)
	}
	for _, cmd := range []string{"GETACL INBOX", `GETMETADATA "" /shared/x`, `GETQUOTA ""`} {
		_, end := c.do(cmd)
		assert.Equal(t, "BAD Unknown command", end, cmd)
	}
	assert.Equal(t, []string{`* NAMESPACE (("" "/")) NIL NIL`}, c.ok("NAMESPACE"))
	assert.Equal(t, []string{`* LIST (\HasNoChildren) "/" "INBOX"`, `* MYRIGHTS "INBOX" lrswipkxteacd`}, c.ok(`LIST "" * RETURN (MYRIGHTS METADATA /shared/x)`))
	c.ok(`CREATE "Other Users/bob/x"`)
}

// plainAccounts hides what accounts can do beyond the contract.
type plainAccounts struct{ store.Store }

func (p plainAccounts) Account(ctx context.Context, name, actor string) (store.Account, error) {
	acc, err := p.Store.Account(ctx, name, actor)
	return struct{ store.Account }{acc}, err
}

// BenchmarkListStatus lists 10,000 mailboxes with their STATUS, and by a pattern
// with many wildcards.
func BenchmarkListStatus(b *testing.B) {
	st := memory.New()
	require.NoError(b, st.CreateAccount(context.Background(), "anna"))
	acc, err := st.Account(context.Background(), "anna", "anna")
	require.NoError(b, err)
	for i := range 10000 {
		_, err := acc.Create(context.Background(), fmt.Sprintf("Folder %02d/Box %04d", i%50, i), store.CreateOptions{})
		require.NoError(b, err)
	}
	w := newWorld(b, func(s *imap.Server) { s.Store = st })
	c := w.login("anna")
	_ = c.SetDeadline(time.Time{})
	for name, cmd := range map[string]string{
		"all":       `LIST "" *`,
		"status":    `LIST "" * RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE HIGHESTMODSEQ MAILBOXID))`,
		"wildcards": `LIST "" "` + strings.Repeat("*%", 500) + `y"`,
		"one":       `LIST "" "Folder 07/Box 0007"`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.ok(cmd)
			}
		})
	}
}

// TestReusedName: a name that is used again has another UIDVALIDITY (RFC 9051
// §2.3.1.1) and another MAILBOXID; a mailbox keeps both when it is renamed.
func TestReusedName(t *testing.T) {
	c := newWorld(t, nil).login("anna")
	status := func(name string) string {
		line := c.ok("STATUS " + name + " (UIDVALIDITY MAILBOXID)")[0]
		return strings.TrimPrefix(line, `* STATUS "`+name+`" `)
	}
	seen := map[string]bool{}
	fresh := func(name string) string {
		s := status(name)
		validity, id, _ := strings.Cut(s, " MAILBOXID ")
		assert.False(t, seen[validity] || seen[id], s)
		seen[validity], seen[id] = true, true
		return s
	}
	c.ok("CREATE A")
	fresh("A")
	c.ok("DELETE A")
	c.ok("CREATE A")
	second := fresh("A")
	c.ok("RENAME A B")
	assert.Equal(t, second, status("B"))
	c.ok("CREATE A")
	fresh("A")
	c.ok("RENAME B C")
	c.ok("CREATE B")
	fresh("B")
	inbox := fresh("INBOX")
	c.ok("RENAME INBOX D")
	assert.Equal(t, inbox, status("INBOX"))
	fresh("D")
}
