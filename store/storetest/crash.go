package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posta-mail/posta/store"
)

// CrashConfig tells Kill and PowerLoss how to get at an engine that keeps its
// store in a folder. The test binary's TestMain must call CrashChild first.
type CrashConfig struct {
	// Open opens the store in a folder, as the function given to CrashChild
	// does. Required.
	Open func(dir string) (store.Store, error)
	// Check has the engine look for damage, and returns what it found. Nil:
	// what can be seen through the contract is all.
	Check func(ctx context.Context, st store.Store) error
	// Env is added to the environment of children, as "NAME=value".
	Env []string
	// Rounds is how often Kill kills. 0: what the environment variable
	// POSTA_CRASH_ROUNDS says, else 20, or 5 with -short.
	Rounds int
	// States bounds, roughly, how many crash states PowerLoss tries. 0: what
	// the environment variable POSTA_CRASH_STATES says, else 250, or 50 with
	// -short; negative: no bound.
	States int
	// Seed makes the choice of crash states repeatable for one recording; 0
	// picks one, which is printed with a failure.
	Seed uint64
}

// fromEnv is n, or what the environment says, or else.
func fromEnv(n int, name string, otherwise, short int) int {
	if n != 0 {
		return n
	}
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n != 0 {
		return n
	}
	if testing.Short() {
		return short
	}
	return otherwise
}

// crashFolder is for how many rounds Kill goes on in one folder.
const crashFolder = 12

// crashTime bounds the life of a child in milliseconds.
const crashTime = 120

// Kill starts a child of the test binary that uses a store for all it can do,
// kills it at a random system call, opens the store and checks it against what
// the child had told: nothing acknowledged is lost, nothing that was removed
// comes back, nothing is visible by half, octets are those delivered, and UIDs,
// UIDVALIDITY, mod-sequences, item ids and fences grow. It does so again and
// again in the same folder.
//
// System calls are counted by strace. Where there is none, children are killed
// at random moments.
func Kill(t testing.TB, cfg CrashConfig) {
	t.Helper()
	k := &killer{cfg: cfg}
	if path, err := exec.LookPath("strace"); err == nil && runtime.GOOS == "linux" {
		k.strace = path
	} else {
		t.Log("strace, which kills at system calls, is not installed: killing at random moments")
	}
	rounds, began := fromEnv(cfg.Rounds, "POSTA_CRASH_ROUNDS", 20, 5), time.Now()
	for round := range rounds {
		if round%crashFolder == 0 {
			k.dir, k.ledger = filepath.Join(t.TempDir(), "store"), newCrashLedger()
		}
		if err := k.round(t.Context(), round); err != nil {
			t.Fatalf("round %d, %s: %v", round, k.dir, err)
		}
		k.acks, k.ledger.acks = k.acks+k.ledger.acks, 0
	}
	t.Logf("%d rounds in %v: %d acknowledgements, %d children killed at a system call, %d of them before the store was open",
		rounds, time.Since(began).Round(time.Millisecond), k.acks, rounds-k.ended, k.early)
}

type killer struct {
	cfg    CrashConfig
	strace string // "": none
	dir    string
	ledger *crashLedger
	acks   int
	ended  int // children that lived to their end
	early  int // children that died before they had opened the store
}

// killCalls are the system calls that can change what is kept or told, and
// how many of each a thread of a child comes to, about. strace counts them by
// thread and name. A question mark: not on all machines.
var killCalls = []struct {
	name  string
	most  int
	early bool // hardly made but while the store is being opened
}{
	{"pwrite64", 200, false}, {"write", 80, false}, {"fsync", 30, false}, {"fdatasync", 12, false}, {"ftruncate", 10, false},
	{"renameat,?renameat2,?rename", 6, false}, {"unlinkat,?unlink", 12, false},
	{"openat,?open", 25, true}, {"close", 15, true}, {"mkdirat,?mkdir", 4, true}, {"fcntl", 60, true}, {"mmap", 12, true}, {"flock", 1, true},
}

// inject is strace's arguments that say which call is the last: any of them, or
// one of a kind.
func inject() []string {
	early, one := rand.IntN(5) == 0, rand.IntN(2) == 0
	var set []string
	var most []int
	for _, c := range killCalls {
		if early || !c.early {
			set, most = append(set, c.name), append(most, c.most)
		}
	}
	nth := 1 + rand.IntN(40)
	if one {
		i := rand.IntN(len(set))
		set, nth = set[i:i+1], 1+rand.IntN(most[i])
	}
	calls := strings.Join(set, ",")
	return []string{"-e", "trace=" + calls, "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", calls, nth)}
}

func (k *killer) round(ctx context.Context, round int) error {
	if err := k.child(ctx, round); err != nil {
		return err
	}
	st, err := k.cfg.Open(k.dir)
	if err != nil {
		return fmt.Errorf("opening after the crash: %w", err)
	}
	err = k.ledger.verify(ctx, st, k.cfg.Check, true)
	if e := st.Close(); err == nil && e != nil {
		err = fmt.Errorf("closing: %w", e)
	}
	return err
}

// verify checks an opened store. With learn, the children go on from it.
func (l *crashLedger) verify(ctx context.Context, st store.Store, check func(context.Context, store.Store) error, learn bool) error {
	v, err := look(ctx, st)
	if err != nil {
		return err
	}
	if err := l.compare(v); err != nil {
		return err
	}
	if check != nil {
		if err := check(ctx, st); err != nil {
			return fmt.Errorf("check: %w", err)
		}
	}
	if err := l.retry(ctx, st, 5); err != nil || !learn {
		return err
	}
	if v, err = look(ctx, st); err != nil {
		return err
	}
	l.learn(v)
	return nil
}

// child runs a child to its death and takes in what it says.
func (k *killer) child(ctx context.Context, round int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	args, life := []string{exe}, crashTime
	if k.strace != "" {
		args = append(append([]string{k.strace, "-f", "-qqq", "-o", "/dev/null"}, inject()...), "--", exe)
	} else {
		life = 10 + rand.IntN(crashTime)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(append(os.Environ(), k.cfg.Env...), crashDirEnv+"="+k.dir, fmt.Sprintf("%s=%d", crashRoundEnv, round),
		crashStepsEnv+"=30", fmt.Sprintf("%s=%d", crashTimeEnv, life))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	heard := k.listen(bufio.NewReader(out))
	io.Copy(io.Discard, out) // so that it ends
	err = cmd.Wait()
	var exit *exec.ExitError
	if heard == nil && (!errors.As(err, &exit) || exit.Exited()) {
		return fmt.Errorf("the child was not killed: %w", err)
	}
	return heard
}

func (k *killer) listen(out *bufio.Reader) error {
	k.ledger.opened = false
	ended := false
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			break // what is left of a line was not said to its end
		}
		e, err := parseCrashEvent(line)
		if err == nil {
			ended = ended || e.Kind == crashEnd
			err = k.ledger.hear(e)
		}
		if err != nil {
			return err
		}
	}
	if ended {
		k.ended++
	}
	if !k.ledger.opened {
		k.early++
	}
	return nil
}
