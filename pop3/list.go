package pop3

import (
	"strconv"

	"github.com/posta-mail/posta/store"
)

// stat tells how many messages there are and their size (RFC 1939 §5).
func (c *session) stat(string) {
	c.ok(strconv.Itoa(c.drop.count), " ", strconv.FormatInt(c.drop.size, 10))
}

// list tells sizes (RFC 1939 §5).
func (c *session) list(args string) {
	c.scan(args, func(b []byte, row store.Row) []byte { return strconv.AppendUint(b, uint64(row.Size), 10) })
}

// scan answers LIST and UIDL: one line for one message, or for all that are
// not marked.
func (c *session) scan(args string, what func(b []byte, row store.Row) []byte) {
	if args != "" {
		if i, row, ok := c.message(args); ok {
			c.ok(string(what(append(strconv.AppendInt(nil, int64(i)+1, 10), ' '), row)))
		}
		return
	}
	c.ok(c.drop.summary()...)
	for i, row := range c.drop.snap.All() {
		if c.drop.marked(i) {
			continue
		}
		c.out.buf = append(strconv.AppendInt(c.out.buf, int64(i)+1, 10), ' ')
		c.out.buf = append(what(c.out.buf, row), "\r\n"...)
		c.out.spill()
		if c.out.err != nil {
			break
		}
	}
	c.out.line(".")
}

// message finds a message by the number that a client gave, or refuses it.
func (c *session) message(arg string) (int, store.Row, bool) {
	n, ok := parseNumber(arg)
	switch {
	case !ok:
		c.refuse(refusal{codeNone, "Not a message number"})
		return 0, store.Row{}, false
	case n < 1 || n > int64(c.drop.snap.Len()) || c.drop.marked(int(n-1)):
		c.fail(refusal{codeNone, "No such message"})
		return 0, store.Row{}, false
	}
	return int(n - 1), c.drop.snap.At(int(n - 1)), true
}
