package storetest

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

// trial is a testing.TB on which something may fail without the test failing,
// so that it can be tried again with less. What has no verdict, such as
// Context and TempDir, is the test's.
type trial struct {
	testing.TB

	mu       sync.Mutex
	failed   bool
	first    string
	cleanups []func()
}

// try runs f and what it has registered as clean-up, and returns the first
// failure's message; empty if there was none.
func try(t testing.TB, f func(t testing.TB)) string {
	r := &trial{TB: t}
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
func (r *trial) guard(f func()) {
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

func (r *trial) fail(msg string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failed {
		r.failed, r.first = true, msg
	}
}

func (r *trial) Helper()                      {}
func (r *trial) Log(...any)                   {}
func (r *trial) Logf(string, ...any)          {}
func (r *trial) Error(args ...any)            { r.fail(fmt.Sprint(args...)) }
func (r *trial) Errorf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)) }
func (r *trial) Fail()                        { r.fail("failed") }
func (r *trial) FailNow()                     { r.fail("failed"); runtime.Goexit() }
func (r *trial) Fatal(args ...any)            { r.fail(fmt.Sprint(args...)); runtime.Goexit() }
func (r *trial) Fatalf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)); runtime.Goexit() }
func (r *trial) Skip(...any)                  { runtime.Goexit() }
func (r *trial) Skipf(string, ...any)         { runtime.Goexit() }
func (r *trial) SkipNow()                     { runtime.Goexit() }
func (r *trial) Failed() bool                 { r.mu.Lock(); defer r.mu.Unlock(); return r.failed }
func (r *trial) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}
