package sqlite_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testfail"
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
	SegmentSize: 64 << 10, WALSize: 128 << 10, StageMemory: 32 << 10, SnapshotMemory: 64 << 10, SweepEvery: 10 * time.Millisecond, Grace: -1,
}

// brokenEnv tells a child what is to be wrong with its store.
const brokenEnv = "POSTA_CRASH_BROKEN"

func openCrash(dir string) (store.Store, error) {
	how := os.Getenv(brokenEnv)
	st, err := sqlite.Broken(sqlite.Hurried(crashOptions), how).Open(dir)
	if err == nil && how == "acknowledged before commit" {
		return &hasty{Store: st, next: make(map[store.MailboxID]store.UID)}, nil
	}
	return st, err
}

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

// TestCrashControls proves that the two can fail, each for what it is for.
func TestCrashControls(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace, which records what reaches the disk, is not installed")
	}
	for _, c := range []struct {
		how     string
		crash   func(testing.TB, storetest.CrashConfig)
		noticed bool
	}{
		{"synchronous=OFF", storetest.PowerLoss, true},
		{"segment sync removed", storetest.PowerLoss, true},
		{"folder sync removed", storetest.PowerLoss, true},
		{"sync of the segments' folder removed", storetest.PowerLoss, true},
		{"body after metadata", storetest.PowerLoss, true},
		{"acknowledged before commit", storetest.PowerLoss, true},
		{"body after metadata", storetest.Kill, true},
		{"acknowledged before commit", storetest.Kill, true},
		{"synchronous=OFF", storetest.Kill, false}, // the system has the octets
	} {
		t.Run(c.how, func(t *testing.T) {
			cfg := crashConfig()
			cfg.Env = []string{brokenEnv + "=" + c.how}
			cfg.States = 1000
			if cfg.Rounds = 200; !c.noticed {
				cfg.Rounds = 5
			}
			msg := testfail.Run(t, func(t testing.TB) { c.crash(t, cfg) })
			t.Logf("%.300s", msg)
			require.Equal(t, c.noticed, msg != "")
			require.NotContains(t, msg, "recording")
			require.NotContains(t, msg, "the child failed")
		})
	}
}

// hasty reports placements that have not begun.
type hasty struct {
	store.Store
	mu   sync.Mutex
	next map[store.MailboxID]store.UID // told
	wg   sync.WaitGroup
	last chan struct{} // closed when the placement before has ended
}

func (h *hasty) Place(ctx context.Context, targets []store.Target) []store.Placed {
	h.mu.Lock()
	defer h.mu.Unlock()
	results, err := h.promise(ctx, targets)
	if err != nil {
		panic(err)
	}
	before, done := h.last, make(chan struct{})
	h.last = done
	h.wg.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		h.Store.Place(ctx, targets)
	})
	return results
}

func (h *hasty) promise(ctx context.Context, targets []store.Target) ([]store.Placed, error) {
	var results []store.Placed
	for i := range targets {
		a, err := h.Account(ctx, targets[i].Account, targets[i].Account)
		if err != nil {
			return nil, err
		}
		mb, err := a.Mailbox(ctx, targets[i].Mailbox)
		if err != nil {
			return nil, err
		}
		info, err := mb.Info(ctx)
		if err != nil {
			return nil, err
		}
		uid := max(info.UIDNext, h.next[info.ID])
		h.next[info.ID] = uid + 1
		results = append(results, store.Placed{Mailbox: info.ID, UIDValidity: info.UIDValidity, UID: uid})
		// The caller discards his.
		if targets[i].Body, err = h.Stage(ctx, io.NewSectionReader(targets[i].Body, 0, targets[i].Body.Size())); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (h *hasty) Close() error {
	h.wg.Wait()
	return h.Store.Close()
}
