//go:build !race

// Not under the race detector, which makes so many crashes and faults several
// times slower: TestKill and the contract run there.

package sqlite_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/store/storetest"
)

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
