package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// benchWriters is how many deliver at once where engines are compared with
// limits.
const benchWriters = 64

// contender is one way of making messages durable.
type contender struct {
	name  string
	put   func(worker int) error // one message
	rates []float64              // of each round, per second
	times []time.Duration
	wrote []float64 // octets written to disk for each of a message, by round
}

func median[T cmp.Ordered](all []T) (m T) {
	if len(all) > 0 {
		m = slices.Sorted(slices.Values(all))[len(all)/2]
	}
	return m
}

// quantile is the smallest value that q of all do not exceed; 0 of none.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// run lets all workers put messages for a while.
func (c *contender) run(b *testing.B, cfg Config, size int, slice time.Duration) {
	before := cfg.written()
	var mu sync.Mutex
	n := 0
	var t team
	start := time.Now()
	for w := range benchWriters {
		t.run(func() error {
			var mine []time.Duration
			for begin := time.Now(); begin.Sub(start) < slice; begin = time.Now() {
				if err := c.put(w); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				mine = append(mine, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			n += len(mine)
			c.times = append(c.times, mine...)
			return nil
		})
	}
	require.NoError(b, t.wait())
	c.rates = append(c.rates, float64(n)/time.Since(start).Seconds())
	if d := cfg.written() - before; d > 0 {
		c.wrote = append(c.wrote, float64(d)/float64(n)/float64(size))
	}
}

func (cfg *Config) written() int64 {
	if cfg.Written != nil {
		return cfg.Written()
	}
	return processWritten()
}

// benchLimits compares durable appends by 64 writers with what the same disk
// gives in the same minute to one fdatasync for all that wait, without any
// index, to one file for each message, without any index either, and to
// Config.Rival. Five rounds of a second each are interleaved, all on folders
// that have been used; medians are reported.
func benchLimits(b *testing.B, cfg Config, size int) {
	rounds, slice := 5, time.Second
	if testing.Short() {
		rounds, slice = 2, 100*time.Millisecond
	}
	k := newKit(b, cfg)
	for w := range benchWriters {
		k.account(fmt.Sprint("user", w))
	}
	text := benchMail(size)
	raw, stop := rawBatches(b, text)
	defer stop()
	all := []*contender{
		{name: "engine", put: func(w int) error { return k.deliver(b.Context(), w, text) }},
		{name: "raw", put: raw},
		{name: "files", put: filePerMessage(b, text)},
	}
	if cfg.Rival != nil {
		r := newKit(b, Config{New: cfg.Rival})
		for w := range benchWriters {
			r.account(fmt.Sprint("user", w))
		}
		all = append(all, &contender{name: "rival", put: func(w int) error { return r.deliver(b.Context(), w, text) }})
	}
	for range b.N {
		for range rounds {
			for _, c := range all {
				c.run(b, cfg, len(text)+len(benchPrefix), slice)
			}
		}
	}
	engine, limit, files := median(all[0].rates), median(all[1].rates), median(all[2].rates)
	b.ReportMetric(0, "ns/op") // says nothing here
	b.ReportMetric(engine, "messages/s")
	b.ReportMetric(limit, "one-fsync-per-batch/s")
	b.ReportMetric(files, "file-per-message/s")
	b.ReportMetric(100*engine/limit, "%-of-one-fsync")
	b.ReportMetric(engine/files, "x-file-per-message")
	if cfg.Rival != nil {
		rival := median(all[3].rates)
		b.ReportMetric(rival, "rival/s")
		b.ReportMetric(engine/rival, "x-rival")
	}
	reportLatency(b, all[0].times)
	if len(all[0].wrote) > 0 {
		b.ReportMetric(median(all[0].wrote), "octets-written/octet")
	}
}

func reportLatency(b *testing.B, times []time.Duration) {
	p50, p99 := quantile(times, 0.5), quantile(times, 0.99)
	b.ReportMetric(float64(p50.Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
	if p50 > 0 {
		b.ReportMetric(float64(p99)/float64(p50), "p99/p50")
	}
}

// deliver stages and places one message, as a delivery does: when Place
// returns it is as durable as the engine makes it.
func (k *kit) deliver(ctx context.Context, w int, text string) error {
	s, err := k.st.Stage(ctx, strings.NewReader(text))
	if err != nil {
		return err
	}
	defer s.Discard()
	return k.st.Place(ctx, []store.Target{{Account: fmt.Sprint("user", w), Mailbox: store.Inbox, Body: s, Prefix: []byte(benchPrefix)}})[0].Err
}

// rawBatches appends messages to one file: whatever is waiting is written at
// once and made durable by one fdatasync, then all are told.
func rawBatches(b *testing.B, text string) (put func(int) error, stop func()) {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	require.NoError(b, err)
	type waiter chan error
	in := make(chan waiter, benchWriters)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var batch []waiter
		var buf []byte
		for first := range in {
			batch, buf = append(batch[:0], first), append(buf[:0], text...)
			for more := true; more; {
				select {
				case w, ok := <-in:
					if more = ok; ok {
						batch, buf = append(batch, w), append(buf, text...)
					}
				default:
					more = false
				}
			}
			_, err := f.Write(buf)
			err = errors.Join(err, syncData(f))
			for _, w := range batch {
				w <- err
			}
		}
	}()
	return func(int) error {
			w := make(waiter, 1)
			in <- w
			return <-w
		}, func() {
			close(in)
			<-done
			f.Close()
		}
}

// filePerMessage delivers as into a Maildir, a folder for each worker: what is
// named has been synced whole, and then its name is.
func filePerMessage(b *testing.B, text string) func(int) error {
	top := b.TempDir()
	folders := make([]*os.File, benchWriters)
	for w := range folders {
		dir := filepath.Join(top, fmt.Sprint(w))
		require.NoError(b, os.MkdirAll(filepath.Join(dir, "tmp"), 0o700))
		require.NoError(b, os.Mkdir(filepath.Join(dir, "new"), 0o700))
		f, err := os.Open(filepath.Join(dir, "new"))
		require.NoError(b, err)
		b.Cleanup(func() { f.Close() })
		folders[w] = f
	}
	counts := make([]int, benchWriters)
	return func(w int) error {
		counts[w]++
		to := filepath.Join(folders[w].Name(), fmt.Sprint(counts[w]))
		tmp := filepath.Join(top, fmt.Sprint(w), "tmp", fmt.Sprint(counts[w]))
		f, err := os.Create(tmp)
		if err != nil {
			return err
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		return errors.Join(os.Rename(tmp, to), folders[w].Sync())
	}
}
