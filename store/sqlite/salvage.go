package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// tablesOf lists the tables of a database, with their columns.
func tablesOf(ctx context.Context, db queryer) (tables []tableInfo, err error) {
	err = eachRow(ctx, db, `SELECT m.name, m.sql LIKE '%WITHOUT ROWID%', c.name, c.type, c.pk FROM sqlite_schema m JOIN pragma_table_info(m.name) c
		WHERE m.type='table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.rowid, c.cid`, func(rows *sql.Rows) error {
		var name string
		var c columnInfo
		var noRowid bool
		if err := rows.Scan(&name, &noRowid, &c.name, &c.kind, &c.key); err != nil {
			return err
		}
		if n := len(tables); n == 0 || tables[n-1].name != name {
			tables = append(tables, tableInfo{name: name, rowid: !noRowid})
		}
		t := &tables[len(tables)-1]
		t.columns = append(t.columns, c)
		return nil
	})
	return tables, err
}

type tableInfo struct {
	name    string
	rowid   bool
	columns []columnInfo
}

type columnInfo struct {
	name, kind string
	key        int // position in the primary key, from 1
}

// soundness tells what SQLite finds wrong with a database, and whether rows may
// be missing for it: not if an index is all that is damaged.
func soundness(ctx context.Context, db queryer, fn func(what string) error) (missing bool, err error) {
	indexes := make(map[string]bool)
	err = eachRow(ctx, db, "SELECT rootpage FROM sqlite_schema WHERE type='index'", func(rows *sql.Rows) error {
		var root string
		err := rows.Scan(&root)
		indexes[root] = true
		return err
	})
	if err != nil {
		return true, err
	}
	err = eachRow(ctx, db, "PRAGMA integrity_check", func(rows *sql.Rows) error {
		var text string
		if err := rows.Scan(&text); err != nil || text == "ok" {
			return err
		}
		missing = missing || !onlyIndex(text, indexes)
		return fn(text)
	})
	if err != nil {
		return true, err
	}
	same, err := ownSchema(ctx, db)
	if err != nil {
		return true, err
	}
	if !same {
		return true, fn("its tables are not those of the store")
	}
	tables, err := tablesOf(ctx, db)
	if err != nil {
		return true, err
	}
	for _, t := range tables {
		var wrong []string
		for _, c := range t.columns {
			wrong = append(wrong, fmt.Sprintf("typeof(%s)<>'%s'", c.name, strings.ToLower(c.kind)))
		}
		var n int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+t.name+" WHERE "+strings.Join(wrong, " OR ")).Scan(&n)
		if err != nil {
			return true, err
		}
		if n > 0 {
			if err := fn(fmt.Sprintf("%d rows of table %s have values of another kind", n, t.name)); err != nil {
				return true, err
			}
		}
	}
	return missing, nil
}

// ownSchema compares the tables with those of an empty database of the same
// version.
func ownSchema(ctx context.Context, db queryer) (bool, error) {
	version, err := schemaOf(ctx, db)
	if err != nil {
		return false, err
	}
	c, err := driver.NewConnector(":memory:")
	if err != nil {
		return false, err
	}
	empty := sql.OpenDB(c)
	defer empty.Close()
	conn, err := empty.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	for _, step := range migrations[:version] {
		if err := step(ctx, conn); err != nil {
			return false, err
		}
	}
	list := func(db queryer) (list []string, err error) {
		err = eachRow(ctx, db, `SELECT type || ' ' || name || ' ' || tbl_name || ' ' || ifnull(sql, '') FROM sqlite_schema
			WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name`, func(rows *sql.Rows) error {
			var text string
			err := rows.Scan(&text)
			list = append(list, text)
			return err
		})
		return list, err
	}
	want, err := list(conn)
	if err != nil {
		return false, err
	}
	have, err := list(db)
	return slices.Equal(want, have), err
}

// onlyIndex says whether an answer of integrity_check, which may have several
// lines, is of indexes alone, given their root pages.
func onlyIndex(text string, indexes map[string]bool) bool {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "Tree "); ok {
			root, _, _ := strings.Cut(rest, " ")
			if !indexes[root] {
				return false
			}
			continue
		}
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "*** in database"), strings.Contains(line, " index "), strings.HasPrefix(line, "NULL value"):
		default:
			return false
		}
	}
	return true
}

// salvage copies what can be read of a damaged database to another that is
// empty. Values become of the kinds they must have.
func salvage(ctx context.Context, file string, to *sql.Tx) error {
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	from, err := openReadOnly(file, false)
	if err != nil {
		return err
	}
	defer from.Close()
	from.SetMaxOpenConns(1)
	tables, err := tablesOf(ctx, to)
	if err != nil {
		return err
	}
	for _, t := range tables {
		s := salvager{ctx: ctx, from: from, to: to, table: t}
		if err := s.run(); err != nil {
			return err
		}
	}
	return nil
}

// salvager copies one table.
type salvager struct {
	ctx   context.Context
	from  *sql.DB
	to    *sql.Tx
	table tableInfo

	list   string // of columns to be read
	insert string
}

func (s *salvager) run() error {
	var have []string
	err := eachRow(s.ctx, s.from, "SELECT name FROM pragma_table_info(?) ORDER BY cid", func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		have = append(have, name)
		return err
	}, s.table.name)
	if err != nil || len(have) == 0 {
		return s.ctx.Err() // nothing can be read
	}
	var columns, values, keys []string
	for i, c := range s.table.columns {
		if i == len(have) {
			break // of an older version
		}
		name := `"` + strings.ReplaceAll(have[i], `"`, `""`) + `"`
		columns = append(columns, c.name)
		values = append(values, fmt.Sprintf("CAST(%s AS %s)", name, c.kind))
		if c.key > 0 {
			keys = append(keys, name)
		}
	}
	s.list = strings.Join(values, ", ")
	s.insert = fmt.Sprintf("INSERT OR IGNORE INTO %s (%s) VALUES (?%s)", s.table.name, strings.Join(columns, ", "), strings.Repeat(",?", len(columns)-1))
	if s.table.name == "state" {
		if _, err := s.to.ExecContext(s.ctx, "DELETE FROM state"); err != nil {
			return err
		}
	}
	if !s.table.rowid {
		return s.byKey(strings.Join(keys, ", "), strings.Join(keys, " DESC, ")+" DESC")
	}
	return s.byRowid()
}

// byKey reads from both ends as far as it goes.
func (s *salvager) byKey(orders ...string) error {
	for _, order := range orders {
		_, _, ok, err := s.read("SELECT 0, " + s.list + " FROM " + s.table.name + " ORDER BY " + order)
		if ok || err != nil {
			return err
		}
	}
	return nil
}

// byRowid reads a table with rowids. Behind a place that cannot be read it goes
// on farther and farther away, and from there back.
func (s *salvager) byRowid() error {
	up := "SELECT rowid, " + s.list + " FROM " + s.table.name + " WHERE rowid>=? ORDER BY rowid"
	down := "SELECT rowid, " + s.list + " FROM " + s.table.name + " WHERE rowid>=? AND rowid<? ORDER BY rowid DESC"
	from, step := int64(math.MinInt64), int64(1)
	for {
		last, n, ok, err := s.read(up, from)
		if ok || err != nil {
			return err
		}
		if n > 0 {
			from, step = last, 1
		} else if from == math.MinInt64 {
			from = 0
			if _, _, _, err := s.read(down, int64(math.MinInt64), int64(math.MaxInt64)); err != nil {
				return err
			}
		}
		for n = 0; n == 0; step *= 2 {
			if step <= 0 || from > math.MaxInt64-step {
				return nil
			}
			next := from + step
			if last, n, ok, err = s.read(up, next); ok || err != nil {
				if err == nil {
					_, _, _, err = s.read(down, from, next)
				}
				return err
			}
			if n > 0 {
				if _, _, _, err := s.read(down, from, next); err != nil {
					return err
				}
				from = last
			}
		}
		step = 1
	}
}

// read copies rows until one cannot be read; ok if all could.
func (s *salvager) read(query string, args ...any) (last int64, n int, ok bool, err error) {
	rows, err := s.from.QueryContext(s.ctx, query, args...)
	if err != nil {
		return 0, 0, false, s.ctx.Err()
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return 0, 0, false, s.ctx.Err()
	}
	values := make([]any, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return last, n, false, s.ctx.Err()
		}
		for i, v := range values[1:] {
			values[i+1] = notNull(v, s.table.columns[i].kind)
		}
		if _, err := s.to.ExecContext(s.ctx, s.insert, values[1:]...); err != nil && sqlCode(err) != sqlite3.SQLITE_CONSTRAINT {
			return last, n, false, err
		}
		last, _ = values[0].(int64)
		n++
	}
	return last, n, rows.Err() == nil, s.ctx.Err()
}

// notNull is a value, or the empty one of its kind: no column may be without,
// and an empty blob comes as nil.
func notNull(v any, kind string) any {
	if b, ok := v.([]byte); v != nil && (!ok || b != nil) {
		return v
	}
	switch kind {
	case "BLOB":
		return []byte{}
	case "TEXT":
		return ""
	}
	return 0
}
