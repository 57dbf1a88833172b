//go:build !race

// Not under the race detector, which makes so many crashes and faults several
// times slower: TestKill and the contract run there.

package sqlite_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
	"github.com/posta-mail/posta/store/storetest"
)

func faultConfig(open func(o sqlite.Options, dir string, d *storetest.Disk) (*sqlite.Store, error)) storetest.FaultConfig {
	opt := crashOptions
	opt.SweepEvery, opt.WALSize = -1, 48<<10
	return storetest.FaultConfig{
		Open: func(dir string, d *storetest.Disk) (store.Store, error) {
			st, err := open(sqlite.Hurried(opt), dir, d)
			if err != nil {
				return nil, err
			}
			return st, nil
		},
		Maintain: func(ctx context.Context, st store.Store) error { return st.(*sqlite.Store).Sweep(ctx) },
		Check:    crashConfig().Check,
	}
}

// TestFaults fails every operation on files, SQLite's own too.
func TestFaults(t *testing.T) { storetest.Faults(t, faultConfig(sqlite.OpenFaulty)) }

// TestFaultsNoticed proves that Faults can fail.
func TestFaultsNoticed(t *testing.T) {
	cfg := faultConfig(sqlite.OpenDeaf)
	cfg.Every = 4
	msg := testfail.Run(t, func(t testing.TB) { storetest.Faults(t, cfg) })
	require.Contains(t, msg, "failed and was tried again")
}
