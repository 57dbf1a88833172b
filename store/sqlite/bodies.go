package sqlite

import (
	"cmp"
	"encoding/binary"

	"github.com/posta-mail/posta/internal/varint"
	"github.com/posta-mail/posta/store"
)

// writeChunk is about how much is written to a segment at a time.
const writeChunk = 1 << 20

// placing is a message about to be referred to for the first time.
type placing struct {
	body    *staged
	prefix  []byte
	outline []byte // of prefix and body as one
	owner   *acctTx
	// Where it was filed first, for a rebuild without the database.
	account, mailbox string
	uid              store.UID
	date, saved      int64
	flags            []store.Flag
	uidl             string
	uidValidity      uint32
}

// size is the length of the message.
func (p *placing) size() int64 { return int64(len(p.prefix)) + p.body.size }

// reference takes the next reference for a message. The place is filled in
// when it has been written.
func (t *tx) reference(p *placing) uint64 {
	t.places = append(t.places, p)
	t.need(p.body, p.owner)
	t.state.nextRef++
	return t.state.nextRef - 1
}

// need makes sure that a body is in a segment before the batch commits. It is
// for an account, or for the spool.
func (t *tx) need(body *staged, a *acctTx) {
	t.dirty = true
	if t.located == nil {
		t.located, t.twins = make(map[*staged]bodyLoc), make(map[*staged]*staged)
	}
	if t.twins[body] != nil {
		return
	}
	shared, ok := t.share(body, a)
	if _, has := t.located[body]; has || t.twins[body] != nil {
		return
	}
	loc, _ := body.located()
	if ok {
		loc = shared
	}
	t.located[body] = loc
	if loc.seg == 0 {
		t.bodies = append(t.bodies, body)
	} else if loc.off == segHeaderSize {
		t.segments = append(t.segments, loc.seg) // perhaps one of its own
	}
}

// writeBodies writes what the batch needs behind the active segment; it is not
// durable yet. The records of a message follow each other if its body is new.
func (t *tx) writeBodies() error {
	t.state.nextBody = t.s.nextBody.Load()
	if len(t.bodies) == 0 && len(t.places) == 0 && len(t.moves) == 0 {
		return nil
	}
	g := t.s.seg
	if g.active.file == nil || g.active.size >= g.maxSize {
		if err := g.roll(t.s.now()); err != nil {
			return err
		}
		t.segments = append(t.segments, g.active.num)
		t.s.freed.Store(true) // the one before may hold nothing but spool items long gone
	}
	t.start = g.active.size
	w := recordWriter{t: t, buf: t.s.scratch.records[:0], scratch: t.s.scratch.payload[:0]}
	defer func() { t.s.scratch.records, t.s.scratch.payload = keepBuffer(w.buf), keepBuffer(w.scratch) }()
	t.locs = make([]place, len(t.places))
	for i, p := range t.places {
		loc := t.where(p.body)
		if loc.seg == 0 {
			loc = w.body(cmp.Or(t.twins[p.body], p.body))
		}
		id := t.s.nextBody.Add(1) - 1
		off, size := w.record(kindPlacement, id, w.placement(p, t.state.nextRef-uint64(len(t.places)-i), loc))
		t.locs[i] = place{
			seg: g.active.num, off: off, size: size, prefix: int64(len(p.prefix)),
			bodySeg: loc.seg, bodyOff: loc.off, bodyBytes: p.body.size,
		}
		if w.err != nil {
			return w.err
		}
	}
	for _, b := range t.bodies { // of the spool
		if t.located[b].seg == 0 {
			w.body(b)
		}
	}
	for _, m := range t.moves {
		w.move(m)
	}
	w.flush()
	if w.err != nil {
		return w.err
	}
	t.state.nextBody = t.s.nextBody.Load()
	t.state.segment, t.state.committed = g.active.num, g.active.size
	return nil
}

// scratch are buffers of the committer that outlive a batch.
type scratch struct {
	records, payload, pages []byte
	values                  []any
	rows                    []store.Row
}

// keepBuffer lets go of a buffer that has become large.
func keepBuffer(b []byte) []byte {
	if cap(b) > 4*writeChunk {
		return nil
	}
	return b[:0]
}

// recordWriter gathers records for few large writes.
type recordWriter struct {
	t       *tx
	buf     []byte
	scratch []byte
	err     error
}

func (w *recordWriter) flush() {
	if w.err == nil && len(w.buf) > 0 {
		w.err = w.t.s.seg.append(w.buf)
	}
	w.buf = w.buf[:0]
}

// record appends a record and returns where it will be.
func (w *recordWriter) record(kind byte, id uint64, payload []byte) (off, size int64) {
	off = w.t.s.seg.active.size + int64(len(w.buf))
	w.buf = appendRecord(w.buf, kind, id, payload)
	if len(w.buf) >= writeChunk {
		w.flush()
	}
	return off, int64(len(payload)) + recOverhead
}

func (w *recordWriter) body(b *staged) bodyLoc {
	id := w.t.s.nextBody.Add(1) - 1
	off, _ := w.record(kindBody, id, b.mem)
	loc := bodyLoc{recordLoc{w.t.s.seg.active.num, off}, id}
	w.t.located[b] = loc
	return loc
}

// move appends records of another segment as they are.
func (w *recordWriter) move(m *movement) {
	for i := range m.records {
		r := &m.records[i]
		r.to = recordLoc{w.t.s.seg.active.num, w.t.s.seg.active.size + int64(len(w.buf))}
		m.to[r.from] = r.to // if the commit fails, the compaction ends and forgets it
		if w.buf = append(w.buf, r.raw...); len(w.buf) >= writeChunk {
			w.flush()
		}
	}
}

// placement builds the payload of a placement record; see FORMAT.md.
func (w *recordWriter) placement(p *placing, ref uint64, loc bodyLoc) []byte {
	b := w.scratch[:0]
	b = binary.AppendUvarint(b, uint64(len(p.prefix)))
	b = append(b, p.prefix...)
	b = binary.AppendUvarint(b, uint64(len(p.outline)))
	b = append(b, p.outline...)
	b = binary.AppendUvarint(b, ref)
	b = binary.AppendUvarint(b, loc.id)
	b = binary.AppendUvarint(b, uint64(p.body.size))
	b = varint.AppendString(b, p.account)
	b = varint.AppendString(b, p.mailbox)
	b = binary.AppendUvarint(b, uint64(p.uid))
	b = binary.AppendVarint(b, p.date)
	b = binary.AppendUvarint(b, uint64(len(p.flags)))
	for _, f := range p.flags {
		b = varint.AppendString(b, string(f))
	}
	b = binary.AppendVarint(b, p.saved-p.date)
	b = varint.AppendString(b, p.uidl)
	b = binary.AppendUvarint(b, uint64(p.uidValidity))
	w.scratch = b
	return b
}

// splitPlacement returns the parts of a placement record that reading needs.
func splitPlacement(payload []byte) (prefix, outline []byte, ok bool) {
	if prefix, payload, ok = cutBytes(payload); !ok {
		return nil, nil, false
	}
	outline, _, ok = cutBytes(payload)
	return prefix, outline, ok
}

func cutBytes(b []byte) (head, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n) : k+int(n)], b[k+int(n):], true
}
