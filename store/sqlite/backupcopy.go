package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// sumsName is the file of a backup that holds the SHA-256 of its database, as
// sha256sum writes it. Between two steps of a backup it has those of the
// earlier and of the new one.
const sumsName = "backup.sum"

// needs is how long each segment must be for a copy of the database. Pages
// that cannot be read go to report, or end it.
func (c *copier) needs(file string, report func(Problem)) (map[uint64]int64, error) {
	need := make(map[uint64]int64)
	add := func(loc recordLoc, size int64) { need[loc.seg] = max(need[loc.seg], loc.off+size) }
	err := c.locations(file, report, func(l *place) error {
		add(recordLoc{l.seg, l.off}, l.size)
		add(recordLoc{l.bodySeg, l.bodyOff}, l.bodyBytes+recOverhead)
		return nil
	}, func(loc recordLoc, size int64) error {
		add(loc, size+recOverhead)
		return nil
	})
	if err != nil {
		return nil, err
	}
	db, err := openReadOnly(file, true)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var s state
	if err := s.load(c.ctx, db); err != nil {
		return nil, readError(err)
	}
	if s.segment != 0 { // opening asks for it
		need[s.segment] = max(need[s.segment], s.committed)
	}
	return need, nil
}

// locations calls place for every reference of a copy of the database, and
// body for every item of its spool.
func (c *copier) locations(file string, report func(Problem), place func(l *place) error, body func(loc recordLoc, size int64) error) error {
	db, err := openReadOnly(file, true)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := checkVersion(c.ctx, db); err != nil {
		return err
	}
	err = eachRow(c.ctx, db, "SELECT id, data FROM ref ORDER BY id", func(rows *sql.Rows) error {
		var no int64
		var data sql.RawBytes
		if err := rows.Scan(&no, &data); err != nil {
			return err
		}
		page, err := decodeRefPage(uint64(no), data)
		if err != nil {
			if report == nil {
				return err
			}
			report(Problem{Err: fmt.Errorf("references from %d: %w", no<<refShift, err)})
			return nil
		}
		for i := range page {
			if page[i].seg != 0 {
				if err := place(&page[i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return readError(err)
	}
	err = eachRow(c.ctx, db, "SELECT DISTINCT bodyseg, bodyoff, bodysize FROM spool ORDER BY 1, 2", func(rows *sql.Rows) error {
		var loc recordLoc
		var size int64
		if err := rows.Scan(&loc.seg, &loc.off, &size); err != nil {
			return err
		}
		return body(loc, size)
	})
	return readError(err)
}

// segments copies what is missing of the segments.
func (c *copier) segments(need map[uint64]int64) error {
	if err := c.step("segments"); err != nil {
		return err
	}
	info, err := os.Stat(c.newDB())
	if err != nil {
		return err
	}
	nums := slices.Sorted(maps.Keys(need))
	have := make(map[uint64]int64, len(nums))
	c.done += info.Size()
	c.total = c.done
	for _, n := range nums {
		if have[n], err = c.have(n, c.trusted[n]); err != nil {
			return err
		}
		c.total += max(need[n]-have[n], 0)
	}
	for _, n := range nums {
		if have[n] < need[n] {
			if err := c.step("segment"); err != nil {
				return err
			}
			if err := c.segment(n, have[n], need[n]); err != nil {
				return fmt.Errorf("segment %d: %w", n, err)
			}
		}
		if _, ok := c.copied[n]; !ok {
			c.copied[n] = have[n]
		}
	}
	c.trusted = need
	if err := c.step("syncdir"); err != nil {
		return err
	}
	return c.opt.fs.SyncDir(c.dst.dir)
}

// have is how much of a segment is there already. What the earlier backup
// needs was durable before it was; what an interrupted copy left is read.
func (c *copier) have(num uint64, trusted int64) (int64, error) {
	dst, err := c.opt.fs.OpenRead(c.dst.path(num))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer dst.Close()
	info, err := dst.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if trusted == 0 {
		var head [segHeaderSize]byte
		if size < segHeaderSize || readFull(dst, head[:], 0) != nil {
			return 0, nil
		}
		if _, err := decodeSegmentHeader(head[:]); err != nil {
			return 0, nil
		}
		trusted, err = scanRecords(dst, segHeaderSize, size, nil)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			return 0, err
		}
		same, err := c.same(num, dst, trusted)
		if !same {
			return 0, err // no backup needs it
		}
		return trusted, nil
	}
	if size < trusted {
		return 0, nil // damaged: the whole anew
	}
	same, err := c.same(num, dst, trusted)
	if err == nil && !same {
		err = fmt.Errorf("%w: segment %d is another than that of the earlier backup; use another folder", store.ErrConflict, num)
	}
	return trusted, err
}

// same compares both ends of a segment with the original. There are headers
// of records, with numbers and checksums.
func (c *copier) same(num uint64, dst faultfs.File, size int64) (bool, error) {
	src, err := c.open(num)
	if err != nil {
		return false, err
	}
	defer src.Close()
	const span = segHeaderSize + recHeaderSize
	for _, off := range []int64{0, max(size-span, 0)} {
		n := min(span, size)
		a, b := make([]byte, n), make([]byte, n)
		if err := readFull(dst, a, off); err != nil {
			return false, err
		}
		if err := readFull(src, b, off); err != nil && !errors.Is(err, store.ErrCorrupt) {
			return false, err
		}
		if string(a) != string(b) {
			return false, nil
		}
	}
	return true, nil
}

func (c *copier) open(num uint64) (faultfs.File, error) {
	f, err := c.opt.fs.OpenRead(c.src.path(num))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w: %w", store.ErrCorrupt, errSegmentGone, err)
	}
	return f, err
}

// segment copies octets from have to need. A file becomes a segment when it is
// whole; one that is there grows behind what the earlier backup needs.
func (c *copier) segment(num uint64, have, need int64) error {
	src, err := c.open(num)
	if err != nil {
		return err
	}
	defer src.Close()
	name := c.dst.path(num)
	fresh := have == 0
	var dst faultfs.File
	if fresh {
		name = filepath.Join(c.dst.staging, filepath.Base(name)+".tmp")
		dst, err = c.opt.fs.Create(name)
	} else {
		dst, err = c.opt.fs.Open(name)
	}
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := dst.Truncate(have); err != nil {
		return err
	}
	if err := c.octets(dst, src, have, need); err != nil {
		return err
	}
	if err := dst.Datasync(); err != nil {
		return err
	}
	if fresh {
		return c.opt.fs.Rename(name, c.dst.path(num))
	}
	return nil
}

func (c *copier) octets(dst, src faultfs.File, from, to int64) error {
	buf := make([]byte, writeChunk)
	for off := from; off < to; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := src.ReadAt(buf[:min(int64(len(buf)), to-off)], off)
		if n > 0 {
			if _, err := dst.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		c.done += int64(n)
		c.opt.Progress(c.done, c.total)
		if err == io.EOF && off < to {
			return nil // too short: the messages that are missing will be found
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// verify reads what was copied, message by message.
func (c *copier) verify() error {
	var last recordLoc
	buf := make([]byte, 64<<10)
	check := func(loc recordLoc, size int64, kind byte) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if loc.off < c.copied[loc.seg] || loc == last {
			return nil
		}
		last = loc
		h, err := c.dst.acquire(loc.seg)
		if err == nil {
			err = checkRecord(h.file, loc, size, kind, buf)
			h.release()
		}
		if err != nil && c.opt.Report != nil && (errors.Is(err, store.ErrCorrupt) || errors.Is(err, fs.ErrNotExist)) {
			c.opt.Report(Problem{Err: damage("at %d of segment %d: %w", loc.off, loc.seg, err)})
			return nil
		}
		return segmentError(err)
	}
	defer c.dst.close()
	return c.locations(c.newDB(), func(Problem) {}, func(l *place) error {
		if err := check(recordLoc{l.seg, l.off}, l.size, kindPlacement); err != nil {
			return err
		}
		return check(recordLoc{l.bodySeg, l.bodyOff}, l.bodyBytes+recOverhead, kindBody)
	}, func(loc recordLoc, size int64) error {
		return check(loc, size+recOverhead, kindBody)
	})
}

// tidy makes the copy of the database forget hashes of bodies that nothing
// else refers to and that were not copied.
func (c *copier) tidy(need map[uint64]int64) error {
	db, err := openPlain(c.newDB())
	if err != nil {
		return err
	}
	defer db.Close()
	var gone []recordLoc
	if version, err := schemaOf(c.ctx, db); err != nil || version < 2 {
		return err
	}
	err = eachRow(c.ctx, db, "SELECT DISTINCT seg, off FROM body", func(rows *sql.Rows) error {
		var loc recordLoc
		err := rows.Scan(&loc.seg, &loc.off)
		if loc.off >= need[loc.seg] {
			gone = append(gone, loc)
		}
		return err
	})
	if err != nil || len(gone) == 0 {
		return readError(err)
	}
	tx, err := db.BeginTx(c.ctx, nil)
	if err != nil {
		return readError(err)
	}
	defer tx.Rollback()
	for _, loc := range gone {
		if _, err := tx.ExecContext(c.ctx, "DELETE FROM body WHERE seg=? AND off=?", int64(loc.seg), loc.off); err != nil {
			return readError(err)
		}
	}
	return readError(tx.Commit())
}

// checkRecord reads a record to its end, in pieces.
func checkRecord(f io.ReaderAt, loc recordLoc, size int64, kind byte, buf []byte) error {
	rec, err := scanRecord(f, loc.off, loc.off+size, buf)
	if err == nil && (rec.kind != kind || rec.size() != size) {
		err = damage("another record than expected at %d of segment %d", loc.off, loc.seg)
	}
	return err
}

func (c *copier) sumDB(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readSums returns the checksums that the database of a backup may have; none
// if the folder is no backup.
func readSums(dir string) (sums []string, err error) {
	b, err := os.ReadFile(filepath.Join(dir, sumsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(b)) {
		if sum, _, ok := strings.Cut(line, " "); ok {
			sums = append(sums, sum)
		}
	}
	return sums, err
}

func (c *copier) writeSums(sums []string) error {
	var b strings.Builder
	for _, s := range sums {
		fmt.Fprintf(&b, "%s  %s\n", s, dbName)
	}
	return replaceFile(c.opt.fs, filepath.Join(c.to, sumsName), []byte(b.String()))
}

// replaceFile writes a small file durably, in one step.
func replaceFile(fsys faultfs.FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Datasync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func syncFile(fsys faultfs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Datasync(), f.Close())
}

// queryer is what reads need of a database, a connection or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// eachRow runs a query to its end.
func eachRow(ctx context.Context, db queryer, query string, fn func(rows *sql.Rows) error, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
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
