package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGoIMAP(t *testing.T) {
	t.Parallel()
	s := start(t)
	t.Run("STARTTLS", func(t *testing.T) {
		c, err := imapclient.DialStartTLS(s.addrs["imap"], &imapclient.Options{TLSConfig: trusting(t)})
		require.NoError(t, err)
		defer c.Close()
		require.Error(t, c.Login(alice, "wrong").Wait())
		require.NoError(t, c.Login(alice, alicePassword).Wait())
		caps, err := c.Capability().Wait()
		require.NoError(t, err)
		t.Logf("capabilities: %v", caps)
		for _, want := range []imap.Cap{imap.CapIMAP4rev1, imap.CapIMAP4rev2, imap.CapIdle, imap.CapUIDPlus, imap.CapMove, imap.CapCondStore,
			imap.CapESearch, imap.CapListStatus, imap.CapListExtended, imap.CapSpecialUse, imap.CapLiteralPlus, imap.CapNamespace, imap.CapEnable, imap.CapUnselect} {
			assert.True(t, caps.Has(want), "%s is not offered", want)
		}
		require.NoError(t, c.Logout().Wait())
	})
}

// A delivery is told in IDLE at once.
func goimapIdle(t *testing.T, s *server) {
	exists := make(chan uint32, 10)
	c := s.login(t, bob, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				exists <- *d.NumMessages
			}
		},
	}})
	sel, err := c.Select("INBOX", nil).Wait()
	require.NoError(t, err)
	for round := range uint32(5) {
		idle, err := c.Idle()
		require.NoError(t, err)
		sender := dialSMTP(t, s, "lmtp")
		sent := time.Now()
		require.NoError(t, sender.SendMail("someone@peer.test", []string{bob}, strings.NewReader(message("someone@peer.test", bob, "idle", "wake up"))))
		select {
		case n := <-exists:
			t.Logf("told after %v", time.Since(sent))
			assert.Equal(t, sel.NumMessages+round+1, n)
		case <-time.After(5 * time.Second):
			t.Fatal("IDLE did not tell of the delivery within 5 seconds")
		}
		require.NoError(t, idle.Close())
		require.NoError(t, idle.Wait())
	}
}

func goimapCondstore(t *testing.T, s *server) {
	c := s.login(t, carol, nil)
	for i := range 3 {
		s.append(t, carol, "INBOX", message(bob, carol, fmt.Sprintf("condstore %d", i), "x"))
	}
	sel, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	require.NoError(t, err)
	require.EqualValues(t, 3, sel.NumMessages)
	require.NotZero(t, sel.HighestModSeq)
	flagged := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}
	got, err := c.Store(imap.SeqSetNum(2), flagged, nil).Collect()
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Greater(t, got[0].ModSeq, sel.HighestModSeq)

	changed, err := c.Fetch(seqs(1, 0), &imap.FetchOptions{UID: true, Flags: true, ChangedSince: sel.HighestModSeq}).Collect()
	require.NoError(t, err)
	require.Len(t, changed, 1, "only what changed since")
	assert.EqualValues(t, 2, changed[0].SeqNum)
	assert.Contains(t, changed[0].Flags, imap.FlagFlagged)

	// RFC 7162 §3.1.3: what changed since is left alone and named in MODIFIED.
	answered := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagAnswered}}
	_, err = c.Store(seqs(1, 3), answered, &imap.StoreOptions{UnchangedSince: sel.HighestModSeq}).Collect()
	if err != nil { // a client may take OK [MODIFIED] for either
		t.Logf("STORE with MODIFIED: %v", err)
	}
	all, err := c.Fetch(seqs(1, 3), &imap.FetchOptions{Flags: true, ModSeq: true}).Collect()
	require.NoError(t, err)
	require.Len(t, all, 3)
	for i, m := range all {
		assert.Equal(t, i != 1, contains(m.Flags, imap.FlagAnswered), "message %d: %v", i+1, m.Flags)
		assert.NotZero(t, m.ModSeq)
	}
	found, err := c.Search(&imap.SearchCriteria{ModSeq: &imap.SearchCriteriaModSeq{ModSeq: got[0].ModSeq + 1}}, nil).Wait()
	require.NoError(t, err)
	assert.Equal(t, []uint32{1, 3}, found.AllSeqNums())
	assert.Equal(t, max(all[0].ModSeq, all[2].ModSeq), found.ModSeq)
	status, err := c.Status("INBOX", &imap.StatusOptions{HighestModSeq: true}).Wait()
	require.NoError(t, err)
	assert.Equal(t, max(all[0].ModSeq, all[2].ModSeq), status.HighestModSeq)
}

func goimapMailboxes(t *testing.T, s *server) {
	c := s.login(t, alice, nil)
	// This client writes UTF-8 as soon as IMAP4rev2 is offered; RFC 9051 has it enabled first.
	_, err := c.Enable(imap.CapIMAP4rev2).Wait()
	require.NoError(t, err)
	for _, name := range []string{"Projekte", "Projekte/Grüße & Küsse", "Projekte/日本語"} {
		require.NoError(t, c.Create(name, nil).Wait())
		require.NoError(t, c.Subscribe(name).Wait())
	}
	s.append(t, alice, "Projekte", message(bob, alice, "in projects", "x"))
	list, err := c.List("", "*", &imap.ListOptions{ReturnSubscribed: true, ReturnChildren: true, ReturnSpecialUse: true,
		ReturnStatus: &imap.StatusOptions{NumMessages: true, NumUnseen: true, UIDNext: true, UIDValidity: true}}).Collect()
	require.NoError(t, err)
	byName := map[string]*imap.ListData{}
	for _, d := range list {
		byName[d.Mailbox] = d
		require.NotNil(t, d.Status, "LIST-STATUS: %s", d.Mailbox)
	}
	for _, name := range []string{"INBOX", "Projekte", "Projekte/Grüße & Küsse", "Projekte/日本語", "Sent", "Trash"} {
		require.Contains(t, byName, name)
	}
	assert.EqualValues(t, 1, *byName["Projekte"].Status.NumMessages)
	assert.EqualValues(t, 1, *byName["Projekte"].Status.NumUnseen)
	assert.Contains(t, byName["Projekte"].Attrs, imap.MailboxAttrHasChildren)
	assert.Contains(t, byName["Projekte"].Attrs, imap.MailboxAttrSubscribed)
	assert.Contains(t, byName["Sent"].Attrs, imap.MailboxAttrSent)

	ns, err := c.Namespace().Wait()
	require.NoError(t, err)
	require.Len(t, ns.Personal, 1)
	id, err := c.ID(&imap.IDData{Name: "interop"}).Wait()
	require.NoError(t, err)
	assert.Equal(t, "Posta", id.Name)

	require.NoError(t, c.Rename("Projekte", "Archiv", nil).Wait())
	_, err = c.Select("Archiv/日本語", nil).Wait()
	require.NoError(t, err, "children move along")
	require.NoError(t, c.Unselect().Wait())
	require.NoError(t, c.Delete("Archiv/日本語").Wait())
	require.Error(t, c.Delete("INBOX").Wait())
	_, err = c.Select("Archiv/日本語", nil).Wait()
	require.Error(t, err)
}

func goimapMessages(t *testing.T, s *server) {
	c := s.login(t, alice, nil)
	require.NoError(t, c.Create("work", nil).Wait())
	when := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	raw := "From: Bob <bob@posta.test>\r\nTo: alice@posta.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHällo needle\r\n" +
		"--b\r\nContent-Type: application/octet-stream; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"
	var uids []imap.UID
	for i := range 4 {
		cmd := c.Append("work", int64(len(raw)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen, "$Keyword"}, Time: when})
		_, err := cmd.Write([]byte(raw))
		require.NoError(t, err)
		require.NoError(t, cmd.Close())
		data, err := cmd.Wait()
		require.NoError(t, err)
		require.EqualValues(t, i+1, data.UID, "APPENDUID")
		uids = append(uids, data.UID)
	}
	_, err := c.Select("work", nil).Wait()
	require.NoError(t, err)
	text := &imap.FetchItemBodySection{Part: []int{1}, Peek: true}
	partial := &imap.FetchItemBodySection{Peek: true, Partial: &imap.SectionPartial{Offset: 6, Size: 3}}
	got, err := c.Fetch(imap.UIDSetNum(uids[0]), &imap.FetchOptions{UID: true, Flags: true, Envelope: true, InternalDate: true, RFC822Size: true,
		BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, BodySection: []*imap.FetchItemBodySection{text, partial}}).Collect()
	require.NoError(t, err)
	require.Len(t, got, 1)
	m := got[0]
	assert.Equal(t, "Grüße", m.Envelope.Subject)
	assert.Equal(t, "Bob", m.Envelope.From[0].Name)
	assert.True(t, when.Equal(m.InternalDate), m.InternalDate)
	assert.EqualValues(t, len(raw), m.RFC822Size)
	assert.ElementsMatch(t, []imap.Flag{imap.FlagSeen, "$keyword"}, lower(m.Flags))
	assert.Equal(t, "multipart/mixed", m.BodyStructure.MediaType())
	assert.Equal(t, "Hällo needle", string(m.FindBodySection(text)))
	assert.Equal(t, raw[6:9], string(m.FindBodySection(partial)))

	// This client sends UTF-8 in quoted strings once IMAP4rev2 is offered; RFC 9051 has it enabled first.
	_, err = c.Enable(imap.CapIMAP4rev2).Wait()
	require.NoError(t, err)
	// ESEARCH.
	res, err := c.UIDSearch(&imap.SearchCriteria{Text: []string{"hällo"}}, &imap.SearchOptions{ReturnMin: true, ReturnMax: true, ReturnCount: true, ReturnAll: true}).Wait()
	require.NoError(t, err)
	assert.EqualValues(t, []uint32{1, 4, 4}, []uint32{res.Min, res.Max, res.Count})
	assert.Equal(t, uids, res.AllUIDs())

	// UIDPLUS: COPYUID, and an EXPUNGE of just one of two deleted.
	copied, err := c.Copy(imap.UIDSetNum(uids[0], uids[1]), "Trash").Wait()
	require.NoError(t, err)
	assert.Equal(t, imap.UIDSetNum(1, 2), copied.DestUIDs)
	require.NoError(t, c.Store(imap.UIDSetNum(uids[0], uids[1]), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	gone, err := c.UIDExpunge(imap.UIDSetNum(uids[1])).Collect()
	require.NoError(t, err)
	assert.Equal(t, []uint32{2}, gone)

	moved, err := c.Move(imap.UIDSetNum(uids[3]), "Junk").Wait()
	require.NoError(t, err)
	assert.Equal(t, imap.UIDSetNum(uids[3]), moved.SourceUIDs)
	assert.Equal(t, imap.UIDSetNum(1), moved.DestUIDs)
	_, inJunk := s.mailbox(t, alice, "Junk")
	require.Len(t, inJunk, 1)
	assert.Equal(t, raw, string(inJunk[0].raw))
	_, left := s.mailbox(t, alice, "work")
	require.Len(t, left, 2)
	assert.Equal(t, uids[0], left[0].uid)
	assert.Equal(t, uids[2], left[1].uid)
}

func seqs(from, to uint32) imap.SeqSet {
	set := imap.SeqSet{}
	set.AddRange(from, to)
	return set
}

func contains(flags []imap.Flag, f imap.Flag) bool {
	for _, x := range flags {
		if x == f {
			return true
		}
	}
	return false
}

func lower(flags []imap.Flag) []imap.Flag {
	out := make([]imap.Flag, len(flags))
	for i, f := range flags {
		out[i] = f
		if !strings.HasPrefix(string(f), `\`) {
			out[i] = imap.Flag(strings.ToLower(string(f)))
		}
	}
	return out
}
