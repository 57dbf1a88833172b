package maildir

import (
	"context"
	"database/sql"

	"github.com/posta-mail/posta/store"
)

// known is what the index says of a file.
type known struct {
	uid    store.UID
	suffix string
	cur    bool
	mark   uint32 // of the last scan that saw it
}

// nameIndex has the files of a mailbox by their base, for comparing.
type nameIndex struct {
	modSeq store.ModSeq
	byBase map[string]*known
	byUID  map[store.UID]string
	mark   uint32
}

// load brings the names up to the index: all, or what has changed since.
func (n *nameIndex) load(ctx context.Context, c *sql.Conn, b *box, now store.ModSeq) error {
	if n.modSeq == now && n.byBase != nil {
		return nil
	}
	if n.byBase == nil || n.modSeq < b.low {
		n.byBase, n.byUID, n.modSeq = make(map[string]*known, b.Messages), make(map[store.UID]string, b.Messages), 0
	}
	gone, err := readTombs(ctx, c, b.ID, n.modSeq)
	if err != nil {
		return err
	}
	if n.modSeq > 0 {
		for _, r := range gone {
			for u := range (store.UIDSet{r}).All() {
				if base, ok := n.byUID[u]; ok {
					delete(n.byBase, base)
					delete(n.byUID, u)
				}
			}
		}
	}
	err = each(ctx, c, func(rows *sql.Rows) error {
		var key int64
		var data, files sql.RawBytes
		if err := rows.Scan(&key, &data, &files); err != nil {
			return err
		}
		p, err := decodePage(uint32(key)&(1<<pageBits-1), data, files)
		if err != nil {
			return err
		}
		for i := range p.files {
			f, uid := &p.files[i], p.rows[i].UID
			if k := n.byBase[f.base]; k != nil {
				k.uid, k.suffix, k.cur = uid, f.suffix, f.cur
			} else {
				n.byBase[f.base] = &known{uid: uid, suffix: f.suffix, cur: f.cur}
			}
			n.byUID[uid] = f.base
		}
		return nil
	}, `SELECT id, rows, files FROM page WHERE id >= ? AND id < ? AND modseq > ? ORDER BY id`, pageKey(b.ID, 0), pageKey(b.ID+1, 0), int64(n.modSeq))
	n.modSeq = now // a file may change its name only
	if err != nil {
		n.byBase = nil
	}
	return err
}

// missing are the messages that the last scan did not see where they were.
func (n *nameIndex) missing(read [2]bool) map[string]store.UID {
	var m map[string]store.UID
	for base, k := range n.byBase {
		if k.mark != n.mark && read[side(k.cur)] {
			if m == nil {
				m = map[string]store.UID{}
			}
			m[base] = k.uid
		}
	}
	return m
}
