package sqlite_test

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
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
	SegmentSize: 64 << 10, WALSize: 128 << 10, StageMemory: 32 << 10, SnapshotMemory: 64 << 10, OutlineMemory: 64 << 10, SweepEvery: 10 * time.Millisecond, Grace: -1,
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
