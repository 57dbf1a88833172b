package storetest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

func TestMain(m *testing.M) {
	CrashChild(openForgetful)
	os.Exit(m.Run())
}

// openForgetful opens an engine that claims to keep something.
func openForgetful(string) (store.Store, error) { return memory.New(), nil }

// TestKillNoticesLoss proves that Kill can fail.
func TestKillNoticesLoss(t *testing.T) {
	msg := testfail.Run(t, func(t testing.TB) { Kill(t, CrashConfig{Open: openForgetful, Rounds: 20}) })
	// Depending on the moment, a message is what is missed first, or a mailbox
	// that can be made once more, or that has another UIDVALIDITY.
	require.Regexp(t, "is gone|was there already|UIDVALIDITY [0-9]+ became", msg)
}
