package imap

import (
	"strconv"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// message answers one message. What can fail is done before anything is
// written, so that a message that cannot be read is only left out.
func (f *fetcher) message(a asked, row store.Row, body store.Body, d store.Detail) {
	if f.body && body.Size() != int64(row.Size) {
		f.note(store.ErrCorrupt)
		return
	}
	if f.header && !f.details {
		var err error
		if d.Outline, err = f.findHeader(row, body); err != nil {
			f.note(err)
			return
		}
	}
	f.out.begin()
	f.out.b = f.beginFetch(f.out.b, a.number, row.UID)
	for k := range f.items {
		if k > 0 {
			f.out.b = append(f.out.b, ' ')
		}
		f.item(&f.items[k], row, body, d)
	}
	if a.fresh {
		f.seenNow(row)
	}
	f.out.b = append(f.out.b, ")\r\n"...)
	f.out.spill()
}

// item appends one item. What may be large is written as it grows.
func (f *fetcher) item(it *wire.FetchItem, row store.Row, body store.Body, d store.Detail) {
	b := f.out.b
	switch it.Attr {
	case wire.FetchFlags:
		b = append(b, "FLAGS "...)
		b = appendFlags(b, row.Flags, f.sel.told.Keywords())
	case wire.FetchUID:
		b = append(b, "UID "...)
		b = strconv.AppendUint(b, uint64(row.UID), 10)
	case wire.FetchInternalDate:
		b = append(b, "INTERNALDATE "...)
		b = wire.AppendInternalDate(b, time.Unix(row.Date, 0))
	case wire.FetchSize:
		b = append(b, "RFC822.SIZE "...)
		b = strconv.AppendUint(b, uint64(row.Size), 10)
	case wire.FetchModSeq:
		b = f.sel.appendModSeq(b, row.ModSeq)
	case wire.FetchEnvelope:
		b = append(b, "ENVELOPE "...)
		b = wire.AppendEnvelope(b, &d.Outline.Envelope, f.utf8())
	case wire.FetchBody:
		b = append(b, "BODY "...)
		b = wire.AppendBodyStructure(b, d.Outline.Root, false, f.utf8())
	case wire.FetchBodyStructure:
		b = append(b, "BODYSTRUCTURE "...)
		b = wire.AppendBodyStructure(b, d.Outline.Root, true, f.utf8())
	case wire.FetchSaveDate:
		b = append(b, "SAVEDATE "...)
		b = appendSaveDate(b, row)
	case wire.FetchEmailID:
		b = appendObjectID(b, "EMAILID ", d.EmailID)
	case wire.FetchThreadID:
		b = appendObjectID(b, "THREADID ", d.ThreadID)
	case wire.FetchPreview:
		f.preview(body, d)
		return
	default:
		f.section(it, body, d)
		return
	}
	f.out.b = b
	f.out.spill()
}

// seenNow completes the answer about a message that has just got \Seen.
func (f *fetcher) seenNow(row store.Row) {
	b := f.out.b
	if f.needsUID() && !f.uid && !f.uidOnly { // RFC 7162 §3.2.4
		b = append(b, " UID "...)
		b = strconv.AppendUint(b, uint64(row.UID), 10)
	}
	if !f.flags {
		b = append(b, " FLAGS "...)
		b = appendFlags(b, row.Flags, f.sel.told.Keywords())
	}
	if f.condStor && !f.modSeq { // RFC 7162 §3.2
		b = append(b, ' ')
		b = f.sel.appendModSeq(b, row.ModSeq)
	}
	f.out.b = b
}

// appendSaveDate appends the time at which a message came into the mailbox,
// NIL if that is not known (RFC 8514 §4.1).
func appendSaveDate(b []byte, row store.Row) []byte {
	if row.Saved == 0 {
		return append(b, "NIL"...)
	}
	return wire.AppendInternalDate(b, time.Unix(row.Saved, 0))
}

// appendObjectID appends EMAILID or THREADID (RFC 8474 §5); NIL without one.
func appendObjectID(b []byte, name, id string) []byte {
	b = append(b, name...)
	if id == "" {
		return append(b, "NIL"...)
	}
	b = append(append(b, '('), id...)
	return append(b, ')')
}
