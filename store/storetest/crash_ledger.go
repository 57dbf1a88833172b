package storetest

import (
	"fmt"

	"github.com/posta-mail/posta/store"
)

// crashLedger is what the children said, so what must, may and must not be
// there after a crash.
type crashLedger struct {
	boxes   map[boxName]*crashBox
	used    map[boxName]map[uint32]bool // UIDVALIDITY values a name had
	pending map[string]*crashEvent      // by worker: begun and not acknowledged
	touched map[boxName]map[string]bool // tokens that somebody began to remove
	items   map[store.ItemID]*crashSpool
	strange map[store.ItemID]bool // named before they were acknowledged
	floor   store.ItemID          // seen in use when the store was last opened
	opened  bool                  // a child got so far
	acks    int
}

// crashBox is what was acknowledged of one mailbox.
type crashBox struct {
	validity uint32
	there    map[store.UID]string    // token of what was filed and not removed
	placed   map[store.UID]crashItem // also what was removed since
	gone     map[store.UID]bool
	flagged  map[store.UID]bool
	modSeq   map[store.UID]store.ModSeq
	highest  store.ModSeq
	// As of the last opening: what is given since lies above.
	floor    store.UID // UIDNEXT
	modFloor store.ModSeq
}

type crashSpool struct {
	token string
	fence uint64
	gone  bool
}

func newCrashLedger() *crashLedger {
	return &crashLedger{
		boxes: make(map[boxName]*crashBox), used: make(map[boxName]map[uint32]bool), pending: make(map[string]*crashEvent),
		touched: make(map[boxName]map[string]bool), items: make(map[store.ItemID]*crashSpool), strange: make(map[store.ItemID]bool),
	}
}

func newCrashBox(validity uint32) *crashBox {
	return &crashBox{
		validity: validity, there: make(map[store.UID]string), placed: make(map[store.UID]crashItem), gone: make(map[store.UID]bool),
		flagged: make(map[store.UID]bool), modSeq: make(map[store.UID]store.ModSeq), floor: 1,
	}
}

// hear takes in one line. Its error is a broken promise of the store.
func (l *crashLedger) hear(e *crashEvent) error {
	switch {
	case e.Kind == crashOpen:
		l.opened = true
		return nil
	case e.Kind == crashEnd:
		return nil
	case e.Kind == crashError:
		return fmt.Errorf("the child failed: %s", e.Text)
	case !e.Done:
		l.pending[e.Worker] = e
		if e.Kind == crashExpunge || e.Kind == crashMove {
			for i := range e.Items {
				l.touch(&e.Items[i])
			}
		}
		return nil
	}
	delete(l.pending, e.Worker)
	l.acks++
	for i := range e.Items {
		if err := l.done(e.Kind, &e.Items[i]); err != nil {
			return fmt.Errorf("%s: %w", e.Kind, err)
		}
	}
	return nil
}

func (l *crashLedger) touch(i *crashItem) {
	name := boxName{i.Account, i.Mailbox}
	if l.touched[name] == nil {
		l.touched[name] = make(map[string]bool)
	}
	l.touched[name][i.Token] = true
}

// done takes in one acknowledged item.
func (l *crashLedger) done(kind crashKind, i *crashItem) error {
	name, dest := boxName{i.Account, i.Mailbox}, boxName{i.Account, i.Dest}
	b := l.boxes[name]
	switch kind {
	case crashEnqueue, crashLease, crashSettle:
		return l.doneSpool(kind, i)
	case crashAccount, crashExists:
		if b == nil { // the making was never acknowledged
			return l.made(name, i.Validity)
		}
		if b.validity != i.Validity {
			return fmt.Errorf("%s: UIDVALIDITY %d became %d", name, b.validity, i.Validity)
		}
		return nil
	case crashCreate:
		if b != nil {
			return fmt.Errorf("%s was there already", name)
		}
		return l.made(name, i.Validity)
	case crashDelete:
		delete(l.boxes, name)
		return nil
	}
	if b == nil {
		return fmt.Errorf("%s was never made", name)
	}
	switch kind {
	case crashRename:
		delete(l.boxes, name)
		l.boxes[dest] = b
		return l.use(dest, b.validity)
	case crashPlace:
		if i.Validity != b.validity {
			return fmt.Errorf("%s: UIDVALIDITY %d became %d", name, b.validity, i.Validity)
		}
		b.placed[i.UID] = *i
		return b.filed(name, i.UID, i.Token, i.ModSeq)
	case crashFlag:
		b.flagged[i.UID] = true
		b.modSeq[i.UID] = max(b.modSeq[i.UID], i.ModSeq)
		return b.later(name, i.ModSeq)
	case crashExpunge:
		b.remove(i.UID)
		return b.later(name, i.ModSeq)
	case crashMove:
		b.remove(i.UID)
		if err := b.later(name, i.ModSeq); err != nil {
			return err
		}
	}
	// A copy, or what was moved.
	to := l.boxes[dest]
	if to == nil {
		return fmt.Errorf("%s was never made", dest)
	}
	return to.filed(dest, i.To, i.Token, i.ModSeq)
}

// made takes in a new mailbox.
func (l *crashLedger) made(name boxName, validity uint32) error {
	l.boxes[name] = newCrashBox(validity)
	return l.use(name, validity)
}

func (l *crashLedger) use(name boxName, validity uint32) error {
	if l.used[name] == nil {
		l.used[name] = make(map[uint32]bool)
	}
	if l.used[name][validity] {
		return fmt.Errorf("%s: UIDVALIDITY %d was used before", name, validity)
	}
	l.used[name][validity] = true
	return nil
}

// given checks a UID that was just given.
func (b *crashBox) given(name boxName, uid store.UID, token string) error {
	if old, ok := b.there[uid]; ok {
		return fmt.Errorf("%s: UID %d was given to %s and to %s", name, uid, old, token)
	}
	if uid < b.floor {
		return fmt.Errorf("%s: UID %d given, although UIDNEXT was %d", name, uid, b.floor)
	}
	return nil
}

// later checks a mod-sequence that was just given. Zero was not told.
func (b *crashBox) later(name boxName, at store.ModSeq) error {
	if at != 0 && at <= b.modFloor {
		return fmt.Errorf("%s: mod-sequence %d given, although %d was seen", name, at, b.modFloor)
	}
	b.highest = max(b.highest, at)
	return nil
}

func (b *crashBox) filed(name boxName, uid store.UID, token string, at store.ModSeq) error {
	if err := b.given(name, uid, token); err != nil {
		return err
	}
	if err := b.later(name, at); err != nil {
		return err
	}
	if b.gone[uid] {
		return nil // somebody was faster
	}
	b.there[uid] = token
	b.modSeq[uid] = max(b.modSeq[uid], at)
	return nil
}

func (b *crashBox) remove(uid store.UID) {
	delete(b.there, uid)
	delete(b.flagged, uid)
	b.gone[uid] = true
}

func (l *crashLedger) doneSpool(kind crashKind, i *crashItem) error {
	it := l.items[i.ID]
	if it == nil {
		it = new(crashSpool)
		l.items[i.ID] = it
		if i.ID < l.floor {
			return fmt.Errorf("item %d given, although %d was in use", i.ID, l.floor)
		}
	}
	switch {
	case kind == crashLease:
		if i.Fence <= it.fence {
			return fmt.Errorf("item %d leased with fence %d after %d", i.ID, i.Fence, it.fence)
		}
		it.fence = i.Fence
		if it.token == "" {
			l.strange[i.ID] = true
		}
	case i.Token != "": // enqueued, also by a settlement
		if it.token != "" {
			return fmt.Errorf("item %d was given to %s and to %s", i.ID, it.token, i.Token)
		}
		it.token = i.Token
	default:
		it.gone = true
	}
	return nil
}

// learn takes what is there after a crash for acknowledged: it has been seen.
func (l *crashLedger) learn(v *crashView) {
	old := l.boxes
	l.boxes = make(map[boxName]*crashBox)
	for name, bv := range v.boxes {
		b := newCrashBox(bv.validity)
		if had := old[l.before(name, v)]; had != nil && had.validity == bv.validity {
			b = had
		}
		l.boxes[name] = b
		if l.used[name] == nil {
			l.used[name] = make(map[uint32]bool)
		}
		l.used[name][bv.validity] = true
		for uid := range b.there {
			if _, ok := bv.rows[uid]; !ok {
				b.remove(uid)
			}
		}
		for uid, row := range bv.rows {
			b.there[uid], b.modSeq[uid] = row.token, row.modSeq
			if row.flagged {
				b.flagged[uid] = true
			}
		}
		b.floor, b.modFloor, b.highest = bv.next, bv.modSeq, bv.modSeq
	}
	for id, it := range l.items {
		if _, ok := v.items[id]; !ok {
			it.gone = true
		}
	}
	for id, iv := range v.items {
		l.items[id] = &crashSpool{token: iv.token, fence: iv.fence}
		l.floor = max(l.floor, id)
	}
	clear(l.pending)
	clear(l.touched)
	clear(l.strange)
}

// before is the name that a mailbox had when it was last told of.
func (l *crashLedger) before(name boxName, v *crashView) boxName {
	for _, e := range l.pending {
		if e.Kind == crashRename && name == (boxName{e.Items[0].Account, e.Items[0].Dest}) {
			if from := (boxName{e.Items[0].Account, e.Items[0].Mailbox}); v.boxes[from] == nil {
				return from
			}
		}
	}
	return name
}
