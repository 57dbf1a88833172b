package storetest

import (
	"io"
	"math"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

var largeChecks = []check{
	{"Large/100-MB", largeBody},
	{"Large/2-GiB", largeHuge},
	{"Large/above-the-limit", largeAbove},
}

// heap is the octets of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers have let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// growth runs f and returns by how much the heap grew meanwhile at most,
// garbage included.
func growth(f func()) int64 {
	before := heap()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(sample)
			most.Store(max(most.Load(), int64(sample[0].Value.Uint64())))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	f()
	close(stop)
	<-stopped
	return most.Load() - before
}

// largeRead is a message of about size octets: a header and a body of lines.
func largeRead(size int64) (io.Reader, int64) {
	head := "From: anna@example.org\r\nSubject: large\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
	return io.MultiReader(strings.NewReader(head), &pattern{n: size}), int64(len(head))
}

// maxGrowth is what an engine may need beside its caches for a body of any
// size.
const maxGrowth = 16 << 20

// A body of 100 MB is staged, placed, enqueued and read in constant memory.
func largeBody(k *kit) {
	size := int64(100_000_000)
	if testing.Short() {
		size /= 5 // still more than it may take
	}
	a := k.account("anna")
	require.NoError(k, k.st.CreateAccount(k.Context(), "bob"))
	k.add(a, store.Inbox, 1, 1)
	mb := k.box(a, store.Inbox)
	steps := map[string]int64{}
	var s store.Staged
	r, head := largeRead(size)
	steps["stage"] = growth(func() {
		var err error
		s, err = k.st.Stage(k.Context(), r)
		require.NoError(k, err)
	})
	require.Equal(k, head+size, s.Size())
	require.Equal(k, "large", s.Outline().Envelope.Subject)
	prefix := []byte("Received: from a\r\n")
	steps["place"] = growth(func() {
		for _, p := range k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: prefix}, store.Target{Account: "bob", Mailbox: store.Inbox, Body: s}) {
			require.NoError(k, p.Err)
		}
	})
	if sp, ok := k.st.(store.Spooler); ok {
		steps["enqueue"] = growth(func() { k.enqueue(sp.Spool(), store.SpoolItem{Body: s}) })
	}
	require.NoError(k, s.Discard())
	row := k.snap(mb).At(1)
	steps["read"] = growth(func() {
		b, err := mb.Open(k.Context(), row)
		require.NoError(k, err)
		require.NoError(k, samePattern(b, int64(len(prefix))+head, size))
		require.NoError(k, b.Close())
	})
	steps["copy"] = growth(func() {
		_, err := mb.Copy(k.Context(), store.UIDs(row.UID), mb.ID())
		require.NoError(k, err)
	})
	for step, n := range steps {
		if !k.cfg.InMemory {
			require.Less(k, n, int64(maxGrowth), "%s of %d octets", step, size)
		}
	}
	if !k.cfg.InMemory {
		k.Logf("growth of the heap in octets: %v", steps)
	}
}

// sparse is a foreign body of size octets, all zero but for a header.
type sparse struct {
	size    int64
	outline *message.Outline
	read    atomic.Int64
}

const sparseHead = "From: anna@example.org\r\nSubject: sparse\r\n\r\n"

func newSparse(size int64) *sparse {
	s := &sparse{size: size, outline: message.ParseBytes([]byte(sparseHead), nil)}
	s.outline.Size = size
	s.outline.Root.BodySize = size - int64(len(sparseHead))
	return s
}

func (s *sparse) Size() int64               { return s.size }
func (s *sparse) Outline() *message.Outline { return s.outline }
func (s *sparse) Discard() error            { return nil }
func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(s.size-off, 0)))
	clear(p[:n])
	if off < int64(len(sparseHead)) {
		copy(p[:n], sparseHead[off:])
	}
	s.read.Add(int64(n))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// A body of 2 GiB works in bounded memory, or is refused by name and leaves
// nothing behind.
func largeHuge(k *kit) {
	if !k.cfg.Huge {
		k.Skip("Config.Huge is not set: it takes minutes and 2 GiB of disk")
	}
	const size = 2 << 30
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	body := newSparse(size)
	var p store.Placed
	grown := growth(func() { p = k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: body})[0] })
	if p.Err != nil {
		require.True(k, isAny(p.Err, store.ErrLimit, store.ErrNoSpace), "%v", p.Err)
		require.Zero(k, k.snap(mb).Len())
		k.add(a, store.Inbox, 1, 1)
		return
	}
	if !k.cfg.InMemory {
		require.Less(k, grown, int64(maxGrowth))
	}
	row := k.row(k.snap(mb), p.UID)
	require.EqualValues(k, size, row.Size)
	b, err := mb.Open(k.Context(), row)
	require.NoError(k, err)
	defer b.Close()
	require.EqualValues(k, size, b.Size())
	buf := make([]byte, 100)
	for _, off := range []int64{0, 1 << 30, math.MaxInt32 - 150, size - 100} {
		want := make([]byte, 100)
		_, err := body.ReadAt(want, off)
		require.NoError(k, err)
		n, err := b.ReadAt(buf, off)
		require.Equal(k, 100, n)
		require.True(k, err == nil || err == io.EOF, "%v", err)
		require.Equal(k, want, buf)
	}
}

// A message above store.MaxMessageSize is refused before it is read, and one
// whose octets end before its size says is not filed.
func largeAbove(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	for _, size := range []int64{store.MaxMessageSize + 1, store.MaxMessageSize, math.MaxInt64} {
		body := newSparse(size)
		t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: body, Prefix: []byte("X: y\r\n")}
		require.ErrorIs(k, k.place(t)[0].Err, store.ErrLimit, "%d octets", size)
		if sp, ok := k.st.(store.Spooler); ok {
			_, err := sp.Spool().Enqueue(k.Context(), []store.SpoolItem{{Body: body, Prefix: t.Prefix}})
			require.ErrorIs(k, err, store.ErrLimit, "%d octets", size)
		}
		require.LessOrEqual(k, body.read.Load(), int64(1<<20), "refused without reading it")
	}
	for _, size := range []int64{1000, 300_000, 3 << 20} {
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: cutShort{newSparse(size)}})
		require.Error(k, p[0].Err, "%d octets said, half of them there", size)
	}
	require.Zero(k, k.snap(mb).Len())
	k.add(a, store.Inbox, 1, 1)
	require.Equal(k, mail(1), k.body(mb, k.snap(mb).At(0)))
}

// cutShort is a body that ends half-way.
type cutShort struct{ *sparse }

func (c cutShort) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), max(c.size/2-off, 0)))
	n, _ = c.sparse.ReadAt(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
