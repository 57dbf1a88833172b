package sqlite

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func samplePlacement() (*placing, []byte) {
	p := &placing{body: &staged{size: 7}, prefix: []byte("X: y\r\n"), outline: []byte("outline"), account: "anna", mailbox: "Work/Old",
		uid: 9, uidValidity: 77, date: -5, saved: 1000, flags: []store.Flag{store.FlagSeen, "todo"}, uidl: "u1"}
	w := new(recordWriter)
	return p, w.placement(p, 1234, bodyLoc{id: 99})
}

// What the committer writes is read again, of both versions.
func TestPlacement(t *testing.T) {
	_, b := samplePlacement()
	want := placement{prefix: 6, ref: 1234, body: 99, bodySize: 7, account: "anna", mailbox: "Work/Old", uid: 9,
		uidValidity: 77, date: -5, saved: 1000, flags: []store.Flag{store.FlagSeen, "todo"}, uidl: "u1"}
	got, ok := parsePlacement(b, 2)
	require.True(t, ok)
	require.Equal(t, want, got)
	ref, body, ok := placementIDs(b)
	require.True(t, ok)
	require.EqualValues(t, 1234, ref)
	require.EqualValues(t, 99, body)
	for n := range b {
		_, ok := parsePlacement(b[:n], 2)
		require.False(t, ok, "cut at %d", n)
	}
	_, ok = parsePlacement(append(b, 0), 2)
	require.False(t, ok)
}

// FuzzPlacement: a record whose checksum fits may still hold anything.
func FuzzPlacement(f *testing.F) {
	_, b := samplePlacement()
	f.Add(b, byte(2))
	f.Add([]byte{0, 0, 1, 1, 0, 1, 'a', 1, 'b', 1, 0, 0}, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, version byte) {
		p, ok := parsePlacement(b, version)
		ref, body, has := placementIDs(b)
		if ok && (!has || ref != p.ref || body != p.body) {
			t.Fatalf("%v %v of %v", ref, body, p)
		}
		if ok && (p.uid == 0 || p.bodySize < 0 || len(p.flags) > len(b)) {
			t.Fatalf("%v", p)
		}
	})
}
