// Package testfail runs test code that is expected to fail, so that a test can
// prove that another one is able to.
package testfail

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Run calls f with a testing.TB whose failure is not t's, and returns the first
// message it failed with; "" if it passed. Skipping counts as passing. What f
// logs is lost; its clean-ups have run.
func Run(t testing.TB, f func(t testing.TB)) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.fail(fmt.Sprint("panic: ", p))
			}
		}()
		f(r)
	}()
	<-done
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.first
}

// recorder keeps the verdict. What has none, such as Context, is t's.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failed   bool
	first    string
	cleanups []func()
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

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}
