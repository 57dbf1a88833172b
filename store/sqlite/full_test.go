package sqlite_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

// smallDisk mounts one of so many MiB.
func smallDisk(t *testing.T, size int) string {
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", size), "posta-test", dir).CombinedOutput()
	if err != nil {
		t.Skipf("a small disk cannot be mounted by this user: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("%s", out)
		}
	})
	return dir
}

// stuff writes to a file until there is no room for one octet more.
func stuff(t *testing.T, name string) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
}

// TestDiskFull fills a disk: mail is refused for now, reading and deleting
// work, and there is room again after deleting.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct {
		name string
		size int // of messages
	}{{"small messages", 4 << 10}, {"large messages", 300 << 10}} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(smallDisk(t, 12), "mail")
			opt := crashOptions
			opt.SegmentSize, opt.SweepEvery = 1<<20, -1
			opt = sqlite.Hurried(opt)
			st, err := opt.Open(dir)
			require.NoError(t, err)
			defer func() { st.Close() }()
			require.NoError(t, st.CreateAccount(t.Context(), "anna"))
			text := "Subject: full\r\n\r\n" + strings.Repeat("A line of a message that needs room.\r\n", c.size/38)
			place := func() error {
				body, err := st.Stage(t.Context(), strings.NewReader(text))
				if err != nil {
					return err
				}
				defer body.Discard()
				return st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: body}})[0].Err
			}
			fill := func() (n int) {
				for refused := 0; refused < 30; { // all the room, not the first lack of it
					if err := place(); err != nil {
						require.ErrorIs(t, err, store.ErrNoSpace)
						refused++
						continue
					}
					n++
				}
				return n
			}
			first := fill()
			require.Greater(t, first, 12<<20/c.size/2)
			for range 3 {
				mb := openInbox(t, st, "anna")
				snap, err := mb.Snapshot(t.Context())
				require.NoError(t, err)
				require.GreaterOrEqual(t, snap.Len(), first)
				for _, row := range snap.All() {
					b, err := mb.Open(t.Context(), row)
					require.NoError(t, err)
					data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
					require.NoError(t, err)
					require.Equal(t, text, string(data))
					require.NoError(t, b.Close())
				}
				stuff(t, filepath.Join(filepath.Dir(dir), "stuffing"))
				gone, err := mb.Expunge(t.Context(), store.AllUIDs())
				require.NoError(t, err, "expunging on a full disk")
				require.Equal(t, snap.Len(), gone.UIDs.Len())
				for range 3 {
					require.NoError(t, st.Sweep(t.Context()))
				}
				require.NoError(t, os.Remove(filepath.Join(filepath.Dir(dir), "stuffing")))
				require.Greater(t, fill(), first*3/4, "there is room again")
				stuff(t, filepath.Join(filepath.Dir(dir), "stuffing"))
				require.NoError(t, st.Close(), "closing on a full disk")
				st, err = opt.Open(dir)
				require.NoError(t, err, "opening on a full disk")
				require.NoError(t, os.Remove(filepath.Join(filepath.Dir(dir), "stuffing")))
				first = first * 3 / 4
				var problems []error
				require.NoError(t, st.Check(t.Context(), func(p sqlite.Problem) { problems = append(problems, p) }))
				require.NoError(t, errors.Join(problems...))
			}
		})
	}
}
