package store_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

func TestAddMailboxes(t *testing.T) {
	ctx := t.Context()
	st := memory.New()
	defer st.Close()
	require.NoError(t, st.CreateAccount(ctx, "anna"))
	acc, err := st.Account(ctx, "anna", "anna")
	require.NoError(t, err)
	_, err = acc.Create(ctx, "Gesendet", store.CreateOptions{SpecialUse: `\Sent`})
	require.NoError(t, err)
	_, err = acc.Create(ctx, "Junk", store.CreateOptions{})
	require.NoError(t, err)
	var before []store.MailboxInfo
	for range 2 { // the second time changes nothing
		require.NoError(t, store.AddMailboxes(ctx, acc, store.DefaultMailboxes()))
		infos, err := acc.Mailboxes(ctx)
		require.NoError(t, err)
		uses := map[string]string{}
		for _, m := range infos {
			uses[m.Name] = m.SpecialUse
			assert.Equal(t, m.Name != "Gesendet", m.Subscribed, m.Name)
		}
		assert.Equal(t, map[string]string{"INBOX": "", "Archive": `\Archive`, "Drafts": `\Drafts`, "Junk": "", "Gesendet": `\Sent`, "Trash": `\Trash`}, uses)
		if before != nil {
			assert.Equal(t, before, infos)
		}
		before = infos
	}
	known := store.SpecialUses()
	for _, m := range store.DefaultMailboxes() {
		assert.Contains(t, known, m.SpecialUse)
	}
	require.ErrorIs(t, store.AddMailboxes(ctx, acc, []store.SpecialMailbox{{Name: "a//b"}}), store.ErrInvalidName)
}

// TestCreateMailboxFails: no mailbox comes with an error of the engine.
func TestCreateMailboxFails(t *testing.T) {
	ctx := t.Context()
	st := memory.New()
	defer st.Close()
	require.NoError(t, st.CreateAccount(ctx, "anna"))
	acc, err := st.Account(ctx, "anna", "anna")
	require.NoError(t, err)
	require.NoError(t, st.SetQuota(ctx, "anna", store.Usage{Mailboxes: 1}))
	info, err := store.CreateMailbox(ctx, acc, "Work", store.CreateOptions{})
	require.ErrorIs(t, err, store.ErrOverQuota)
	assert.Zero(t, info)
}
