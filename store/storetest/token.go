package storetest

import (
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var tokenChecks = []check{
	{"Token/retry", tokenRetry},
	{"Token/one-call", tokenOneCall},
	{"Token/after-expunge", tokenAfterExpunge},
	{"Token/concurrent", tokenConcurrent},
}

func tokenRetry(k *kit) {
	a, _ := k.account("anna"), k.account("bob")
	k.create(a, "Lists")
	s := k.stage(mail(1))
	t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Token: "id-1"}
	first := k.place(t)[0]
	require.NoError(k, first.Err)
	require.False(k, first.Duplicate)
	mb := k.box(a, store.Inbox)
	before := k.snap(mb)
	for _, again := range []store.Target{t, {Account: "anna", Mailbox: "Lists", Body: k.stage(mail(2)), Token: "id-1"}} {
		p := k.place(again)[0]
		require.NoError(k, p.Err)
		require.True(k, p.Duplicate)
		p.Duplicate = false
		require.Equal(k, first, p, "the first one's result")
	}
	require.Equal(k, before.ModSeq(), k.snap(mb).ModSeq(), "nothing is filed")
	require.Zero(k, k.snap(k.box(a, "Lists")).Len())

	t.Account = "bob"
	p := k.place(t)[0]
	require.NoError(k, p.Err)
	require.False(k, p.Duplicate, "tokens are an account's own")
	t.Account, t.Token = "anna", "id-2"
	p = k.place(t)[0]
	require.NoError(k, p.Err)
	require.False(k, p.Duplicate, "another token is another message")
	t.Token = ""
	for range 2 {
		require.False(k, k.place(t)[0].Duplicate, "no token, no duplicates")
	}
	require.Equal(k, 4, k.snap(mb).Len())
}

// Old and new targets in one call: the new ones are filed.
func tokenOneCall(k *kit) {
	a := k.account("anna")
	s := k.stage(mail(1))
	t := func(token string) store.Target {
		return store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Token: token}
	}
	p := k.place(t("a"), t("b"), t("a"))
	require.False(k, p[0].Duplicate || p[1].Duplicate)
	require.True(k, p[2].Duplicate)
	require.Equal(k, p[0].UID, p[2].UID)
	q := k.place(t("b"), t("c"), t("a"))
	for _, r := range q {
		require.NoError(k, r.Err)
	}
	require.True(k, q[0].Duplicate && q[2].Duplicate && !q[1].Duplicate)
	require.Equal(k, p[1].UID, q[0].UID)
	require.Equal(k, p[0].UID, q[2].UID)
	require.Equal(k, 3, k.snap(k.box(a, store.Inbox)).Len())
}

// A retry that comes after the user has deleted the message files nothing.
func tokenAfterExpunge(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Token: "t"}
	first := k.place(t)[0]
	require.NoError(k, first.Err)
	_, err := mb.Expunge(k.Context(), store.AllUIDs())
	require.NoError(k, err)
	p := k.place(t)[0]
	require.NoError(k, p.Err)
	require.True(k, p.Duplicate)
	require.Equal(k, first.UID, p.UID)
	require.Zero(k, k.snap(mb).Len())
}

// Retries that race file one message.
func tokenConcurrent(k *kit) {
	a := k.account("anna")
	s := k.stage(mail(1))
	const racers, tokens = 8, 10
	var wg sync.WaitGroup
	results := make([][]store.Placed, racers)
	for i := range racers {
		wg.Go(func() {
			for n := range tokens {
				results[i] = append(results[i], k.st.Place(k.Context(), []store.Target{
					{Account: "anna", Mailbox: store.Inbox, Body: s, Token: fmt.Sprint("t", n)}})...)
			}
		})
	}
	wg.Wait()
	for n := range tokens {
		firsts := 0
		for i := range racers {
			p := results[i][n]
			require.NoError(k, p.Err)
			require.Equal(k, results[0][n].UID, p.UID)
			if !p.Duplicate {
				firsts++
			}
		}
		require.Equal(k, 1, firsts, "exactly one of the racers files it")
	}
	require.Equal(k, tokens, k.snap(k.box(a, store.Inbox)).Len())
}
