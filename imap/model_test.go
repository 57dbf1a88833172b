package imap_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/sqlite"
)

// set names some messages: by number or UID, and by their positions.
func (m *modelClient) set() (string, []int) {
	var parts []string
	in := map[int]bool{}
	for range 1 + m.rnd.IntN(3) {
		a, b := m.rnd.IntN(len(m.messages)), m.rnd.IntN(len(m.messages))
		if m.rnd.IntN(2) == 0 {
			b = a
		}
		if m.byUID() {
			from, to := m.messages[min(a, b)].uid, m.messages[max(a, b)].uid
			if from == 0 || to == 0 {
				continue
			}
			parts = append(parts, fmt.Sprintf("%d:%d", from, to))
		} else {
			parts = append(parts, fmt.Sprintf("%d:%d", a+1, b+1))
		}
		for i := min(a, b); i <= max(a, b); i++ {
			in[i] = true
		}
	}
	if len(parts) == 0 {
		return "1:*", nil
	}
	var at []int
	for i := range in {
		at = append(at, i)
	}
	return strings.Join(parts, ","), at
}

// by is a command's name as this client uses it.
func (m *modelClient) by(name string) string {
	if m.byUID() {
		return "UID " + name
	}
	return name
}

var modelFlags = []string{`\Seen`, `\Flagged`, `\Deleted`, `\Answered`, "$one", "$two"}

// storeSilently changes flags and does in the model what the client must
// assume: when it sends the command, or when that has succeeded.
func (m *modelClient) storeSilently() {
	m.learn()
	set, at := m.set()
	if len(at) == 0 {
		return
	}
	flag := modelFlags[m.rnd.IntN(len(modelFlags))]
	op := []string{"", "+", "-"}[m.rnd.IntN(3)]
	var uids []uint32
	for _, i := range at {
		uids = append(uids, m.messages[i].uid)
	}
	change := func(i int) {
		if uid := m.messages[i].uid; uid != 0 && slices.Contains(uids, uid) {
			m.assume(i, op, flag)
		}
	}
	assume := func() {
		for i := range m.messages {
			change(i)
		}
	}
	early := m.rnd.IntN(2) == 0
	if m.kind.notify { // when it is said that it has happened: other changes come before and after
		m.silently = change
		early, assume = false, func() { m.silently = nil }
	}
	if early {
		assume()
	}
	end := m.command(fmt.Sprintf("%s %s %sFLAGS.SILENT (%s)", m.by("STORE"), set, op, flag))
	if !strings.HasPrefix(end, "OK") {
		m.fail("STORE: %s", end)
	}
	if !early {
		assume()
	}
}

// assume does with a message what a STORE does.
func (m *modelClient) assume(i int, op, flag string) {
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

// step does something and reports whether afterwards the client knows all
// that has happened.
func (m *modelClient) step() (told bool) {
	m.unpark()
	if len(m.messages) < 3 || m.rnd.IntN(8) == 0 {
		m.command("APPEND INBOX (\\Draft) {12+}\r\nSubject: x\r\n")
		return true
	}
	if len(m.messages) > 60 {
		m.command(m.by("STORE") + " 1:40 +FLAGS (\\Deleted)")
		m.command("EXPUNGE")
		m.learn()
		if len(m.messages) == 0 {
			return true
		}
	}
	set, _ := m.set()
	uid := max(m.messages[m.rnd.IntN(len(m.messages))].uid, 1)
	flag := modelFlags[m.rnd.IntN(len(modelFlags))]
	byUID := m.byUID()
	switch m.rnd.IntN(18) {
	case 0:
		m.command("NOOP")
	case 1:
		m.park()
	case 2:
		m.command(fmt.Sprintf("%s %s +FLAGS (%s)", m.by("STORE"), set, flag))
		return byUID
	case 3:
		m.command(fmt.Sprintf("UID STORE %d:* -FLAGS (%s)", uid, flag))
	case 4:
		m.storeSilently()
		return false
	case 5:
		m.command(fmt.Sprintf("%s %s (FLAGS BODY[TEXT]<0.3>)", m.by("FETCH"), set))
		return byUID
	case 6:
		m.command(fmt.Sprintf("UID FETCH 1:%d (RFC822.SIZE BODY[])", uid))
	case 7:
		m.command(fmt.Sprintf("UID STORE %d +FLAGS (\\Deleted)", uid))
	case 8:
		m.command("EXPUNGE")
	case 9:
		m.command(fmt.Sprintf("UID EXPUNGE %d:*", uid))
	case 10:
		m.command(fmt.Sprintf("%s %s INBOX", m.by("COPY"), set[:strings.IndexAny(set+",", ",")]))
	case 11:
		m.command(fmt.Sprintf("%s %s Work", m.by("MOVE"), set[:strings.IndexAny(set+":", ":")]))
	case 12:
		m.command(m.by("SEARCH") + " OR SEEN KEYWORD $one")
		return byUID
	case 13:
		m.open()
	case 14:
		m.reopen()
	case 15:
		return m.pipeline()
	default:
		return m.conditionally(flag)
	}
	return true
}

// pipeline sends changes of flags together, before anything is answered.
func (m *modelClient) pipeline() (told bool) {
	m.learn()
	if len(m.messages) == 0 {
		return false
	}
	m.noExpunge = false
	var text string
	var tags []string
	var assume []func()
	for range 2 + m.rnd.IntN(5) {
		a, b := m.messages[m.rnd.IntN(len(m.messages))].uid, m.messages[m.rnd.IntN(len(m.messages))].uid
		if a, b = min(a, b), max(a, b); a == 0 {
			continue // it has not been told yet
		}
		flag, op := modelFlags[m.rnd.IntN(len(modelFlags))], []string{"", "+", "-"}[m.rnd.IntN(3)]
		silent, then := "", func() {}
		told = true
		if !m.kind.notify && m.rnd.IntN(2) == 0 {
			told = false
			silent, then = ".SILENT", func() {
				for i := range m.messages {
					if uid := m.messages[i].uid; a <= uid && uid <= b {
						m.assume(i, op, flag)
					}
				}
			}
		}
		m.tag++
		tag, cmd := fmt.Sprint("t", m.tag), fmt.Sprintf("UID STORE %d:%d %sFLAGS%s (%s)", a, b, op, silent, flag)
		m.log = append(m.log, "C: "+tag+" "+cmd)
		text += tag + " " + cmd + "\r\n"
		tags, assume = append(tags, tag), append(assume, then)
	}
	m.send(text)
	for i, tag := range tags {
		if end := m.finish("UID STORE", tag); !strings.HasPrefix(end, "OK") {
			m.fail("UID STORE: %s", end)
		}
		assume[i]()
	}
	return told
}

// conditionally does what CONDSTORE adds.
func (m *modelClient) conditionally(flag string) (told bool) {
	if !m.condStor {
		return false
	}
	cmd := fmt.Sprintf("UID STORE 1:* (UNCHANGEDSINCE %d) +FLAGS (%s)", m.highest, flag)
	if m.rnd.IntN(2) == 0 {
		cmd = fmt.Sprintf("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)", m.highest)
	}
	if end := m.command(cmd); !strings.HasPrefix(end, "OK") {
		m.fail("%s: %s", cmd, end)
	}
	return true
}

// modelWorld is a server and the clients of all kinds that it has the
// capabilities for.
func modelWorld(t *testing.T, st store.Store, seed uint64, slow bool) (*world, []*modelClient, store.Mailbox) {
	w := newWorldOver(t, st, func(s *imap.Server) {
		if slow {
			s.Store = slowStore{s.Store}
		}
	})
	acc, err := w.st.Account(context.Background(), "anna", "anna")
	require.NoError(t, err)
	_, err = acc.Create(context.Background(), "Work", store.CreateOptions{})
	require.NoError(t, err)
	w.fill("anna", store.Inbox, 20)
	mb, err := acc.Mailbox(context.Background(), store.Inbox)
	require.NoError(t, err)
	var clients []*modelClient
	for i, k := range modelKinds {
		if !k.offered(w) {
			t.Logf("%s: not offered", k.name)
			continue
		}
		c := &modelClient{w: w, kind: k, rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
		c.connect()
		c.command("SELECT INBOX")
		c.learn()
		clients = append(clients, c)
	}
	return w, clients, mb
}

// modelTime is how long each run of TestModel takes: 2 s, or what
// POSTA_MODEL_TIME says.
func modelTime(t *testing.T) time.Duration {
	d := 2 * time.Second
	if s := os.Getenv("POSTA_MODEL_TIME"); s != "" {
		var err error
		d, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	return d
}

// TestModel runs sessions of all kinds that change one mailbox. Each keeps a model
// of it by what it is told alone. In turns: after every command the model is what
// the store has, but for what the command must not tell. At the same time: it is
// whenever all pause.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for name, open := range map[string]func(*testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memory.New() },
		"sqlite": func(t *testing.T) store.Store {
			st, err := sqlite.Open(t.TempDir())
			require.NoError(t, err)
			return st
		},
	} {
		t.Run(name+" in turns", func(t *testing.T) {
			t.Parallel()
			modelInTurns(t, open(t), seed)
		})
		t.Run(name+" at once", func(t *testing.T) {
			t.Parallel()
			modelAtOnce(t, open(t), seed)
		})
	}
}

func modelInTurns(t *testing.T, st store.Store, seed uint64) {
	_, clients, mb := modelWorld(t, st, seed, false)
	rnd := rand.New(rand.NewPCG(seed, 1<<32))
	steps := 0
	for deadline := time.Now().Add(modelTime(t)); time.Now().Before(deadline); steps++ {
		n := rnd.IntN(len(clients))
		c := clients[n]
		told := c.step()
		if c.parked != "" {
			continue // what comes in IDLE is read when it ends
		}
		snap, err := mb.Snapshot(context.Background())
		require.NoError(t, err)
		where := fmt.Sprintf("step %d, seed %d", steps, seed)
		if told && !c.kind.notify {
			c.compare(snap, false, where)
		}
		c.learn()
		if c.rnd.IntN(4) == 0 {
			c.command("NOOP")
			c.learn()
			c.compare(snap, false, where+", after NOOP")
		}
	}
	t.Logf("%d steps", steps)
}

func modelAtOnce(t *testing.T, st store.Store, seed uint64) {
	_, clients, mb := modelWorld(t, st, seed, true)
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
	rounds := 0
	for deadline := time.Now().Add(modelTime(t)); time.Now().Before(deadline); rounds++ {
		together(func(c *modelClient) {
			for range 6 {
				c.step()
				c.learn()
			}
			if c.parked != "" {
				modelPause(c.rnd)
			}
		})
		snap, err := mb.Snapshot(context.Background())
		require.NoError(t, err)
		for _, c := range clients {
			c.command("NOOP")
			c.learn()
			c.compare(snap, false, fmt.Sprintf("round %d, seed %d", rounds, seed))
		}
	}
	t.Logf("%d rounds", rounds)
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

func (m slowMailbox) FlagLater(ctx context.Context, uids store.UIDSet, u store.FlagUpdate) (wait func() (store.Flagged, error)) {
	pause()
	done := store.FlagLater(ctx, m.Mailbox, uids, u)
	return func() (store.Flagged, error) {
		pause()
		defer pause()
		return done()
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
