package imap

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strconv"
)

// threader arranges messages in threads (RFC 5256 §3). Messages are added in
// the order of their numbers. Message-IDs and subjects are hashes of 64 bits by
// a seed that nobody knows; 0 is none. Nothing in it is recursive, and its work
// is about proportional to the number of nodes.
type threader struct {
	nodes []threadNode
	msgs  []threadMessage
	byID  map[uint64]int32 // Message-ID to node
	steps int              // spent on looking for loops
}

// threadNode is a message, or stands for one that is referred to and not there.
type threadNode struct {
	msg    int32 // in msgs; -1: a dummy
	parent int32 // -1: none
	// kids is how many nodes have this one as parent; once the tree is built
	// child is the first of them and next the sibling.
	kids        int32
	child, next int32
}

// threadMessage is what decides about a message.
type threadMessage struct {
	number  uint32 // in the answer
	sent    int64  // sent date (RFC 5256 §2.2)
	subject uint64 // base subject; 0: empty
	reply   bool   // subject of a reply or forward
}

// threadNodeSize is about what a node with its Message-ID, and a message, take
// in memory.
const threadNodeSize, threadMessageSize = 64, 64

const nobody = -1

func (t *threader) node(msg int32) int32 {
	t.nodes = append(t.nodes, threadNode{msg: msg, parent: nobody, child: nobody, next: nobody})
	return int32(len(t.nodes) - 1)
}

// add adds a message by step 1 of REFERENCES: id is its Message-ID, refs those
// of its ancestors, the oldest first.
func (t *threader) add(m threadMessage, id uint64, refs []uint64) {
	if t.byID == nil {
		t.byID = make(map[uint64]int32)
	}
	last := int32(nobody)
	for _, r := range refs {
		n, known := t.byID[r]
		if !known {
			n = t.node(nobody)
			t.byID[r] = n
		}
		if last != nobody && t.nodes[n].parent == nobody { // a link that is there is not changed
			t.link(n, last)
		}
		last = n
	}
	t.msgs = append(t.msgs, m)
	msg := int32(len(t.msgs) - 1)
	n, known := t.byID[id]
	switch {
	case known && id != 0 && t.nodes[n].msg == nobody:
		t.nodes[n].msg = msg
	default: // new, without Message-ID, or with one that another has
		n = t.node(msg)
		if id != 0 && !known {
			t.byID[id] = n
		}
	}
	// What was known of its parent came from others, who may have left
	// something out.
	if p := t.nodes[n].parent; p != nobody && p != last {
		t.nodes[p].kids--
		t.nodes[n].parent = nobody
	}
	if last != nobody && t.nodes[n].parent == nobody {
		t.link(n, last)
	}
}

// addUnder adds a message below the node of another, or on top with nobody, and
// returns its node.
func (t *threader) addUnder(m threadMessage, parent int32) int32 {
	t.msgs = append(t.msgs, m)
	n := t.node(int32(len(t.msgs) - 1))
	if parent != nobody {
		t.nodes[n].parent = parent
		t.nodes[parent].kids++
	}
	return n
}

// link makes p the parent of n, which has none, unless that made a loop.
func (t *threader) link(n, p int32) {
	if n == p {
		return
	}
	if t.nodes[n].kids > 0 { // without any it is nobody's ancestor
		for a := p; a != nobody; a = t.nodes[a].parent {
			// Chains made to be walked again and again end here; mail as it is
			// written never comes near.
			if t.steps++; a == n || t.steps > 1<<20+64*len(t.nodes) {
				return
			}
		}
	}
	t.nodes[n].parent = p
	t.nodes[p].kids++
}

// finish does what follows step 1 and returns the roots in order: steps 2 to 6
// of REFERENCES; with bySubject false step 5 is left out, and with latest set
// the roots are by the latest sent date in their threads.
func (t *threader) finish(bySubject, latest bool) []int32 {
	t.prune()
	if bySubject {
		t.gather()
	}
	t.build()
	roots := t.roots()
	key := func(n int32) (int64, uint32) {
		m := t.first(n)
		return m.sent, m.number
	}
	if latest {
		last := make(map[int32]int64, len(roots))
		for _, r := range roots {
			last[r] = t.latest(r)
		}
		key = func(n int32) (int64, uint32) { return last[n], t.first(n).number }
	}
	slices.SortFunc(roots, func(a, b int32) int {
		d1, n1 := key(a)
		d2, n2 := key(b)
		return cmp.Or(cmp.Compare(d1, d2), cmp.Compare(n1, n2))
	})
	return roots
}

func (t *threader) dummy(n int32) bool { return t.nodes[n].msg == nobody }

// above is what the parent of a node is once dummies are gone: the closest
// message above it, or else the dummy on top. It shortens the way for the next
// one, so that all ways together are short.
func (t *threader) above(n int32) int32 {
	p := t.nodes[n].parent
	if p == nobody {
		return nobody
	}
	for t.dummy(p) && t.nodes[p].parent != nobody {
		q := t.nodes[p].parent
		if g := t.nodes[q].parent; t.dummy(q) && g != nobody {
			t.nodes[p].parent = g
			q = g
		}
		p = q
	}
	return p
}

// prune is step 3: dummies go, and their children move up; not to the top where
// there are several of them.
func (t *threader) prune() {
	kids := make([]int32, len(t.nodes))
	for n := range t.nodes {
		if !t.dummy(int32(n)) {
			p := t.above(int32(n))
			if t.nodes[n].parent = p; p != nobody {
				kids[p]++
			}
		}
	}
	for n := range t.nodes {
		if p := t.nodes[n].parent; p != nobody && !t.dummy(int32(n)) && t.dummy(p) && kids[p] == 1 {
			t.nodes[n].parent = nobody
		}
	}
	for n := range t.nodes {
		t.nodes[n].kids = kids[n]
		if t.dummy(int32(n)) {
			t.nodes[n].parent = nobody // no message is below it any more, or it is on top
			if kids[n] == 1 {
				t.nodes[n].kids = 0
			}
		}
	}
}

// roots are the nodes on top: messages, and dummies that have children.
func (t *threader) roots() []int32 {
	var roots []int32
	for n := range t.nodes {
		if nd := &t.nodes[n]; nd.parent == nobody && (nd.msg != nobody || nd.kids > 0) {
			roots = append(roots, int32(n))
		}
	}
	return roots
}

// gather is steps 4 and 5: threads of one subject become one.
func (t *threader) gather() {
	t.build() // for the first children of dummies
	roots := t.roots()
	slices.SortFunc(roots, func(a, b int32) int { return t.first(a).before(t.first(b)) })
	table := make(map[uint64]int32, len(roots))
	reply := func(n int32) bool { return !t.dummy(n) && t.first(n).reply }
	for _, n := range roots {
		subject := t.first(n).subject
		if subject == 0 {
			continue
		}
		old, known := table[subject]
		if !known || !t.dummy(old) && (t.dummy(n) || reply(old) && !reply(n)) {
			table[subject] = n
		}
	}
	for _, n := range roots {
		subject := t.first(n).subject
		old, known := table[subject]
		if subject == 0 || !known || old == n {
			continue
		}
		switch {
		case t.dummy(old), reply(n) && !reply(old):
			// Of a dummy the children count as those of what it is below.
			t.nodes[n].parent = old
			t.nodes[old].kids++
		default:
			top := t.node(nobody)
			t.nodes[n].parent, t.nodes[old].parent = top, top
			t.nodes[top].kids = 2
			table[subject] = top
		}
	}
	for n := range t.nodes {
		if !t.dummy(int32(n)) {
			t.nodes[n].parent = t.above(int32(n))
		}
	}
}

// build makes the lists of children, in order (step 6).
func (t *threader) build() {
	order := make([]int32, 0, len(t.msgs))
	for n := range t.nodes {
		t.nodes[n].child = nobody
		if !t.dummy(int32(n)) {
			order = append(order, int32(n))
		}
	}
	slices.SortFunc(order, func(a, b int32) int { return t.msgs[t.nodes[a].msg].before(&t.msgs[t.nodes[b].msg]) })
	for _, n := range slices.Backward(order) {
		if p := t.nodes[n].parent; p != nobody {
			t.nodes[n].next = t.nodes[p].child
			t.nodes[p].child = n
		}
	}
}

// before compares by sent date, then by number (RFC 5256 §2.2).
func (m *threadMessage) before(o *threadMessage) int {
	return cmp.Or(cmp.Compare(m.sent, o.sent), cmp.Compare(m.number, o.number))
}

// first is the message of a node; of a dummy, that of its first child.
func (t *threader) first(n int32) *threadMessage {
	if t.dummy(n) {
		n = t.nodes[n].child
	}
	return &t.msgs[t.nodes[n].msg]
}

// after is the node behind n in the thread under root, in the order in which it
// is written; nobody at the end.
func (t *threader) after(n, root int32) int32 {
	if c := t.nodes[n].child; c != nobody {
		return c
	}
	for n != root {
		if next := t.nodes[n].next; next != nobody {
			return next
		}
		n = t.nodes[n].parent
	}
	return nobody
}

// latest is the latest sent date in the thread under root.
func (t *threader) latest(root int32) int64 {
	at := t.first(root).sent
	for n := root; n != nobody; n = t.after(n, root) {
		if !t.dummy(n) {
			at = max(at, t.msgs[t.nodes[n].msg].sent)
		}
	}
	return at
}

// append writes the thread under root as a thread-list (RFC 5256 §5).
func (t *threader) append(b []byte, root int32, spill func([]byte) []byte) []byte {
	b = append(b, '(')
	for n := root; ; {
		nd := &t.nodes[n]
		if nd.msg != nobody {
			b = strconv.AppendUint(b, uint64(t.msgs[nd.msg].number), 10)
		}
		b = spill(b)
		if nd.child != nobody {
			if nd.msg != nobody {
				b = append(b, ' ')
			}
			if n = nd.child; t.nodes[n].next != nobody {
				b = append(b, '(')
			}
			continue
		}
		for { // the way back up
			if n == root {
				return append(b, ')')
			}
			nd := &t.nodes[n]
			if nd.next != nobody {
				b = append(b, ")("...)
				n = nd.next
				break
			}
			if n = nd.parent; t.nodes[t.nodes[n].child].next != nobody {
				b = append(b, ')') // of the last of several
			}
		}
	}
}

// messageIDs appends the hashes of the Message-IDs in a field's value, at most
// max, the last ones. What is no Message-ID is skipped (RFC 5256 §3, RFC 5322
// §3.6.4).
func messageIDs(to []uint64, value []byte, max int, seed maphash.Seed, scratch *[]byte) []uint64 {
	start := len(to)
	for len(value) > 0 {
		id, rest := nextMessageID(value, (*scratch)[:0])
		*scratch, value = id, rest
		if len(id) == 0 {
			continue
		}
		if to = append(to, hashID(seed, id)); len(to)-start > 2*max {
			to = append(to[:start], to[len(to)-max:]...)
		}
	}
	if over := len(to) - start - max; over > 0 {
		to = append(to[:start], to[start+over:]...)
	}
	return to
}

func hashID(seed maphash.Seed, id []byte) uint64 { return max(maphash.Bytes(seed, id), 1) }

// nextMessageID reads the next Message-ID to its end. Quotes and quoted pairs do
// not count (RFC 5256 §3), nor does white space; id is empty if there is none.
func nextMessageID(value, scratch []byte) (id, rest []byte) {
	i := slices.Index(value, '<')
	if i < 0 {
		return scratch[:0], nil
	}
	id, quoted, at := scratch[:0], false, -1
	for i++; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '\\' && quoted && i+1 < len(value):
			i++
			id = append(id, value[i])
		case c == '"':
			quoted = !quoted
		case quoted:
			id = append(id, c)
		case c == ' ', c == '\t', c == '\r', c == '\n':
		case c == '<': // the one before was none
			id, at = id[:0], -1
		case c == '>':
			if at <= 0 || at == len(id)-1 {
				id = id[:0]
			}
			return id, value[i+1:]
		default:
			if c == '@' {
				at = len(id)
			}
			id = append(id, c)
		}
	}
	return id[:0], nil
}
