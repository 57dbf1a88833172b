package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Alice lets Bob in, who then sees what she has shared.
func goimapACL(t *testing.T, s *server) {
	a, b := s.login(t, alice, nil), s.login(t, bob, nil)
	require.NoError(t, a.Create("Team", nil).Wait())
	s.append(t, alice, "Team", message(bob, alice, "shared", "x"))
	require.NoError(t, a.SetACL("Team", bob, imap.RightModificationReplace, imap.RightSet("lr")).Wait())
	acl, err := a.GetACL("Team").Wait()
	require.NoError(t, err)
	assert.ElementsMatch(t, imap.RightSet("lr"), acl.Rights[bob])
	assert.Contains(t, acl.Rights[alice], imap.RightAdminister)
	ns, err := b.Namespace().Wait()
	require.NoError(t, err)
	require.Len(t, ns.Other, 1)
	box := ns.Other[0].Prefix + alice + string(ns.Other[0].Delim) + "Team"
	mine, err := b.MyRights(box).Wait()
	require.NoError(t, err)
	assert.ElementsMatch(t, imap.RightSet("lr"), mine.Rights)
	sel, err := b.Select(box, nil).Wait()
	require.NoError(t, err)
	assert.EqualValues(t, 1, sel.NumMessages)
	require.Error(t, b.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	require.Error(t, b.SetACL(box, bob, imap.RightModificationAdd, imap.RightSet("a")).Wait())
	require.NoError(t, a.SetACL("Team", bob, imap.RightModificationRemove, imap.RightSet("lr")).Wait())
	_, err = s.login(t, bob, nil).Select(box, nil).Wait()
	require.Error(t, err)
}

func goimapQuota(t *testing.T, s *server) {
	c := s.login(t, alice, nil)
	roots, err := c.GetQuotaRoot("INBOX").Wait()
	require.NoError(t, err)
	t.Logf("quota roots: %+v", roots)
	for _, r := range roots {
		_, err = c.GetQuota(r.Root).Wait()
		require.NoError(t, err)
	}
	require.Error(t, c.SetQuota("", map[imap.QuotaResourceType]int64{imap.QuotaResourceStorage: 1}).Wait())
	_, err = c.GetQuota("no such root").Wait()
	require.Error(t, err)
}

func goimapMetadata(t *testing.T, s *server) {
	c := s.login(t, carol, nil)
	require.NoError(t, c.Create("Noted", nil).Wait())
	comment, binary := []byte("a \"comment\"\r\nof two lines"), []byte("with\x00NUL")
	require.NoError(t, c.SetMetadata("Noted", map[string]*[]byte{"/private/comment": &comment}).Wait())
	got, err := c.GetMetadata("Noted", []string{"/private/comment", "/shared/comment"}, nil).Wait()
	require.NoError(t, err)
	require.NotNil(t, got.Entries["/private/comment"])
	assert.Equal(t, comment, *got.Entries["/private/comment"])
	assert.Nil(t, got.Entries["/shared/comment"])
	require.NoError(t, c.SetMetadata("Noted", map[string]*[]byte{"/private/vendor/x/y": &comment}).Wait())
	limit := uint32(1000)
	got, err = c.GetMetadata("Noted", []string{"/private"}, &imapclient.GetMetadataOptions{Depth: imapclient.GetMetadataDepthInfinity, MaxSize: &limit}).Wait()
	require.NoError(t, err)
	assert.Len(t, got.Entries, 2)
	require.NoError(t, c.SetMetadata("Noted", map[string]*[]byte{"/private/comment": nil}).Wait())
	// This client has no literal8: the server must not take a NUL in another.
	require.Error(t, c.SetMetadata("Noted", map[string]*[]byte{"/private/comment": &binary}).Wait())
}

func goimapSort(t *testing.T, s *server) {
	c := s.login(t, carol, nil)
	require.NoError(t, c.Create("Sorted", nil).Wait())
	for i, subject := range []string{"banana", "Re: apple", "apple", "Re: banana"} {
		s.append(t, carol, "Sorted", fmt.Sprintf("From: x%d@peer.test\r\nSubject: %s\r\nDate: Mon, 2 Nov 2026 10:0%d:00 +0000\r\nMessage-ID: <%d@x>\r\n\r\n%s", i, subject, 9-i, i, strings.Repeat("x", i)))
	}
	_, err := c.Select("Sorted", nil).Wait()
	require.NoError(t, err)
	for key, want := range map[imapclient.SortKey][]uint32{
		imapclient.SortKeySubject: {2, 3, 1, 4}, imapclient.SortKeyDate: {4, 3, 2, 1}, imapclient.SortKeyArrival: {1, 2, 3, 4}, imapclient.SortKeyFrom: {1, 2, 3, 4},
	} {
		got, err := c.Sort(&imapclient.SortOptions{SearchCriteria: &imap.SearchCriteria{}, SortCriteria: []imapclient.SortCriterion{{Key: key}}}).Wait()
		require.NoError(t, err)
		assert.Equal(t, want, got, key)
		uids, err := c.UIDSort(&imapclient.SortOptions{SearchCriteria: &imap.SearchCriteria{Not: []imap.SearchCriteria{{UID: []imap.UIDSet{imap.UIDSetNum(1)}}}},
			SortCriteria: []imapclient.SortCriterion{{Key: key, Reverse: true}}}).Wait()
		require.NoError(t, err)
		assert.Len(t, uids, 3)
	}
	for _, algorithm := range []imap.ThreadAlgorithm{imap.ThreadOrderedSubject, imap.ThreadReferences} {
		threads, err := c.Thread(&imapclient.ThreadOptions{Algorithm: algorithm, SearchCriteria: &imap.SearchCriteria{}}).Wait()
		require.NoError(t, err)
		assert.Len(t, threads, 2, "%s: %v", algorithm, threads)
	}
}

func goimapResults(t *testing.T, s *server) {
	c := s.login(t, bob, nil)
	require.NoError(t, c.Create("Results", nil).Wait())
	s.append(t, bob, "Results", message(alice, bob, "first", "x"), "Subject: second\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n", message(alice, bob, "third", "z"))
	_, err := c.Select("Results", nil).Wait()
	require.NoError(t, err)
	found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "second"}}}, &imap.SearchOptions{ReturnAll: true}).Wait()
	require.NoError(t, err)
	whole := &imap.FetchItemBinarySection{Part: []int{1}, Peek: true}
	size := &imap.FetchItemBinarySectionSize{Part: []int{1}}
	got, err := c.Fetch(found.All, &imap.FetchOptions{UID: true, BinarySection: []*imap.FetchItemBinarySection{whole}, BinarySectionSize: []*imap.FetchItemBinarySectionSize{size}}).Collect()
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.EqualValues(t, 2, got[0].UID)
	assert.Equal(t, "\x00\x01\x02", string(got[0].FindBinarySection(whole)))
	n, ok := got[0].FindBinarySectionSize(size.Part)
	assert.True(t, ok)
	assert.EqualValues(t, 3, n)
}

func goimapSpecialUse(t *testing.T, s *server) {
	c := s.login(t, carol, nil)
	require.Error(t, c.Create("Later", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrArchive}}).Wait(), "new accounts have one")
	require.NoError(t, c.Delete("Archive").Wait())
	require.NoError(t, c.Create("Later", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrArchive}}).Wait())
	list, err := c.List("", "*", &imap.ListOptions{SelectSpecialUse: true, ReturnSpecialUse: true, ReturnChildren: true}).Collect()
	require.NoError(t, err)
	uses := map[string][]imap.MailboxAttr{}
	for _, d := range list {
		uses[d.Mailbox] = d.Attrs
	}
	assert.Contains(t, uses["Later"], imap.MailboxAttrArchive)
	assert.NotContains(t, uses, "INBOX")
}

func goimapAuthenticate(t *testing.T, s *server) {
	c, err := imapclient.DialTLS(s.addrs["imaps"], &imapclient.Options{TLSConfig: trusting(t)})
	require.NoError(t, err)
	defer c.Close()
	require.Error(t, c.Authenticate(sasl.NewPlainClient("", alice, "wrong")))
	require.NoError(t, c.Authenticate(sasl.NewPlainClient("", alice, alicePassword)))
	require.NoError(t, c.Unauthenticate().Wait())
	// The client sets its state after it has ended the wait.
	require.Eventually(t, func() bool { return c.State() == imap.ConnStateNotAuthenticated }, 10*time.Second, time.Millisecond)
	require.NoError(t, c.Authenticate(sasl.NewLoginClient(bob, bobPassword)))
	require.NoError(t, c.Logout().Wait())
}

func goimapStatus(t *testing.T, s *server) {
	c := s.login(t, bob, nil)
	require.NoError(t, c.Create("Counted", nil).Wait())
	s.append(t, bob, "Counted", message(alice, bob, "one", "x"), message(alice, bob, "two", "y"))
	got, err := c.Status("Counted", &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true, NumUnseen: true, NumDeleted: true, Size: true, AppendLimit: true, DeletedStorage: true, HighestModSeq: true}).Wait()
	require.NoError(t, err)
	assert.EqualValues(t, 2, *got.NumMessages)
	assert.EqualValues(t, 2, *got.NumUnseen)
	assert.EqualValues(t, 0, *got.NumDeleted)
	assert.EqualValues(t, 0, *got.DeletedStorage)
	assert.Positive(t, *got.Size)
	assert.Positive(t, *got.AppendLimit)
	assert.Positive(t, got.HighestModSeq)
}

func goimapUTF8(t *testing.T, s *server) {
	c := s.login(t, bob, nil)
	enabled, err := c.Enable(imap.CapUTF8Accept).Wait()
	require.NoError(t, err)
	require.True(t, enabled.Caps.Has(imap.CapUTF8Accept))
	require.NoError(t, c.Create("Größe", nil).Wait())
	raw := "Subject: Größe\r\n\r\nx\r\n"
	cmd := c.Append("Größe", int64(len(raw)), nil)
	_, err = cmd.Write([]byte(raw))
	require.NoError(t, err)
	require.NoError(t, cmd.Close())
	_, err = cmd.Wait()
	require.NoError(t, err)
	_, err = c.Select("Größe", nil).Wait()
	require.NoError(t, err)
	got, err := c.Fetch(seqs(1, 0), &imap.FetchOptions{Envelope: true}).Collect()
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Equal(t, "Größe", got[0].Envelope.Subject)
	found, err := c.Search(&imap.SearchCriteria{Text: []string{"größe"}}, nil).Wait()
	require.NoError(t, err)
	assert.Equal(t, []uint32{1}, found.AllSeqNums())
}
