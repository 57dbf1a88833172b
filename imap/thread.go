package imap

import (
	"bytes"
	"errors"
	"hash/maphash"
	"slices"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// thread is THREAD (RFC 5256 §3).
func (s *session) thread(p *wire.Parser) reply    { return s.threadMailbox(p, "THREAD", false) }
func (s *session) uidThread(p *wire.Parser) reply { return s.threadMailbox(p, "UID THREAD", true) }

func (s *session) threadMailbox(p *wire.Parser, name string, uid bool) reply {
	c := p.Thread()
	if p.End() != nil {
		return syntax(p)
	}
	t := collector{session: s, uid: uid, algorithm: c.Algorithm, seed: maphash.MakeSeed(), memory: loan{budget: s.srv.budget}}
	defer t.memory.repay()
	if _, fault := s.matching(&c.Search, t.take); fault != (reply{}) {
		return fault
	}
	err := t.collect()
	switch {
	case err != nil:
		return s.failed(err)
	case t.full:
		return busy
	}
	var roots []int32
	switch c.Algorithm {
	case wire.ThreadOrderedSubject:
		roots = t.orderedSubject()
	case wire.ThreadReferences:
		roots = t.threads.finish(true, false)
	case wire.ThreadRefs:
		// As Dovecot has it, from draft-ietf-morg-inthread: subjects make no
		// thread, and that of the message sent last is the last.
		roots = t.threads.finish(false, true)
	}
	s.out.put("* THREAD")
	if len(roots) > 0 {
		s.out.put(" ")
	}
	for _, r := range roots {
		s.out.b = t.threads.append(s.out.b, r, func(b []byte) []byte {
			s.out.b = b
			s.out.spill()
			return s.out.b
		})
	}
	s.out.put("\r\n")
	return ok(name + " completed")
}

// collector reads what threads are made by. Its memory grows with the number of
// messages and of the Message-IDs they refer to, and is of the budget.
type collector struct {
	*session
	uid       bool
	algorithm wire.ThreadAlgorithm
	seed      maphash.Seed
	memory    loan
	full      bool // the budget has no more
	rows      []store.Row
	threads   threader

	refs    []uint64 // what all messages refer to, one after another
	ends    []int    // of those of each
	scratch []byte
	header  []byte
}

// take takes a message that was found; false if there is no memory for it.
func (t *collector) take(row store.Row) bool {
	if t.full = t.full || !t.memory.take(64+threadMessageSize+threadNodeSize); !t.full {
		t.rows = append(t.rows, row)
	}
	return !t.full
}

// collect reads all messages.
func (t *collector) collect() error {
	if t.full {
		return nil
	}
	if t.algorithm != wire.ThreadOrderedSubject {
		if err := t.readReferences(); err != nil || t.full {
			return err
		}
	}
	if err := t.details(t.rows, t.read); err != nil {
		return err
	}
	return t.ctx.Err()
}

// read adds the next message. What cannot be read of it is as what it does not
// have.
func (t *collector) read(row store.Row, d store.Detail) bool {
	m := threadMessage{number: uint32(row.UID)}
	if !t.uid {
		i, _ := t.sel.told.Find(row.UID)
		m.number = uint32(i + 1)
	}
	var e message.Envelope
	if d.Outline != nil {
		e = d.Outline.Envelope
	}
	m.sent = sentDate(row, &e)
	if t.algorithm != wire.ThreadRefs {
		base, reply := message.BaseSubject(e.Subject)
		if m.reply = reply; base != "" {
			t.scratch = store.Fold(t.scratch[:0], clip(base, 4*maxSortText))
			m.subject = hashID(t.seed, t.scratch)
		}
	}
	if t.algorithm == wire.ThreadOrderedSubject {
		t.threads.msgs = append(t.threads.msgs, m)
		return true
	}
	i := len(t.threads.msgs)
	refs := t.refs[t.ends[i]:t.ends[i+1]]
	if parent := t.messageID(e.InReplyTo); len(refs) == 0 && parent != 0 { // RFC 5256 §3
		refs = []uint64{parent}
	}
	if t.full = !t.memory.take(threadNodeSize * len(refs)); t.full {
		return false
	}
	t.threads.add(m, t.messageID(e.MessageID), refs)
	return t.ctx.Err() == nil
}

// messageID is the hash of the first Message-ID in a value; 0 if there is none.
func (t *collector) messageID(value string) uint64 {
	for rest := []byte(value); len(rest) > 0; {
		var id []byte
		if id, rest = nextMessageID(rest, t.scratch[:0]); len(id) > 0 {
			t.scratch = id
			return hashID(t.seed, id)
		}
	}
	return 0
}

// maxThreadHeader is how much of a header is looked at for References.
const maxThreadHeader = 64 << 10

// readReferences reads References, which is no part of the envelope, of all
// messages.
func (t *collector) readReferences() error {
	t.ends = append(make([]int, 0, len(t.rows)+1), 0)
	for body, err := range store.Bodies(t.ctx, t.sel.mb, t.rows) {
		switch {
		case err == nil:
			t.refs = messageIDs(t.refs, findField(t.headerOf(body), "references"), t.srv.lim.references, t.seed, &t.scratch)
		case t.ctx.Err() != nil, errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrNotFound):
			return err
		} // of one that is gone or damaged nothing is known
		last := t.ends[len(t.ends)-1]
		if t.full = !t.memory.take(8 + 8*(len(t.refs)-last)); t.full {
			return nil
		}
		t.ends = append(t.ends, len(t.refs))
	}
	if len(t.ends) != len(t.rows)+1 {
		return errors.New("imap: the store left out bodies")
	}
	return nil
}

// headerOf is the header of a message, or the begin of a long one; the body may
// be behind it. Nil if it cannot be read.
func (t *collector) headerOf(body store.Body) []byte {
	for _, most := range []int{headerKeep, maxThreadHeader} {
		size := int(min(int64(most), body.Size()))
		if cap(t.header) < size {
			t.header = make([]byte, most)
		}
		h := t.header[:size]
		if n, _ := body.ReadAt(h, 0); n < size {
			return nil
		}
		if size < most || headerEnd(h) > 0 || most == maxThreadHeader {
			return h
		}
	}
	return nil
}

// findField is the value of the first field of a header with a name, which is
// in lower case, as it is: with the ends of its lines. Nil if there is none.
func findField(h []byte, name string) []byte {
	for len(h) > 0 && h[0] != '\r' && h[0] != '\n' {
		end := 0 // of the field
		for {
			i := bytes.IndexByte(h[end:], '\n')
			if i < 0 {
				end = len(h)
				break
			}
			if end += i + 1; end == len(h) || h[end] != ' ' && h[end] != '\t' {
				break
			}
		}
		if h[0]|0x20 == name[0] && len(h) > len(name) && bytes.EqualFold(h[:len(name)], []byte(name)) {
			value := bytes.TrimLeft(h[len(name):end], " \t")
			if len(value) > 0 && value[0] == ':' {
				return value[1:]
			}
		}
		h = h[end:]
	}
	return nil
}

// orderedSubject makes a thread of each subject: all others are below the first
// message (RFC 5256 §3).
func (t *collector) orderedSubject() []int32 {
	msgs := t.threads.msgs
	t.threads.msgs = make([]threadMessage, 0, len(msgs))
	slices.SortFunc(msgs, func(a, b threadMessage) int { return a.before(&b) })
	first := make(map[uint64]int32)
	for _, m := range msgs {
		top, known := first[m.subject]
		if !known {
			top = nobody
		}
		if n := t.threads.addUnder(m, top); !known {
			first[m.subject] = n
		}
	}
	t.threads.build()
	return t.threads.roots() // they are in order: messages were
}
