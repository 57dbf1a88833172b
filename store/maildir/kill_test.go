package maildir_test

import (
	"os"
	"testing"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
	"github.com/posta-mail/posta/store/storetest"
)

func TestMain(m *testing.M) {
	storetest.CrashChild(openCrash)
	os.Exit(m.Run())
}

func openCrash(dir string) (store.Store, error) { return maildir.Options{Grace: -1}.Open(dir) }

// TestKill kills the process that has the store open at random system calls.
func TestKill(t *testing.T) { storetest.Kill(t, storetest.CrashConfig{Open: openCrash}) }

// TestKillAnyMoment kills it later: opening takes more system calls than
// TestKill counts to, as a rule.
func TestKillAnyMoment(t *testing.T) {
	t.Setenv("PATH", "") // without strace
	storetest.Kill(t, storetest.CrashConfig{Open: openCrash})
}
