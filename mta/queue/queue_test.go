package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	errTemp = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 0}, "later")
	errPerm = smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "never")
)

// world is a queue over a memory store whose other end is a function.
type world struct {
	*queue.Queue
	st *memory.Store

	mu       sync.Mutex
	attempts []attempt
	answer   func(to smtp.Path, n int) queue.Result // n: attempts at this recipient so far, from 1
	tried    map[string]int
	notices  []string
	running  map[string]int
	most     map[string]int
	block    chan struct{} // if set, attempts wait for it
}

type attempt struct {
	at   time.Time
	to   []string
	body string
}

func newWorld(t *testing.T, answer func(to smtp.Path, n int) queue.Result) *world {
	w := &world{st: memory.New(), answer: answer, tried: map[string]int{}, running: map[string]int{}, most: map[string]int{}}
	t.Cleanup(func() { _ = w.st.Close() })
	w.Queue = &queue.Queue{Spool: w.st.Spool(), Deliverer: w, Notifier: w}
	return w
}

func (w *world) Deliver(ctx context.Context, m *queue.Message, body store.Body) []queue.Result {
	b, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		b = []byte(err.Error())
	}
	w.mu.Lock()
	a := attempt{at: time.Now(), body: string(b)}
	w.running[m.Site]++
	w.running[""]++
	w.most[m.Site] = max(w.most[m.Site], w.running[m.Site])
	w.most[""] = max(w.most[""], w.running[""])
	block := w.block
	var results []queue.Result
	for _, p := range m.Paths() {
		a.to = append(a.to, p.Address())
		w.tried[p.Address()]++
		results = append(results, w.answer(p, w.tried[p.Address()]))
	}
	w.attempts = append(w.attempts, a)
	w.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			for i := range results {
				results[i] = queue.Result{Err: ctx.Err()}
			}
		}
	}
	w.mu.Lock()
	w.running[m.Site]--
	w.running[""]--
	w.mu.Unlock()
	return results
}

func (w *world) Notify(ctx context.Context, kind queue.NoticeKind, m *queue.Message, about []queue.Recipient, body store.Body) ([]store.SpoolItem, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range about {
		w.notices = append(w.notices, fmt.Sprintf("%d %s %d", kind, r.To.Address(), r.Last.Code))
	}
	if m.From.IsNull() {
		return nil, nil
	}
	staged, err := w.st.Stage(ctx, strings.NewReader("Subject: notice\r\n\r\n"))
	if err != nil {
		return nil, err
	}
	return w.Items(&queue.Submission{ID: m.ID + "-n", To: []smtp.Path{m.From}, Body: staged}, time.Now())
}

func (w *world) submit(t *testing.T, from string, to ...string) {
	t.Helper()
	staged, err := w.st.Stage(context.Background(), strings.NewReader("Subject: x\r\n\r\nbody\r\n"))
	require.NoError(t, err)
	defer staged.Discard()
	s := &queue.Submission{ID: "m1", Prefix: []byte("Received: here\r\n"), Body: staged}
	if from != "" {
		s.From = path(from)
	}
	for _, a := range to {
		s.To = append(s.To, path(a))
	}
	require.NoError(t, w.Enqueue(context.Background(), s))
}

func path(addr string) smtp.Path {
	local, domain, _ := strings.Cut(addr, "@")
	return smtp.Path{Local: local, Domain: domain}
}

func (w *world) left(t *testing.T) []queue.Entry {
	t.Helper()
	list, err := w.List(context.Background(), 0, 1000)
	require.NoError(t, err)
	return list
}

// during runs the queue for a time.
func (w *world) during(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	require.ErrorIs(t, w.Run(ctx), context.DeadlineExceeded)
}

func TestDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(smtp.Path, int) queue.Result { return queue.Result{} })
		w.submit(t, "a@x.test", "b@y.test", "c@y.test", "d@z.test")
		require.Len(t, w.left(t), 2, "one item for each site")
		w.during(t, time.Second)
		require.Empty(t, w.left(t))
		require.Len(t, w.attempts, 2)
		require.Equal(t, "Received: here\r\nSubject: x\r\n\r\nbody\r\n", w.attempts[0].body)
		require.Empty(t, w.notices)
	})
}

// Each recipient has a state of its own: one is delivered, one refused, one
// retried until it works.
func TestPerRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(to smtp.Path, n int) queue.Result {
			switch {
			case to.Local == "perm":
				return queue.Result{Err: fmt.Errorf("wrapped: %w", errPerm), Remote: "mx.y.test"}
			case to.Local == "temp" && n < 3:
				return queue.Result{Err: errTemp}
			}
			return queue.Result{}
		})
		w.submit(t, "a@x.test", "ok@y.test", "perm@y.test", "temp@y.test")
		w.during(t, 2*time.Hour)
		require.Empty(t, w.left(t))
		require.Equal(t, map[string]int{"ok@y.test": 1, "perm@y.test": 1, "temp@y.test": 3, "a@x.test": 1}, w.tried)
		require.Equal(t, []string{"1 perm@y.test 550"}, w.notices)
	})
}

func TestScheduleAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(to smtp.Path, n int) queue.Result {
			if to.Domain == "x.test" {
				return queue.Result{}
			}
			return queue.Result{Err: errors.New("some Go error")}
		})
		w.Expire = 24 * time.Hour
		start := time.Now()
		w.submit(t, "a@x.test", "b@y.test")
		w.during(t, 30*time.Hour)
		require.Empty(t, w.left(t))
		var tries []time.Duration
		for _, a := range w.attempts {
			if a.to[0] == "b@y.test" {
				tries = append(tries, a.at.Sub(start))
			}
		}
		wants := []time.Duration{0, 5 * time.Minute, 30 * time.Minute, 90 * time.Minute, 210 * time.Minute, 390 * time.Minute}
		for i, want := range wants {
			assert.InDelta(t, want, tries[i], float64(want)/10+float64(time.Second), "try %d", i)
		}
		assert.InDelta(t, 24*time.Hour, tries[len(tries)-1], float64(time.Second), "the last try is at the end")
		require.Equal(t, []string{"2 b@y.test 451", "1 b@y.test 451"}, w.notices, "one delay notice, then the failure")
	})
}

func TestNoNoticeAboutANotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(smtp.Path, int) queue.Result { return queue.Result{Err: errPerm} })
		w.submit(t, "", "b@y.test")
		w.during(t, time.Hour)
		require.Empty(t, w.left(t))
		require.Len(t, w.attempts, 1)
	})
}

// A notice that cannot be composed keeps the recipients in the queue: nobody
// is dropped without a word.
func TestNoticeFailureKeepsTheMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(smtp.Path, int) queue.Result { return queue.Result{Err: errPerm} })
		w.Notifier = brokenNotifier{}
		w.submit(t, "a@x.test", "b@y.test")
		w.during(t, time.Hour)
		require.Len(t, w.left(t), 1)
	})
}

// Those who have the message do not get it again because another recipient's
// notice fails.
func TestNoticeFailureRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(to smtp.Path, n int) queue.Result {
			switch to.Local {
			case "perm":
				return queue.Result{Err: errPerm}
			case "temp":
				return queue.Result{Err: errTemp}
			}
			return queue.Result{}
		})
		w.Notifier = brokenNotifier{}
		w.Expire, w.DelayNotice = 6*time.Hour, time.Hour
		w.submit(t, "a@x.test", "ok@y.test", "perm@y.test", "temp@y.test")
		w.during(t, 24*time.Hour)
		require.Equal(t, 1, w.tried["ok@y.test"])
		require.Greater(t, w.tried["perm@y.test"], 2)
		require.Len(t, w.left(t), 1)
		w.Notifier = w
		w.during(t, 24*time.Hour)
		require.Empty(t, w.left(t))
		require.ElementsMatch(t, []string{"1 perm@y.test 550", "1 temp@y.test 451"}, w.notices)
	})
}

// However many recipients there are and however much they answer, an envelope
// has room for it.
func TestManyRecipientsAndLongAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := smtp.Errorf(451, smtp.EnhancedCode{4, 3, 0}, "%s", strings.Repeat("<\u00e4", 100_000))
		w := newWorld(t, func(_ smtp.Path, n int) queue.Result {
			if n < 3 {
				return queue.Result{Err: long}
			}
			return queue.Result{}
		})
		var to []string
		for i := range 1001 {
			to = append(to, fmt.Sprintf("%s%d@y.test", strings.Repeat("u", 250), i))
		}
		w.submit(t, "", to...)
		require.Len(t, w.left(t), 11)
		w.during(t, time.Minute)
		for _, e := range w.left(t) {
			require.LessOrEqual(t, len(e.Message.Recipients), 100)
			require.LessOrEqual(t, len(e.Message.Recipients[0].Last.Text), 1000)
		}
		w.during(t, 24*time.Hour)
		require.Empty(t, w.left(t))
		for _, a := range to {
			require.Equal(t, 3, w.tried[a])
		}
	})
}

type brokenNotifier struct{}

func (brokenNotifier) Notify(context.Context, queue.NoticeKind, *queue.Message, []queue.Recipient, store.Body) ([]store.SpoolItem, error) {
	return nil, errors.New("no")
}

// One slow destination must not keep others waiting, and gets no more than
// its share of the workers.
func TestSlowSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(smtp.Path, int) queue.Result { return queue.Result{} })
		w.Workers, w.SiteWorkers = 6, 2
		w.block = make(chan struct{})
		for i := range 100 {
			w.submit(t, "", fmt.Sprintf("u%d@slow.test", i))
		}
		for i := range 3 {
			w.submit(t, "", fmt.Sprintf("u@fast%d.test", i))
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(time.Second)
		w.mu.Lock()
		require.Equal(t, 2, w.running["slow.test"])
		for i := range 3 {
			require.Equal(t, 1, w.running[fmt.Sprintf("fast%d.test", i)])
		}
		w.mu.Unlock()
		close(w.block)
		time.Sleep(24 * time.Hour)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Empty(t, w.left(t))
		require.Equal(t, 2, w.most["slow.test"])
		require.LessOrEqual(t, w.most[""], 6)
		for to, n := range w.tried {
			require.Equal(t, 1, n, to)
		}
	})
}

// A site that does not answer is left alone for a while, which costs its
// messages no attempt.
func TestDeadSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := false
		w := newWorld(t, func(smtp.Path, int) queue.Result {
			if up {
				return queue.Result{}
			}
			return queue.Result{Err: errTemp, Down: true}
		})
		w.SiteWorkers = 1
		for i := range 50 {
			w.submit(t, "", fmt.Sprintf("u%d@dead.test", i))
		}
		w.during(t, 5*time.Minute)
		require.LessOrEqual(t, len(w.attempts), 10, "not every message learns for itself that the site is dead")
		up = true
		w.during(t, 24*time.Hour)
		require.Empty(t, w.left(t))
	})
}

// Run that ends gives back what it holds, and the next Run takes it up.
func TestRunEndsAndBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(smtp.Path, int) queue.Result { return queue.Result{} })
		w.block = make(chan struct{})
		w.SiteWorkers = 1
		for i := range 5 {
			w.submit(t, "", fmt.Sprintf("u%d@y.test", i))
		}
		w.during(t, time.Second)
		left := w.left(t)
		require.Len(t, left, 5)
		for _, e := range left {
			require.Zero(t, e.Leased, "leases are given back")
			require.NoError(t, e.Err)
			require.Zero(t, e.Message.Attempts, "an attempt that was cut off does not count")
		}
		w.block = nil
		w.during(t, time.Minute)
		require.Empty(t, w.left(t))
	})
}

// Attempts that take longer than the lease keep it.
func TestLongAttemptKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(smtp.Path, int) queue.Result { return queue.Result{} })
		w.Lease, w.AttemptTimeout = time.Minute, time.Hour
		w.block = make(chan struct{})
		w.submit(t, "", "b@y.test")
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 2)
		for range 2 { // two processes
			go func() { done <- w.Run(ctx) }()
		}
		time.Sleep(30 * time.Minute)
		close(w.block)
		time.Sleep(time.Minute)
		cancel()
		<-done
		<-done
		require.Empty(t, w.left(t))
		require.Len(t, w.attempts, 1)
	})
}

func TestUnreadableItemIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(smtp.Path, int) queue.Result { return queue.Result{} })
		staged, err := w.st.Stage(context.Background(), strings.NewReader("x"))
		require.NoError(t, err)
		_, err = w.Spool.Enqueue(context.Background(), []store.SpoolItem{{Site: "y.test", Envelope: []byte("9?"), Body: staged}})
		require.NoError(t, err)
		w.during(t, time.Hour)
		left := w.left(t)
		require.Len(t, left, 1)
		require.True(t, left[0].Hold)
		require.Error(t, left[0].Err)
		require.Empty(t, w.attempts)
	})
}

func TestMissingResultIsTemporary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.Deliverer = silent{}
		w.submit(t, "a@x.test", "b@y.test")
		w.during(t, time.Minute)
		require.Len(t, w.left(t), 1)
	})
}

type silent struct{}

func (silent) Deliver(context.Context, *queue.Message, store.Body) []queue.Result { return nil }

func TestNotReady(t *testing.T) {
	require.ErrorIs(t, new(queue.Queue).Run(context.Background()), queue.ErrNotReady)
	_, err := new(queue.Queue).Items(&queue.Submission{}, time.Now())
	require.ErrorIs(t, err, queue.ErrNoRecipients)
}

// BenchmarkPassThrough is a message's way through the queue: enqueued, leased,
// delivered to nowhere, settled.
func BenchmarkPassThrough(b *testing.B) {
	b.ReportAllocs()
	st := memory.New()
	defer st.Close()
	done := make(chan struct{}, 1024)
	q := &queue.Queue{Spool: st.Spool(), Deliverer: sink{done}, SiteWorkers: 64}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = q.Run(ctx); close(ended) }()
	body := strings.Repeat("x", 70) + "\r\n"
	body = "Subject: x\r\n\r\n" + strings.Repeat(body, 56)
	b.ResetTimer()
	go func() {
		for i := 0; i < b.N; i++ {
			staged, _ := st.Stage(ctx, strings.NewReader(body))
			_ = q.Enqueue(ctx, &queue.Submission{ID: "m", To: []smtp.Path{{Local: "b", Domain: "y.test"}}, Body: staged})
			_ = staged.Discard()
		}
	}()
	for i := 0; i < b.N; i++ {
		<-done
	}
	b.StopTimer()
	cancel()
	<-ended
}

type sink struct{ done chan struct{} }

func (s sink) Deliver(_ context.Context, m *queue.Message, _ store.Body) []queue.Result {
	s.done <- struct{}{}
	return make([]queue.Result, len(m.Recipients))
}
