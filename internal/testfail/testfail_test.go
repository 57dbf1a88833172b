package testfail

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		f    func(t testing.TB)
		want string
	}{
		"passes":   {func(t testing.TB) { t.Log("fine") }, ""},
		"skips":    {func(t testing.TB) { t.Skip("not now"); t.Error("not reached") }, ""},
		"errors":   {func(t testing.TB) { t.Errorf("n = %d", 1); t.Error("more") }, "n = 1"},
		"fatal":    {func(t testing.TB) { t.Fatal("stop"); panic("not reached") }, "stop"},
		"panics":   {func(t testing.TB) { panic("no") }, "panic: no"},
		"cleaning": {func(t testing.TB) { t.Cleanup(func() { t.Error(t.Failed()) }) }, "false"},
	} {
		first, _, _ := strings.Cut(Run(t, c.f), "\n") // a panic's stack follows
		require.Equal(t, c.want, first, name)
	}
}
