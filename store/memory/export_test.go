package memory

import (
	"testing"

	"github.com/posta-mail/posta/store"
)

// SetUIDNext makes a mailbox look as if it had given most of its UIDs.
func SetUIDNext(t testing.TB, st store.Store, account, mailbox string, next store.UID) {
	a, err := st.(*Store).find(account)
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	mb := a.byName[mailbox]
	mb.snap = mb.snap.With(store.Changes{UIDNext: next})
}

// Used is how many octets of the budget are taken.
func Used(s *Store) int64 { return s.budget.used.Load() }

// Views is how many merged views of a mailbox are kept.
func Views(s *Store, account, mailbox string) int {
	a, err := s.find(account)
	if err != nil {
		return -1
	}
	v := &a.byName[mailbox].views
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.by)
}
