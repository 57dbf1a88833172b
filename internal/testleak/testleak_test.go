package testleak

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testfail"
)

func TestMain(m *testing.M) { Main(m) }

// named has a name of its own; the rest is the test's.
type named struct {
	testing.TB
	name string
}

func (n named) Name() string { return n.name }

func TestCheck(t *testing.T) {
	stop := make(chan bool)
	leak := func(t testing.TB) {
		check(named{t, "leaking"}, 10*time.Millisecond)
		go func() { go func() { <-stop }() }() // also one that another began
	}
	require.Contains(t, testfail.Run(t, leak), "outlive the test")
	fine := func(t testing.TB) {
		check(named{t, "clean"}, patience)
		check(named{t, "clean"}, 0)
		stop := make(chan bool)
		go func() { <-stop }()
		t.Cleanup(func() { close(stop) })
	}
	require.Empty(t, testfail.Run(t, fine), "what others leave is not its business")
	require.Contains(t, ours(), "TestCheck")
	close(stop)
	require.Empty(t, wait(patience, func() string { return labelled("leaking") }))
}
