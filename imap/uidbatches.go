package imap

import (
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
)

const (
	minBatch = 500    // messages (RFC 10022 §3.1.3.2)
	maxBatch = 100000 // messages of all batches together, if some are asked for (§3.1.5)
)

// uidBatches is UIDBATCHES (RFC 10022 §3.1): the ranges of UIDs that cut the
// mailbox into batches, from above. They touch each other, and the last goes
// down to 1.
func (s *session) uidBatches(p *wire.Parser) reply {
	c := p.UIDBatches()
	switch {
	case p.End() != nil:
		return syntax(p)
	case c.To != 0 && c.From > c.To: // RFC 10022 §3.1.5
		return reply{"BAD", "CLIENTBUG", "Batches are named in ascending order"}
	case c.Size < minBatch:
		return no("TOOFEW", "A batch has 500 messages at least")
	case c.To != 0 && uint64(c.To-c.From+1)*uint64(c.Size) > maxBatch:
		return no("TOOMANY", "Too many messages")
	}
	size := uint64(c.Size)
	if n := s.srv.lim.worked; n > 0 { // more could not be worked on (RFC 10022 §3.2)
		size = min(size, uint64(n))
	}
	if !s.sync(true) { // what is gone would make batches small
		return gone
	}
	told := s.sel.told
	left := uint64(told.Len()) // messages below the batch
	s.out.put("* UIDBATCHES (TAG \"")
	s.out.b = append(append(s.out.b, s.tag...), `")`...)
	sep := byte(' ')
	from, to := uint64(max(c.From, 1)), uint64(c.To)
	if c.To == 0 {
		to = left
	}
	if from > 1 {
		left -= min(left, (from-1)*size)
	}
	for ; left > 0 && from <= to; from++ {
		high, low := uint64(told.At(int(left)-1).UID), uint64(1)
		if left < uint64(told.Len()) {
			high = uint64(told.At(int(left)).UID) - 1
		}
		if left -= min(left, size); left > 0 {
			low = uint64(told.At(int(left)).UID)
		}
		s.out.b = append(s.out.b, sep)
		s.out.b = strconv.AppendUint(s.out.b, high, 10)
		s.out.b = append(s.out.b, ':')
		s.out.b = strconv.AppendUint(s.out.b, low, 10)
		sep = ','
	}
	s.out.put("\r\n")
	return ok("UIDBATCHES completed")
}
