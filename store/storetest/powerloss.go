package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posta-mail/posta/internal/powerloss"
)

// PowerLoss records what a child of the test binary does to its files, and
// makes the states in which a loss of power could have left them: before every
// sync none, all, each alone and random choices of what was not synced, and
// writes in parts. Each is opened and checked as Kill does. With few States
// they are chosen from all over the recording.
//
// The recording is strace's. The test is skipped where it is not installed.
func PowerLoss(t testing.TB, cfg CrashConfig) {
	t.Helper()
	p := &powerLosses{t: t, cfg: cfg, ctx: t.Context(), seed: cfg.Seed}
	if p.seed == 0 {
		p.seed = rand.Uint64()
	}
	if err := p.record(); errors.Is(err, powerloss.ErrNoStrace) {
		t.Skip("strace, which records what reaches the disk, is not installed")
	} else if err != nil {
		t.Fatalf("recording: %v", err)
	}
	bound := fromEnv(cfg.States, "POSTA_CRASH_STATES", 250, 50)
	all := powerloss.Choice{Random: 20, Torn: 8, Old: bound < 0}
	points, total, began := 0, 0, time.Now()
	err := p.walk(func(point *powerloss.Point) error {
		points++
		for range point.States(all, p.rng(point)) {
			total++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ledger, tried := newCrashLedger(), 0
	said := ""
	err = p.walk(func(point *powerloss.Point) error {
		said += string(point.Said)
		for {
			line, rest, ok := strings.Cut(said, "\n")
			if !ok {
				break
			}
			said = rest
			e, err := parseCrashEvent(line)
			if err == nil {
				err = ledger.hear(e)
			}
			if err != nil {
				return err
			}
		}
		var states []*powerloss.State
		pick := rand.New(rand.NewPCG(p.seed, uint64(point.Number)))
		for s := range point.States(all, p.rng(point)) {
			if bound < 0 || pick.IntN(total) < bound {
				states = append(states, s)
			}
		}
		tried += len(states)
		return p.try(states, ledger)
	})
	if err != nil {
		t.Fatalf("seed %d: %v", p.seed, err)
	}
	t.Logf("%d acknowledgements, %d system calls, %d points, %d of %d states in %v",
		ledger.acks, len(p.calls), points, tried, total, time.Since(began).Round(time.Millisecond))
}

type powerLosses struct {
	t     testing.TB
	cfg   CrashConfig
	ctx   context.Context
	root  string
	calls []powerloss.Call
	seed  uint64
}

func (p *powerLosses) rng(point *powerloss.Point) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, 1<<32+uint64(point.Number)))
}

func (p *powerLosses) walk(visit func(*powerloss.Point) error) error {
	return powerloss.Walk(p.calls, p.root, "", visit)
}

// record runs a child that opens the store three times.
func (p *powerLosses) record() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if p.root, err = filepath.EvalSymlinks(p.t.TempDir()); err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), p.cfg.Env...), crashDirEnv+"="+filepath.Join(p.root, "store"),
		crashRoundEnv+"=p", crashStepsEnv+"=20", crashTurnsEnv+"=3")
	cmd.Stderr = os.Stderr
	p.calls, err = powerloss.Record(p.ctx, cmd)
	return err
}

// try checks the states of a point.
func (p *powerLosses) try(states []*powerloss.State, ledger *crashLedger) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	next := make(chan *powerloss.State)
	for range min(runtime.GOMAXPROCS(0), len(states)) {
		wg.Go(func() {
			for s := range next {
				if err := p.state(s, ledger); err != nil {
					mu.Lock()
					if first == nil {
						first = fmt.Errorf("%w\n%s", err, s)
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, s := range states {
		next <- s
	}
	close(next)
	wg.Wait()
	return first
}

// state makes a state, opens it and checks it.
func (p *powerLosses) state(s *powerloss.State, ledger *crashLedger) (err error) {
	dir, err := os.MkdirTemp(memoryFolder(), "posta-crash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := s.Write(dir); err != nil {
		return err
	}
	st, err := p.cfg.Open(filepath.Join(dir, "store"))
	if err != nil {
		return fmt.Errorf("opening after the crash: %w", err)
	}
	defer func() {
		if e := st.Close(); err == nil && e != nil {
			err = fmt.Errorf("closing: %w", e)
		}
	}()
	return ledger.verify(p.ctx, st, p.cfg.Check, false)
}

// memoryFolder is where files need not survive anything and cost little.
func memoryFolder() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return os.TempDir()
}
