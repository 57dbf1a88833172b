package maildir

import (
	"context"
	"database/sql"
	"os"
	"strings"

	"github.com/posta-mail/posta/store"
)

// keysStamp changes when the file of keywords does, 0 if there is none.
// Keywords are added to it, so that the size helps where times are coarse.
func (a *account) keysStamp(b *box) int64 {
	info, err := os.Lstat(a.path(b.dir, keywordsName))
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano() + info.Size()
}

// rekey takes in keywords whose letters were not known when their files were
// looked at: Dovecot renames a file before it writes what the letter means. The
// account is locked.
func (a *account) rekey(ctx context.Context, id store.MailboxID) error {
	return a.commit(ctx, func(t *tx) error {
		b, err := t.box(id)
		if err != nil {
			return err
		}
		t.foreign, t.dirty = true, true
		b.seenKeys = a.keysStamp(b.box) // before it is read
		keys, err := readKeywords(a.path(b.dir))
		if err != nil {
			return err
		}
		b.keys = &keys
		var numbers []uint32
		err = each(t.ctx, a.w, func(rows *sql.Rows) error {
			var key int64
			err := rows.Scan(&key)
			numbers = append(numbers, uint32(key)&(1<<pageBits-1))
			return err
		}, `SELECT id FROM page WHERE id >= ? AND id < ?`, pageKey(b.ID, 0), pageKey(b.ID+1, 0))
		for _, no := range numbers {
			if err == nil {
				err = t.rekeyPage(b, no)
			}
		}
		return err
	})
}

func (t *tx) rekeyPage(b *boxTx, no uint32) error {
	p, err := t.page(b, no)
	if err != nil {
		return err
	}
	for i := range p.files {
		l := letters(p.files[i].suffix)
		if !strings.ContainsFunc(l, func(r rune) bool { return r >= 'a' && r <= 'z' }) {
			continue
		}
		_, names := flagsOf(l, b.keys)
		if bits := p.rows[i].Flags | b.intern(names); bits != p.rows[i].Flags {
			t.setFlags(b, p, i, bits)
		}
	}
	if !b.changed[no] {
		delete(b.pages, no) // one at a time in memory
	}
	return nil
}
