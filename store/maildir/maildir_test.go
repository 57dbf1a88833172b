package maildir_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
	"github.com/posta-mail/posta/store/storetest"
)

// folders remembers where stores are, for opening them again.
type folders struct {
	mu  sync.Mutex
	dir map[store.Store]string
	opt maildir.Options
}

func (f *folders) open(t testing.TB, dir string) store.Store {
	st, err := f.opt.Open(dir)
	require.NoError(t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dir == nil {
		f.dir = make(map[store.Store]string)
	}
	f.dir[st] = dir
	return st
}

func (f *folders) config() storetest.Config {
	return storetest.Config{
		New: func(t testing.TB) store.Store { return f.open(t, filepath.Join(t.TempDir(), "mail")) },
		Reopen: func(t testing.TB, st store.Store) store.Store {
			if err := st.Close(); err != nil {
				require.ErrorIs(t, err, store.ErrUnavailable) // closed before
			}
			f.mu.Lock()
			dir := f.dir[st]
			f.mu.Unlock()
			return f.open(t, dir)
		},
		Second: storetest.Shared,
		OpenAgain: func(_ testing.TB, st store.Store) (store.Store, error) {
			f.mu.Lock()
			dir := f.dir[st]
			f.mu.Unlock()
			return f.opt.Open(dir)
		},
		Abilities: []storetest.Ability{storetest.Leases, storetest.Quotas, storetest.UIDLs},
		SetUIDNext: func(t testing.TB, st store.Store, account, mailbox string, next store.UID) {
			require.NoError(t, maildir.SetUIDNext(st.(*maildir.Store), account, mailbox, next))
		},
	}
}

func TestContract(t *testing.T) { storetest.Run(t, (&folders{}).config()) }
