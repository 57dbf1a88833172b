package store_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// indexed is a mailbox with an index that knows of some texts.
type indexed struct {
	store.Mailbox
	known map[string]store.UIDSet
}

func (x indexed) Candidates(_ context.Context, _ *store.Snapshot, c *store.Criteria) (store.UIDSet, bool) {
	if len(c.Body) == 0 {
		return nil, false
	}
	set, ok := x.known[c.Body[0]]
	return set, ok
}

// TestSearcher looks at the candidates of an index only, and at each of them.
func TestSearcher(t *testing.T) {
	b := newSearchBox(t)
	for range 20 {
		b.add("Subject: s\n\napple\n", on(2022, 1, 1))
	}
	b.add("Subject: s\n\npear\n", on(2022, 1, 1))
	reads := 0
	mb := indexed{failing{Mailbox: b.mb, reads: &reads}, map[string]store.UIDSet{"pear": store.UIDs(3, 21, 99)}}
	find := func(c store.Criteria) (uids []store.UID) {
		reads = 0
		for r, err := range store.Search(t.Context(), mb, b.snap(), &c) {
			require.NoError(t, err)
			uids = append(uids, r.UID)
		}
		return uids
	}
	require.Equal(t, []store.UID{21}, find(store.Criteria{Body: []string{"pear"}}))
	require.Equal(t, 2, reads, "of the index's candidates those there are")
	require.Empty(t, find(store.Criteria{Body: []string{"pear"}, UIDs: []store.UIDSet{store.UIDs(1, 2, 3)}}))
	require.Equal(t, 1, reads)
	require.Len(t, find(store.Criteria{Body: []string{"apple"}}), 20, "the index is of no help")
}
