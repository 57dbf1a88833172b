package storetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// BenchLarge measures a mailbox of many messages, as a set of sub-benchmarks:
// n of them, 500,000 if n is 0. They are filed first, which takes a while, so
// it is apart from Bench.
func BenchLarge(b *testing.B, cfg Config, n int) {
	if n == 0 {
		n = 500_000
	}
	k := newKit(b, cfg)
	start := time.Now()
	k.fillVaried(k.account("anna"), n)
	b.Logf("%d messages filed in %v", n, time.Since(start))
	mailbox := func() store.Mailbox { return k.box(k.open("anna"), store.Inbox) }
	if cfg.Reopen != nil {
		b.Run("cold-snapshot", func(b *testing.B) { benchCold(b, k, mailbox, n) })
	}
	b.Run("warm-snapshot", func(b *testing.B) {
		mb := mailbox()
		for b.Loop() {
			s, err := mb.Snapshot(b.Context())
			if err != nil || s.Len() != n {
				b.Fatal(err)
			}
		}
	})
	b.Run("flags-of-all", func(b *testing.B) {
		s := k.snap(mailbox())
		for b.Loop() {
			seen := 0
			for _, r := range s.All() {
				if r.Flags&store.BitSeen != 0 {
					seen++
				}
			}
			if seen == n {
				b.Fatal("all are seen")
			}
		}
	})
	b.Run("one-flag", func(b *testing.B) { benchOneFlag(b, mailbox(), n) })
	b.Run("changes-of-100", func(b *testing.B) { benchChanges(b, k, mailbox(), n) })
	b.Run("search-unseen", func(b *testing.B) {
		mb := mailbox()
		s := k.snap(mb)
		for b.Loop() {
			for _, err := range store.Search(b.Context(), mb, s, &store.Criteria{Flags: []store.Flag{store.FlagFlagged}}) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// fillVaried files n messages that differ in what a snapshot holds of them,
// and changes some of them since.
func (k *kit) fillVaried(a store.Account, n int) {
	k.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	now := seconds()
	bodies := make([]store.Staged, 500)
	for done := 0; done < n; {
		if done%50_000 == 0 {
			for i := range bodies {
				bodies[i] = k.stage(mail(done+i) + strings.Repeat("x", rnd.IntN(400)))
			}
		}
		targets := make([]store.Target, min(500, n-done))
		for i := range targets {
			targets[i] = store.Target{Account: a.Name(), Mailbox: store.Inbox, Body: bodies[rnd.IntN(len(bodies))],
				Flags: flagsOf(uint8(rnd.Uint32() & rnd.Uint32() & 0x7f)), Date: now.Add(-time.Duration(rnd.Int64N(3e8)) * time.Second)}
		}
		for _, p := range k.place(targets...) {
			require.NoError(k, p.Err)
		}
		done += len(targets)
	}
	mb := k.box(a, store.Inbox)
	for i := range 40 {
		var some store.UIDSet
		for uid := 1 + rnd.IntN(200); uid <= n; uid += 1 + rnd.IntN(200) {
			some.Add(store.UID(uid))
		}
		k.flag(mb, store.FlagOp(i%2), some, store.FlagSeen)
	}
}

// benchCold opens the mailbox after the store has been opened anew, and tells
// what its snapshot takes in memory.
func benchCold(b *testing.B, k *kit, mailbox func() store.Mailbox, n int) {
	octets := int64(0)
	for range b.N {
		b.StopTimer()
		k.reopen()
		before := heap()
		b.StartTimer()
		s, err := mailbox().Snapshot(b.Context())
		b.StopTimer()
		if err != nil || s.Len() != n {
			b.Fatal(err)
		}
		octets = heap() - before
		runtime.KeepAlive(s)
		b.StartTimer()
	}
	b.ReportMetric(float64(octets)/float64(n), "octets/message")
}

// benchOneFlag changes one flag of one message, durably, and takes the new
// snapshot; and compares that with one fdatasync of 4 KiB.
func benchOneFlag(b *testing.B, mb store.Mailbox, n int) {
	ctx := b.Context()
	first, err := mb.Snapshot(ctx)
	require.NoError(b, err)
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	require.NoError(b, err)
	defer f.Close()
	page := make([]byte, 4<<10)
	now := first
	var flags, syncs []time.Duration
	var allocated uint64
	var m runtime.MemStats
	for range b.N {
		b.StopTimer()
		start := time.Now()
		_, err := f.Write(page)
		require.NoError(b, err)
		require.NoError(b, syncData(f))
		syncs = append(syncs, time.Since(start))
		row, op := now.At(rand.IntN(n)), store.FlagsAdd
		if row.Flags&store.BitSeen != 0 {
			op = store.FlagsRemove
		}
		runtime.ReadMemStats(&m)
		allocated -= m.TotalAlloc
		b.StartTimer()
		start = time.Now()
		r, err := mb.Flag(ctx, store.UIDs(row.UID), store.FlagUpdate{Op: op, Flags: []store.Flag{store.FlagSeen}})
		flags = append(flags, time.Since(start))
		if err != nil || r.Changed.Len() != 1 {
			b.Fatal(r.Changed, err)
		}
		if now, err = mb.Snapshot(ctx); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		runtime.ReadMemStats(&m)
		allocated += m.TotalAlloc
		b.StartTimer()
	}
	b.ReportMetric(float64(allocated)/float64(b.N)/1000, "KB-allocated/op")
	b.ReportMetric(float64(median(flags).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(median(syncs).Microseconds())/1000, "one-fsync-ms")
	b.ReportMetric(float64(median(flags))/float64(median(syncs)), "x-one-fsync")
}

// benchChanges asks for the last 100 changes.
func benchChanges(b *testing.B, k *kit, mb store.Mailbox, n int) {
	s := k.snap(mb)
	for i := range 100 {
		one := store.UIDs(s.At(i * (n / 100)).UID)
		_, err := mb.Flag(b.Context(), one, store.FlagUpdate{Flags: []store.Flag{store.Flag(fmt.Sprint("k", b.N%40))}})
		require.NoError(b, err)
	}
	for b.Loop() {
		c, err := mb.Changes(b.Context(), s.ModSeq())
		if err != nil || len(c.Rows) > 100 {
			b.Fatal(len(c.Rows), err)
		}
	}
}
