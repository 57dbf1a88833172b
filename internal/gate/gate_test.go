package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/gate"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := errors.New("closed")
		g := gate.Gate{Refusal: closed}
		require.NoError(t, g.Enter(t.Context()))
		require.NoError(t, g.Enter(t.Context()))
		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, g.Enter(over), context.Canceled)
		done := false
		go func() { require.True(t, g.Close()); done = true }()
		synctest.Wait()
		require.True(t, g.Closed())
		require.ErrorIs(t, g.Enter(t.Context()), closed)
		require.False(t, g.Close())
		g.Leave()
		synctest.Wait()
		require.False(t, done, "one call is under way")
		g.Leave()
		synctest.Wait()
		require.True(t, done)
	})
}
