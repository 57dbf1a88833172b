package queue

import (
	"math/rand/v2"
	"time"
)

var defaultRetry = []time.Duration{5 * time.Minute, 25 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour}

// next is when to try again after the given number of attempts.
func (q *Queue) next(now time.Time, attempts int) time.Time {
	waits := q.Retry
	if len(waits) == 0 {
		waits = defaultRetry
	}
	w := waits[min(max(attempts, 1), len(waits))-1]
	return now.Add(jitter(w))
}

// jitter varies a wait by up to a tenth either way.
func jitter(w time.Duration) time.Duration {
	if w < 10 {
		return max(w, 0)
	}
	return w - w/10 + time.Duration(rand.Int64N(int64(w/5)+1))
}

// site is what the scheduler knows of a destination. The zero value is one
// nothing is known of.
type site struct {
	running int
	waiting []*job
	down    time.Time // left alone until
}

// sites schedules jobs: pure bookkeeping, its owner locks it.
type sites struct {
	workers, perSite int
	running, waiting int
	byName           map[string]*site
}

// decision is what becomes of a job that has just been leased.
type decision uint8

const (
	start    decision = iota // run it now
	wait                     // keep it until the site has a free place
	postpone                 // give it back to the spool: the site is down
)

// admit decides about a job.
func (s *sites) admit(j *job, now time.Time) decision {
	st := s.byName[j.site]
	if st == nil {
		st = new(site)
		s.byName[j.site] = st
	}
	switch {
	case now.Before(st.down):
		return postpone
	case st.running < s.perSite && s.running < s.workers:
		s.begin(st)
		return start
	}
	st.waiting = append(st.waiting, j)
	s.waiting++
	return wait
}

// busy lists the sites of which no more is to be leased, because enough
// waits for them or because they are down, so that nobody else's mail waits
// behind theirs; until is when the first of the latter is tried again.
func (s *sites) busy(now time.Time) (names []string, until time.Time) {
	for name, st := range s.byName {
		down := now.Before(st.down)
		if down && (until.IsZero() || st.down.Before(until)) {
			until = st.down
		}
		if down || len(st.waiting) >= 4*s.perSite {
			names = append(names, name)
		}
	}
	return names, until
}

// held is how many jobs this process holds the lease of.
func (s *sites) held() int { return s.running + s.waiting }

func (s *sites) begin(st *site) {
	st.running++
	s.running++
}

// done takes a finished job out and returns those that may start now. When
// the site is down, those waiting for it are to be postponed instead.
func (s *sites) done(name string, now time.Time, down time.Time) (run, later []*job) {
	st := s.byName[name]
	st.running--
	s.running--
	if down.After(st.down) {
		st.down = down
	}
	if now.Before(st.down) {
		later, st.waiting = st.waiting, nil
		s.waiting -= len(later)
	}
	// A place is free for this site first, then for any.
	for n, other := range s.byName {
		if s.running >= s.workers {
			break
		}
		for len(other.waiting) > 0 && other.running < s.perSite && s.running < s.workers {
			j := other.waiting[0]
			other.waiting = other.waiting[1:]
			s.waiting--
			s.begin(other)
			run = append(run, j)
		}
		if other.running == 0 && len(other.waiting) == 0 && !now.Before(other.down) {
			delete(s.byName, n)
		}
	}
	return run, later
}
