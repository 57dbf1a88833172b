package sqlite

import (
	"context"
	"database/sql"
)

// Check reads all that is stored and hands what is damaged or does not fit
// together to report. It changes nothing; Options.Repair does. Mail is
// delivered and read meanwhile; sweeps wait. The error returned is that of
// the check itself. Reading takes as long as copying the folder would.
func (s *Store) Check(ctx context.Context, report func(Problem)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.sweep1.Lock() // nothing moves, and no reference is erased
	defer s.sweep1.Unlock()
	a := newAudit(ctx, s.reader, s.seg, s.now(), report)
	for _, step := range []func() error{a.segmentFiles, a.octets} {
		if err := step(); err != nil {
			return err
		}
	}
	// What refers to each other must be of one moment.
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return readError(err)
	}
	defer tx.Rollback()
	a.db = tx
	clear(a.cache)
	unsound := false
	_, err = soundness(ctx, tx, func(text string) error {
		unsound = true
		return a.found(Problem{Err: damage("database: %s", text)}, nil)
	})
	if err == nil {
		err = a.tables()
	}
	if err = readError(err); err != nil && ctx.Err() == nil && (unsound || isCorrupt(err)) {
		report(Problem{Err: damage("database: reading stopped: %w", err)})
		return nil
	}
	return err
}
