package sqlite

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/posta-mail/posta/store"
)

// The layout of segment files is described in FORMAT.md.
const (
	segMagic      = "POSTASEG"
	segVersion    = 1
	segHeaderSize = 32

	recMagic       = "PREC"
	recVersion     = 2 // in version 1 placements ended with the flags
	recHeaderSize  = 32
	recTrailerSize = 8
	recOverhead    = recHeaderSize + recTrailerSize
	recEnd         = "END\n"

	codecPlain = 0
)

// Kinds of records.
const (
	kindBody      = 'B'
	kindPlacement = 'P'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordHeader describes one record of a segment.
type recordHeader struct {
	version byte // 0: the current one
	kind    byte
	codec   byte
	id      uint64
	length  uint64 // of the payload
	crc     uint32 // CRC32C of the payload
}

// size is the length of the whole record.
func (h recordHeader) size() int64 { return recOverhead + int64(h.length) }

func (h recordHeader) encode() (b [recHeaderSize]byte) {
	copy(b[:], recMagic)
	b[4], b[5], b[6] = cmp.Or(h.version, recVersion), h.kind, h.codec
	binary.LittleEndian.PutUint64(b[8:], h.id)
	binary.LittleEndian.PutUint64(b[16:], h.length)
	binary.LittleEndian.PutUint32(b[24:], h.crc)
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return b
}

// trailer ends a record: the END mark and the header's own CRC once more.
func (h recordHeader) trailer() (b [recTrailerSize]byte) {
	e := h.encode()
	copy(b[:], recEnd)
	copy(b[4:], e[28:])
	return b
}

func decodeRecordHeader(b []byte) (h recordHeader, err error) {
	switch {
	case len(b) < recHeaderSize || string(b[:4]) != recMagic:
		return h, fmt.Errorf("%w: no record", store.ErrCorrupt)
	case binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli):
		return h, fmt.Errorf("%w: record header", store.ErrCorrupt)
	case b[4] == 0 || b[4] > recVersion:
		return h, fmt.Errorf("%w: record of version %d, this is %d", store.ErrCorrupt, b[4], recVersion)
	case b[6] != codecPlain:
		return h, fmt.Errorf("%w: codec %d", store.ErrCorrupt, b[6])
	}
	h.version, h.kind, h.codec = b[4], b[5], b[6]
	h.id = binary.LittleEndian.Uint64(b[8:])
	h.length = binary.LittleEndian.Uint64(b[16:])
	h.crc = binary.LittleEndian.Uint32(b[24:])
	if h.length > 1<<62 {
		return h, fmt.Errorf("%w: record length", store.ErrCorrupt)
	}
	return h, nil
}

// appendRecord appends a whole record.
func appendRecord(b []byte, kind byte, id uint64, payload []byte) []byte {
	h := recordHeader{kind: kind, id: id, length: uint64(len(payload)), crc: crc32.Checksum(payload, castagnoli)}
	head, tail := h.encode(), h.trailer()
	b = append(b, head[:]...)
	b = append(b, payload...)
	return append(b, tail[:]...)
}

// openRecord checks a whole record in memory and returns its payload.
func openRecord(b []byte, kind byte) ([]byte, recordHeader, error) {
	h, err := decodeRecordHeader(b)
	if err != nil {
		return nil, h, err
	}
	if h.kind != kind || h.size() != int64(len(b)) {
		return nil, h, fmt.Errorf("%w: another record than expected", store.ErrCorrupt)
	}
	payload := b[recHeaderSize : recHeaderSize+int(h.length)]
	// The same as h.trailer() would be: the header's CRC has been checked.
	if end := b[len(b)-recTrailerSize:]; string(end[:4]) != recEnd || !bytes.Equal(end[4:], b[28:recHeaderSize]) {
		return nil, h, fmt.Errorf("%w: record without end", store.ErrCorrupt)
	}
	if crc32.Checksum(payload, castagnoli) != h.crc {
		return nil, h, fmt.Errorf("%w: checksum of record", store.ErrCorrupt)
	}
	return payload, h, nil
}

func encodeSegmentHeader(num uint64, created int64) (b [segHeaderSize]byte) {
	copy(b[:], segMagic)
	binary.LittleEndian.PutUint32(b[8:], segVersion)
	binary.LittleEndian.PutUint64(b[12:], num)
	binary.LittleEndian.PutUint64(b[20:], uint64(created))
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return b
}

// decodeSegmentHeader returns the number a segment was created with. A segment
// that began as a staged body has the number 0.
func decodeSegmentHeader(b []byte) (num uint64, err error) {
	switch {
	case len(b) < segHeaderSize || string(b[:8]) != segMagic:
		return 0, fmt.Errorf("%w: no segment file", store.ErrCorrupt)
	case binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli):
		return 0, fmt.Errorf("%w: segment header", store.ErrCorrupt)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > segVersion {
		return 0, fmt.Errorf("%w: segment of version %d, this is %d", store.ErrCorrupt, v, segVersion)
	}
	return binary.LittleEndian.Uint64(b[12:]), nil
}

// scanRecords reads whole, undamaged records from off up to size and calls fn
// for each with its offset. It returns where the last of them ends; why is nil
// if that is size, else what is wrong there. An error of fn ends the scan.
// Memory is bounded whatever the lengths say.
func scanRecords(r io.ReaderAt, off, size int64, fn func(off int64, h recordHeader) error) (end int64, why error) {
	buf := make([]byte, 64<<10)
	for off < size {
		h, err := scanRecord(r, off, size, buf)
		if err != nil {
			return off, err
		}
		if fn != nil {
			if err := fn(off, h); err != nil {
				return off, err
			}
		}
		off += h.size()
	}
	return off, nil
}

func scanRecord(r io.ReaderAt, off, size int64, buf []byte) (recordHeader, error) {
	torn := func(what string) error { return fmt.Errorf("%w: %s at %d", store.ErrCorrupt, what, off) }
	if size-off < recOverhead {
		return recordHeader{}, torn("torn record")
	}
	if err := readFull(r, buf[:recHeaderSize], off); err != nil {
		return recordHeader{}, err
	}
	h, err := decodeRecordHeader(buf)
	if err != nil {
		return h, fmt.Errorf("%w at %d", err, off)
	}
	if int64(h.length) > size-off-recOverhead {
		return h, torn("torn record")
	}
	crc, pos := uint32(0), off+recHeaderSize
	for left := int64(h.length); left > 0; {
		n := min(left, int64(len(buf)))
		if err := readFull(r, buf[:n], pos); err != nil {
			return h, err
		}
		crc = crc32.Update(crc, castagnoli, buf[:n])
		left, pos = left-n, pos+n
	}
	if err := readFull(r, buf[:recTrailerSize], pos); err != nil {
		return h, err
	}
	if t := h.trailer(); crc != h.crc || !bytes.Equal(buf[:recTrailerSize], t[:]) {
		return h, torn("damaged record")
	}
	return h, nil
}

// readFull fills p; an end before that is damage.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return fmt.Errorf("%w: file ends at %d", store.ErrCorrupt, off+int64(n))
	}
	return err
}
