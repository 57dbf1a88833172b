//go:build unix

package maildir_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
	"github.com/posta-mail/posta/store/storetest"
)

func BenchmarkContract(b *testing.B) { storetest.Bench(b, (&folders{}).config()) }

// BenchmarkLarge takes the figures of an INBOX of 100,000 messages that another
// program delivered: go test -run xxx -bench Large -benchtime 1x.
func BenchmarkLarge(b *testing.B) {
	const n = 100_000
	root := b.TempDir()
	dir := filepath.Join(root, "anna")
	for _, sub := range []string{"cur", "new", "tmp"} {
		require.NoError(b, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	for i := range n {
		name := fmt.Sprintf("%d.M%dP1.host,S=%d,W=%d:2,S", 1700000000+i, i%1000, len(lfMail), len(lfMail)+strings.Count(lfMail, "\n"))
		require.NoError(b, os.WriteFile(filepath.Join(dir, "cur", name), []byte(lfMail), 0o600))
	}
	open := func() (*maildir.Store, store.Mailbox) {
		st, err := maildir.Open(root)
		require.NoError(b, err)
		a, err := st.Account(b.Context(), "anna", "anna")
		require.NoError(b, err)
		mb, err := a.Mailbox(b.Context(), store.Inbox)
		require.NoError(b, err)
		return st, mb
	}
	snap := func(mb store.Mailbox) *store.Snapshot {
		s, err := mb.Snapshot(b.Context())
		require.NoError(b, err)
		return s
	}
	measure := func(what string, rounds int, f func()) {
		var all []time.Duration
		for range rounds {
			began := time.Now()
			f()
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), what+"-µs")
	}
	for range b.N {
		began := time.Now()
		st, mb := open()
		require.Equal(b, n, snap(mb).Len())
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "adopt-ms")
		time.Sleep(50 * time.Millisecond) // until the folders' times are past
		snap(mb)
		require.NoError(b, st.Close())
		began = time.Now()
		st, mb = open()
		snap(mb)
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "open-ms")
		measure("unchanged", 1000, func() { snap(mb) })
		body, err := st.Stage(b.Context(), strings.NewReader(lfMail))
		require.NoError(b, err)
		measure("deliver", 200, func() {
			p := st.Place(b.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: body}})
			require.NoError(b, p[0].Err)
		})
		measure("flag", 50, func() {
			_, err := mb.Flag(b.Context(), store.UIDs(50_000), store.FlagUpdate{Op: store.FlagsAdd, Flags: []store.Flag{store.FlagFlagged}})
			require.NoError(b, err)
			_, err = mb.Flag(b.Context(), store.UIDs(50_000), store.FlagUpdate{Op: store.FlagsRemove, Flags: []store.Flag{store.FlagFlagged}})
			require.NoError(b, err)
		})
		last := 0
		measure("foreign-delivery-seen", 5, func() {
			last++
			was := snap(mb).Len()
			require.NoError(b, deliver(dir, fmt.Sprintf("18000000%02d.foreign.h", last), lfMail))
			for snap(mb).Len() == was {
				time.Sleep(time.Millisecond)
			}
		})
		require.NoError(b, st.Close())
	}
}
