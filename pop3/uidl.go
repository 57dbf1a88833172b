package pop3

import (
	"context"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// uidlOverhead is what one entry of the map of unique-ids costs beside its text.
const uidlOverhead = 64

// uidl tells unique ids (RFC 1939 §7): those that messages had where they came
// from, if the store keeps them, else UIDVALIDITY and UID, which never come
// again together.
func (c *session) uidl(args string) {
	switch ok, err := c.drop.loadUIDLs(c.ctx, c.budget); {
	case err != nil:
		c.fail(refusalOf(err))
		return
	case !ok:
		c.fail(refusal{codeTemp, "Out of memory, try again later"})
		return
	}
	own := c.drop.ownUIDL()
	c.scan(args, func(b []byte, row store.Row) []byte {
		if u, ok := c.drop.uidls[row.UID]; ok {
			return append(b, u...)
		}
		return strconv.AppendUint(append(b, own...), uint64(row.UID), 10)
	})
}

// ownUIDL begins the unique-ids of messages that brought none along.
func (d *maildrop) ownUIDL() string {
	return strconv.FormatUint(uint64(d.snap.UIDValidity()), 10) + "."
}

// loadUIDLs asks the store, once in a session, for the unique-ids that messages
// brought along; false when the budget has nothing left for them. One that is
// malformed, that another message of the maildrop has, or that is like those
// made here is left out: they must differ (RFC 1939 §7).
func (d *maildrop) loadUIDLs(ctx context.Context, budget *wire.Budget) (bool, error) {
	keeper, ok := d.mb.(store.UIDLs)
	if d.asked || !ok {
		return true, nil
	}
	all, err := keeper.UIDLs(ctx)
	if err != nil {
		return false, err
	}
	cost := 0
	for _, u := range all {
		cost += len(u) + uidlOverhead
	}
	if !budget.Acquire(cost) {
		return false, nil
	}
	d.charged += cost
	d.asked, d.uidls = true, make(map[store.UID]string, len(all))
	own, taken := d.ownUIDL(), make(map[string]bool, len(all))
	for _, row := range d.snap.All() {
		if u := all[row.UID]; validUIDL(u) && !strings.HasPrefix(u, own) && !taken[u] {
			d.uidls[row.UID], taken[u] = u, true
		}
	}
	return true, nil
}

// validUIDL: 1 to 70 characters from 0x21 to 0x7E (RFC 1939 §7).
func validUIDL(u string) bool {
	if u == "" || len(u) > store.MaxUIDLOctets {
		return false
	}
	for i := range len(u) {
		if u[i] < 0x21 || u[i] > 0x7e {
			return false
		}
	}
	return true
}
