// Package testfail runs test code that may fail, so that a test can prove that
// another one is able to, or try again with less.
package testfail

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

// recorder keeps the verdict. What has none, such as Context and TempDir, is the
// test's.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failed   bool
	first    string
	cleanups []func()
}

// Run calls f with a testing.TB whose failure is not t's, and then what f has
// registered as clean-up. It returns the first message that either failed with,
// or the panic it ended in; empty if there was none. Skipping counts as passing.
// What f logs is lost.
func Run(t testing.TB, f func(t testing.TB)) string {
	r := &recorder{TB: t}
	r.guard(func() { f(r) })
	for len(r.cleanups) > 0 { // they may register more
		last := len(r.cleanups) - 1
		c := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		r.guard(c)
	}
	return r.first
}

// guard runs f in a goroutine of its own, which it may end, and takes a panic
// for a failure.
func (r *recorder) guard(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.fail(fmt.Sprintf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		f()
	}()
	<-done
}

func (r *recorder) fail(msg string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failed {
		r.failed, r.first = true, msg
	}
}

func (r *recorder) Helper()                      {}
func (r *recorder) Log(...any)                   {}
func (r *recorder) Logf(string, ...any)          {}
func (r *recorder) Error(args ...any)            { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)) }
func (r *recorder) Fail()                        { r.fail("failed") }
func (r *recorder) FailNow()                     { r.fail("failed"); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)            { r.fail(fmt.Sprint(args...)); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)); runtime.Goexit() }
func (r *recorder) Skip(...any)                  { runtime.Goexit() }
func (r *recorder) Skipf(string, ...any)         { runtime.Goexit() }
func (r *recorder) SkipNow()                     { runtime.Goexit() }
func (r *recorder) Failed() bool                 { r.mu.Lock(); defer r.mu.Unlock(); return r.failed }
func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}
