package maildir

import (
	"encoding/binary"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// A page holds the messages of one range of 128 UIDs of a mailbox, so that a
// UID alone tells the page and pages never split or move. What snapshots show
// and what files are called are apart, since the one is read without the other.
const (
	pageShift = 7
	pageRows  = 1 << pageShift
	pageBits  = 32 - pageShift
)

func pageNo(uid store.UID) uint32 { return uint32(uid) >> pageShift }

// pageKey is the key of a page, outlineKey that of an outline.
func pageKey(id store.MailboxID, no uint32) int64        { return int64(id)<<pageBits | int64(no) }
func messageKey(id store.MailboxID, uid store.UID) int64 { return int64(id)<<32 | int64(uid) }

// file is where the octets of a message are, as last seen.
type file struct {
	base   string
	suffix string // of the name, from the colon on
	cur    bool   // in cur/, else in new/
	plain  bool   // read as it is, else with CRLF for LF
	ours   bool   // written and synced by this package
	disk   int64  // octets of the file
	email  string // EMAILID, as octets
}

// path is the file's, below the mailbox's folder.
func (f *file) path() string {
	if f.cur {
		return "cur/" + f.base + f.suffix
	}
	return "new/" + f.base + f.suffix
}

// page is one in memory, for changing it.
type page struct {
	rows  []store.Row
	files []file
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// appendRows packs rows, ascending by UID, of one page: differences to the row
// before, as varints.
func appendRows(b []byte, no uint32, rows []store.Row) []byte {
	b = binary.AppendUvarint(b, uint64(len(rows)))
	prev := store.Row{UID: store.UID(no << pageShift)}
	for i := range rows {
		r := &rows[i]
		b = binary.AppendUvarint(b, uint64(r.UID-prev.UID))
		b = binary.AppendUvarint(b, uint64(r.Size))
		b = binary.AppendUvarint(b, uint64(r.Flags))
		b = binary.AppendUvarint(b, zigzag(int64(r.Created-prev.Created)))
		b = binary.AppendUvarint(b, uint64(r.ModSeq-r.Created))
		b = binary.AppendUvarint(b, zigzag(r.Date-prev.Date))
		b = binary.AppendUvarint(b, zigzag(r.Saved-prev.Saved))
		b = binary.AppendUvarint(b, zigzag(int64(r.Ref-prev.Ref)))
		prev = *r
	}
	return b
}

// varints reads numbers and strings from b; bad is set when it ends too early.
type varints struct {
	b   []byte
	bad bool
}

func (v *varints) next() uint64 {
	if len(v.b) > 0 && v.b[0] < 0x80 { // most of them
		x := v.b[0]
		v.b = v.b[1:]
		return uint64(x)
	}
	x, n := binary.Uvarint(v.b)
	if n <= 0 {
		v.b, v.bad = nil, true
		return 0
	}
	v.b = v.b[n:]
	return x
}

func (v *varints) string() string {
	n := v.next()
	if n > uint64(len(v.b)) {
		v.b, v.bad = nil, true
		return ""
	}
	s := string(v.b[:n])
	v.b = v.b[n:]
	return s
}

// decodeRows appends the rows of a page to rows.
func decodeRows(rows []store.Row, no uint32, b []byte) ([]store.Row, error) {
	v := varints{b: b}
	n := v.next()
	if n > pageRows || v.bad {
		return rows, fmt.Errorf("%w: page of %d rows", store.ErrCorrupt, n)
	}
	prev := store.Row{UID: store.UID(no << pageShift)}
	for i := range n {
		r := store.Row{UID: prev.UID + store.UID(v.next())}
		r.Size = uint32(v.next())
		r.Flags = store.FlagBits(v.next())
		r.Created = prev.Created + store.ModSeq(unzigzag(v.next()))
		r.ModSeq = r.Created + store.ModSeq(v.next())
		r.Date = prev.Date + unzigzag(v.next())
		r.Saved = prev.Saved + unzigzag(v.next())
		r.Ref = prev.Ref + uint64(unzigzag(v.next()))
		if v.bad || pageNo(r.UID) != no || r.UID == 0 || i > 0 && r.UID <= prev.UID {
			return rows, fmt.Errorf("%w: page of rows", store.ErrCorrupt)
		}
		rows = append(rows, r)
		prev = r
	}
	return rows, nil
}

const (
	fileCur = 1 << iota
	filePlain
	fileOurs
)

func (f *file) append(b []byte) []byte {
	bits := uint64(0)
	if f.cur {
		bits |= fileCur
	}
	if f.plain {
		bits |= filePlain
	}
	if f.ours {
		bits |= fileOurs
	}
	b = binary.AppendUvarint(b, bits)
	b = binary.AppendUvarint(b, uint64(f.disk))
	for _, s := range [...]string{f.base, f.suffix, f.email} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func (v *varints) file() file {
	bits := v.next()
	f := file{cur: bits&fileCur != 0, plain: bits&filePlain != 0, ours: bits&fileOurs != 0, disk: int64(v.next())}
	f.base, f.suffix, f.email = v.string(), v.string(), v.string()
	return f
}

func appendFiles(b []byte, files []file) []byte {
	for i := range files {
		b = files[i].append(b)
	}
	return b
}

// decodeFiles reads the files of a page with n rows.
func decodeFiles(n int, b []byte) ([]file, error) {
	v := varints{b: b}
	files := make([]file, 0, n)
	for range n {
		files = append(files, v.file())
	}
	if v.bad || len(v.b) > 0 {
		return nil, fmt.Errorf("%w: page of files", store.ErrCorrupt)
	}
	return files, nil
}

// decodePage reads both halves.
func decodePage(no uint32, rows, files []byte) (*page, error) {
	p := new(page)
	var err error
	if p.rows, err = decodeRows(nil, no, rows); err != nil {
		return nil, err
	}
	p.files, err = decodeFiles(len(p.rows), files)
	return p, err
}

// encodeUIDs and decodeUIDs pack the UIDs of a tombstone.
func encodeUIDs(set store.UIDSet) []byte {
	var b []byte
	prev := store.UID(0)
	for _, r := range set {
		b = binary.AppendUvarint(b, uint64(r.From-prev))
		b = binary.AppendUvarint(b, uint64(r.To-r.From))
		prev = r.To
	}
	return b
}

func decodeUIDs(ranges []store.UIDRange, b []byte) ([]store.UIDRange, error) {
	v := varints{b: b}
	prev := uint64(0)
	for len(v.b) > 0 {
		from := prev + v.next()
		to := from + v.next()
		if v.bad || from == 0 || to > 1<<32-1 {
			return nil, fmt.Errorf("%w: tombstone", store.ErrCorrupt)
		}
		ranges = append(ranges, store.UIDRange{From: store.UID(from), To: store.UID(to)})
		prev = to
	}
	return ranges, nil
}
