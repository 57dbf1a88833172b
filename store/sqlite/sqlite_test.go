package sqlite_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
	"github.com/posta-mail/posta/store/sqlite"
	"github.com/posta-mail/posta/store/storetest"
)

// folders remembers where stores are, for opening them again.
type folders struct {
	mu  sync.Mutex
	dir map[store.Store]string
	opt sqlite.Options
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
		Abilities: storetest.AllAbilities(),
		New:       func(t testing.TB) store.Store { return f.open(t, filepath.Join(t.TempDir(), "mail")) },
		Reopen: func(t testing.TB, st store.Store) store.Store {
			require.NoError(t, st.Close())
			f.mu.Lock()
			dir := f.dir[st]
			f.mu.Unlock()
			return f.open(t, dir)
		},
		Huge:   os.Getenv("POSTA_TEST_HUGE") != "",
		Second: storetest.Exclusive,
		OpenAgain: func(_ testing.TB, st store.Store) (store.Store, error) {
			f.mu.Lock()
			dir := f.dir[st]
			f.mu.Unlock()
			return f.opt.Open(dir)
		},
		SetUIDNext: func(t testing.TB, st store.Store, account, mailbox string, next store.UID) {
			require.NoError(t, sqlite.SetUIDNext(st.(*sqlite.Store), account, mailbox, next))
		},
	}
}

func TestContract(t *testing.T) { storetest.Run(t, (&folders{}).config()) }

// The same where nothing fits into memory and every batch begins a segment.
func TestContractTight(t *testing.T) {
	storetest.Run(t, (&folders{opt: sqlite.Options{
		StageMemory: -1, SnapshotMemory: -1, OutlineMemory: -1, Accounts: -1, SegmentSize: 1, WALSize: 1, SweepEvery: 1e6,
		Dedupe: sqlite.DedupeStore,
	}}).config())
}

// BenchmarkContract has the engine of one file for each message beside it.
func BenchmarkContract(b *testing.B) {
	cfg := (&folders{}).config()
	cfg.Rival = func(t testing.TB) store.Store {
		st, err := maildir.Open(t.TempDir())
		require.NoError(t, err)
		return st
	}
	storetest.Bench(b, cfg)
}

// BenchmarkLarge is a mailbox of 500,000 messages, which is built only when
// asked for.
func BenchmarkLarge(b *testing.B) {
	if os.Getenv("POSTA_BENCH_LARGE") == "" {
		b.Skip("POSTA_BENCH_LARGE is not set: half a million messages take a minute and a gigabyte of disk")
	}
	storetest.BenchLarge(b, (&folders{}).config(), 0)
}
