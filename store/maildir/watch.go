package maildir

import (
	"context"
	"errors"
	"time"

	"github.com/posta-mail/posta/store"
)

// watched wakes the watchers of an account's name, as long as the store is
// open, and looks for other processes' changes while there are any.
type watched struct {
	store.Waker
	watchers int // under Store.mu
	polling  bool
}

func (s *Store) watchedLocked(name string) *watched {
	w := s.wakers[name]
	if w == nil {
		w = &watched{}
		s.wakers[name] = w
	}
	return w
}

func (o openAccount) Watch(ctx context.Context) <-chan struct{} {
	s := o.s
	s.mu.Lock()
	w := s.watchedLocked(o.name)
	if s.opt.Interval > 0 && ctx.Err() == nil && !s.gate.Closed() {
		w.watchers++
		context.AfterFunc(ctx, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			w.watchers--
		})
		if !w.polling {
			w.polling = true
			s.tasks.Go(func() { s.poll(o.name, w) })
		}
	}
	s.mu.Unlock()
	return w.Watch(ctx)
}

// poll looks at an account again and again while it has watchers. What it
// finds is committed, and wakes them.
func (s *Store) poll(name string, w *watched) {
	tick := time.NewTicker(s.opt.Interval)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		if w.watchers == 0 {
			w.polling = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if err := s.look(name); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrUnavailable) {
			s.opt.Logger.Warn("maildir: looking for changes", "account", name, "error", err)
		}
	}
}

// look brings the index of an account up to its folders.
func (s *Store) look(name string) error {
	ctx := context.Background()
	return s.open(ctx, name, func(a *account) error {
		_, err := a.refreshAll(ctx)
		return err
	})
}
