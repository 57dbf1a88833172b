package storetest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posta-mail/posta/store"
)

// Bench measures an engine, as a set of sub-benchmarks: what mail systems do
// most; the spool where Abilities has it. Config.Steps and Config.Seed play no part. Those named against-limits
// measure what the disk gives in the same run too, for figures that hold on
// other machines, and take 15 s each; -benchtime=1x is enough for them.
func Bench(b *testing.B, cfg Config) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("append-4KiB/writers=%d", writers), func(b *testing.B) { benchAppend(b, cfg, writers) })
	}
	for _, writers := range []int{16, 64} {
		b.Run(fmt.Sprintf("append-75KiB/writers=%d", writers), func(b *testing.B) { benchAppendSize(b, cfg, writers, 75<<10) })
	}
	for _, size := range []int{4, 75} {
		b.Run(fmt.Sprintf("against-limits/%dKiB", size), func(b *testing.B) { benchLimits(b, cfg, size<<10) })
	}
	b.Run("flag-10000", func(b *testing.B) { benchFlag(b, cfg) })
	b.Run("snapshot-10000", func(b *testing.B) { benchSnapshot(b, cfg) })
	b.Run("open-4KiB", func(b *testing.B) { benchOpen(b, cfg) })
	b.Run("details-1000", func(b *testing.B) { benchDetails(b, cfg) })
	if !slices.Contains(cfg.Abilities, Spool) {
		return
	}
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("spool-cycle/workers=%d", workers), func(b *testing.B) { benchSpool(b, cfg, workers) })
	}
}

// benchKit is a kit without what only a test has.
func benchKit(b *testing.B, cfg Config) *kit {
	b.Helper()
	b.ReportAllocs()
	return newKit(b, cfg)
}

// benchMail is a message of about size octets.
func benchMail(size int) string {
	head := mail(1)
	return head + strings.Repeat("A line of text as it is found in mail, of a common length.\r\n", max(size-len(head), 0)/60)
}

const benchPrefix = "Return-Path: <sender@example.org>\r\nReceived: from mail.example.org (mail.example.org [192.0.2.1])\r\n" +
	"\tby mx.example.net with ESMTPS id 0123456789; Sun, 22 Nov 2026 10:00:00 +0000\r\n"

// share runs f n times in all by workers at once.
func share(workers, n int, f func(worker int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for next.Add(1) <= int64(n) && errs[w] == nil {
				errs[w] = f(w)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func rate(b *testing.B, what string, n int) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), what+"/s")
}

func benchAppend(b *testing.B, cfg Config, writers int) { benchAppendSize(b, cfg, writers, 4<<10) }

// benchAppendSize delivers one message per step, and tells how long each took.
func benchAppendSize(b *testing.B, cfg Config, writers, size int) {
	k := benchKit(b, cfg)
	for w := range writers {
		k.account(fmt.Sprint("user", w))
	}
	text := benchMail(size)
	times := make([][]time.Duration, writers)
	before := cfg.written()
	b.SetBytes(int64(len(text)))
	b.ResetTimer()
	err := share(writers, b.N, func(w int) error {
		start := time.Now()
		err := k.deliver(b.Context(), w, text)
		times[w] = append(times[w], time.Since(start))
		return err
	})
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	rate(b, "messages", b.N)
	reportLatency(b, slices.Concat(times...))
	if d := cfg.written() - before; d > 0 {
		b.ReportMetric(float64(d)/float64(b.N)/float64(len(text)+len(benchPrefix)), "octets-written/octet")
	}
}

// fillBox files n copies of one message.
func (k *kit) fillBox(a store.Account, n, size int) store.Mailbox {
	k.Helper()
	s := k.stage(benchMail(size))
	for done := 0; done < n; {
		targets := make([]store.Target, min(1000, n-done))
		for i := range targets {
			targets[i] = store.Target{Account: a.Name(), Mailbox: store.Inbox, Body: s}
		}
		for _, p := range k.place(targets...) {
			if p.Err != nil {
				k.Fatal(p.Err)
			}
		}
		done += len(targets)
	}
	return k.box(a, store.Inbox)
}

// benchFlag sets and clears a flag of 10,000 messages in one call.
func benchFlag(b *testing.B, cfg Config) {
	k := benchKit(b, cfg)
	mb := k.fillBox(k.account("anna"), 10_000, 0)
	b.ResetTimer()
	for i := range b.N {
		op := store.FlagOp(i % 2)
		f, err := mb.Flag(b.Context(), store.AllUIDs(), store.FlagUpdate{Op: op, Flags: []store.Flag{store.FlagSeen}})
		if err != nil || f.Changed.Len() != 10_000 {
			b.Fatal(f.Changed.Len(), err)
		}
	}
	rate(b, "flags", 10_000*b.N)
}

// benchSnapshot gets the snapshot of a mailbox: after a reopening, where
// Config.Reopen has been given.
func benchSnapshot(b *testing.B, cfg Config) {
	k := benchKit(b, cfg)
	k.fillBox(k.account("anna"), 10_000, 0)
	b.ResetTimer()
	for range b.N {
		if cfg.Reopen != nil {
			b.StopTimer()
			k.reopen()
			b.StartTimer()
		}
		s, err := k.box(k.open("anna"), store.Inbox).Snapshot(b.Context())
		if err != nil || s.Len() != 10_000 {
			b.Fatal(err)
		}
	}
}

func benchOpen(b *testing.B, cfg Config) {
	k := benchKit(b, cfg)
	mb := k.fillBox(k.account("anna"), 1000, 4<<10)
	s := k.snap(mb)
	b.SetBytes(int64(s.At(0).Size))
	b.ResetTimer()
	for i := range b.N {
		body, err := mb.Open(b.Context(), s.At(i*7%s.Len()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, io.NewSectionReader(body, 0, body.Size())); err != nil {
			b.Fatal(err)
		}
		body.Close()
	}
}

func benchDetails(b *testing.B, cfg Config) {
	k := benchKit(b, cfg)
	mb := k.fillBox(k.account("anna"), 1000, 4<<10)
	var rows []store.Row
	for _, r := range k.snap(mb).All() {
		rows = append(rows, r)
	}
	b.ResetTimer()
	for range b.N {
		n := 0
		for _, err := range mb.Details(b.Context(), rows) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != len(rows) {
			b.Fatal(n)
		}
	}
	rate(b, "details", 1000*b.N)
}

// benchSpool takes one message per step through the spool: enqueue, lease,
// settle.
func benchSpool(b *testing.B, cfg Config, workers int) {
	k := benchKit(b, cfg)
	sp := k.spool()
	s := k.stage(benchMail(4 << 10))
	envelope := make([]byte, 300)
	b.ResetTimer()
	err := share(workers, b.N, func(int) error {
		if _, err := sp.Enqueue(b.Context(), []store.SpoolItem{{Body: s, Site: "example.org", Envelope: envelope, Prefix: []byte(benchPrefix)}}); err != nil {
			return err
		}
		l, err := sp.Lease(b.Context(), time.Now(), 1, time.Minute)
		if err != nil {
			return err
		}
		for _, i := range l { // another worker may have taken ours; then we or it took another's
			if _, err := sp.Settle(b.Context(), i.ID, i.Fence, nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	rate(b, "items", b.N)
}
