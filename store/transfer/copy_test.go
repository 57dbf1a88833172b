package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

func TestStoreToStore(t *testing.T) {
	from := anna(t, some()...)
	acct, err := from.open(t.Context())
	require.NoError(t, err)
	_, err = acct.Create(t.Context(), "Sent Mail", store.CreateOptions{SpecialUse: `\Sent`})
	require.NoError(t, err)
	require.NoError(t, acct.Subscribe(t.Context(), "Sent Mail", true))
	require.NoError(t, acct.Subscribe(t.Context(), "not there", true))

	st := memory.New()
	defer st.Close()
	to := Account{Store: st, Name: "bert", Create: true}
	var last Progress
	r := copyAll(t, from, to, Options{Progress: func(p Progress) { last = p }})
	same(t, from, to)
	assert.Equal(t, int64(7), r.Messages)
	assert.Equal(t, 6, r.Folders)
	assert.Equal(t, int64(7), last.Messages)
	assert.Equal(t, last.TotalMessages, last.Messages)
	assert.Equal(t, last.TotalOctets, last.Octets)
	b, err := to.open(t.Context())
	require.NoError(t, err)
	mb, err := b.Mailbox(t.Context(), "Sent Mail")
	require.NoError(t, err)
	info, err := mb.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, `\Sent`, info.SpecialUse)
	assert.True(t, info.Subscribed)
	subs, err := b.Subscriptions(t.Context())
	require.NoError(t, err)
	assert.Contains(t, subs, "not there")

	// Again, without a checkpoint: the tokens know.
	r = copyAll(t, from, to, Options{})
	assert.Zero(t, r.Messages)
	assert.Equal(t, int64(7), r.Duplicates)
	same(t, from, to)
}

// A copy that fails anywhere is completed by the next one.
func TestResume(t *testing.T) {
	for at := range 8 {
		from, to := anna(t, some()...), anna(t)
		opt := Options{Checkpoint: filepath.Join(t.TempDir(), "state")}
		stopped := errors.New("stopped")
		_, err := Copy(t.Context(), &cut{from, at, stopped}, to, opt)
		if at < 7 {
			require.ErrorIs(t, err, stopped, at)
		}
		r := copyAll(t, from, to, opt)
		assert.Equal(t, int64(min(at, 7)), r.Earlier)
		assert.Equal(t, int64(7-min(at, 7)), r.Messages)
		assert.Zero(t, r.Duplicates)
		same(t, from, to)
	}
}

func TestCheckpointOfAnother(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	copyAll(t, anna(t, some()...), anna(t), Options{Checkpoint: state})
	other := anna(t)
	other.Name = "bert"
	_, err := Copy(t.Context(), anna(t), other, Options{Checkpoint: state})
	require.ErrorIs(t, err, ErrCheckpoint)
	for _, bad := range []string{"", "{", `{"Version":2}`, "null"} {
		require.NoError(t, os.WriteFile(state, []byte(bad), 0o600))
		_, err := Copy(t.Context(), anna(t), anna(t), Options{Checkpoint: state})
		require.ErrorIs(t, err, ErrCheckpoint, bad)
	}
	_, err = Copy(t.Context(), anna(t, some()...), anna(t), Options{Checkpoint: filepath.Join(state, "below a file")})
	require.ErrorIs(t, err, ErrCheckpoint)
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	from, to := anna(t, some()...), anna(t)
	opt := Options{Checkpoint: filepath.Join(t.TempDir(), "state")}
	first := opt
	first.Mailbox = func(name string) (string, bool) {
		cancel() // while folders are listed: nothing is begun
		return name, true
	}
	r, err := Copy(ctx, from, to, first)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, r.Messages)

	ctx, cancel = context.WithCancel(t.Context())
	r, err = Copy(ctx, cancelling{from, cancel}, to, opt)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, int64(2), r.Messages, "what was read is filed")
	r = copyAll(t, from, to, opt)
	assert.Equal(t, int64(5), r.Messages)
	assert.Zero(t, r.Duplicates)
	same(t, from, to)
}

// cancelling cancels while the second message is read.
type cancelling struct {
	Source
	cancel func()
}

func (c cancelling) Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		n := 0
		for m, err := range c.Source.Messages(ctx, f, after) {
			if n++; n == 2 {
				c.cancel()
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// scripted is a source of strange messages.
type scripted []func() (*Message, error)

func (s scripted) Identity() string { return "scripted" }
func (s scripted) Folders(context.Context) ([]Folder, error) {
	return []Folder{{Name: "INBOX", Messages: -1, Octets: -1}, {Name: "bad", Err: errors.New("locked")}}, nil
}
func (s scripted) Messages(ctx context.Context, _ Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for i, f := range s {
			m, err := f()
			if m != nil {
				m.ID, m.Position = fmt.Sprint(i), fmt.Sprint(i)
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

func text(s string) *Message { return &Message{Body: strings.NewReader(s), Size: -1} }

type failing struct {
	r   io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// A message that is broken in any way ends nothing and is reported.
func TestBroken(t *testing.T) {
	many := make([]store.Flag, store.MaxKeywords+1)
	for i := range many {
		many[i] = store.Flag(fmt.Sprint("k", i))
	}
	var src scripted
	add := func(m func() (*Message, error)) { src = append(src, m) }
	good := func() (*Message, error) { return text("Subject: good\r\n\r\n"), nil }
	add(good)
	add(func() (*Message, error) { return text(""), fmt.Errorf("%w: cannot open", ErrBroken) })
	add(func() (*Message, error) {
		return &Message{Size: -1, Body: failing{strings.NewReader(strings.Repeat("x", 100_000)), fmt.Errorf("%w: in the middle", ErrBroken)}}, nil
	})
	add(func() (*Message, error) { return text(strings.Repeat("big", 100_000)), nil })
	add(func() (*Message, error) { m := text("says it is big"); m.Size = 1 << 40; return m, nil })
	add(func() (*Message, error) { m := text("keywords"); m.Flags = append(many, store.FlagSeen); return m, nil })
	add(func() (*Message, error) {
		m := text("flags")
		m.Flags = []store.Flag{`\Recent`, "a b", "", `\Flagged`, "ok"}
		m.UIDL = strings.Repeat("u", 71)
		return m, nil
	})
	add(func() (*Message, error) { return text(""), nil })
	add(good)
	for _, sink := range []string{"account", "mbox"} {
		t.Run(sink, func(t *testing.T) {
			to := anna(t)
			var s Sink = to
			var got Source = to
			if sink == "mbox" {
				box := Mbox{Path: t.TempDir()}
				s, got = box, box
			}
			var skips []string
			r := copyAll(t, src, s, Options{MaxMessage: 200_000, Skipped: func(s Skip) { skips = append(skips, s.Folder+" "+s.Message+": "+s.Err.Error()) }})
			assert.Equal(t, []string{
				"bad : locked",
				"INBOX 1: transfer: broken message: cannot open",
				"INBOX 2: transfer: broken message: in the middle",
				"INBOX 3: transfer: message too big: above 200000 octets",
				"INBOX 4: transfer: message too big: 1099511627776 octets",
			}, skips)
			assert.Equal(t, int64(5), r.Skipped)
			assert.Len(t, r.Skips, 5)
			assert.Equal(t, int64(5), r.Messages)
			all := contents(t, got)
			require.Len(t, all, 5)
			var last []string
			for _, m := range all {
				last = append(last, m.text[:min(8, len(m.text))])
			}
			if sink == "account" {
				assert.Equal(t, int64(1), r.Altered)
				assert.Equal(t, []string{"Subject:", "keywords", "flags", "", "Subject:"}, last)
				assert.Equal(t, flags(store.FlagSeen), all[1].flags)
				assert.Equal(t, flags(store.FlagFlagged, "ok"), all[2].flags)
			} else {
				assert.Equal(t, []string{"Subject:", "keywords", "flags\r\n", "", "Subject:"}, last)
			}
		})
	}
	// An error of the source ends it, and what came before is filed.
	gone := errors.New("connection lost")
	for _, last := range []func() (*Message, error){
		func() (*Message, error) { return nil, gone },
		func() (*Message, error) { return &Message{Body: failing{strings.NewReader("half"), gone}}, nil },
	} {
		to := anna(t)
		r, err := Copy(t.Context(), scripted{good, last, good}, to, Options{})
		require.ErrorIs(t, err, gone)
		assert.Equal(t, int64(1), r.Messages)
		assert.Len(t, contents(t, to), 1)
	}
}

// One message that the store refuses must not take its batch with it.
func TestQuotaEnds(t *testing.T) {
	to := anna(t)
	to.Store = full{to.Store}
	_, err := Copy(t.Context(), Mbox{Path: mboxFile(t, 3)}, to, Options{})
	require.ErrorIs(t, err, store.ErrOverQuota)
}

type full struct{ store.Store }

func (f full) Place(ctx context.Context, targets []store.Target) []store.Placed {
	out := make([]store.Placed, len(targets))
	for i := range out {
		out[i].Err = fmt.Errorf("%w: storage", store.ErrOverQuota)
	}
	return out
}

func TestNames(t *testing.T) {
	long := strings.Repeat("x", 300)
	for in, want := range map[string]string{
		"inbox": "INBOX", "a//b": "a/b", "a*b": "a_b", "../x": "__/x", "x\x00\x01": "x__", "\xff": "_",
		"": "_~e3b0c442", "/": "_~8a5edab2",
	} {
		assert.Equal(t, want, cleanName(in), in)
	}
	seen := map[string]bool{}
	for _, in := range []string{long, long + "y", strings.Repeat("a/", 40) + "x", strings.Repeat("a/", 40) + "y", strings.Repeat(long+"/", 30), "*", "%", "/INBOX"} {
		got := cleanName(in)
		canonical, err := store.CanonicalName(got)
		require.NoError(t, err)
		assert.Equal(t, canonical, got)
		seen[got] = true
	}
	assert.Len(t, seen, 7)
	var m nameMap
	m.add("1", "a*")
	m.add("2", "a_")
	m.add("3", "a%")
	assert.Equal(t, map[string]string{"1": "a_", "2": "a_-2", "3": "a_-3"}, m.names)
}

func TestTokens(t *testing.T) {
	token := func(source, folder, id, body string, date time.Time) string {
		m := &Message{ID: id, Date: date}
		m.track(source, Folder{Name: folder})
		io.WriteString(m.hash, body)
		require.LessOrEqual(t, len(m.Token()), store.MaxTokenOctets)
		return m.Token()
	}
	day := time.Unix(1700000000, 0)
	all := map[string]bool{}
	for _, s := range []string{
		token("s", "f", "1", "x", day), token("t", "f", "1", "x", day), token("s", "g", "1", "x", day),
		token("s", "f", "2", "x", day), token("s", "f", "1", "y", day), token("s", "f", "1", "x", time.Time{}),
	} {
		all[s] = true
	}
	assert.Len(t, all, 6)
	assert.Equal(t, token("s", "f", "1", "x", day), token("s", "f", "1", "x", day))
}
