package sqlite

import (
	"database/sql"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/posta-mail/posta/store"
)

// filing is a message that goes into a mailbox again.
type filing struct {
	ref   uint64
	place place
	placement
	exact bool // with the UID it had
}

// refiling says whether messages are known to be missing from mailboxes.
func (a *audit) refiling() bool { return a.mending() && (a.partial || len(a.noPage) > 0) }

func (a *audit) needIndex() error {
	if a.index != nil {
		return nil
	}
	var err error
	a.index, err = scanSegments(a.ctx, a.seg)
	return err
}

// relocateAll finds the octets of references that lost them, and with pages of
// places missing, all references there are.
func (a *audit) relocateAll() error {
	if !a.mending() || !a.partial && !a.noRefs && len(a.bad) == 0 {
		return nil
	}
	if err := a.needIndex(); err != nil {
		return err
	}
	for _, ref := range slices.Sorted(maps.Keys(a.bad)) {
		old, err := a.place(ref)
		if err != nil {
			return err
		}
		l, ok := a.index.place(ref, old.account)
		if !ok {
			continue
		}
		p := Problem{Account: a.nameOf(old.account), Err: fmt.Errorf("reference %d, another copy is there: %w", ref, corrupt(a.bad[ref]))}
		delete(a.bad, ref)
		if err := a.found(p, func() error { return a.setPlace(ref, l) }); err != nil {
			return err
		}
	}
	if !a.partial && !a.noRefs {
		return nil
	}
	return a.allPlaces()
}

// allPlaces writes the pages of places that are missing.
func (a *audit) allPlaces() error {
	have := make(map[uint64]bool)
	err := eachRow(a.ctx, a.db, "SELECT id FROM ref", func(rows *sql.Rows) error {
		var no int64
		err := rows.Scan(&no)
		have[uint64(no)] = true
		return err
	})
	if err != nil {
		return readError(err)
	}
	ids := make(map[string]int64)
	for id, acc := range a.accounts {
		ids[acc.name] = id
	}
	var page *refPage
	var no uint64
	flush := func() error {
		if page == nil || *page == (refPage{}) {
			return nil
		}
		return a.exec("INSERT INTO ref (id, data) VALUES (?,?)", int64(no), page.encode(no))
	}
	for _, ref := range slices.Sorted(maps.Keys(a.index.places)) {
		if have[ref>>refShift] {
			continue
		}
		name := a.index.places[ref].account
		account, ok := ids[name]
		if !ok {
			if !a.partial {
				continue // its account was deleted
			}
			acc, err := a.addAccount(0, name)
			if err != nil {
				return err
			}
			account, ids[name] = acc.id, acc.id
		}
		l, ok := a.index.place(ref, account)
		if !ok {
			continue // its body is damaged, and is told as that
		}
		if page == nil || no != ref>>refShift {
			if err := flush(); err != nil {
				return err
			}
			page, no = new(refPage), ref>>refShift
		}
		page[ref&(refRows-1)] = l
		a.topRef = max(a.topRef, ref+1)
	}
	clear(a.cache)
	return flush()
}

// relocate finds one reference in the segments; the zero value if it is not
// there.
func (a *audit) relocate(ref uint64, account int64) (place, error) {
	if err := a.needIndex(); err != nil {
		return place{}, err
	}
	l, ok := a.index.place(ref, account)
	if !ok {
		return place{}, nil
	}
	a.topRef = max(a.topRef, ref+1)
	return l, a.setPlace(ref, l)
}

// placementAt reads what a placement's record says.
func (a *audit) placementAt(l *place) (p placement, err error) {
	err = a.withSegment(l.seg, func(h *segHandle) error {
		if l.size > maxPlacement {
			return damage("placement of %d octets", l.size)
		}
		buf := make([]byte, l.size)
		if err := readFull(h.file, buf, l.off); err != nil {
			return err
		}
		payload, rec, err := openRecord(buf, kindPlacement)
		if err != nil {
			return err
		}
		var ok bool
		if p, ok = parsePlacement(payload, rec.version); !ok {
			return damage("placement record")
		}
		return nil
	})
	return p, err
}

// refile finds a mailbox for a message that none has: the one it was filed in
// first, if it was not expunged there. One that was expunged not long ago goes
// to a mailbox of its own if rows of the account are missing, for it may have
// been moved to one of them. False: it is rightly in none.
func (a *audit) refile(ref uint64) (bool, error) {
	l, err := a.place(ref)
	if err != nil || l.seg == 0 {
		return false, err
	}
	acc := a.accounts[l.account]
	if acc == nil {
		return false, nil // deleted
	}
	p, err := a.placementAt(&l)
	if err != nil {
		return false, a.notDamage(err)
	}
	if a.dying.has(ref) && !a.partial && !a.missingAny(acc) {
		return false, nil
	}
	f := filing{ref: ref, place: l, placement: p}
	id, ok := acc.names[p.mailbox]
	if !ok && a.partial && !a.dying.has(ref) {
		b, err := a.addBox(acc, 0, p.mailbox, 0)
		if err != nil {
			return false, err
		}
		id, ok = b.ID, true
		acc.names[p.mailbox] = id // also if it had to be called otherwise
	}
	gone := true
	if ok {
		if gone, err = a.expunged(id, p.uid); err != nil {
			return false, err
		}
	}
	if b := a.boxes[id]; ok && !gone && !a.dying.has(ref) {
		f.exact = b.UIDNext == 1 || p.uidValidity == b.UIDValidity || p.uidValidity == 0 && a.missing(b, p.uid)
	} else if id, err = a.recoveredBox(acc); err != nil {
		return false, err
	}
	a.again[id] = append(a.again[id], f)
	return true, nil
}

// refileCopied puts a message that has rows elsewhere also into the mailbox it
// was filed in first, if that mailbox lost the row.
func (a *audit) refileCopied(ref uint64) error {
	l, err := a.place(ref)
	if err != nil {
		return err
	}
	acc := a.accounts[l.account]
	if acc == nil || !a.missingAny(acc) {
		return nil
	}
	p, err := a.placementAt(&l)
	if err != nil {
		return a.notDamage(err)
	}
	b := a.boxes[acc.names[p.mailbox]]
	if b == nil || !a.noPage[pageKey(b.ID, pageNo(p.uid))] || p.uidValidity != 0 && p.uidValidity != b.UIDValidity {
		return nil
	}
	if gone, err := a.expunged(b.ID, p.uid); gone || err != nil {
		return err
	}
	a.again[b.ID] = append(a.again[b.ID], filing{ref: ref, place: l, placement: p, exact: true})
	return nil
}

// recoveredBox is the mailbox for what has none.
func (a *audit) recoveredBox(acc *auditAccount) (store.MailboxID, error) {
	const name = "Recovered"
	if id, ok := acc.names[name]; ok {
		return id, nil
	}
	b, err := a.addBox(acc, 0, name, 0)
	if err != nil {
		return 0, err
	}
	return b.ID, nil
}

// expunged says whether a mailbox remembers to have lost a UID.
func (a *audit) expunged(id store.MailboxID, uid store.UID) (bool, error) {
	set, ok := a.tombs[id]
	if !ok {
		err := eachRow(a.ctx, a.db, "SELECT uids FROM tombstone WHERE mailbox=?", func(rows *sql.Rows) error {
			var data sql.RawBytes
			if err := rows.Scan(&data); err != nil {
				return err
			}
			return decodeUIDs(&set, data)
		}, int64(id))
		if err != nil {
			return false, readError(err)
		}
		a.tombs[id] = set
	}
	return set.Contains(uid), nil
}

// missing says whether a mailbox may have had a UID that it has not now.
func (a *audit) missing(b *auditBox, uid store.UID) bool {
	return a.partial || a.noPage[pageKey(b.ID, pageNo(uid))]
}

func (a *audit) missingAny(acc *auditAccount) bool {
	for key := range a.noPage {
		if b := a.boxes[store.MailboxID(key>>pageBits)]; b != nil && b.account == acc.id {
			return true
		}
	}
	return false
}

// fileAgain puts messages that refile has found back into their mailboxes: with
// their UIDs where they are known to be free, behind all others else.
func (a *audit) fileAgain() error {
	for _, id := range slices.Sorted(maps.Keys(a.again)) {
		b := a.boxes[id]
		acc := a.accounts[b.account]
		n := len(a.again[id])
		if err := a.fileInto(b, acc, a.again[id]); err != nil {
			return err
		}
		err := a.found(b.problem(acc, "%d messages were in no mailbox: filed again as they were at first", n), nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) fileInto(b *auditBox, acc *auditAccount, filings []filing) error {
	rows, _, err := a.rowsOf(b.ID)
	if err != nil {
		return err
	}
	taken := make(map[store.UID]bool, len(rows))
	for _, r := range rows {
		taken[r.UID] = true
	}
	// Of several lives of a mailbox's name, only the last had these UIDs.
	life := uint32(0)
	for _, f := range filings {
		if f.exact {
			life = max(life, f.uidValidity)
		}
	}
	at := acc.next()
	pages := make(map[uint32]bool)
	next := uint64(b.UIDNext)
	for i := range filings {
		f := &filings[i]
		f.exact = f.exact && f.uidValidity == life && !taken[f.uid] && f.uid < math.MaxUint32
		if f.exact {
			taken[f.uid] = true
			next = max(next, uint64(f.uid)+1)
		}
	}
	for _, f := range filings {
		if !f.exact {
			if f.uid, next = store.UID(next), next+1; next > math.MaxUint32 {
				return fmt.Errorf("%w: no UIDs left in mailbox", store.ErrLimit)
			}
		}
		bits, table, err := store.InternFlags(b.keywords, f.flags)
		if err != nil {
			bits = 0 // more keywords than there may be
		} else {
			b.keywords = table
		}
		row := store.Row{UID: f.uid, Size: uint32(f.place.prefix + f.place.bodyBytes), Flags: bits, ModSeq: at, Created: at,
			Date: f.date, Saved: f.saved, Ref: f.ref}
		rows = append(rows, row)
		b.count(row, 1)
		pages[pageNo(f.uid)] = true
		a.used.add(f.ref)
		if f.uidl != "" {
			b.uidls = true
			if err := a.exec("INSERT OR REPLACE INTO uidl (mailbox, uid, uidl) VALUES (?,?,?)", int64(b.ID), int64(f.uid), f.uidl); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(rows, func(x, y store.Row) int { return int(int64(x.UID) - int64(y.UID)) })
	b.UIDNext, b.ModSeq = store.UID(min(next, math.MaxUint32)), at
	if err := a.savePages(b.ID, rows, pages); err != nil {
		return err
	}
	return a.save(b)
}
