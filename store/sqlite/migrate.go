package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// ErrNewer: the folder was written by a newer version of this package, which
// may keep in it what this one does not know. Open refuses it and changes
// nothing.
var ErrNewer = errors.New("sqlite: store of a newer format")

// migrations bring a database from each version of the schema to the next,
// beginning with an empty one.
var migrations = [...]func(ctx context.Context, conn *sql.Conn) error{
	func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, schema1+fmt.Sprintf("PRAGMA application_id = %d;", applicationID))
		return err
	},
	migrate2,
}

// schemaVersion is the user_version of the database.
const schemaVersion = len(migrations)

// migrate brings a database of any version to this one, in one transaction.
// fault, which tests use, is called before it is committed.
func migrate(ctx context.Context, conn *sql.Conn, fault func(point string) error) error {
	var version, app, tables int
	err := errors.Join(
		conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version),
		conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app),
		conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables))
	switch {
	case err != nil:
		return err
	case tables > 0 && app != applicationID, tables == 0 && version != 0, version < 0:
		return fmt.Errorf("%w: not a database of this store", store.ErrCorrupt)
	case version > schemaVersion:
		return fmt.Errorf("%w: version %d, this program knows %d", ErrNewer, version, schemaVersion)
	case version == schemaVersion:
		return nil
	}
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, step := range migrations[version:] {
		if err == nil {
			err = step(ctx, conn)
		}
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion))
	}
	if err == nil {
		err = fault("migrate")
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, _ = conn.ExecContext(ctx, "ROLLBACK") // what is not committed is undone at the next opening anyway
		return fmt.Errorf("upgrading from version %d to %d: %w", version, schemaVersion, err)
	}
	return nil
}

// migrate2 adds the tables of version 2 and counts what its columns want to
// know. Pages of rows stay as they are until they change: they say their
// version themselves.
func migrate2(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, schema2); err != nil {
		return err
	}
	var boxes []store.MailboxID
	err := scanRows(ctx, conn, "SELECT id FROM mailbox WHERE deleted>0", func(rows *sql.Rows) error {
		var id store.MailboxID
		err := rows.Scan(&id)
		boxes = append(boxes, id)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range boxes {
		var m mbox
		var buf []store.Row
		err := scanRows(ctx, conn, "SELECT id, data FROM page WHERE id BETWEEN ? AND ?", func(rows *sql.Rows) (err error) {
			var key int64
			var data sql.RawBytes
			if err := rows.Scan(&key, &data); err != nil {
				return err
			}
			buf, err = decodePage(buf[:0], uint32(key&pageMask), data)
			for _, r := range buf {
				m.count(r, 1)
			}
			return err
		}, pageKey(id, 0), pageKey(id, pageMask))
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "UPDATE mailbox SET deleted_size=? WHERE id=?", m.DeletedSize, int64(id)); err != nil {
			return err
		}
	}
	return nil
}

// scanRows runs a query of the migrating connection to its end.
func scanRows(ctx context.Context, conn *sql.Conn, query string, fn func(rows *sql.Rows) error, args ...any) error {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
