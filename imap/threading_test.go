package imap

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sample is a message for threading: its fields are those of the RFC, small
// numbers for Message-IDs and subjects. Its number is its place.
type sample struct {
	sent    int64
	id      uint64
	refs    []uint64
	subject uint64
	reply   bool
}

func threadsOf(samples []sample, bySubject, latest bool) string {
	var t threader
	for i, s := range samples {
		t.add(threadMessage{number: uint32(i + 1), sent: s.sent, subject: s.subject, reply: s.reply}, s.id, s.refs)
	}
	roots := t.finish(bySubject, latest)
	var b []byte
	for _, r := range roots {
		b = t.append(b, r, func(b []byte) []byte { return b })
	}
	return string(b)
}

func TestThreading(t *testing.T) {
	for _, c := range []struct {
		what    string
		samples []sample
		want    string
	}{
		{"nothing", nil, ""},
		{"one", []sample{{id: 1}}, "(1)"},
		{"a chain", []sample{{id: 1}, {id: 2, refs: []uint64{1}}, {id: 3, refs: []uint64{1, 2}}}, "(1 2 3)"},
		{"a chain, the youngest first", []sample{{id: 3, refs: []uint64{1, 2}}, {id: 2, refs: []uint64{1}}, {id: 1}}, "(3 2 1)"},
		{"branches", []sample{{id: 1}, {id: 2, refs: []uint64{1}}, {id: 3, refs: []uint64{1}}, {id: 4, refs: []uint64{1, 2}}}, "(1 (2 4)(3))"},
		{"by date, not by number", []sample{{id: 1, sent: 9}, {id: 2, sent: 5}, {id: 3, sent: 8, refs: []uint64{2}}, {id: 4, sent: 7, refs: []uint64{2}}}, "(2 (4)(3))(1)"},
		{"a root that is missing", []sample{{id: 2, refs: []uint64{1}}, {id: 3, refs: []uint64{1}}}, "((1)(2))"},
		{"a root that is missing, of one child", []sample{{id: 2, refs: []uint64{1}}, {id: 3, refs: []uint64{1, 2}}}, "(1 2)"},
		{"one in the middle is missing", []sample{{id: 1}, {id: 3, refs: []uint64{1, 2}}, {id: 4, refs: []uint64{1, 2}}}, "(1 (2)(3))"},
		{"several on top are missing", []sample{{id: 5, refs: []uint64{1, 2, 3}}, {id: 6, refs: []uint64{1, 2, 4}}}, "((1)(2))"},
		{"no id", []sample{{}, {}, {refs: []uint64{7}}}, "(1)(2)(3)"},
		{"the same id twice", []sample{{id: 1}, {id: 1, refs: []uint64{2}}, {id: 3, refs: []uint64{1}}}, "(1 3)(2)"},
		{"itself", []sample{{id: 1, refs: []uint64{1}}}, "(1)"},
		{"itself among others", []sample{{id: 1, refs: []uint64{2, 1, 3}}}, "(1)"},
		{"two that name each other", []sample{{id: 1, refs: []uint64{2}}, {id: 2, refs: []uint64{1}}}, "(2 1)"},
		{"its own field decides", []sample{{id: 9, refs: []uint64{1, 3}}, {id: 1}, {id: 2, refs: []uint64{1}}, {id: 3, refs: []uint64{1, 2}}}, "(2 3 4 1)"},
		{"its own field says none", []sample{{id: 9, refs: []uint64{1, 3}}, {id: 1}, {id: 3}}, "(2)(3 1)"},
		{"subjects: reply below the original", []sample{{id: 1, subject: 1}, {id: 2, subject: 1, reply: true}}, "(1 2)"},
		{"subjects: reply before the original", []sample{{id: 1, subject: 1, reply: true}, {id: 2, subject: 1}}, "(2 1)"},
		{"subjects: two originals", []sample{{id: 1, subject: 1}, {id: 2, subject: 1}}, "((1)(2))"},
		{"subjects: two originals and a reply", []sample{{id: 1, subject: 1}, {id: 2, subject: 1}, {id: 3, subject: 1, reply: true}}, "((1)(2)(3))"},
		{"subjects: two replies", []sample{{id: 1, subject: 1, reply: true}, {id: 2, subject: 1, reply: true}}, "((1)(2))"},
		{"subjects: a root that is missing", []sample{{id: 2, refs: []uint64{1}, subject: 1}, {id: 3, refs: []uint64{1}, subject: 2}, {id: 4, subject: 1}}, "((1)(2)(3))"},
		{"subjects: two roots that are missing", []sample{{id: 2, refs: []uint64{1}, subject: 1}, {id: 3, refs: []uint64{1}}, {id: 5, refs: []uint64{4}, subject: 1}, {id: 6, refs: []uint64{4}}}, "((1)(2)(3)(4))"},
		{"subjects: empty ones", []sample{{id: 1}, {id: 2}}, "(1)(2)"},
		{"subjects: only on top", []sample{{id: 1, subject: 1}, {id: 2, refs: []uint64{1}, subject: 2}, {id: 3, subject: 2}}, "(1 2)(3)"},
	} {
		assert.Equal(t, c.want, threadsOf(c.samples, true, false), c.what)
	}
	// REFS: subjects do not count, and what was sent last does.
	s := []sample{{id: 1, sent: 1, subject: 1}, {id: 2, sent: 2, subject: 1, reply: true}, {id: 3, sent: 5, refs: []uint64{1}}, {id: 4, sent: 4}}
	assert.Equal(t, "(2)(4)(1 3)", threadsOf(s, false, true))
}

// naive is REFERENCES as the steps of RFC 5256 §3 say it, with no regard to
// depth and time.
type naive struct {
	msg      *threadMessage
	parent   *naive
	children []*naive
}

func (n *naive) cut() {
	if n.parent != nil {
		n.parent.children = slices.DeleteFunc(n.parent.children, func(c *naive) bool { return c == n })
		n.parent = nil
	}
}

func (n *naive) put(p *naive) {
	for a := p; a != nil; a = a.parent {
		if a == n {
			return
		}
	}
	n.cut()
	n.parent = p
	p.children = append(p.children, n)
}

func (n *naive) key() *threadMessage {
	if n.msg != nil {
		return n.msg
	}
	return n.children[0].key()
}

func sortNaive(list []*naive) {
	for _, n := range list {
		sortNaive(n.children)
	}
	slices.SortStableFunc(list, func(a, b *naive) int {
		return cmp.Or(cmp.Compare(a.key().sent, b.key().sent), cmp.Compare(a.key().number, b.key().number))
	})
}

func pruneNaive(list []*naive, top bool) (out []*naive) {
	for _, n := range list {
		n.children = pruneNaive(n.children, false)
		for _, c := range n.children {
			c.parent = n
		}
		switch {
		case n.msg != nil, len(n.children) > 1 && top:
			out = append(out, n)
		default:
			out = append(out, n.children...)
		}
	}
	return out
}

func (n *naive) String() string {
	s := ""
	if n.msg != nil {
		s = fmt.Sprint(n.msg.number)
	}
	switch {
	case len(n.children) == 1:
		return strings.TrimPrefix(s+" "+n.children[0].String(), " ")
	case len(n.children) > 1:
		if s != "" {
			s += " "
		}
		for _, c := range n.children {
			s += "(" + c.String() + ")"
		}
	}
	return s
}

func naiveThreads(samples []sample, bySubject bool) string {
	ids, all := map[uint64]*naive{}, []*naive{}
	node := func(id uint64) *naive {
		n := ids[id]
		if n == nil {
			n = &naive{}
			ids[id] = n
			all = append(all, n)
		}
		return n
	}
	for i, s := range samples {
		var last *naive
		for _, r := range s.refs {
			n := node(r)
			if last != nil && n.parent == nil {
				n.put(last)
			}
			last = n
		}
		var n *naive
		if s.id != 0 && (ids[s.id] == nil || ids[s.id].msg == nil) {
			n = node(s.id)
		} else {
			n = &naive{}
			all = append(all, n)
		}
		n.msg = &threadMessage{number: uint32(i + 1), sent: s.sent, subject: s.subject, reply: s.reply}
		if n.parent != last {
			n.cut()
			if last != nil {
				n.put(last)
			}
		}
	}
	var root []*naive
	for _, n := range all {
		if n.parent == nil {
			root = append(root, n)
		}
	}
	root = pruneNaive(root, true)
	for _, n := range root {
		n.parent = nil
	}
	sortNaive(root)
	if bySubject {
		root = mergeNaive(root)
	}
	sortNaive(root)
	var b strings.Builder
	for _, n := range root {
		b.WriteString("(" + n.String() + ")")
	}
	return b.String()
}

func mergeNaive(root []*naive) []*naive {
	table := map[uint64]*naive{}
	reply := func(n *naive) bool { return n.msg != nil && n.msg.reply }
	for _, n := range root {
		subject := n.key().subject
		if old := table[subject]; subject != 0 && (old == nil || old.msg != nil && (n.msg == nil || old.msg.reply && !n.msg.reply)) {
			table[subject] = n
		}
	}
	out := slices.Clone(root)
	remove := func(n *naive) { out = slices.DeleteFunc(out, func(c *naive) bool { return c == n }) }
	for _, n := range root {
		subject := n.key().subject
		old := table[subject]
		if subject == 0 || old == n || !slices.Contains(out, n) {
			continue
		}
		remove(n)
		switch {
		case old.msg == nil && n.msg == nil:
			for _, c := range slices.Clone(n.children) {
				c.put(old)
			}
		case old.msg == nil, reply(n) && !reply(old):
			n.put(old)
		default:
			remove(old)
			top := &naive{}
			n.put(top)
			old.put(top)
			out = append(out, top)
			table[subject] = top
		}
		for _, c := range out {
			sortNaive(c.children)
		}
	}
	return out
}

// What threads are made of is what the steps of the RFC make.
func TestThreadingNaive(t *testing.T) {
	rounds := 20_000
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 5256))
		checkThreading(t, r.IntN(12), func(n int) int { return r.IntN(n) })
	}
}

func FuzzThreading(f *testing.F) {
	f.Add([]byte("\x05abcdefghij"))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkThreading(t, min(len(b), 30), func(n int) int {
			if len(b) == 0 {
				return 0
			}
			v := int(b[0]) % n
			b = b[1:]
			return v
		})
	})
}

func checkThreading(t *testing.T, count int, pick func(int) int) {
	samples := make([]sample, count)
	for i := range samples {
		s := &samples[i]
		s.id, s.sent, s.subject, s.reply = uint64(pick(9)), int64(pick(5)), uint64(pick(4)), pick(2) == 1
		for range pick(4) {
			s.refs = append(s.refs, uint64(1+pick(12)))
		}
	}
	for _, bySubject := range []bool{false, true} {
		require.Equal(t, naiveThreads(samples, bySubject), threadsOf(samples, bySubject, false), "%+v", samples)
	}
}

// Chains, loops and combs without end take bounded time, and no stack.
func TestThreadingHostile(t *testing.T) {
	const n = 10_000
	r := rand.New(rand.NewPCG(1, 2))
	id := func(i int) uint64 { return uint64(i + 1) }
	for what, make := range map[string]func(i int) sample{
		"a chain":            func(i int) sample { return sample{id: id(i), refs: []uint64{id(i - 1)}} },
		"a chain from below": func(i int) sample { return sample{id: id(n - i), refs: []uint64{id(n - i - 1)}} },
		"a circle":           func(i int) sample { return sample{id: id(i), refs: []uint64{id((i + 1) % n)}} },
		"all below one":      func(i int) sample { return sample{id: id(i), refs: []uint64{1}} },
		"no matter what": func(i int) sample {
			return sample{id: id(r.IntN(n)), refs: []uint64{id(r.IntN(n)), id(r.IntN(n)), id(r.IntN(n))}}
		},
		"a hundred of nobody": func(i int) sample {
			return sample{id: id(i), refs: many(100, func(k int) uint64 { return id(n + 100*i + k) })}
		},
		"one chain of all": func(i int) sample {
			return sample{id: id(i), refs: many(100, func(k int) uint64 { return id(n + (100*i+k)%(n*50)) })}
		},
		"one comb": func(i int) sample { // each tooth is to be hung at the end of a long chain
			if i < n/2 {
				return sample{id: id(i), refs: many(100, func(k int) uint64 { return id(2*n + i*99 + k) })}
			}
			return sample{id: id(i), refs: []uint64{id(2*n + n/2*99), id(50*n + i), id(60*n + i)}}
		},
	} {
		samples := []sample{}
		for i := range n {
			samples = append(samples, make(i))
		}
		began := time.Now()
		for _, latest := range []bool{false, true} {
			out := threadsOf(samples, !latest, latest)
			assert.Equal(t, n, len(strings.FieldsFunc(out, func(r rune) bool { return r < '0' })), "%s: each message is there once", what)
			assert.Equal(t, strings.Count(out, "("), strings.Count(out, ")"), what)
		}
		assert.Less(t, time.Since(began), 20*time.Second, what)
		t.Log(what, time.Since(began))
	}
}

func many(n int, f func(int) uint64) []uint64 {
	list := make([]uint64, n)
	for i := range list {
		list[i] = f(i)
	}
	return list
}

func TestMessageIDs(t *testing.T) {
	for in, want := range map[string][]string{
		"":                              nil,
		"<a@b>":                         {"a@b"},
		" <a@b>\r\n <c@d>":              {"a@b", "c@d"},
		"<a@b><c@d>":                    {"a@b", "c@d"},
		"text <a@b> (comment) <c@d>":    {"a@b", "c@d"},
		`<"01KF8JCEOCBS0045PS"@x.test>`: {"01KF8JCEOCBS0045PS@x.test"},
		`<"a\"b>c"@d>`:                  {`a"b>c@d`},
		"<a@\r\n b>":                    {"a@b"},
		"<no-at> <a@b>":                 {"a@b"},
		"<@b> <a@> <> <a@b>":            {"a@b"},
		"<a@b":                          nil,
		"<a <c@d>":                      {"c@d"},
		"a@b":                           nil,
		`<"a@b> <c@d>`:                  nil,
	} {
		var got []string
		for rest := []byte(in); len(rest) > 0; {
			var id []byte
			if id, rest = nextMessageID(rest, nil); len(id) > 0 {
				got = append(got, string(id))
			}
		}
		assert.Equal(t, want, got, "%q", in)
	}
	seed, scratch := maphash.MakeSeed(), []byte(nil)
	all := ""
	for i := range 1000 {
		all += fmt.Sprintf("<%d@x>", i)
	}
	for _, max := range []int{1, 7, 100, 999, 1000, 5000} {
		got := messageIDs([]uint64{5}, []byte(all), max, seed, &scratch)
		require.Len(t, got, 1+min(max, 1000))
		assert.Equal(t, hashID(seed, []byte("999@x")), got[len(got)-1])
		assert.Equal(t, hashID(seed, fmt.Appendf(nil, "%d@x", 1000-min(max, 1000))), got[1], "the last ones")
		assert.EqualValues(t, 5, got[0])
	}
}

func TestFindField(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"\r\n":                           "",
		"References: <a@b>\r\n\r\n":      " <a@b>\r\n",
		"A: b\r\nREFERENCES:x\r\n y\r\n": "x\r\n y\r\n",
		"A: b\r\n references: z\r\nReferences : x":              " x",
		"References-X: a\r\nReferences: b\r\nReferences: c\r\n": " b\r\n",
		"Reference: a\r\n":              "",
		"references":                    "",
		"A: b\r\n\r\nReferences: x\r\n": "",
	} {
		assert.Equal(t, want, string(findField([]byte(in), "references")), "%q", in)
	}
}
