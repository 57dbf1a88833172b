package store_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func TestWaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails on goroutines that stay
		var w store.Waker
		ctx, cancel := context.WithCancel(t.Context())
		a, b := w.Watch(ctx), w.Watch(context.Background())
		w.Wake()
		w.Wake()
		for _, ch := range []<-chan struct{}{a, b} {
			_, ok := <-ch
			require.True(t, ok)
			require.Empty(t, ch, "two wake-ups are one")
		}
		w.Wake() // stays for a, though nobody receives
		cancel()
		synctest.Wait()
		_, ok := <-a
		require.True(t, ok)
		_, ok = <-a
		require.False(t, ok, "closed by its context")
		w.Wake()
		<-b
		w.Close()
		w.Close()
		_, ok = <-b
		require.False(t, ok)
		_, ok = <-w.Watch(context.Background())
		require.False(t, ok, "watching a closed waker")
		w.Wake()
	})
}

func TestWakerEndedContext(t *testing.T) {
	var w store.Waker
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, ok := <-w.Watch(ctx)
	require.False(t, ok)
}

func TestWakerLosesNothing(t *testing.T) {
	var w store.Waker
	var mu sync.Mutex
	truth := 0
	ch := w.Watch(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2000 {
			mu.Lock()
			truth++
			mu.Unlock()
			w.Wake()
		}
	}()
	deadline := time.After(10 * time.Second)
	for {
		mu.Lock()
		seen := truth
		mu.Unlock()
		if seen == 2000 {
			break
		}
		select {
		case <-ch:
		case <-deadline:
			t.Fatal("a wake-up was lost")
		}
	}
	<-done
}

func TestWakerConcurrentEnds(t *testing.T) {
	var w store.Waker
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			ch := w.Watch(ctx)
			go cancel()
			w.Wake()
			for range ch {
			}
		})
	}
	wg.Go(w.Close)
	wg.Wait()
}
