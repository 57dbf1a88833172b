package maildir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/posta-mail/posta/store"
)

// Lease implements store.Leaser. It is in the index, so that all processes
// honour it; their clocks have to agree.
func (s *Store) Lease(ctx context.Context, account, name string, ttl time.Duration) (store.Lease, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: lease of %v", store.ErrInvalid, ttl)
	}
	l := &lease{s: s, account: account, name: name}
	err := l.update(ctx, func(ctx context.Context, c *sql.Conn) error {
		now := time.Now()
		var until int64
		err := c.QueryRowContext(ctx, `SELECT until FROM lease WHERE name = ?`, name).Scan(&until)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil && now.UnixNano() < until {
			return fmt.Errorf("%w: %s", store.ErrInUse, name)
		}
		if err := c.QueryRowContext(ctx, `UPDATE state SET fence = fence + 1 RETURNING fence`).Scan(&l.fence); err != nil {
			return err
		}
		_, err = c.ExecContext(ctx, `INSERT OR REPLACE INTO lease VALUES (?, ?, ?)`, name, int64(l.fence), now.Add(ttl).UnixNano())
		if err == nil { // whatever is long over
			_, err = c.ExecContext(ctx, `DELETE FROM lease WHERE until < ?`, now.Add(-24*time.Hour).UnixNano())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// lease is a lock that is or was held.
type lease struct {
	s             *Store
	account, name string
	fence         uint64
}

// update runs f in a transaction of the index.
func (l *lease) update(ctx context.Context, f func(context.Context, *sql.Conn) error) error {
	return l.s.open(ctx, l.account, func(a *account) error {
		if err := a.lockAll(ctx); err != nil {
			return err
		}
		defer a.unlockAll()
		ctx := context.WithoutCancel(ctx)
		if _, err := a.w.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		if err := f(ctx, a.w); err != nil {
			_, rollback := a.w.ExecContext(ctx, "ROLLBACK")
			return errors.Join(err, rollback)
		}
		_, err := a.w.ExecContext(ctx, "COMMIT")
		return err
	})
}

func (l *lease) Fence() uint64 { return l.fence }

func (l *lease) Extend(ctx context.Context, ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("%w: lease of %v", store.ErrInvalid, ttl)
	}
	return l.update(ctx, func(ctx context.Context, c *sql.Conn) error {
		now := time.Now()
		r, err := c.ExecContext(ctx, `UPDATE lease SET until = ? WHERE name = ? AND fence = ? AND until > ?`,
			now.Add(ttl).UnixNano(), l.name, int64(l.fence), now.UnixNano())
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("%w: lease lost", store.ErrConflict))
		}
		return nil
	})
}

func (l *lease) Release(ctx context.Context) error {
	return l.update(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `DELETE FROM lease WHERE name = ? AND fence = ?`, l.name, int64(l.fence))
		return err
	})
}
