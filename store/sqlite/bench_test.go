package sqlite_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

// benchMail is a message of about size octets.
func benchMail(n, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Anna Example <anna@example.org>\r\nTo: Bob <bob@example.net>, carol@example.com\r\nSubject: Message number %d\r\n"+
		"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d.bench@example.org>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\n\r\n", n, n)
	for b.Len() < size {
		b.WriteString("A line of text that fills the message, as so many lines do.\r\n")
	}
	return b.Bytes()
}

const benchPrefix = "Return-Path: <anna@example.org>\r\nDelivered-To: bob@example.net\r\n" +
	"Received: from mail.example.org (mail.example.org [192.0.2.1])\r\n\tby mx.example.net with ESMTPS id 0123456789\r\n\tfor <bob@example.net>; Sun, 22 Nov 2026 10:00:01 +0000\r\n"

func benchStore(b testing.TB, accounts int) (*sqlite.Store, []string) {
	st, err := sqlite.Open(b.TempDir())
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	names := make([]string, accounts)
	for i := range names {
		names[i] = fmt.Sprintf("user%d@example.net", i)
		require.NoError(b, st.CreateAccount(context.Background(), names[i]))
	}
	return st, names
}

// fill files n messages of size octets.
func fill(b testing.TB, st store.Store, account string, n, size int) {
	var targets []store.Target
	for i := range n {
		body, err := st.Stage(b.Context(), bytes.NewReader(benchMail(i, size)))
		require.NoError(b, err)
		targets = append(targets, store.Target{Account: account, Mailbox: store.Inbox, Body: body})
		if len(targets) == 1000 || i == n-1 {
			for _, p := range st.Place(b.Context(), targets) {
				require.NoError(b, p.Err)
			}
			for _, t := range targets {
				t.Body.Discard()
			}
			targets = targets[:0]
		}
	}
}

// BenchmarkAppend is durable delivery: stage, place with prefix and token,
// wait for the acknowledgement.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{4 << 10, 75 << 10} {
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%dKiB/%dwriters", size>>10, writers), func(b *testing.B) {
				st, names := benchStore(b, 64)
				benchAppend(b, st, names, benchMail(1, size), writers)
			})
		}
	}
}

func benchAppend(b *testing.B, st store.Store, names []string, mail []byte, writers int) {
	ctx := context.Background()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.SetBytes(int64(len(mail)))
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				body, err := st.Stage(ctx, bytes.NewReader(mail))
				if err != nil {
					b.Error(err)
					return
				}
				p := st.Place(ctx, []store.Target{{
					Account: names[w%len(names)], Mailbox: store.Inbox, Body: body, Prefix: []byte(benchPrefix), Token: fmt.Sprintf("%012d/%d", i, w),
				}})
				if p[0].Err != nil {
					b.Error(p[0].Err)
				}
				body.Discard()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkFlag sets and clears a flag on all of 10,000 messages, durably.
func BenchmarkFlag(b *testing.B) {
	st, names := benchStore(b, 1)
	fill(b, st, names[0], 10_000, 300)
	mb := openInbox(b, st, names[0])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		op := store.FlagsAdd
		if i%2 == 1 {
			op = store.FlagsRemove
		}
		f, err := mb.Flag(b.Context(), store.AllUIDs(), store.FlagUpdate{Op: op, Flags: []store.Flag{store.FlagSeen}})
		require.NoError(b, err)
		require.Equal(b, 10_000, f.Changed.Len())
	}
}

func openInbox(b testing.TB, st store.Store, name string) store.Mailbox {
	a, err := st.Account(b.Context(), name, name)
	require.NoError(b, err)
	mb, err := a.Mailbox(b.Context(), store.Inbox)
	require.NoError(b, err)
	return mb
}

// BenchmarkSnapshot loads all columns of 100,000 messages from the database.
func BenchmarkSnapshot(b *testing.B) {
	st, err := sqlite.Options{SnapshotMemory: -1}.Open(b.TempDir())
	require.NoError(b, err)
	defer st.Close()
	require.NoError(b, st.CreateAccount(b.Context(), "anna"))
	fill(b, st, "anna", 100_000, 300)
	mb := openInbox(b, st, "anna")
	b.ReportAllocs()
	for b.Loop() {
		s, err := mb.Snapshot(b.Context())
		require.NoError(b, err)
		require.Equal(b, 100_000, s.Len())
	}
}

// BenchmarkDetails reads the outlines of 10,000 messages.
func BenchmarkDetails(b *testing.B) {
	st, names := benchStore(b, 1)
	fill(b, st, names[0], 10_000, 4<<10)
	mb := openInbox(b, st, names[0])
	rows := allRows(b, mb)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range mb.Details(b.Context(), rows) {
			require.NoError(b, err)
		}
	}
}

// BenchmarkRead reads 10,000 messages of 4 KiB.
func BenchmarkRead(b *testing.B) {
	st, names := benchStore(b, 1)
	fill(b, st, names[0], 10_000, 4<<10)
	mb := openInbox(b, st, names[0])
	rows := allRows(b, mb)
	buf := make([]byte, 8<<10)
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range rows {
			body, err := mb.Open(b.Context(), r)
			require.NoError(b, err)
			_, err = body.ReadAt(buf[:r.Size], 0)
			require.NoError(b, err)
			body.Close()
		}
	}
}

func allRows(b testing.TB, mb store.Mailbox) []store.Row {
	s, err := mb.Snapshot(b.Context())
	require.NoError(b, err)
	var rows []store.Row
	for _, r := range s.All() {
		rows = append(rows, r)
	}
	return rows
}

// BenchmarkSpool is one item's way: enqueued, leased with others, settled, by
// 64 senders and 8 lessees.
func BenchmarkSpool(b *testing.B) {
	st, _ := benchStore(b, 0)
	sp := st.Spool()
	mail, envelope := benchMail(1, 4<<10), []byte(strings.Repeat("envelope ", 40))
	ctx := context.Background()
	var sent, settled atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range 64 {
		wg.Go(func() {
			for sent.Add(1) <= int64(b.N) {
				body, err := st.Stage(ctx, bytes.NewReader(mail))
				if err == nil {
					_, err = sp.Enqueue(ctx, []store.SpoolItem{{Site: "example.org", Envelope: envelope, Prefix: []byte(benchPrefix), Body: body}})
					body.Discard()
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for range 8 {
		wg.Go(func() {
			for settled.Load() < int64(b.N) {
				items, err := sp.Lease(ctx, time.Now(), 32, time.Minute)
				if err != nil {
					b.Error(err)
					return
				}
				var each sync.WaitGroup
				for _, it := range items {
					each.Go(func() {
						if _, err := sp.Settle(ctx, it.ID, it.Fence, nil, nil); err != nil {
							b.Error(err)
						}
						settled.Add(1)
					})
				}
				each.Wait()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
}
