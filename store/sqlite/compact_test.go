package sqlite

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// sparse fills some segments and expunges most of it. It returns the bodies
// that stay.
func (r *rig) sparse(n, keepEvery int) []string {
	r.t.Helper()
	var gone store.UIDSet
	stay := []string{}
	for i := range n {
		body := strings.Repeat(letter(i), 100)
		p := r.place(body)
		require.NoError(r.t, p.Err)
		if i%keepEvery == 0 {
			stay = append(stay, body)
		} else {
			gone.Add(p.UID)
		}
	}
	_, err := r.inbox().Expunge(r.t.Context(), gone)
	require.NoError(r.t, err)
	return stay
}

func (r *rig) segmentOctets() (sum int64) {
	nums, err := r.st.seg.list()
	require.NoError(r.t, err)
	for _, n := range nums {
		info, err := os.Stat(r.st.seg.path(n))
		require.NoError(r.t, err)
		sum += info.Size()
	}
	return sum
}

func TestCompact(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: time.Hour})
	stay := r.sparse(400, 10)
	spooled := r.stage(letter(1000))
	ids, err := r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: spooled}, {Body: spooled}})
	require.NoError(t, err)
	shared := r.stage(letter(2000)) // of two placements and the spool
	require.NoError(t, r.st.CreateAccount(t.Context(), "bob"))
	more, err := r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: shared}})
	require.NoError(t, err)
	for _, account := range []string{"anna", "bob"} {
		p := r.st.Place(t.Context(), []store.Target{{Account: account, Mailbox: store.Inbox, Body: shared, Prefix: []byte("X: y\r\n")}})
		require.NoError(t, p[0].Err)
	}
	stay = append(stay, letter(2000))
	require.NoError(t, spooled.Discard())
	require.NoError(t, shared.Discard())
	stay = append(stay, r.sparse(100, 10)...)
	before, files := r.segmentOctets(), r.segmentFiles()
	r.sweep(time.Minute)
	require.Equal(t, before, r.segmentOctets(), "within the grace time nothing moves")
	for range 4 { // a few segments at a time
		r.sweep(2 * time.Hour)
	}
	require.Less(t, r.segmentOctets(), before/3)
	require.Less(t, r.segmentFiles(), files/2)
	for range 2 {
		require.Equal(t, stay, r.bodies())
		for i, id := range append(ids, more...) {
			b, err := r.st.Spool().Open(t.Context(), id)
			require.NoError(t, err)
			data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
			require.NoError(t, err)
			require.Equal(t, letter(1000+i/2*1000), string(data))
			require.NoError(t, b.Close())
		}
		r.reopen()
	}
	now := r.segmentOctets()
	r.sweep(2 * time.Hour)
	require.Equal(t, now, r.segmentOctets(), "nothing to do")
}

// Readers and writers do not notice.
func TestCompactBusy(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: -1})
	stay := r.sparse(300, 7)
	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := w; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				i := n % snap.Len()
				b, err := mb.Open(t.Context(), snap.At(i))
				if err != nil {
					t.Error(err)
					return
				}
				data := make([]byte, b.Size())
				if _, err := b.ReadAt(data, 0); err != nil || string(data[6:]) != stay[i] {
					t.Errorf("message %d: %v", i, err)
				}
				b.Close()
				for _, err := range mb.Details(t.Context(), []store.Row{snap.At(i)}) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	want := len(stay)
	for i := range 5 {
		want += len(r.sparse(100, 9))
		r.sweep(time.Duration(i) * time.Second)
	}
	close(stop)
	wg.Wait()
	require.Len(t, r.bodies(), want)
}

// Whatever step fails, nothing is lost; the next sweep finishes.
func TestCompactFails(t *testing.T) {
	for name, fail := range map[string]func(r *rig, step *int){
		"full disk": func(r *rig, step *int) {
			r.disk(func(op faultfs.Op, name string) error {
				if *step++; op == faultfs.OpWrite && *step > 2 {
					return syscall.ENOSPC
				}
				return nil
			})
		},
		"sync": func(r *rig, step *int) {
			r.disk(func(op faultfs.Op, name string) error {
				if *step++; op == faultfs.OpDatasync {
					return errDisk
				}
				return nil
			})
		},
		"commit": func(r *rig, step *int) {
			r.database(func(point string) error {
				if point == "commit" {
					if *step++; *step > 2 {
						return errDisk
					}
				}
				return nil
			})
		},
		"remove": func(r *rig, step *int) {
			r.disk(func(op faultfs.Op, name string) error {
				if op == faultfs.OpRemove {
					return errDisk
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{SegmentSize: 1, Grace: -1})
			stay := r.sparse(200, 8)
			r.skew.Add(int64(time.Minute))
			step := 0
			fail(r, &step)
			require.Error(t, r.st.Sweep(t.Context()))
			r.disk(nil)
			r.database(nil)
			require.Equal(t, stay, r.bodies())
			r.reopen()
			before := r.segmentOctets()
			require.Equal(t, stay, r.bodies())
			r.sweep(48 * time.Hour)
			require.Less(t, r.segmentOctets(), before/2)
			require.Equal(t, stay, r.bodies())
		})
	}
}

// A damaged record keeps its segment, and only that.
func TestCompactDamaged(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: -1})
	stay := r.sparse(300, 10)
	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	l, err := r.st.locate(snap.At(2).Ref)
	require.NoError(t, err)
	f, err := os.OpenFile(r.st.seg.path(l.bodySeg), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), l.bodyOff+recHeaderSize+20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	before := r.segmentFiles()
	r.sweep(time.Minute)
	require.Less(t, r.segmentFiles(), before-2)
	require.FileExists(t, r.st.seg.path(l.bodySeg))
	for i, row := range snap.All() {
		b, err := mb.Open(t.Context(), row)
		if i == 2 {
			require.ErrorIs(t, err, store.ErrCorrupt)
			continue
		}
		require.NoError(t, err, fmt.Sprint(i))
		data := make([]byte, b.Size())
		_, err = b.ReadAt(data, 0)
		require.NoError(t, err)
		require.Equal(t, stay[i], string(data[6:]))
		b.Close()
	}
}
