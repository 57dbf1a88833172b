package maildir

import (
	"encoding/binary"
	"fmt"

	"github.com/posta-mail/posta/internal/varint"
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
		b = binary.AppendVarint(b, int64(r.Created-prev.Created))
		b = binary.AppendUvarint(b, uint64(r.ModSeq-r.Created))
		b = binary.AppendVarint(b, r.Date-prev.Date)
		b = binary.AppendVarint(b, r.Saved-prev.Saved)
		b = binary.AppendVarint(b, int64(r.Ref-prev.Ref))
		prev = *r
	}
	return b
}

// decodeRows appends the rows of a page to rows.
func decodeRows(rows []store.Row, no uint32, b []byte) ([]store.Row, error) {
	v := varint.Reader{Rest: b}
	n := v.Next()
	if n > pageRows || v.Bad {
		return rows, fmt.Errorf("%w: page of %d rows", store.ErrCorrupt, n)
	}
	prev := store.Row{UID: store.UID(no << pageShift)}
	for i := range n {
		r := store.Row{UID: prev.UID + store.UID(v.Next())}
		r.Size = uint32(v.Next())
		r.Flags = store.FlagBits(v.Next())
		r.Created = prev.Created + store.ModSeq(v.Signed())
		r.ModSeq = r.Created + store.ModSeq(v.Next())
		r.Date = prev.Date + v.Signed()
		r.Saved = prev.Saved + v.Signed()
		r.Ref = prev.Ref + uint64(v.Signed())
		if v.Bad || pageNo(r.UID) != no || r.UID == 0 || i > 0 && r.UID <= prev.UID {
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
		b = varint.AppendString(b, s)
	}
	return b
}

func readFile(v *varint.Reader) file {
	bits := v.Next()
	f := file{cur: bits&fileCur != 0, plain: bits&filePlain != 0, ours: bits&fileOurs != 0, disk: int64(v.Next())}
	f.base, f.suffix, f.email = v.String(), v.String(), v.String()
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
	v := varint.Reader{Rest: b}
	files := make([]file, 0, n)
	for range n {
		files = append(files, readFile(&v))
	}
	if v.Bad || len(v.Rest) > 0 {
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
	v := varint.Reader{Rest: b}
	prev := uint64(0)
	for len(v.Rest) > 0 {
		from := prev + v.Next()
		to := from + v.Next()
		if v.Bad || from == 0 || to > 1<<32-1 {
			return nil, fmt.Errorf("%w: tombstone", store.ErrCorrupt)
		}
		ranges = append(ranges, store.UIDRange{From: store.UID(from), To: store.UID(to)})
		prev = to
	}
	return ranges, nil
}
