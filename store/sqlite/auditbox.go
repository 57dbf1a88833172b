package sqlite

import (
	"database/sql"
	"fmt"
	"math"
	"strings"

	"github.com/posta-mail/posta/store"
)

// loadBoxes reads the mailboxes' rows, and sees that each has an account and a
// name of its own.
func (a *audit) loadBoxes() error {
	var boxes []*auditBox
	err := eachRow(a.ctx, a.db, `SELECT id, account, name, special, uidvalidity, uidnext, modseq, created, low, messages, unseen,
		deleted, size, deleted_size, uidls, keywords FROM mailbox ORDER BY id`, func(rows *sql.Rows) error {
		b := new(auditBox)
		var keywords string
		var id, validity, next, modSeq, created, low int64
		if err := rows.Scan(&id, &b.account, &b.Name, &b.SpecialUse, &validity, &next, &modSeq, &created, &low,
			&b.Messages, &b.Unseen, &b.Deleted, &b.Size, &b.DeletedSize, &b.uidls, &keywords); err != nil {
			return err
		}
		b.ID, b.keywords = store.MailboxID(id), splitFlags(keywords)
		b.UIDValidity, b.UIDNext = uint32(validity), store.UID(next)
		b.ModSeq, b.created, b.low = store.ModSeq(max(modSeq, 0)), store.ModSeq(max(created, 0)), store.ModSeq(max(low, 0))
		if validity <= 0 || validity > math.MaxUint32 || next <= 0 || next > math.MaxUint32 || modSeq < 0 || created < 0 || low < 0 || id <= 0 {
			b.changed = true
			if validity <= 0 || validity > math.MaxUint32 {
				b.UIDValidity = 0
			}
			if next <= 0 || next > math.MaxUint32 {
				b.UIDNext = 1
			}
		}
		boxes = append(boxes, b)
		return nil
	})
	if err != nil {
		return readError(err)
	}
	for _, b := range boxes {
		a.boxes[b.ID] = b
		if err := a.adopt(b); err != nil {
			return err
		}
	}
	err = eachRow(a.ctx, a.db, "SELECT mailbox, modseq FROM private", func(rows *sql.Rows) error {
		var id store.MailboxID
		var modSeq int64
		err := rows.Scan(&id, &modSeq)
		if b := a.boxes[id]; b != nil && a.accounts[b.account] != nil {
			acc := a.accounts[b.account]
			acc.modSeq = max(acc.modSeq, store.ModSeq(max(modSeq, 0)))
		}
		return err
	})
	return readError(err)
}

// adopt gives a mailbox its account and its name.
func (a *audit) adopt(b *auditBox) error {
	if err := a.owner(b); err != nil {
		return err
	}
	acc := a.accounts[b.account]
	if acc == nil {
		return nil // told, and not mended
	}
	if b.changed {
		if err := a.found(b.problem(acc, "numbers of the mailbox are out of range"), nil); err != nil {
			return err
		}
	}
	if b.UIDValidity == 0 {
		b.UIDValidity, b.changed = a.validity(), true
	}
	acc.modSeq = max(acc.modSeq, b.ModSeq)
	a.state.uidValidity = max(a.state.uidValidity, b.UIDValidity)
	name, err := store.CanonicalName(b.Name)
	_, taken := acc.names[b.Name]
	if err != nil || name != b.Name || taken {
		p := b.problem(acc, "its name is not one that a mailbox can have")
		b.Name, b.changed = a.freeBox(acc, fmt.Sprintf("Recovered-%d", b.ID)), true
		err := a.found(p, a.sql("UPDATE mailbox SET name=? WHERE id=?", b.Name, int64(b.ID)))
		if err != nil {
			return err
		}
	}
	acc.names[b.Name] = b.ID
	return nil
}

// owner sees that the account of a mailbox is that of its messages.
func (a *audit) owner(b *auditBox) error {
	is, name := b.account, ""
	err := eachRow(a.ctx, a.db, "SELECT id, data FROM page WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1", func(rows *sql.Rows) error {
		var key int64
		var data sql.RawBytes
		if err := rows.Scan(&key, &data); err != nil {
			return err
		}
		page, err := decodePage(nil, uint32(key&pageMask), data)
		for i := 0; err == nil && i < len(page); i++ {
			if l, err := a.place(page[i].Ref); err == nil && l.seg != 0 {
				is = l.account
				if p, err := a.placementAt(&l); err == nil {
					name = p.account
				}
				break
			}
		}
		return nil
	}, pageKey(b.ID, 0), pageKey(b.ID, pageMask))
	if err != nil {
		return readError(err)
	}
	if is == b.account && a.accounts[is] != nil {
		return nil
	}
	p := Problem{Account: a.nameOf(b.account), Mailbox: b.Name, Err: damage("mailbox %d is of account %d, its messages are of %d", b.ID, b.account, is)}
	if is == b.account {
		p.Err = damage("mailbox %d is of no account", b.ID)
	}
	return a.found(p, func() error {
		if a.accounts[is] == nil {
			if _, err := a.addAccount(is, name); err != nil {
				return err
			}
		}
		b.account = is
		return a.exec("UPDATE mailbox SET account=? WHERE id=?", is, int64(b.ID))
	})
}

func (b *auditBox) problem(acc *auditAccount, format string, args ...any) Problem {
	p := Problem{Mailbox: b.Name, Err: damage(format, args...)}
	if acc != nil {
		p.Account = acc.name
	}
	return p
}

// freeBox is a name that no mailbox of the account has.
func (a *audit) freeBox(acc *auditAccount, name string) string {
	for free, n := name, 2; ; n++ {
		if _, taken := acc.names[free]; !taken {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// validity is a UIDVALIDITY that no mailbox has had.
func (a *audit) validity() uint32 {
	s := &a.state
	s.uidValidity = max(s.uidValidity+1, uint32(min(max(a.now.Unix(), 1), math.MaxUint32-1<<24)))
	return s.uidValidity
}

// addBox makes a mailbox.
func (a *audit) addBox(acc *auditAccount, id store.MailboxID, name string, validity uint32) (*auditBox, error) {
	if id == 0 {
		a.state.nextBox = max(a.state.nextBox, a.topBox())
		id = store.MailboxID(a.state.nextBox)
		a.state.nextBox++
	}
	if canonical, err := store.CanonicalName(name); err != nil || canonical != name {
		name = fmt.Sprintf("Recovered-%d", id)
	}
	if validity == 0 {
		validity = a.validity()
	}
	at := acc.next()
	b := &auditBox{account: acc.id, changed: true, mbox: mbox{created: at, low: at,
		MailboxInfo: store.MailboxInfo{ID: id, Name: a.freeBox(acc, name), UIDValidity: validity, UIDNext: 1, ModSeq: at}}}
	a.boxes[id], acc.names[b.Name] = b, id
	if err := a.exec("INSERT OR REPLACE INTO event (account, modseq, seq, at, kind, mailbox, name, oldname) VALUES (?,?,?,?,?,?,?,?)",
		acc.id, int64(at), int64(id), a.now.Unix(), int(store.MailboxCreated), int64(id), b.Name, ""); err != nil {
		return nil, err
	}
	return b, a.exec(`INSERT INTO mailbox (id, account, name, special, uidvalidity, uidnext, modseq, created, low, messages, unseen,
		deleted, size, keywords) VALUES (?,?,?,'',?,1,?,?,?,0,0,0,0,'')`, int64(id), acc.id, b.Name, int64(validity), int64(at), int64(at), int64(at))
}

// inboxes sees that every account has one.
func (a *audit) inboxes() error {
	for _, acc := range a.accounts {
		if _, ok := acc.names[store.Inbox]; ok {
			continue
		}
		err := a.found(Problem{Account: acc.name, Mailbox: store.Inbox, Err: damage("there is no INBOX")}, func() error {
			_, err := a.addBox(acc, 0, store.Inbox, 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// strayPages finds pages of rows of no mailbox, and makes one for them.
func (a *audit) strayPages() error {
	var stray []store.MailboxID
	private := make(map[store.MailboxID]bool)
	err := eachRow(a.ctx, a.db, "SELECT box FROM private", func(rows *sql.Rows) error {
		var id store.MailboxID
		err := rows.Scan(&id)
		private[id] = true
		return err
	})
	if err == nil {
		err = eachRow(a.ctx, a.db, "SELECT DISTINCT id >> 25 FROM page ORDER BY 1", func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			if box := store.MailboxID(id); a.boxes[box] == nil && !private[box] {
				stray = append(stray, box)
			}
			return err
		})
	}
	if err != nil {
		return readError(err)
	}
	for _, id := range stray {
		err := a.found(Problem{Err: damage("messages of mailbox %d, which is not there", int64(id))}, func() error { return a.revive(id) })
		if err != nil {
			return err
		}
	}
	return nil
}

// revive makes the mailbox that pages of rows belong to. Events, or else its
// messages, know what it was called; keywords are not known any more.
func (a *audit) revive(id store.MailboxID) error {
	rows, _, err := a.rowsOf(id)
	if err != nil {
		return err
	}
	var l place
	var p placement
	for i := 0; i < len(rows) && p.mailbox == ""; i++ {
		if l, err = a.place(rows[i].Ref); err == nil && l.seg != 0 {
			if p, err = a.placementAt(&l); err != nil {
				p = placement{}
			}
		}
	}
	if l.seg == 0 || int64(id) <= 0 { // rows of nothing
		return a.exec("DELETE FROM page WHERE id BETWEEN ? AND ?", pageKey(id, 0), pageKey(id, pageMask))
	}
	acc := a.accounts[l.account]
	if acc == nil {
		if acc, err = a.addAccount(l.account, p.account); err != nil {
			return err
		}
	}
	// Rows may have come from another mailbox, whose UIDVALIDITY it is not.
	name := p.mailbox
	err = a.db.QueryRowContext(a.ctx, "SELECT name FROM event WHERE account=? AND mailbox=? AND kind IN (?,?) ORDER BY modseq DESC, seq DESC LIMIT 1",
		acc.id, int64(id), int(store.MailboxCreated), int(store.MailboxRenamed)).Scan(&name)
	if err != nil && err != sql.ErrNoRows {
		return readError(err)
	}
	for _, r := range rows {
		acc.modSeq = max(acc.modSeq, r.ModSeq)
	}
	b, err := a.addBox(acc, id, name, 0)
	if err == nil {
		b.UIDNext = store.UID(min(uint64(rows[len(rows)-1].UID)+1, math.MaxUint32))
		for _, r := range rows {
			b.count(r, 1)
		}
	}
	return err
}

// rowsOf reads the rows of a mailbox, and names the pages that cannot be.
func (a *audit) rowsOf(id store.MailboxID) (rows []store.Row, bad map[int64]error, err error) {
	err = eachRow(a.ctx, a.db, "SELECT id, modseq, data FROM page WHERE id BETWEEN ? AND ? ORDER BY id", func(r *sql.Rows) error {
		var key, modSeq int64
		var data sql.RawBytes
		if err := r.Scan(&key, &modSeq, &data); err != nil {
			return err
		}
		n := len(rows)
		all, err := decodePage(rows, uint32(key&pageMask), data)
		if err != nil {
			if bad == nil {
				bad = make(map[int64]error)
			}
			bad[key] = err
			rows = all[:n]
			return nil
		}
		rows = all
		return nil
	}, pageKey(id, 0), pageKey(id, pageMask))
	return rows, bad, readError(err)
}

// save writes a mailbox's row.
func (a *audit) save(b *auditBox) error {
	return a.exec(`UPDATE mailbox SET account=?, name=?, uidvalidity=?, uidnext=?, modseq=?, created=?, low=?, messages=?, unseen=?, deleted=?,
		size=?, deleted_size=?, uidls=?, keywords=? WHERE id=?`, b.account, b.Name, int64(b.UIDValidity), int64(b.UIDNext), int64(b.ModSeq),
		int64(b.created), int64(b.low), b.Messages, b.Unseen, b.Deleted, b.Size, b.DeletedSize, b.uidls, joinFlags(b.keywords), int64(b.ID))
}

// savePages writes pages of rows, given all rows of the mailbox.
func (a *audit) savePages(id store.MailboxID, rows []store.Row, pages map[uint32]bool) error {
	for len(rows) > 0 {
		no, n, top := pageNo(rows[0].UID), 0, store.ModSeq(0)
		for n < len(rows) && pageNo(rows[n].UID) == no {
			top = max(top, rows[n].ModSeq)
			n++
		}
		if pages[no] {
			delete(pages, no)
			err := a.exec("INSERT OR REPLACE INTO page (id, modseq, data) VALUES (?,?,?)", pageKey(id, no), int64(top), appendPage(nil, no, rows[:n]))
			if err != nil {
				return err
			}
		}
		rows = rows[n:]
	}
	for no := range pages {
		if err := a.exec("DELETE FROM page WHERE id=?", pageKey(id, no)); err != nil {
			return err
		}
	}
	return nil
}

// counted are the counts of a mailbox's row.
func counted(b *mbox) string {
	return strings.Trim(fmt.Sprint([]int64{int64(b.Messages), int64(b.Unseen), int64(b.Deleted), b.Size, b.DeletedSize}), "[]")
}
