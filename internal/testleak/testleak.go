// Package testleak finds goroutines that outlive the test that began them.
// Tests in a bubble of testing/synctest need nothing of it: a bubble does not
// end before its goroutines do.
package testleak

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long goroutines may take to end after their test.
const patience = 5 * time.Second

// module is in the stack of every goroutine that is our business.
const module = "github.com/posta-mail/posta/"

const label = "testleak"

// watched are the tests that have called Check and have not ended.
var watched sync.Map

// Check makes t fail if goroutines that it begins from now on, or that these
// begin, are still there when it ends, after whatever it registers with Cleanup
// from now on. Other tests may run at the same time. Called again by the same
// test it does nothing.
func Check(t testing.TB) {
	t.Helper()
	check(t, patience)
}

func check(t testing.TB, patience time.Duration) {
	t.Helper()
	name := t.Name()
	if _, twice := watched.LoadOrStore(name, true); twice {
		return
	}
	// Goroutines inherit the labels of the one that begins them.
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(label, name)))
	t.Cleanup(func() {
		defer watched.Delete(name)
		pprof.SetGoroutineLabels(context.Background())
		if left := wait(patience, func() string { return labelled(name) }); left != "" {
			t.Errorf("goroutines outlive the test:\n%s", left)
		}
	})
}

// labelled are the goroutines of a test, as the profile shows them.
func labelled(name string) string {
	var b strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	var left []string
	for g := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(g, fmt.Sprintf("# labels: {%q:%q}", label, name)) {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

// Main runs the tests of a package and makes it fail if goroutines of this
// module are left when all have ended:
//
//	func TestMain(m *testing.M) { testleak.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	if left := wait(patience, ours); left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines outlive the tests:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// ours are the goroutines that run code of this module, but for the caller.
func ours() string {
	b := make([]byte, 1<<20)
	b = b[:runtime.Stack(b, true)]
	var left []string
	first := true // the caller's own
	for g := range strings.SplitSeq(string(b), "\n\n") {
		if !first && strings.Contains(g, module) {
			left = append(left, g)
		}
		first = false
	}
	return strings.Join(left, "\n\n")
}

// wait waits until nothing is left, and returns what is left after patience.
func wait(patience time.Duration, left func() string) string {
	end := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		s := left()
		if s == "" || time.Now().After(end) {
			return s
		}
		time.Sleep(pause)
	}
}
