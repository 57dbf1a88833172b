package report

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dmarc"
)

func seen(domain string, count int64) Observation {
	return Observation{
		Published: dmarc.Published{Domain: domain, Policy: dmarc.Reject}, URIs: []string{"mailto:d@" + domain},
		Row: dmarc.Row{Source: netip.MustParseAddr("192.0.2.1"), Count: count, Disposition: "none", Overrides: []dmarc.Override{{Type: "other"}}, Senders: []dmarc.SenderResult{{Domain: domain, Scope: "mfrom", Result: "pass"}}},
	}
}

// TestFile counts, stops, and goes on in another process.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	future := time.Now().Add(48 * time.Hour)
	f := &File{Path: path}
	c := &Collector{Store: f}
	require.NoError(t, c.Add(seen("a.example", 2)))
	require.NoError(t, c.Add(seen("b.example", 1)))
	require.NoError(t, f.Save())
	again := &File{Path: path}
	require.NoError(t, (&Collector{Store: again}).Add(seen("a.example", 3)))
	before, err := f.Windows(future)
	require.NoError(t, err)
	windows, err := again.Windows(future)
	require.NoError(t, err)
	require.Len(t, windows, 2)
	assert.Equal(t, int64(5), windows[0].Rows[0].Count)
	assert.Equal(t, before[1], windows[1])
	require.NoError(t, again.Done(&windows[0]))
	last := &File{Path: path}
	windows, err = last.Windows(future)
	require.NoError(t, err)
	require.Len(t, windows, 1, "what was sent is not sent again")
	assert.Equal(t, "b.example", windows[0].Published.Domain)

	// What was lost stays told.
	full := &File{Path: path + "2", Memory: Memory{MaxRows: 1}}
	o := seen("a.example", 1)
	require.NoError(t, full.Add(dayOf(time.Now()), &o))
	o.Row.Disposition = "reject"
	require.ErrorIs(t, full.Add(dayOf(time.Now()), &o), ErrFull)
	require.NoError(t, full.Save())
	windows, err = (&File{Path: path + "2"}).Windows(future)
	require.NoError(t, err)
	assert.Equal(t, int64(1), windows[0].Lost)
}

func TestFileSavesInTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seen")
	f := &File{Path: path, SaveEvery: time.Nanosecond}
	require.NoError(t, (&Collector{Store: f}).Add(seen("a.example", 1)))
	windows, err := (&File{Path: path}).Windows(time.Now().Add(48 * time.Hour))
	require.NoError(t, err)
	assert.Len(t, windows, 1)
}

func TestBrokenFile(t *testing.T) {
	for _, broken := range []string{"{", "{}", `[{"Day":"2026-11-23T00:00:01Z","Published":{"Domain":"a"}}]`, `[{"Day":"2026-11-23T00:00:00Z"}]`} {
		path := filepath.Join(t.TempDir(), "seen")
		require.NoError(t, os.WriteFile(path, []byte(broken), 0o600))
		f := &File{Path: path}
		require.NoError(t, (&Collector{Store: f}).Add(seen("a.example", 1)))
		require.NoError(t, f.Save())
		kept, err := os.ReadFile(path + ".broken")
		require.NoError(t, err)
		assert.Equal(t, broken, string(kept))
	}
	f := &File{Path: filepath.Join(t.TempDir(), "no", "folder")}
	require.NoError(t, (&Collector{Store: f}).Add(seen("a.example", 1)))
	assert.Error(t, f.Save())
}

func TestCollectorAllow(t *testing.T) {
	m := new(Memory)
	c := &Collector{Store: m, Allow: func(d string) bool { return d == "a.example" }}
	require.NoError(t, c.Add(seen("a.example", 1)))
	require.NoError(t, c.Add(seen("evil.example", 1)))
	windows, err := m.Windows(time.Now().Add(48 * time.Hour))
	require.NoError(t, err)
	assert.Len(t, windows, 1)
}
