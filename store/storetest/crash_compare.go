package storetest

import (
	"errors"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// compare checks a view against what was said: nothing acknowledged is lost or
// comes back, and what was under way has happened as a whole or not at all.
func (l *crashLedger) compare(v *crashView) error {
	return errors.Join(l.compareBoxes(v), l.compareSpool(v))
}

func (l *crashLedger) compareBoxes(v *crashView) error {
	known := make(map[boxName]*crashBox) // by the names of now
	for name, b := range l.boxes {
		now := name
		if v.boxes[name] == nil {
			switch p := l.under(name); {
			case p == nil:
				return fmt.Errorf("%s is gone", name)
			case p.Kind == crashDelete:
				continue
			case p.Kind == crashRename:
				if now = (boxName{name.account, p.Items[0].Dest}); v.boxes[now] == nil {
					return fmt.Errorf("%s is gone, and is not %s", name, now)
				}
			}
		}
		known[now] = b
	}
	f := &found{l: l, v: v, untold: make(map[boxName]map[string]int)}
	for name, bv := range v.boxes {
		b := known[name]
		if b == nil {
			if !l.making(name) {
				return fmt.Errorf("%s is there, and was never made or was deleted", name)
			}
			b = newCrashBox(bv.validity)
			if l.used[name][bv.validity] {
				return fmt.Errorf("%s: UIDVALIDITY %d was used before", name, bv.validity)
			}
		}
		if err := f.box(name, b, bv); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, e := range l.pending {
		if err := f.whole(e); err != nil {
			return fmt.Errorf("half of %s is visible: %w", e.line(), err)
		}
	}
	return nil
}

// under is the rename or deletion of a mailbox that was under way.
func (l *crashLedger) under(name boxName) *crashEvent {
	for _, e := range l.pending {
		if (e.Kind == crashRename || e.Kind == crashDelete) && name == (boxName{e.Items[0].Account, e.Items[0].Mailbox}) {
			return e
		}
	}
	return nil
}

// making reports whether the making of a mailbox was under way.
func (l *crashLedger) making(name boxName) bool {
	for _, e := range l.pending {
		i := &e.Items[0]
		switch e.Kind {
		case crashAccount:
			if name == (boxName{i.Account, store.Inbox}) {
				return true
			}
		case crashCreate:
			if name == (boxName{i.Account, i.Mailbox}) {
				return true
			}
		}
	}
	return false
}

// found is what of the things under way has happened.
type found struct {
	l      *crashLedger
	v      *crashView
	untold map[boxName]map[string]int // tokens of messages nobody told of
}

// box compares one mailbox.
func (f *found) box(name boxName, b *crashBox, v *boxView) error {
	if v.validity != b.validity {
		return fmt.Errorf("UIDVALIDITY %d became %d", b.validity, v.validity)
	}
	if v.next < b.floor || v.modSeq < b.highest {
		return fmt.Errorf("UIDNEXT %d, mod-sequence %d, but %d and %d were seen", v.next, v.modSeq, b.floor, b.highest)
	}
	leaving := f.leaving(name)
	for uid, token := range b.there {
		row, ok := v.rows[uid]
		switch {
		case !ok && leaving[uid]:
		case !ok:
			return fmt.Errorf("UID %d (%s) is gone", uid, token)
		case row.token != token:
			return fmt.Errorf("UID %d is %s, was %s", uid, row.token, token)
		case b.flagged[uid] && !row.flagged:
			return fmt.Errorf("UID %d has lost its flags", uid)
		case row.modSeq < b.modSeq[uid]:
			return fmt.Errorf("UID %d has mod-sequence %d, had %d", uid, row.modSeq, b.modSeq[uid])
		}
	}
	for uid := range b.gone {
		if uid >= v.next {
			return fmt.Errorf("UIDNEXT %d, but UID %d was given", v.next, uid)
		}
	}
	coming := f.coming(name)
	for uid, row := range v.rows {
		if b.there[uid] != "" {
			continue
		}
		if b.gone[uid] {
			return fmt.Errorf("UID %d (%s) came back", uid, row.token)
		}
		if coming[row.token]--; coming[row.token] < 0 {
			return fmt.Errorf("UID %d (%s) is there, and nobody was filing it", uid, row.token)
		}
		if f.untold[name] == nil {
			f.untold[name] = make(map[string]int)
		}
		f.untold[name][row.token]++
	}
	return nil
}

// leaving are the UIDs whose removal was under way.
func (f *found) leaving(name boxName) map[store.UID]bool {
	uids := make(map[store.UID]bool)
	for _, e := range f.l.pending {
		for i := range e.Items {
			if it := &e.Items[i]; (e.Kind == crashExpunge || e.Kind == crashMove) && name == (boxName{it.Account, it.Mailbox}) {
				uids[it.UID] = true
			}
		}
	}
	return uids
}

// coming are the tokens whose filing was under way.
func (f *found) coming(name boxName) map[string]int {
	tokens := make(map[string]int)
	for _, e := range f.l.pending {
		for i := range e.Items {
			it := &e.Items[i]
			switch {
			case e.Kind == crashPlace && name == (boxName{it.Account, it.Mailbox}),
				(e.Kind == crashCopy || e.Kind == crashMove) && name == (boxName{it.Account, it.Dest}):
				tokens[it.Token]++
			}
		}
	}
	return tokens
}

// whole checks that what was under way happened to all it names or to none.
// What another worker removed meanwhile says nothing.
func (f *found) whole(e *crashEvent) error {
	yes, no := make(map[string]int), make(map[string]int) // by account
	count := func(account string, happened bool) {
		if happened {
			yes[account]++
		} else {
			no[account]++
		}
	}
	for i := range e.Items {
		it := &e.Items[i]
		from, to := boxName{it.Account, it.Mailbox}, boxName{it.Account, it.Dest}
		switch e.Kind {
		case crashPlace:
			if !f.l.touched[from][it.Token] {
				count(it.Account, f.untold[from][it.Token] > 0)
			}
		case crashCopy:
			if !f.l.touched[from][it.Token] && !f.l.touched[to][it.Token] {
				count(it.Account, f.untold[to][it.Token] > 0)
			}
		case crashExpunge:
			_, there := f.row(from, it.UID)
			count(it.Account, !there)
		case crashMove:
			_, there := f.row(from, it.UID)
			if moved := f.untold[to][it.Token] > 0; moved == there {
				return fmt.Errorf("UID %d (%s) is in %s: %t, in %s: %t", it.UID, it.Token, from, there, to, moved)
			}
			count(it.Account, !there)
		case crashFlag:
			b := f.l.boxes[from]
			if row, ok := f.row(from, it.UID); ok && b != nil && !b.flagged[it.UID] && !f.l.touched[from][it.Token] {
				count(it.Account, row.flagged)
			}
		}
	}
	for account, n := range yes {
		if no[account] > 0 {
			return fmt.Errorf("%d of %d in %s", n, n+no[account], account)
		}
	}
	return nil
}

func (f *found) row(name boxName, uid store.UID) (rowView, bool) {
	b := f.v.boxes[name]
	if b == nil {
		return rowView{}, false
	}
	row, ok := b.rows[uid]
	return row, ok
}

func (l *crashLedger) compareSpool(v *crashView) error {
	leaving, coming := make(map[store.ItemID]bool), make(map[string]int)
	for _, e := range l.pending {
		switch e.Kind {
		case crashEnqueue:
			coming[e.Items[0].Token] += 2
		case crashSettle:
			leaving[e.Items[0].ID] = true
			if e.Items[0].Token != "" {
				coming[e.Items[0].Token]++
			}
		}
	}
	for id, it := range l.items {
		iv, ok := v.items[id]
		switch {
		case it.gone && ok:
			return fmt.Errorf("item %d (%s) came back", id, it.token)
		case it.gone, !ok && leaving[id]:
		case !ok:
			return fmt.Errorf("item %d (%s) is gone", id, it.token)
		case it.token != "" && it.token != iv.token:
			return fmt.Errorf("item %d is %s, was %s", id, iv.token, it.token)
		case iv.fence < it.fence:
			return fmt.Errorf("item %d has fence %d, had %d", id, iv.fence, it.fence)
		}
	}
	untold := make(map[string]int)
	for id, iv := range v.items {
		if it := l.items[id]; it != nil && it.token != "" {
			continue
		}
		untold[iv.token]++
		if coming[iv.token]--; coming[iv.token] < 0 {
			return fmt.Errorf("item %d (%s) is there, and nobody enqueued it", id, iv.token)
		}
	}
	for _, e := range l.pending {
		switch {
		case e.Kind == crashEnqueue && untold[e.Items[0].Token] == 1 && len(l.strange) == 0:
			return fmt.Errorf("one of two items of %s is there", e.Items[0].Token)
		case e.Kind == crashSettle && e.Items[0].Token != "":
			if _, ok := v.items[e.Items[0].ID]; ok == (untold[e.Items[0].Token] > 0) {
				return fmt.Errorf("item %d is there: %t, and so is its bounce", e.Items[0].ID, ok)
			}
		}
	}
	return nil
}
