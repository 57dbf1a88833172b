package imap_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
)

// modelMessage is what a client knows about a message.
type modelMessage struct {
	uid    uint32 // 0: not fetched yet
	flags  []string
	modSeq uint64
}

// modelClient keeps a mailbox only by what it is told.
type modelClient struct {
	*client
	rnd       *rand.Rand
	messages  []modelMessage
	condStor  bool
	noExpunge bool // the command at hand must not be told of EXPUNGE
	log       []string
}

var (
	fetchLine = regexp.MustCompile(`(?s)^\* (\d+) FETCH \((.*)\)$`)
	uidItem   = regexp.MustCompile(`(?:^| )UID (\d+)`)
	flagsItem = regexp.MustCompile(`(?:^| )FLAGS \(([^)]*)\)`)
	modItem   = regexp.MustCompile(`(?:^| )MODSEQ \((\d+)\)`)
	countLine = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE)$`)
)

func (m *modelClient) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.log[max(0, len(m.log)-40):], "\n"))
}

// take applies an untagged response.
func (m *modelClient) take(l string) {
	m.log = append(m.log, "S: "+l[:min(len(l), 200)])
	if c := countLine.FindStringSubmatch(l); c != nil {
		n, _ := strconv.Atoi(c[1])
		switch {
		case c[2] == "EXISTS" && n < len(m.messages):
			m.fail("EXISTS shrinks from %d to %d", len(m.messages), n)
		case c[2] == "EXISTS":
			m.messages = append(m.messages, make([]modelMessage, n-len(m.messages))...)
		case m.noExpunge:
			m.fail("EXPUNGE during a command that must not have it")
		case n < 1 || n > len(m.messages):
			m.fail("EXPUNGE %d of %d", n, len(m.messages))
		default:
			m.messages = slices.Delete(m.messages, n-1, n)
		}
		return
	}
	f := fetchLine.FindStringSubmatch(l)
	if f == nil {
		return
	}
	n, _ := strconv.Atoi(f[1])
	if n < 1 || n > len(m.messages) {
		m.fail("FETCH %d of %d", n, len(m.messages))
	}
	msg := &m.messages[n-1]
	if u := uidItem.FindStringSubmatch(f[2]); u != nil {
		uid, _ := strconv.ParseUint(u[1], 10, 32)
		if msg.uid != 0 && msg.uid != uint32(uid) {
			m.fail("message %d was UID %d and is UID %d", n, msg.uid, uid)
		}
		msg.uid = uint32(uid)
	}
	if fl := flagsItem.FindStringSubmatch(f[2]); fl != nil {
		msg.flags = strings.Fields(fl[1])
		slices.Sort(msg.flags)
	}
	if ms := modItem.FindStringSubmatch(f[2]); ms != nil {
		v, _ := strconv.ParseUint(ms[1], 10, 63)
		if v < msg.modSeq {
			m.fail("mod-sequence of message %d falls from %d to %d", n, msg.modSeq, v)
		}
		msg.modSeq = v
	}
}

// command runs a command and returns its end.
func (m *modelClient) command(cmd string) string {
	m.t.Helper()
	m.tag++
	tag := "t" + strconv.Itoa(m.tag)
	m.log = append(m.log, "C: "+cmd)
	m.noExpunge = strings.HasPrefix(cmd, "FETCH") || strings.HasPrefix(cmd, "STORE") || strings.HasPrefix(cmd, "SEARCH")
	m.send(tag + " " + cmd + "\r\n")
	for {
		l := m.response()
		if end, ok := strings.CutPrefix(l, tag+" "); ok {
			m.log = append(m.log, "S: "+l)
			if strings.HasPrefix(end, "BAD") || strings.Contains(end, "SERVERBUG") {
				m.fail("%s: %s", cmd, end)
			}
			return end
		}
		if l == "+ idling" {
			if m.rnd.IntN(2) == 0 {
				time.Sleep(time.Duration(m.rnd.IntN(3)) * time.Millisecond)
			}
			m.send("DONE\r\n")
			continue
		}
		m.take(l)
	}
}

func (m *modelClient) open() {
	m.messages = nil
	m.command("SELECT INBOX")
	m.learn()
}

// learn fetches what is not known.
func (m *modelClient) learn() {
	for i, msg := range m.messages {
		if msg.uid == 0 {
			items := "(UID FLAGS)"
			if m.condStor {
				items = "(UID FLAGS MODSEQ)"
			}
			m.command(fmt.Sprintf("FETCH %d:* %s", i+1, items))
			return
		}
	}
}

// set is a number set over the messages, and their positions.
func (m *modelClient) set() (string, []int) {
	var parts []string
	in := map[int]bool{}
	for range 1 + m.rnd.IntN(3) {
		a, b := m.rnd.IntN(len(m.messages)), m.rnd.IntN(len(m.messages))
		if m.rnd.IntN(2) == 0 {
			b = a
		}
		parts = append(parts, fmt.Sprintf("%d:%d", a+1, b+1))
		for i := min(a, b); i <= max(a, b); i++ {
			in[i] = true
		}
	}
	var at []int
	for i := range in {
		at = append(at, i)
	}
	return strings.Join(parts, ","), at
}

var modelFlags = []string{`\Seen`, `\Flagged`, `\Deleted`, `\Answered`, "$one", "$two"}

// storeSilently changes flags and does in the model what the client must
// assume: when it sends the command, or when that has succeeded.
func (m *modelClient) storeSilently() {
	set, at := m.set()
	flag := modelFlags[m.rnd.IntN(len(modelFlags))]
	op := []string{"", "+", "-"}[m.rnd.IntN(3)]
	assume := func() {
		for _, i := range at {
			f := slices.DeleteFunc(slices.Clone(m.messages[i].flags), func(s string) bool { return strings.EqualFold(s, flag) })
			switch op {
			case "":
				f = []string{flag}
			case "+":
				f = append(f, flag)
			}
			slices.Sort(f)
			m.messages[i].flags = f
		}
	}
	early := m.rnd.IntN(2) == 0
	if early {
		assume()
	}
	end := m.command(fmt.Sprintf("STORE %s %sFLAGS.SILENT (%s)", set, op, flag))
	if !strings.HasPrefix(end, "OK") {
		m.fail("STORE: %s", end)
	}
	if !early {
		assume()
	}
}

// step does something.
func (m *modelClient) step() {
	if len(m.messages) < 3 || m.rnd.IntN(8) == 0 {
		m.command("APPEND INBOX (\\Draft) {12+}\r\nSubject: x\r\n")
		m.learn()
		return
	}
	if len(m.messages) > 60 {
		m.command("STORE 1:40 +FLAGS (\\Deleted)")
		m.command("EXPUNGE")
	}
	if len(m.messages) == 0 {
		return
	}
	set, _ := m.set()
	uid := m.messages[m.rnd.IntN(len(m.messages))].uid
	flag := modelFlags[m.rnd.IntN(len(modelFlags))]
	switch m.rnd.IntN(14) {
	case 0:
		m.command("NOOP")
	case 1:
		m.command("IDLE")
	case 2:
		m.command(fmt.Sprintf("STORE %s +FLAGS (%s)", set, flag))
	case 3:
		m.command(fmt.Sprintf("UID STORE %d:* -FLAGS (%s)", max(uid, 1), flag))
	case 4:
		m.learn()
		m.storeSilently()
	case 5:
		m.command(fmt.Sprintf("FETCH %s (FLAGS BODY[TEXT]<0.3>)", set))
	case 6:
		m.command(fmt.Sprintf("UID FETCH 1:%d (RFC822.SIZE BODY[])", max(uid, 1)))
	case 7:
		m.command(fmt.Sprintf("UID STORE %d +FLAGS.SILENT (\\Deleted)", max(uid, 1)))
		// What the client assumes.
		for i := range m.messages {
			if f := &m.messages[i].flags; m.messages[i].uid == uid && uid != 0 && !slices.Contains(*f, `\Deleted`) {
				*f = append(slices.Clone(*f), `\Deleted`)
				slices.Sort(*f)
			}
		}
		m.command("NOOP")
	case 8:
		m.command("EXPUNGE")
	case 9:
		m.command(fmt.Sprintf("UID EXPUNGE %d:*", max(uid, 1)))
	case 10:
		m.command(fmt.Sprintf("COPY %s INBOX", set[:strings.IndexAny(set+",", ",")]))
	case 11:
		m.command(fmt.Sprintf("MOVE %s Work", set[:strings.IndexAny(set+":", ":")]))
	case 12:
		m.command("SEARCH OR SEEN KEYWORD $one")
	case 13:
		if m.rnd.IntN(4) == 0 {
			m.open()
		}
	}
	m.learn()
}

// TestModel runs sessions that change one mailbox at the same time. Each keeps a
// model by what it is told alone; whenever they pause all models are the store's
// truth.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(t, func(s *imap.Server) { s.Store = slowStore{s.Store} })
	acc, err := w.st.Account(context.Background(), "anna", "anna")
	require.NoError(t, err)
	_, err = acc.Create(context.Background(), "Work", store.CreateOptions{})
	require.NoError(t, err)
	w.fill("anna", store.Inbox, 20)
	const sessions = 5
	clients := make([]*modelClient, sessions)
	for i := range clients {
		c := &modelClient{client: w.login("anna"), rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
		if i%2 == 1 {
			c.ok("ENABLE IMAP4rev2")
		}
		if i >= 3 {
			c.ok("ENABLE CONDSTORE")
			c.condStor = true
		}
		clients[i] = c
	}
	together := func(f func(*modelClient)) {
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() { f(c) })
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	mb, err := acc.Mailbox(context.Background(), store.Inbox)
	require.NoError(t, err)
	together((*modelClient).open)
	rounds := 0
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); rounds++ {
		together(func(c *modelClient) {
			for range 6 {
				c.step()
			}
		})
		snap, err := mb.Snapshot(context.Background())
		require.NoError(t, err)
		for n, c := range clients {
			c.command("NOOP")
			c.learn()
			c.compare(snap, fmt.Sprintf("client %d, round %d, seed %d", n, rounds, seed))
		}
	}
	t.Logf("%d rounds", rounds)
}

// compare makes sure that the model is the truth.
func (m *modelClient) compare(snap *store.Snapshot, where string) {
	m.t.Helper()
	if len(m.messages) != snap.Len() {
		m.fail("%s: %d messages, store has %d", where, len(m.messages), snap.Len())
	}
	for i, row := range snap.All() {
		got := m.messages[i]
		var want []string
		for _, f := range snap.Flags(row.Flags) {
			want = append(want, string(f))
		}
		slices.Sort(want)
		if got.uid != uint32(row.UID) || !slices.Equal(got.flags, want) || m.condStor && got.modSeq != uint64(row.ModSeq) {
			m.fail("%s: message %d is UID %d %v %d, in the store UID %d %v %d", where, i+1, got.uid, got.flags, got.modSeq, row.UID, want, row.ModSeq)
		}
	}
}

// slowStore lets other sessions run between any two calls of a mailbox.
type slowStore struct{ store.Store }

func (s slowStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return slowAccount{a}, err
}

type slowAccount struct{ store.Account }

func (a slowAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return slowMailbox{mb}, err
}

type slowMailbox struct{ store.Mailbox }

func pause() {
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
	}
}

func (m slowMailbox) Flag(ctx context.Context, uids store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
	pause()
	defer pause()
	return m.Mailbox.Flag(ctx, uids, u)
}

func (m slowMailbox) Copy(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	pause()
	return m.Mailbox.Copy(ctx, uids, dest)
}

func (m slowMailbox) Move(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	pause()
	defer pause()
	return m.Mailbox.Move(ctx, uids, dest)
}

func (m slowMailbox) Expunge(ctx context.Context, uids store.UIDSet, with ...store.Flag) (store.Expunged, error) {
	pause()
	defer pause()
	return m.Mailbox.Expunge(ctx, uids, with...)
}
