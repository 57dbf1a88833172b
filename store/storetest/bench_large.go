package storetest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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
	k.fillBox(k.account("anna"), n, 0)
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
	var flags, syncs []time.Duration
	var allocated uint64
	var m runtime.MemStats
	for i := range b.N {
		b.StopTimer()
		start := time.Now()
		_, err := f.Write(page)
		require.NoError(b, err)
		require.NoError(b, syncData(f))
		syncs = append(syncs, time.Since(start))
		uid := first.At(i * 7919 % n).UID
		runtime.ReadMemStats(&m)
		allocated -= m.TotalAlloc
		b.StartTimer()
		start = time.Now()
		r, err := mb.Flag(ctx, store.UIDs(uid), store.FlagUpdate{Op: store.FlagOp(i / n % 2), Flags: []store.Flag{store.FlagSeen}})
		flags = append(flags, time.Since(start))
		if err != nil || r.Changed.Len() != 1 {
			b.Fatal(r.Changed, err)
		}
		if _, err := mb.Snapshot(ctx); err != nil {
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
