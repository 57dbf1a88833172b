package imap_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/posta-mail/posta/store"
)

// modelKind is what a client of the model has enabled.
type modelKind struct {
	name   string
	enable []string
	notify bool // NOTIFY for the selected mailbox: untagged data comes at any time
}

var modelKinds = []modelKind{
	{name: "rev1"},
	{name: "rev2", enable: []string{"IMAP4rev2"}},
	{name: "condstore", enable: []string{"CONDSTORE"}},
	{name: "qresync", enable: []string{"QRESYNC"}},
	{name: "rev2 qresync", enable: []string{"IMAP4rev2", "QRESYNC"}},
	{name: "uidonly", enable: []string{"UIDONLY"}},
	{name: "uidonly qresync", enable: []string{"IMAP4rev2", "UIDONLY", "QRESYNC"}},
	{name: "notify", enable: []string{"QRESYNC"}, notify: true},
}

// offered reports whether the server has what the kind needs.
func (k modelKind) offered(w *world) bool {
	caps := " " + strings.ToUpper(strings.Join(w.login("anna").ok("CAPABILITY"), " ")) + " "
	needs := k.enable
	if k.notify {
		needs = append(slices.Clone(needs), "NOTIFY")
	}
	return !slices.ContainsFunc(needs, func(n string) bool { return !strings.Contains(caps, " "+strings.ToUpper(n)+" ") })
}

// modelMessage is what a client knows about a message.
type modelMessage struct {
	uid    uint32 // 0: not fetched yet
	flags  []string
	known  bool // flags
	modSeq uint64
}

// modelClient keeps a mailbox only by what it is told.
type modelClient struct {
	*client
	w    *world
	kind modelKind
	rnd  *rand.Rand

	messages    []modelMessage
	uidValidity uint32
	highest     uint64 // by which it would resynchronise (RFC 7162 §6)
	told        bool   // HIGHESTMODSEQ has come since the last reply
	sent        uint64 // the highest MODSEQ of a FETCH since the last reply
	condStor    bool
	qresync     bool
	uidOnly     bool

	noExpunge bool        // the command at hand must not be told of EXPUNGE
	fetching  bool        // its answers need not have MODSEQ (RFC 7162 §3.2.4)
	parked    string      // the tag of an IDLE under way
	silently  func(i int) // does what a STORE under way does, once that is told
	resync    *modelResync
	log       []string
}

// modelResync is what a SELECT with QRESYNC tells.
type modelResync struct {
	exists   int
	vanished [][2]uint32
	fetched  map[uint32]modelMessage
	number   map[uint32]int
}

var (
	fetchLine    = regexp.MustCompile(`(?s)^\* (\d+) (UID)?FETCH \((.*)\)$`)
	uidItem      = regexp.MustCompile(`(?:^| )UID (\d+)`)
	flagsItem    = regexp.MustCompile(`(?:^| )FLAGS \(([^)]*)\)`)
	modItem      = regexp.MustCompile(`(?:^| )MODSEQ \((\d+)\)`)
	countLine    = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE)$`)
	vanishedLine = regexp.MustCompile(`^\* VANISHED (\(EARLIER\) )?([0-9:,]+)$`)
	codeLine     = regexp.MustCompile(`\[(HIGHESTMODSEQ|UIDVALIDITY) (\d+)\]`)
)

func (m *modelClient) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s: %s\n%s", m.kind.name, fmt.Sprintf(format, args...), strings.Join(m.log[max(0, len(m.log)-40):], "\n"))
}

func (m *modelClient) byUID() bool { return m.uidOnly || m.kind.notify }

// take applies an untagged response.
func (m *modelClient) take(l string) {
	m.log = append(m.log, "S: "+l[:min(len(l), 200)])
	if c := codeLine.FindStringSubmatch(l); c != nil {
		m.code(c)
	}
	if c := countLine.FindStringSubmatch(l); c != nil {
		m.count(c)
	} else if c := vanishedLine.FindStringSubmatch(l); c != nil {
		m.vanished(c[1] != "", ranges(c[2]))
	} else if c := fetchLine.FindStringSubmatch(l); c != nil {
		m.fetched(c)
	}
}

func (m *modelClient) code(c []string) {
	v, _ := strconv.ParseUint(c[2], 10, 64)
	if c[1] == "UIDVALIDITY" {
		m.uidValidity = uint32(v)
	} else {
		m.highest, m.told = v, true
	}
}

func (m *modelClient) count(c []string) {
	n, _ := strconv.Atoi(c[1])
	switch {
	case c[2] == "EXISTS" && m.resync != nil:
		m.resync.exists = n
	case c[2] == "EXISTS" && n < len(m.messages):
		m.fail("EXISTS shrinks from %d to %d", len(m.messages), n)
	case c[2] == "EXISTS":
		m.messages = append(m.messages, make([]modelMessage, n-len(m.messages))...)
	case m.noExpunge:
		m.fail("EXPUNGE during a command that must not have it")
	case m.qresync || m.uidOnly:
		m.fail("EXPUNGE instead of VANISHED")
	case n < 1 || n > len(m.messages):
		m.fail("EXPUNGE %d of %d", n, len(m.messages))
	default:
		m.messages = slices.Delete(m.messages, n-1, n)
	}
}

// ranges reads a set of UIDs.
func ranges(s string) (out [][2]uint32) {
	for part := range strings.SplitSeq(s, ",") {
		a, b, ok := strings.Cut(part, ":")
		if !ok {
			b = a
		}
		from, _ := strconv.ParseUint(a, 10, 32)
		to, _ := strconv.ParseUint(b, 10, 32)
		out = append(out, [2]uint32{uint32(min(from, to)), uint32(max(from, to))})
	}
	return out
}

// vanished takes messages away. Plain VANISHED names only messages that were
// there: of those whose UID is not known yet any will do that is where it must be.
func (m *modelClient) vanished(earlier bool, set [][2]uint32) {
	switch {
	case !m.qresync && !m.uidOnly:
		m.fail("VANISHED without QRESYNC or UIDONLY")
	case earlier != (m.resync != nil):
		m.fail("VANISHED of the wrong kind")
	case earlier:
		m.resync.vanished = append(m.resync.vanished, set...)
		return
	case m.noExpunge:
		m.fail("VANISHED during a command that must not have it")
	}
	for _, r := range set {
		for uid := uint64(r[0]); uid <= uint64(r[1]); uid++ {
			i := slices.IndexFunc(m.messages, func(x modelMessage) bool { return x.uid == uint32(uid) })
			if i < 0 { // one whose UID is not known, between those that are
				i = slices.IndexFunc(m.messages, func(x modelMessage) bool { return x.uid > uint32(uid) })
				if i < 0 {
					i = len(m.messages)
				}
				i--
			}
			if i < 0 || m.messages[i].uid != 0 && m.messages[i].uid != uint32(uid) {
				m.fail("VANISHED %d, which is not there", uid)
			}
			m.messages = slices.Delete(m.messages, i, i+1)
		}
	}
}

// fetched applies a FETCH or UIDFETCH.
func (m *modelClient) fetched(c []string) {
	n, _ := strconv.Atoi(c[1])
	if (c[2] == "UID") != m.uidOnly {
		m.fail("FETCH of the wrong kind: %s", c[0])
	}
	var got modelMessage
	if u := uidItem.FindStringSubmatch(c[3]); u != nil {
		uid, _ := strconv.ParseUint(u[1], 10, 32)
		got.uid = uint32(uid)
	}
	if f := flagsItem.FindStringSubmatch(c[3]); f != nil {
		got.flags, got.known = strings.Fields(f[1]), true
		slices.Sort(got.flags)
	}
	if s := modItem.FindStringSubmatch(c[3]); s != nil {
		got.modSeq, _ = strconv.ParseUint(s[1], 10, 63)
	} else if got.known && m.condStor && !m.fetching {
		m.fail("flags without MODSEQ: %s", c[0])
	}
	m.sent = max(m.sent, got.modSeq)
	if m.uidOnly {
		got.uid = uint32(n)
	}
	if m.resync != nil {
		m.resync.fetched[got.uid], m.resync.number[got.uid] = got, n
		return
	}
	msg := m.message(n, got.uid)
	if msg == nil {
		return
	}
	if got.uid != 0 && msg.uid != 0 && msg.uid != got.uid {
		m.fail("message %d was UID %d and is UID %d", n, msg.uid, got.uid)
	}
	if got.uid != 0 {
		msg.uid = got.uid
	}
	if got.known {
		msg.flags, msg.known = got.flags, true
	} else if m.silently != nil && got.modSeq > msg.modSeq {
		m.silently(slices.IndexFunc(m.messages, func(x modelMessage) bool { return x.uid == msg.uid }))
	}
	if got.modSeq != 0 {
		if got.modSeq < msg.modSeq {
			m.fail("mod-sequence of message %d falls from %d to %d", n, msg.modSeq, got.modSeq)
		}
		msg.modSeq = got.modSeq
	}
}

// message is the one that a response is about. Under UIDONLY it is found by its
// UID, or is one of those whose UID is not known yet: they are in order, so
// that what a client must do is look at all of them; see learn.
func (m *modelClient) message(n int, uid uint32) *modelMessage {
	if !m.uidOnly {
		if n < 1 || n > len(m.messages) {
			m.fail("FETCH %d of %d", n, len(m.messages))
		}
		return &m.messages[n-1]
	}
	for i := range m.messages {
		if m.messages[i].uid == uid {
			return &m.messages[i]
		}
	}
	return nil // of a message that has to be learned first
}

// command runs a command and returns its end.
func (m *modelClient) command(cmd string) string {
	m.t.Helper()
	m.unpark()
	tag := m.begin(cmd)
	m.noExpunge = !m.kind.notify && (strings.HasPrefix(cmd, "FETCH") || strings.HasPrefix(cmd, "STORE") || strings.HasPrefix(cmd, "SEARCH"))
	m.fetching = strings.Contains(cmd, "FETCH ")
	defer func() { m.fetching = false }()
	return m.finish(cmd, tag)
}

func (m *modelClient) begin(cmd string) string {
	m.tag++
	tag := "t" + strconv.Itoa(m.tag)
	m.log = append(m.log, "C: "+cmd)
	m.send(tag + " " + cmd + "\r\n")
	return tag
}

func (m *modelClient) finish(cmd, tag string) string {
	m.t.Helper()
	for {
		l := m.response()
		end, ok := strings.CutPrefix(l, tag+" ")
		if !ok {
			m.take(l)
			continue
		}
		m.log = append(m.log, "S: "+l)
		if strings.HasPrefix(end, "BAD") || strings.Contains(end, "SERVERBUG") {
			m.fail("%s: %s", cmd, end)
		}
		if c := codeLine.FindStringSubmatch(end); c != nil {
			m.code(c)
		}
		// RFC 7162 §6: what the server says counts, and otherwise what was seen.
		if !m.told {
			m.highest = max(m.highest, m.sent)
		}
		m.told, m.sent = false, 0
		return end
	}
}

// park begins IDLE; the next command ends it.
func (m *modelClient) park() {
	m.unpark()
	m.noExpunge = false
	m.parked = m.begin("IDLE")
	for {
		l := m.response()
		if strings.HasPrefix(l, "+") {
			return
		}
		m.take(l)
	}
}

func (m *modelClient) unpark() {
	if m.parked == "" {
		return
	}
	m.send("DONE\r\n")
	tag := m.parked
	m.parked = ""
	m.finish("DONE", tag)
}

// connect opens a connection and enables what the kind has.
func (m *modelClient) connect() {
	m.client, m.parked = m.w.login("anna"), ""
	m.told, m.sent = false, 0 // of what came behind the last reply nothing is sure
	for _, e := range m.kind.enable {
		m.command("ENABLE " + e)
		m.qresync = m.qresync || e == "QRESYNC"
		m.condStor = m.condStor || e == "QRESYNC" || e == "CONDSTORE"
		m.uidOnly = m.uidOnly || e == "UIDONLY"
	}
	if m.kind.notify {
		m.command("NOTIFY SET (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange))")
	}
}

// open selects the mailbox anew.
func (m *modelClient) open() {
	m.unpark()
	m.command("UNSELECT")
	m.messages = nil
	if end := m.command("SELECT INBOX"); !strings.HasPrefix(end, "OK") {
		m.fail("SELECT: %s", end)
	}
	m.learn()
}

// reopen loses the connection and comes back with what is known.
func (m *modelClient) reopen() {
	_ = m.Close()
	if !m.qresync || len(m.messages) > 0 && !m.messages[0].known { // nothing to resynchronise
		m.connect()
		m.messages = nil
		m.command("SELECT INBOX")
		m.learn()
		return
	}
	known := m.messages
	unknown := slices.IndexFunc(known, func(x modelMessage) bool { return x.uid == 0 || !x.known })
	if unknown >= 0 {
		known = known[:unknown]
	}
	m.connect()
	m.messages = nil
	m.resync = &modelResync{fetched: map[uint32]modelMessage{}, number: map[uint32]int{}}
	uidValidity := m.uidValidity
	match := m.match(known, unknown >= 0)
	end := m.command(fmt.Sprintf("SELECT INBOX (QRESYNC (%d %d%s))", uidValidity, m.highest, match))
	r := m.resync
	m.resync = nil
	if !strings.HasPrefix(end, "OK") || m.uidValidity != uidValidity {
		m.fail("SELECT with QRESYNC: %s", end)
	}
	m.merge(known, r, match != "")
	m.learn()
}

// match is what a client may tell about what it knows, and must if there is more
// that it knows nothing of.
func (m *modelClient) match(known []modelMessage, must bool) string {
	if len(known) == 0 || !must && m.rnd.IntN(2) == 0 {
		return ""
	}
	var uids, numbers, at []string
	for i, x := range known {
		uids = append(uids, strconv.Itoa(int(x.uid)))
		if i%3 == 0 {
			numbers, at = append(numbers, strconv.Itoa(i+1)), append(at, uids[i])
		}
	}
	s := " " + strings.Join(uids, ",")
	if !m.uidOnly && m.rnd.IntN(2) == 0 {
		s += " (" + strings.Join(numbers, ",") + " " + strings.Join(at, ",") + ")"
	}
	return s
}

// merge makes the mailbox of what was known and what QRESYNC told, which is
// only about what was known if that was named (RFC 7162 §3.2.5): what is new
// comes behind it.
func (m *modelClient) merge(known []modelMessage, r *modelResync, named bool) {
	for _, x := range known {
		gone := slices.ContainsFunc(r.vanished, func(v [2]uint32) bool { return v[0] <= x.uid && x.uid <= v[1] })
		if f, again := r.fetched[x.uid]; gone && again {
			m.fail("UID %d vanished and fetched", x.uid)
		} else if again {
			if f.modSeq < x.modSeq {
				m.fail("mod-sequence of UID %d falls from %d to %d", x.uid, x.modSeq, f.modSeq)
			}
		} else if !gone {
			m.messages = append(m.messages, x)
		}
	}
	for _, f := range r.fetched {
		m.messages = append(m.messages, f)
	}
	sort.Slice(m.messages, func(i, j int) bool { return m.messages[i].uid < m.messages[j].uid })
	for named && len(m.messages) < r.exists {
		m.messages = append(m.messages, modelMessage{})
	}
	if len(m.messages) != r.exists {
		m.fail("%d messages after QRESYNC, EXISTS says %d", len(m.messages), r.exists)
	}
	for i, x := range m.messages {
		if n, ok := r.number[x.uid]; ok && !m.uidOnly && n != i+1 {
			m.fail("FETCH %d is about UID %d, message %d", n, x.uid, i+1)
		}
	}
}

// learn fetches what is not known.
func (m *modelClient) learn() {
	unknown := func(x modelMessage) bool { return x.uid == 0 || !x.known || m.condStor && x.modSeq == 0 }
	if !slices.ContainsFunc(m.messages, unknown) {
		return
	}
	m.unpark() // which may tell that they are gone
	first := slices.IndexFunc(m.messages, unknown)
	if first < 0 {
		return
	}
	items := "(UID FLAGS)"
	if m.condStor {
		items = "(UID FLAGS MODSEQ)"
	}
	if !m.byUID() {
		m.command(fmt.Sprintf("FETCH %d:* %s", first+1, items))
		return
	}
	// All messages: by their UIDs they are put where they belong. What comes
	// while this goes on is learned the next time.
	if m.uidOnly {
		m.learnAll(items)
		return
	}
	m.command("UID FETCH 1:* " + items)
}

// learnAll reads the whole mailbox by UID. VANISHED may come meanwhile.
func (m *modelClient) learnAll(items string) {
	cmd := "UID FETCH 1:* " + items
	m.unpark() // which may tell of more, and of less
	before := len(m.messages)
	all := &modelResync{exists: before, fetched: map[uint32]modelMessage{}, number: map[uint32]int{}}
	tag := m.begin(cmd)
	m.noExpunge = false
	for {
		l := m.response()
		if strings.HasPrefix(l, tag+" ") {
			m.log = append(m.log, "S: "+l)
			break
		}
		if c := fetchLine.FindStringSubmatch(l); c != nil {
			m.resync = all
			m.take(l)
			m.resync = nil
			continue
		}
		if c := vanishedLine.FindStringSubmatch(l); c != nil {
			for _, r := range ranges(c[2]) {
				for uid := r[0]; uid <= r[1]; uid++ {
					if _, ok := all.fetched[uid]; ok || before > 0 {
						delete(all.fetched, uid)
						before--
					}
				}
			}
			m.log = append(m.log, "S: "+l)
			continue
		}
		if c := countLine.FindStringSubmatch(l); c != nil {
			before, _ = strconv.Atoi(c[1])
		}
		m.log = append(m.log, "S: "+l)
	}
	m.messages = nil
	for _, f := range all.fetched {
		m.messages = append(m.messages, f)
	}
	sort.Slice(m.messages, func(i, j int) bool { return m.messages[i].uid < m.messages[j].uid })
	if len(m.messages) > before {
		m.fail("%d messages fetched of %d", len(m.messages), before)
	}
	m.messages = append(m.messages, make([]modelMessage, before-len(m.messages))...)
}

// compare makes sure that the model is the truth. Partly: messages that are gone
// may not have been told yet.
func (m *modelClient) compare(snap *store.Snapshot, partly bool, where string) {
	m.t.Helper()
	if !partly && len(m.messages) != snap.Len() {
		m.fail("%s: %d messages, the store has %d", where, len(m.messages), snap.Len())
	}
	at := 0
	for i, got := range m.messages {
		if got.uid == 0 {
			at++
			continue
		}
		if at, _ = snap.Find(store.UID(got.uid)); at == snap.Len() || snap.At(at).UID != store.UID(got.uid) {
			if partly {
				continue
			}
			m.fail("%s: message %d is UID %d, which the store does not have", where, i+1, got.uid)
		}
		row := snap.At(at)
		var want []string
		for _, f := range snap.Flags(row.Flags) {
			want = append(want, string(f))
		}
		slices.Sort(want)
		if !partly && at != i || got.known && !slices.Equal(got.flags, want) || m.condStor && got.modSeq != 0 && got.modSeq != uint64(row.ModSeq) {
			m.fail("%s: message %d is UID %d %v %d, in the store number %d UID %d %v %d", where, i+1, got.uid, got.flags, got.modSeq, at+1, row.UID, want, row.ModSeq)
		}
	}
}

// modelPause lets the other sessions run for a while, a different one each time:
// nothing is waited for.
func modelPause(r *rand.Rand) { time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond) }
