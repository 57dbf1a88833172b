package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/posta-mail/posta/store"
)

// Bounds of what a sweep does in one commit.
const (
	sweepTokens = 1000
	sweepRefs   = 16 << 10
	sweepDead   = 64
	// sweepOrphan is the least age of a segment that no commit ever told of.
	sweepOrphan = 24 * time.Hour
)

func (s *Store) sweepLoop() {
	defer s.idle.Done()
	if s.opt.SweepEvery < 0 {
		return
	}
	tick := time.NewTicker(s.opt.SweepEvery)
	defer tick.Stop()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		<-s.closing
		stop()
	}()
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.opt.Logger.Error("sweep failed", "error", err)
			}
		}
	}
}

// Sweep removes what Options.Grace, History and Tokens let go: the octets of
// expunged messages, as far as whole segments have become free, tombstones,
// events and tokens. It runs by itself every Options.SweepEvery.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	err := s.sweep(ctx)
	for _, kind := range []error{nil, ctx.Err(), store.ErrUnavailable, store.ErrNoSpace, store.ErrCorrupt} {
		if errors.Is(err, kind) {
			return err
		}
	}
	return readError(err) // of a query, or of removing a file
}

func (s *Store) sweep(ctx context.Context) error {
	s.sweep1.Lock()
	defer s.sweep1.Unlock()
	now := s.now()
	for _, step := range []func(context.Context, time.Time) error{
		s.sweepTokens, s.sweepTombstones, s.sweepEvents, s.sweepDead, s.sweepSegments,
	} {
		if err := step(ctx, now); err != nil {
			return err
		}
	}
	s.keepReserve()
	return nil
}

// job submits statements to run in a commit.
func (s *Store) job(ctx context.Context, fn func(w *writerConn) error) error {
	return s.do(ctx, func(t *tx) error {
		t.dirty = true
		t.jobs = append(t.jobs, fn)
		return nil
	})
}

func (s *Store) sweepTokens(ctx context.Context, now time.Time) error {
	before := now.Add(-s.opt.Tokens).Unix()
	for {
		var keys [][2]any
		err := each(s.q.oldTokens, func(rows *sql.Rows) error {
			var token []byte
			var account int64
			err := rows.Scan(&token, &account)
			keys = append(keys, [2]any{token, account})
			return err
		}, before, sweepTokens)
		if err != nil || len(keys) == 0 {
			return err
		}
		err = s.job(ctx, func(w *writerConn) error {
			for _, k := range keys {
				if err := w.exec(context.Background(), stTokenDel, k[0], k[1]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// sweepTombstones forgets old expunges and raises the low-water marks.
func (s *Store) sweepTombstones(ctx context.Context, now time.Time) error {
	type mark struct {
		account string
		id      store.MailboxID
		low     store.ModSeq
	}
	var marks []mark
	err := each(s.q.oldTombs, func(rows *sql.Rows) error {
		var m mark
		err := rows.Scan(&m.account, &m.id, &m.low)
		marks = append(marks, m)
		return err
	}, now.Add(-s.opt.History).Unix())
	if err != nil {
		return err
	}
	for _, m := range marks {
		err := s.do(ctx, func(t *tx) error {
			a, err := t.account(m.account)
			if err != nil {
				return err
			}
			b, err := a.box(m.id)
			if err != nil {
				return nil // gone meanwhile
			}
			t.dirty, a.touched, b.changed = true, true, true
			b.m.low = max(b.m.low, m.low)
			t.jobs = append(t.jobs, func(w *writerConn) error {
				return w.exec(context.Background(), stTombsDel, int64(m.id), int64(m.low))
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepEvents forgets old events of mailboxes.
func (s *Store) sweepEvents(ctx context.Context, now time.Time) error {
	type mark struct {
		account string
		id      int64
		low     store.ModSeq
	}
	var marks []mark
	err := each(s.q.oldEvents, func(rows *sql.Rows) error {
		var m mark
		err := rows.Scan(&m.account, &m.id, &m.low)
		marks = append(marks, m)
		return err
	}, now.Add(-s.opt.History).Unix())
	if err != nil {
		return err
	}
	for _, m := range marks {
		err := s.do(ctx, func(t *tx) error {
			a, err := t.account(m.account)
			if err != nil {
				return err
			}
			if a.absent || a.id != m.id {
				return nil // gone meanwhile
			}
			t.dirty, a.touched, a.row = true, true, true
			a.low = max(a.low, m.low)
			t.jobs = append(t.jobs, func(w *writerConn) error {
				return w.exec(context.Background(), stEventsDel, m.id, int64(m.low))
			})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepDead erases references that were expunged before the grace time and
// that no mailbox has. Such a reference cannot come back: copies are made of
// messages that are there.
func (s *Store) sweepDead(ctx context.Context, now time.Time) error {
	for {
		var ids []int64
		byAccount := make(map[int64][]uint64)
		err := each(s.q.oldDead, func(rows *sql.Rows) error {
			var id, account int64
			var data sql.RawBytes
			if err := rows.Scan(&id, &account, &data); err != nil {
				return err
			}
			refs, err := decodeRefs(data)
			ids = append(ids, id)
			byAccount[account] = append(byAccount[account], refs...)
			return err
		}, now.Add(-s.opt.Grace).Unix(), sweepDead)
		if err != nil || len(ids) == 0 {
			return err
		}
		var gone []uint64
		for account, refs := range byAccount {
			if refs, err = s.unused(account, refs); err != nil {
				return err
			}
			gone = append(gone, refs...)
		}
		slices.Sort(gone) // few pages at a time
		for part := range slices.Chunk(gone, sweepRefs) {
			err := s.do(ctx, func(t *tx) error {
				t.dirty = true
				t.erase = append(t.erase, part...)
				return nil
			})
			if err != nil {
				return err
			}
		}
		if len(gone) > 0 {
			s.freed.Store(true)
		}
		err = s.job(ctx, func(w *writerConn) error {
			for _, id := range ids {
				if err := w.exec(context.Background(), stDeadDel, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// unused returns those references that no mailbox of the account has.
func (s *Store) unused(account int64, refs []uint64) ([]uint64, error) {
	dead := make(map[uint64]struct{}, len(refs))
	for _, r := range refs {
		dead[r] = struct{}{}
	}
	var rows []store.Row
	err := each(s.q.accountPages, func(r *sql.Rows) (err error) {
		var key int64
		var data sql.RawBytes
		if err := r.Scan(&key, &data); err != nil {
			return err
		}
		rows, err = decodePage(rows[:0], uint32(key&pageMask), data)
		for i := range rows {
			delete(dead, rows[i].Ref)
		}
		return err
	}, account)
	if err != nil {
		return nil, err
	}
	out := refs[:0]
	for r := range dead {
		out = append(out, r)
	}
	return out, nil
}

// sweepSegments removes segments nothing refers to, and empties others. The order of the looks
// matters: after the active segment is known, the segments before it can only
// be referred to by way of what pins them now.
func (s *Store) sweepSegments(ctx context.Context, now time.Time) (err error) {
	nums, err := s.seg.list()
	if err != nil {
		return err
	}
	active, leaving := new(uint64), make(map[uint64]bool, len(nums))
	for _, n := range nums {
		leaving[n] = true
	}
	err = s.do(ctx, func(t *tx) error {
		*active, s.leaving = s.seg.active.num, leaving
		return nil
	})
	if err != nil {
		return err
	}
	defer func() {
		// If that fails, bodies of those segments are not shared until the next sweep.
		_ = s.do(context.WithoutCancel(ctx), func(t *tx) error { s.leaving = nil; return nil })
	}()
	nums = slices.DeleteFunc(nums, func(n uint64) bool { return n == *active || s.seg.pinned(n) })
	freed := s.freed.Swap(false)
	defer func() {
		if err != nil && freed {
			s.freed.Store(true)
		}
	}()
	known := make(map[uint64]bool)
	if err := each(s.q.segmentIDs, func(rows *sql.Rows) error {
		var n uint64
		err := rows.Scan(&n)
		known[n] = true
		return err
	}); err != nil {
		return err
	}
	nums = slices.DeleteFunc(nums, func(n uint64) bool {
		if known[n] {
			return !freed
		}
		info, err := os.Stat(s.seg.path(n))
		return err != nil || now.Sub(info.ModTime()) < sweepOrphan
	})
	if len(nums) == 0 {
		return nil
	}
	return s.freeSegments(ctx, nums, known)
}

// freeSegments removes segments that are not used, and empties and removes
// some that are hardly used.
func (s *Store) freeSegments(ctx context.Context, nums []uint64, known map[uint64]bool) error {
	used, err := s.used()
	if err != nil {
		return err
	}
	if err := s.opt.fault("used"); err != nil {
		return err
	}
	var hardly []uint64
	for _, n := range nums {
		if used[n] == 0 {
			if err := s.removeSegment(ctx, n); err != nil {
				return err
			}
			continue
		}
		info, err := os.Stat(s.seg.path(n))
		if err != nil {
			return err
		}
		if float64(used[n]) >= compactBelow*float64(info.Size()) {
			continue
		}
		if len(hardly) == compactSegments {
			s.freed.Store(true) // go on in the next sweep
			continue
		}
		hardly = append(hardly, n)
	}
	if len(hardly) == 0 {
		return nil
	}
	if err := s.compact(ctx, hardly); err != nil {
		return err
	}
	if used, err = s.used(); err != nil { // rather look than believe
		return err
	}
	for _, n := range hardly {
		if used[n] > 0 {
			s.opt.Logger.Error("segment is still used after compaction", "segment", n, "octets", used[n])
			continue
		}
		if err := s.removeSegment(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) removeSegment(ctx context.Context, num uint64) error {
	if err := s.job(ctx, func(w *writerConn) error {
		return errors.Join(w.exec(context.Background(), stSegmentDel, int64(num)), w.exec(context.Background(), stHashDrop, int64(num)))
	}); err != nil {
		return err
	}
	s.opt.Logger.Info("removed a segment that is not used any more", "segment", num)
	return s.seg.remove(num)
}
