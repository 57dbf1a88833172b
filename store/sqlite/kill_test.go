package sqlite_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
	"github.com/posta-mail/posta/store/storetest"
)

func TestMain(m *testing.M) {
	storetest.CrashChild(openCrash)
	os.Exit(m.Run())
}

// crashOptions make everything happen often: segments, files, checkpoints,
// sweeps.
var crashOptions = sqlite.Options{
	SegmentSize: 128 << 10, WALSize: 128 << 10, StageMemory: 32 << 10, SnapshotMemory: 64 << 10, SweepEvery: 10 * time.Millisecond, Grace: -1,
}

func openCrash(dir string) (store.Store, error) { return crashOptions.Open(dir) }

func crashConfig() storetest.CrashConfig {
	return storetest.CrashConfig{
		Open: openCrash,
		Check: func(ctx context.Context, st store.Store) error {
			var problems []error
			err := st.(*sqlite.Store).Check(ctx, func(problem sqlite.Problem) { problems = append(problems, problem) })
			return errors.Join(append(problems, err)...)
		},
	}
}

// TestKill kills the process that has the store open at random system calls.
func TestKill(t *testing.T) { storetest.Kill(t, crashConfig()) }

// TestPowerLoss cuts the power before every sync.
func TestPowerLoss(t *testing.T) { storetest.PowerLoss(t, crashConfig()) }
