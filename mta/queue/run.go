package queue

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// ErrNotReady is returned by Run when Spool or Deliverer is missing.
var ErrNotReady = errors.New("queue: no spool or no deliverer")

// Run delivers what is in the queue until ctx ends. It then lets the attempts
// under way end, which their ctx tells to hurry, gives their items back and
// returns ctx's error. Several queues, in several processes too, may run on
// one spool that allows it.
func (q *Queue) Run(ctx context.Context) error {
	if q.Spool == nil || q.Deliverer == nil {
		return ErrNotReady
	}
	r := &run{
		Queue: q,
		free:  make(chan struct{}, 1),
		sites: sites{workers: positive(q.Workers, 64), perSite: positive(q.SiteWorkers, 8), byName: map[string]*site{}},
		jobs:  map[store.ItemID]*job{},
		lease: positive(q.Lease, 5*time.Minute),
	}
	// A site holds its places, four times as many waiting, and what one more
	// batch brings: even if slow sites have all places, there is room.
	r.maxHeld = r.sites.workers * (1 + (4*r.sites.perSite+leaseBatch)/r.sites.perSite)
	defer r.giveBack()
	defer r.wg.Wait()
	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	wake := q.Spool.Watch(watchCtx)
	r.wg.Go(func() { r.extendLeases(watchCtx) })
	for {
		n, err := r.fetch(ctx)
		if err != nil && ctx.Err() == nil {
			q.log().Error("queue cannot lease", "err", err)
		}
		if n > 0 && err == nil {
			continue
		}
		if !r.pause(ctx, wake, err != nil) {
			return ctx.Err()
		}
	}
}

// run is one call of Run.
type run struct {
	*Queue
	wg      sync.WaitGroup
	free    chan struct{} // a job has ended
	lease   time.Duration
	maxHeld int

	mu    sync.Mutex
	sites sites
	jobs  map[store.ItemID]*job
}

// job is an item this process holds the lease of.
type job struct {
	item store.LeasedItem
	site string
}

// leaseBatch is how many items are leased in one commit.
const leaseBatch = 64

// fetch leases what is due and there is room for.
func (r *run) fetch(ctx context.Context) (int, error) {
	now := time.Now()
	r.mu.Lock()
	room := r.maxHeld - r.sites.held()
	busy, _ := r.sites.busy(now)
	r.mu.Unlock()
	if room <= 0 {
		return 0, nil
	}
	items, err := r.Spool.Lease(ctx, now, min(room, leaseBatch), r.lease, busy...)
	if err != nil {
		return 0, err
	}
	for _, item := range items {
		r.take(ctx, &job{item: item, site: item.Site})
	}
	return len(items), nil
}

func (r *run) take(ctx context.Context, j *job) {
	now := time.Now()
	r.mu.Lock()
	d := r.sites.admit(j, now)
	if d != postpone {
		r.jobs[j.item.ID] = j
	}
	until := r.sites.byName[j.site].down
	r.mu.Unlock()
	switch d {
	case start:
		r.wg.Go(func() { r.work(ctx, j) })
	case postpone:
		r.release(j, until)
	}
}

// pause waits until something may be due. It reports false when ctx has ended.
func (r *run) pause(ctx context.Context, wake <-chan struct{}, failed bool) bool {
	now := time.Now()
	r.mu.Lock()
	room := r.sites.held() < r.maxHeld
	busy, until := r.sites.busy(now)
	r.mu.Unlock()
	limit := time.Hour
	if !until.IsZero() {
		limit = min(limit, until.Sub(now))
	}
	if failed {
		limit = 10 * time.Second
	} else if due, ok, err := r.Spool.NextDue(ctx, busy...); err != nil {
		limit = 10 * time.Second
	} else if ok && room {
		// What is leased to others shows as due at the lease's end.
		limit = min(limit, max(due.Sub(now), 10*time.Millisecond))
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case _, open := <-wake:
		if !open {
			<-ctx.Done() // the spool has closed; nothing more can be due
			return false
		}
	case <-r.free:
	case <-timer.C:
	}
	return true
}

// work runs a job, then what may run in its place.
func (r *run) work(ctx context.Context, j *job) {
	down := r.attempt(ctx, j)
	now := time.Now()
	var until time.Time
	if down {
		until = now.Add(jitter(positive(r.SiteDown, time.Minute)))
	}
	r.mu.Lock()
	delete(r.jobs, j.item.ID)
	next, later := r.sites.done(j.site, now, until)
	for _, l := range later {
		delete(r.jobs, l.item.ID)
	}
	r.mu.Unlock()
	for _, n := range next {
		r.wg.Go(func() { r.work(ctx, n) })
	}
	for _, l := range later {
		r.release(l, until)
	}
	select {
	case r.free <- struct{}{}:
	default:
	}
}

// attempt delivers one item and settles it. It reports whether the site is
// down.
func (r *run) attempt(ctx context.Context, j *job) (down bool) {
	if ctx.Err() != nil {
		r.release(j, time.Now())
		return false
	}
	m, err := decode(&j.item.SpoolEntry)
	if err != nil {
		r.log().Error("queue item is held: it cannot be read", "item", j.item.ID, "err", err)
		r.settle(j, &store.Reschedule{Due: time.Now(), Site: j.site, Envelope: j.item.Envelope, Hold: true}, nil)
		return false
	}
	body, err := r.Spool.Open(ctx, j.item.ID)
	if err != nil {
		r.log().Error("queue item's message cannot be read", "item", j.item.ID, "id", m.ID, "err", err)
		r.release(j, r.next(time.Now(), j.item.Attempts))
		return false
	}
	defer body.Close()
	actx, cancel := context.WithTimeout(ctx, positive(r.AttemptTimeout, 30*time.Minute))
	results := r.Deliverer.Deliver(actx, m, body)
	cancel()
	out := r.judge(m, results, time.Now(), ctx.Err() != nil)
	r.finish(ctx, j, m, body, out)
	return out.down
}

// finish stores the outcome: notices and the rest of the recipients together.
func (r *run) finish(ctx context.Context, j *job, m *Message, body store.Body, out outcome) {
	var notices []store.SpoolItem
	notify := func(kind NoticeKind, about []Recipient) error {
		if len(about) == 0 || r.Notifier == nil {
			return nil
		}
		// A notice must be possible during a shutdown.
		items, err := r.Notifier.Notify(context.WithoutCancel(ctx), kind, m, about, body)
		notices = append(notices, items...)
		return err
	}
	defer func() {
		for _, n := range notices {
			_ = n.Body.Discard()
		}
	}()
	if err := notify(Failed, out.failed); err != nil {
		// The recipients stay until their sender can be told. Those who have
		// the message do not.
		r.log().Error("notice failed", "id", m.ID, "err", err)
		if len(out.left) == 0 {
			out.due = r.next(time.Now(), m.Attempts+1)
		}
		out.left = append(out.left, out.failed...)
	}
	if err := notify(Delayed, out.delayed); err != nil {
		r.log().Error("notice of a delay failed", "id", m.ID, "err", err)
		out.delayed = nil
	}
	if len(out.left) == 0 {
		r.settle(j, nil, notices)
		return
	}
	m.Recipients, m.Attempts = out.left, m.Attempts+out.attempts
	m.Delayed = m.Delayed || len(out.delayed) > 0
	envelope, err := encode(m)
	if err != nil {
		r.log().Error("queue item cannot be written", "id", m.ID, "err", err)
		return // the lease runs out, and it is tried again as it was
	}
	r.settle(j, &store.Reschedule{Due: out.due, Site: j.site, Envelope: envelope}, notices)
}

// release gives a lease back without an attempt having been made.
func (r *run) release(j *job, due time.Time) {
	r.settle(j, &store.Reschedule{Due: due, Site: j.site, Envelope: j.item.Envelope}, nil)
}

func (r *run) settle(j *job, next *store.Reschedule, enqueue []store.SpoolItem) {
	// What has happened must be written down even when Run is ending.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := r.Spool.Settle(ctx, j.item.ID, j.item.Fence, next, enqueue)
	if err != nil {
		// The lease ends by itself; the worst is a second delivery.
		r.log().Error("queue item cannot be settled", "item", j.item.ID, "err", err)
	}
}

// extendLeases keeps the leases of what waits or takes long.
func (r *run) extendLeases(ctx context.Context) {
	tick := time.NewTicker(r.lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		jobs := slices.Collect(maps.Values(r.jobs))
		r.mu.Unlock()
		for _, j := range jobs {
			err := r.Spool.Extend(ctx, j.item.ID, j.item.Fence, time.Now(), r.lease)
			if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
				r.log().Error("lease cannot be extended", "item", j.item.ID, "err", err)
			}
		}
	}
}

// giveBack returns what was waiting when Run ended.
func (r *run) giveBack() {
	r.mu.Lock()
	var rest []*job
	for _, s := range r.sites.byName {
		rest = append(rest, s.waiting...)
		s.waiting = nil
	}
	r.mu.Unlock()
	for _, j := range rest {
		r.release(j, j.item.Due)
	}
}

// outcome is what an attempt means for an item.
type outcome struct {
	left            []Recipient // to be tried again at due
	due             time.Time
	failed, delayed []Recipient
	attempts        int
	down            bool
}

// judge sorts the recipients by their results.
func (q *Queue) judge(m *Message, results []Result, now time.Time, interrupted bool) outcome {
	out := outcome{due: q.next(now, m.Attempts+1), attempts: 1}
	for i, rcpt := range m.Recipients {
		res := Result{Err: errNoResult}
		if i < len(results) {
			res = results[i]
		}
		out.down = out.down || res.Down
		if res.Err == nil {
			q.log().Info("delivered", "id", m.ID, "to", rcpt.To, "remote", res.Remote)
			continue
		}
		e := smtp.AsError(res.Err)
		rcpt.Last = &Answer{Code: e.Code, Enhanced: e.Enhanced, Text: shorten(e.Text), Remote: res.Remote, At: now}
		switch {
		case !e.Temporary():
			q.log().Warn("refused", "id", m.ID, "to", rcpt.To, "remote", res.Remote, "err", res.Err)
			out.failed = append(out.failed, rcpt)
		case interrupted:
			// Run is ending: nothing has been learned about the recipient.
			out.left = append(out.left, rcpt)
			out.attempts, out.due = 0, now
		case !now.Before(m.Expires):
			q.log().Warn("given up", "id", m.ID, "to", rcpt.To, "err", res.Err)
			out.failed = append(out.failed, rcpt)
		default:
			q.log().Info("deferred", "id", m.ID, "to", rcpt.To, "remote", res.Remote, "until", out.due, "err", res.Err)
			out.left = append(out.left, rcpt)
			if q.tellDelay(m, now) {
				out.delayed = append(out.delayed, rcpt)
			}
		}
	}
	// The last try is at the end, not some time after it.
	if out.due.After(m.Expires) && now.Before(m.Expires) {
		out.due = m.Expires
	}
	return out
}

// maxAnswer bounds how much of an answer, in octets, is kept: an envelope must
// have room for one of each recipient.
const maxAnswer = 1000

// shorten cuts a text at the end of a character.
func shorten(s string) string {
	if len(s) <= maxAnswer {
		return s
	}
	n := maxAnswer
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

var errNoResult = errors.New("queue: the deliverer gave no result")

// tellDelay reports whether the sender is to be told now that a message waits.
func (q *Queue) tellDelay(m *Message, now time.Time) bool {
	after := q.DelayNotice
	if after == 0 {
		after = 4 * time.Hour
	}
	return after > 0 && !m.Delayed && now.Sub(m.Arrived) >= after
}
