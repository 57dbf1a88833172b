package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

// childDir names the folder in which this binary, started once more by the
// kill test, delivers until it is killed.
const childDir = "POSTA_SQLITE_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Getenv("POSTA_SQLITE_KILL_ROUND")); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// killOptions make everything happen often: segments, files, checkpoints,
// sweeps.
var killOptions = sqlite.Options{
	SegmentSize: 256 << 10, WALSize: 64 << 10, StageMemory: 512 << 10, SnapshotMemory: 64 << 10, SweepEvery: 20 * time.Millisecond, Grace: -1,
}

const killAccounts = 2

// killMail is the message of a token; its size depends on it.
func killMail(token string) []byte {
	h := 0
	for _, c := range token {
		h = h*31 + int(c)
	}
	size := 200 + (h&0x7fffffff)%6000
	if h%40 == 0 {
		size = 400 << 10 // in a file of its own
	}
	b := []byte("Subject: " + token + "\r\n\r\n")
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "%s line %d\r\n", token, i)
	}
	return b
}

func killPrefix(token string) []byte { return []byte("X-Token: " + token + "\r\n") }

// child does what a server does and tells on its output, before it begins
// something that cannot be repeated and after it was acknowledged.
func child(dir, round string) error {
	st, err := killOptions.Open(dir)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n") // one write
	}
	ctx := context.Background()
	for i := range killAccounts {
		err := st.CreateAccount(ctx, fmt.Sprint("user", i))
		if err != nil && !errors.Is(err, store.ErrExists) {
			return err
		}
	}
	say("open")
	failed := make(chan error)
	for w := range 6 {
		go func() { failed <- deliverer(st, say, round, w) }()
	}
	go func() { failed <- flagger(st, say) }()
	go func() { failed <- spooler(st, say, round) }()
	go func() { failed <- settler(st, say) }()
	return <-failed
}

func deliverer(st *sqlite.Store, say func(string, ...any), round string, w int) error {
	ctx := context.Background()
	for n := 0; ; n++ {
		token := fmt.Sprintf("r%s-w%d-%d", round, w, n)
		body, err := st.Stage(ctx, bytes.NewReader(killMail(token)))
		if err != nil {
			return err
		}
		var targets []store.Target
		for i := range 1 + n%8/7 { // most for user0, who expunges most of it
			targets = append(targets, store.Target{
				Account: fmt.Sprint("user", i), Mailbox: store.Inbox, Body: body, Prefix: killPrefix(token), Token: token,
			})
		}
		for i, p := range st.Place(ctx, targets) {
			if p.Err != nil {
				return p.Err
			}
			say("filed %s %d %d %s", targets[i].Account, p.UIDValidity, p.UID, token)
		}
		if err := body.Discard(); err != nil {
			return err
		}
	}
}

// flagger flags and expunges messages of user0.
func flagger(st *sqlite.Store, say func(string, ...any)) error {
	ctx := context.Background()
	a, err := st.Account(ctx, "user0", "user0")
	if err != nil {
		return err
	}
	mb, err := a.Mailbox(ctx, store.Inbox)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		snap, err := mb.Snapshot(ctx)
		if err != nil {
			return err
		}
		if snap.Len() < 10 {
			time.Sleep(time.Millisecond)
			continue
		}
		uid := snap.At(rand.IntN(snap.Len())).UID
		if n%4 == 0 { // most of what there is, so that segments are compacted
			set := store.UIDs(uid)
			for _, row := range snap.All() {
				if rand.IntN(8) > 0 {
					set.Add(row.UID)
				}
			}
			for u := range set.All() {
				say("expunging %d", u)
			}
			if _, err := mb.Expunge(ctx, set); err != nil {
				return err
			}
			for u := range set.All() {
				say("expunged %d", u)
			}
			continue
		}
		if _, err := mb.Flag(ctx, store.UIDs(uid), store.FlagUpdate{Flags: []store.Flag{store.FlagFlagged, "kept"}}); err != nil {
			return err
		}
		say("flagged %d", uid)
	}
}

func spooler(st *sqlite.Store, say func(string, ...any), round string) error {
	ctx := context.Background()
	for n := 0; ; n++ {
		token := fmt.Sprintf("r%s-s-%d", round, n)
		body, err := st.Stage(ctx, bytes.NewReader(killMail(token)))
		if err != nil {
			return err
		}
		ids, err := st.Spool().Enqueue(ctx, []store.SpoolItem{
			{Body: body, Prefix: killPrefix(token), Envelope: []byte(token), Site: "a"},
			{Body: body, Prefix: killPrefix(token), Envelope: []byte(token), Site: "b", Hold: true},
		})
		if err != nil {
			return err
		}
		say("queued %d %s", ids[0], token)
		say("queued %d %s", ids[1], token)
		if err := body.Discard(); err != nil {
			return err
		}
	}
}

func settler(st *sqlite.Store, say func(string, ...any)) error {
	ctx := context.Background()
	for n := 0; ; n++ {
		items, err := st.Spool().Lease(ctx, time.Now(), 3, time.Hour)
		if err != nil {
			return err
		}
		if len(items) == 0 {
			time.Sleep(time.Millisecond)
		}
		for _, it := range items {
			say("leased %d %d", it.ID, it.Fence)
			if n%3 == 0 {
				continue
			}
			say("settling %d", it.ID)
			if _, err := st.Spool().Settle(ctx, it.ID, it.Fence, nil, nil); err != nil {
				return err
			}
			say("settled %d", it.ID)
		}
	}
}

// killed is what the children said.
type killed struct {
	filed     map[string]map[store.UID]string // account, UID: token
	validity  map[string]uint32
	flagged   map[store.UID]bool
	expunging map[store.UID]bool
	expunged  map[store.UID]bool
	queued    map[store.ItemID]string
	leased    map[store.ItemID]uint64
	settling  map[store.ItemID]bool
	settled   map[store.ItemID]bool
	acks      int
}

func (k *killed) hear(t *testing.T, line string) {
	var uid store.UID
	var id store.ItemID
	var fence uint64
	var validity uint32
	var account, token string
	word, _, _ := strings.Cut(line, " ")
	scan := func(args ...any) {
		_, err := fmt.Sscan(line[len(word):], args...)
		require.NoError(t, err, "%q", line)
	}
	switch word {
	case "open":
		return
	case "filed":
		scan(&account, &validity, &uid, &token)
		if k.filed[account] == nil {
			k.filed[account], k.validity[account] = make(map[store.UID]string), validity
		}
		require.Equal(t, k.validity[account], validity)
		require.Empty(t, k.filed[account][uid], "UID %d given twice", uid)
		k.filed[account][uid] = token
	case "flagged":
		scan(&uid)
		k.flagged[uid] = true
	case "expunging":
		scan(&uid)
		k.expunging[uid] = true
	case "expunged":
		scan(&uid)
		k.expunged[uid] = true
	case "queued":
		scan(&id, &token)
		require.Empty(t, k.queued[id], "id %d given twice", id)
		k.queued[id] = token
	case "leased":
		scan(&id, &fence)
		require.Greater(t, fence, k.leased[id])
		k.leased[id] = fence
	case "settling":
		scan(&id)
		k.settling[id] = true
	case "settled":
		scan(&id)
		k.settled[id] = true
	default:
		t.Fatalf("child: %s", line)
	}
	k.acks++
}

// TestKill kills the process that has the store open at random moments: all
// that was acknowledged is there afterwards, octet for octet, and nothing that
// was removed comes back.
func TestKill(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	k := &killed{
		filed: make(map[string]map[store.UID]string), validity: make(map[string]uint32), flagged: make(map[store.UID]bool),
		expunging: make(map[store.UID]bool), expunged: make(map[store.UID]bool), queued: make(map[store.ItemID]string),
		leased: make(map[store.ItemID]uint64), settling: make(map[store.ItemID]bool), settled: make(map[store.ItemID]bool),
	}
	for round := range rounds {
		k.round(t, dir, round)
		st, err := killOptions.Open(dir)
		require.NoError(t, err)
		k.checkMail(t, st)
		k.checkSpool(t, st)
		require.NoError(t, st.Check(t.Context(), func(problem sqlite.Problem) { t.Error(problem) }))
		require.NoError(t, st.Close())
	}
	files, err := os.ReadDir(filepath.Join(dir, "segments"))
	require.NoError(t, err)
	t.Logf("%d acknowledgements in %d rounds; %d segments, the last is %s", k.acks, rounds, len(files), files[len(files)-1].Name())
}

// round runs a child and kills it.
func (k *killed) round(t *testing.T, dir string, round int) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprint("POSTA_SQLITE_KILL_ROUND=", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	_, err = lines.ReadString('\n') // open
	require.NoError(t, err)
	timer := time.AfterFunc(time.Duration(100+rand.IntN(700))*time.Millisecond, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break // what is left in line was not said to its end
		}
		k.hear(t, strings.TrimSuffix(line, "\n"))
	}
	require.ErrorContains(t, cmd.Wait(), "killed")
}

func (k *killed) checkMail(t *testing.T, st *sqlite.Store) {
	for account, filed := range k.filed {
		mb := openInbox(t, st, account)
		snap, err := mb.Snapshot(t.Context())
		require.NoError(t, err)
		require.Equal(t, k.validity[account], snap.UIDValidity())
		flagged, known := snap.Bits(store.FlagFlagged, "kept")
		for uid, token := range filed {
			i, there := snap.Find(uid)
			if account == "user0" && k.expunging[uid] {
				require.False(t, there && k.expunged[uid], "UID %d came back", uid)
				continue
			}
			require.True(t, there, "UID %d of %s is gone", uid, account)
			if account == "user0" && k.flagged[uid] {
				require.True(t, known && snap.At(i).Flags&flagged == flagged, "UID %d lost its flags", uid)
			}
			same(t, token, func() (store.Body, error) { return mb.Open(t.Context(), snap.At(i)) })
		}
		// Whatever else was committed is whole, too, and known by its token.
		for _, row := range snap.All() {
			if filed[row.UID] == "" {
				b, err := mb.Open(t.Context(), row)
				require.NoError(t, err)
				data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
				require.NoError(t, err)
				b.Close()
				token, _, _ := strings.Cut(strings.TrimPrefix(string(data), "X-Token: "), "\r\n")
				require.Equal(t, string(killPrefix(token))+string(killMail(token)), string(data))
				filed[row.UID] = token
			}
		}
		k.retry(t, st, account, filed)
	}
}

// retry places some tokens again: they are known.
func (k *killed) retry(t *testing.T, st *sqlite.Store, account string, filed map[store.UID]string) {
	n := 0
	for uid, token := range filed {
		body, err := st.Stage(t.Context(), bytes.NewReader(killMail(token)))
		require.NoError(t, err)
		p := st.Place(t.Context(), []store.Target{{Account: account, Mailbox: store.Inbox, Body: body, Token: token}})[0]
		require.NoError(t, p.Err)
		require.True(t, p.Duplicate, "token %s of %s forgotten", token, account)
		require.Equal(t, uid, p.UID)
		require.NoError(t, body.Discard())
		if n++; n == 50 {
			break
		}
	}
}

func same(t *testing.T, token string, open func() (store.Body, error)) {
	b, err := open()
	require.NoError(t, err)
	defer b.Close()
	data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	require.NoError(t, err)
	if !bytes.Equal(data, slices.Concat(killPrefix(token), killMail(token))) {
		t.Fatalf("message %s was changed", token)
	}
}

func (k *killed) checkSpool(t *testing.T, st *sqlite.Store) {
	sp := st.Spool()
	there := make(map[store.ItemID]store.SpoolEntry)
	for after := store.ItemID(0); ; {
		page, err := sp.List(t.Context(), after, 500)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			there[e.ID], after = e, e.ID
			token := string(e.Envelope)
			if k.queued[e.ID] == "" {
				k.queued[e.ID] = token // committed, but not told
			}
			require.Equal(t, k.queued[e.ID], token)
			same(t, token, func() (store.Body, error) { return sp.Open(t.Context(), e.ID) })
		}
	}
	for id := range k.queued {
		e, ok := there[id]
		if k.settling[id] {
			require.False(t, ok && k.settled[id], "item %d came back", id)
			continue
		}
		require.True(t, ok, "item %d is gone", id)
		require.GreaterOrEqual(t, uint64(e.Attempts), k.leased[id])
	}
}
