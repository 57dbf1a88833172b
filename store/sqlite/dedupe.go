package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// Dedupe says which bodies of equal content are kept once, whoever brought
// them; prefixes are kept with each message anyway. It costs a SHA-256 of each
// body while it is staged, and a look at a table for each placement.
type Dedupe uint8

const (
	// DedupeNone shares the bytes of one Staged between all its placements,
	// and nothing else.
	DedupeNone Dedupe = iota
	// DedupeAccount shares bodies within an account.
	DedupeAccount
	// DedupeStore shares bodies within the store, its spool included. Who can
	// measure how long a delivery takes, or how the disk fills, may then find
	// out whether anybody has exactly this body already: choose DedupeAccount
	// where users are not to learn that of each other.
	DedupeStore
)

type bodyHash [sha256.Size]byte

// hashKey is a content within a scope: an account, or nil for the store.
type hashKey struct {
	hash bodyHash
	a    *acctTx
}

// hashEntry is the body that a batch has for a content.
type hashEntry struct {
	body  *staged
	write bool // the database does not know it
}

// knownBody is what the database says of a content.
type knownBody struct {
	record uint64
	recordLoc
}

// scope is where a body may share another's record; ok is false for nowhere.
func (t *tx) scope(a *acctTx) (*acctTx, bool) {
	switch t.s.opt.Dedupe {
	case DedupeAccount:
		return a, a != nil
	case DedupeStore:
		return nil, true
	}
	return nil, false
}

// share looks for a record that has the body's content already. Errors of the
// look are as good as none: the body is written then.
func (t *tx) share(body *staged, a *acctTx) (loc bodyLoc, ok bool) {
	scope, on := t.scope(a)
	if !on {
		return bodyLoc{}, false
	}
	key := hashKey{body.hash, scope}
	if t.hashes == nil {
		t.hashes = make(map[hashKey]hashEntry)
	}
	if e, has := t.hashes[key]; has {
		if _, mine := t.located[body]; !mine && e.body != body && !body.settled() {
			t.twins[body] = e.body
		}
		return bodyLoc{}, false
	}
	known, has := t.known(key)
	switch {
	case body.settled():
		own, _ := body.located()
		t.hashes[key] = hashEntry{body, !has || known.recordLoc != own.recordLoc}
	case has && !t.s.leaving[known.seg] && (known.record >= t.s.firstRecord || body.verified(known)):
		t.hashes[key] = hashEntry{body, false}
		return bodyLoc{known.recordLoc, known.record}, true
	default:
		t.hashes[key] = hashEntry{body, true}
	}
	return bodyLoc{}, false
}

func (t *tx) known(key hashKey) (k knownBody, ok bool) {
	account := int64(0)
	if key.a != nil {
		if key.a.created {
			return k, false
		}
		account = key.a.id
	}
	k, ok, err := t.s.q.known(key.hash, account)
	if err != nil {
		t.s.opt.Logger.Warn("looking for a body of equal content", "error", err)
	}
	return k, ok && err == nil
}

// where is the record of a body of the batch, once it has been written.
func (t *tx) where(body *staged) bodyLoc {
	if twin := t.twins[body]; twin != nil {
		body = twin
	}
	return t.located[body]
}

// flushHashes writes which records have the content of new bodies.
func (t *tx) flushHashes(ctx context.Context, w *writerConn) error {
	for key, e := range t.hashes {
		if !e.write {
			continue
		}
		account := int64(0)
		if key.a != nil {
			if key.a.absent {
				continue
			}
			account = key.a.id
		}
		loc := t.where(e.body)
		if err := w.exec(ctx, stHashPut, key.hash[:], account, int64(loc.id), int64(loc.seg), loc.off); err != nil {
			return err
		}
	}
	for _, m := range t.moves {
		for _, r := range m.records {
			if r.kind != kindBody {
				continue
			}
			if err := w.exec(ctx, stHashMove, int64(r.to.seg), r.to.off, int64(r.from.seg), r.from.off); err != nil {
				return err
			}
		}
	}
	return nil
}

// verify prepares what share needs of a body that an earlier process wrote: its
// record is read and compared, lest damage spreads.
func (s *Store) verify(ctx context.Context, body *staged, account string) error {
	id := int64(0)
	switch {
	case s.opt.Dedupe == DedupeNone || body.settled():
		return nil
	case s.opt.Dedupe == DedupeAccount:
		if account == "" {
			return nil
		}
		e, err := s.pin(account)
		if err != nil {
			return err
		}
		id = e.accountID()
		s.unpin(e)
	}
	k, ok, err := s.q.known(body.hash, id)
	if err != nil || !ok || k.record >= s.firstRecord {
		return readError(err)
	}
	if err := s.compareBody(ctx, k, body); err != nil {
		if ctx.Err() == nil {
			s.opt.Logger.Warn("body of equal content cannot be used", "segment", k.seg, "offset", k.off, "error", err)
		}
		return ctx.Err()
	}
	body.mu.Lock()
	defer body.mu.Unlock()
	body.twin = k
	return nil
}

// compareBody makes sure that a record is sound and has the octets of a body.
func (s *Store) compareBody(ctx context.Context, k knownBody, body *staged) error {
	h, err := s.seg.acquire(k.seg)
	if err != nil {
		return err
	}
	defer h.release()
	one, two := stageBuffers[2].get(), stageBuffers[2].get()
	defer stageBuffers[2].put(one)
	defer stageBuffers[2].put(two)
	rec, err := scanRecord(h.file, k.off, k.off+body.size+recOverhead, *one)
	if err == nil && (rec.kind != kindBody || rec.id != k.record || int64(rec.length) != body.size) {
		err = fmt.Errorf("%w: another record than expected", store.ErrCorrupt)
	}
	for off := int64(0); err == nil && off < body.size; {
		if err = ctx.Err(); err != nil {
			break
		}
		a, b := *one, *two
		n := min(int64(len(a)), body.size-off)
		if err = readFull(h.file, a[:n], k.off+recHeaderSize+off); err == nil {
			err = readFull(body, b[:n], off)
		}
		if err == nil && !bytes.Equal(a[:n], b[:n]) {
			err = fmt.Errorf("%w: another body than its hash says", store.ErrCorrupt)
		}
		off += n
	}
	return err
}

func (q *queries) known(hash bodyHash, account int64) (k knownBody, ok bool, err error) {
	err = q.bodyRow.QueryRowContext(context.Background(), hash[:], account).Scan(&k.record, &k.seg, &k.off)
	if errors.Is(err, sql.ErrNoRows) {
		return k, false, nil
	}
	return k, err == nil, err
}

// settled reports whether a commit refers to the body's record.
func (t *staged) settled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept
}

func (t *staged) verified(k knownBody) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.twin == k
}
