package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/posta-mail/posta/store"
)

// Bounds of one batch.
const (
	maxBatchRequests = 1024
	maxBatchBytes    = 32 << 20
)

// request is one mutation, waiting for the committer.
type request struct {
	// plan checks the mutation against the batch so far and makes it part of
	// the batch, or returns an error and leaves the batch as it was. It runs
	// on the committer, possibly twice.
	plan func(t *tx) error
	// bytes is about what it writes to a segment.
	bytes int64
	// release frees what the request holds, once the committer has let go.
	release func()

	taken atomic.Bool // by the committer, or withdrawn by the caller
	err   error
	done  chan struct{}
}

// queue is what waits for the committer.
type queue struct {
	mu     sync.Mutex
	reqs   []*request
	closed bool
	ready  chan struct{}
}

func (q *queue) put(reqs []*request) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return errClosed
	}
	q.reqs = append(q.reqs, reqs...)
	q.mu.Unlock()
	q.signal()
	return nil
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// take waits for requests and returns what fits one batch; none when the queue
// is closed and empty.
func (q *queue) take() []*request {
	for {
		q.mu.Lock()
		if len(q.reqs) > 0 {
			n, size := 0, int64(0)
			for n < len(q.reqs) && n < maxBatchRequests && (n == 0 || size+q.reqs[n].bytes <= maxBatchBytes) {
				size += q.reqs[n].bytes
				n++
			}
			batch := q.reqs[:n:n]
			if q.reqs = q.reqs[n:]; len(q.reqs) == 0 {
				q.reqs = nil
			}
			q.mu.Unlock()
			return batch
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		<-q.ready
	}
}

// submit hands requests to the committer together and waits for all of them;
// it returns the error of each. If ctx ends first, those that were not begun
// are withdrawn and the others go on without the caller, who must not look at
// their results: their error is ctx's either way.
func (s *Store) submit(ctx context.Context, reqs ...*request) []error {
	s.send(ctx, reqs)
	return await(ctx, reqs)
}

// send is the first half of submit: the requests have their place in the queue,
// or have ended with an error.
func (s *Store) send(ctx context.Context, reqs []*request) {
	err := ctx.Err()
	if err == nil {
		err = s.broken()
	}
	for _, r := range reqs {
		r.done = make(chan struct{})
	}
	if err == nil {
		err = s.queue.put(reqs)
	}
	if err == nil {
		return
	}
	for _, r := range reqs {
		r.taken.Store(true)
		r.err = err
		r.finish()
		close(r.done)
	}
}

// await is the other half.
func await(ctx context.Context, reqs []*request) []error {
	errs := make([]error, len(reqs))
	for i, r := range reqs {
		select {
		case <-r.done:
			errs[i] = r.err
			continue
		default:
		}
		select {
		case <-r.done:
			errs[i] = r.err
			continue
		case <-ctx.Done():
		}
		errs[i] = ctx.Err()
		if r.taken.CompareAndSwap(false, true) {
			r.finish() // withdrawn
		}
	}
	return errs
}

// do submits one mutation.
func (s *Store) do(ctx context.Context, plan func(t *tx) error) error {
	return s.submit(ctx, &request{plan: plan})[0]
}

func (r *request) finish() {
	if r.release != nil {
		r.release()
	}
}

// commitLoop is the committer: the only writer of segments and database. It
// takes whatever waits, so a batch is as large as the last commit was slow.
func (s *Store) commitLoop() {
	defer s.idle.Done()
	for {
		batch := s.queue.take()
		if batch == nil {
			return
		}
		s.runBatch(batch)
	}
}

func (s *Store) runBatch(batch []*request) {
	live := batch[:0]
	for _, r := range batch {
		if r.taken.CompareAndSwap(false, true) {
			live = append(live, r)
		}
	}
	err := s.attempt(live, true)
	if errors.Is(err, store.ErrNoSpace) && s.broken() == nil {
		// Expunging is what makes room: let pass what writes no bodies.
		again := s.attempt(live, false)
		if errors.Is(again, store.ErrNoSpace) && s.broken() == nil && s.spendReserve() {
			again = s.attempt(live, false)
		}
		if again != nil {
			err = again
		}
	}
	for _, r := range live {
		r.finish()
		close(r.done)
	}
}

// attempt plans, commits and publishes a batch. With bodies unset, requests
// that write some fail with ErrNoSpace.
func (s *Store) attempt(reqs []*request, bodies bool) error {
	t := newTx(s)
	defer t.end()
	var planned []*request
	for _, r := range reqs {
		if r.err = s.broken(); r.err != nil {
			continue
		}
		if !bodies && r.bytes > 0 {
			r.err = fmt.Errorf("%w: bodies are not taken", store.ErrNoSpace)
			continue
		}
		if r.err = r.plan(t); r.err == nil {
			planned = append(planned, r)
		}
	}
	if !t.dirty {
		return nil
	}
	err := t.commit()
	if err == nil {
		t.publish()
		if err := s.broken(); err != nil {
			// A checkpoint may have failed to sync what this batch rests on.
			for _, r := range planned {
				r.err = err
			}
		}
		return nil
	}
	t.rollback()
	for _, r := range planned {
		r.err = err
	}
	return err
}

// commit makes the batch durable: bodies, then the database. The statements
// run while the bodies are synced; COMMIT waits for it.
func (t *tx) commit() error {
	s := t.s
	if err := t.writeBodies(); err != nil {
		return t.undoBodies(err, noSpace(err) && !errors.Is(err, errSync))
	}
	sync := t.syncBodies()
	s.walGate.Lock()
	err := t.writeMeta(sync)
	s.walGate.Unlock()
	if err == nil {
		s.watchWAL()
		return nil
	}
	again := s.w.rollback()
	if err := sync(); err != nil {
		return s.fail(err)
	}
	full := sqlCode(err) == sqlite3.SQLITE_FULL || noSpace(err) && !errors.Is(err, errSync)
	if full && again != nil {
		return s.fail(again)
	}
	return t.undoBodies(err, full)
}

// syncBodies begins to sync what writeBodies wrote; the result waits for it.
func (t *tx) syncBodies() func() error {
	if t.start == 0 {
		return func() error { return nil }
	}
	done, file := make(chan error, 1), t.s.seg.active.file
	go func() { done <- synced(file.Datasync()) }()
	return sync.OnceValue(func() error { return <-done })
}

// undoBodies takes the bodies of a failed batch off the segment, if the reason
// was a full disk; any other reason stops writing.
func (t *tx) undoBodies(err error, full bool) error {
	if !full {
		return t.s.fail(err)
	}
	if t.start > 0 {
		if err := t.s.seg.cutBack(t.start); err != nil {
			return t.s.fail(err)
		}
	}
	return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
}

// writeMeta is the one transaction of a batch.
func (t *tx) writeMeta(bodies func() error) error {
	ctx := context.Background() // a caller's would roll back the whole batch
	if err := t.s.opt.fault("begin"); err != nil {
		return err
	}
	if err := t.s.w.exec(ctx, stBegin); err != nil {
		return err
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	if err := bodies(); err != nil {
		return err
	}
	if err := t.s.opt.fault("commit"); err != nil {
		return err
	}
	return t.s.w.exec(ctx, stCommit)
}
