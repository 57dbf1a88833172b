package faultfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOS(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	f, err := OS{}.Create(a)
	require.NoError(t, err)
	_, err = OS{}.Create(a)
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = f.WriteAt([]byte("hello"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Datasync())
	require.NoError(t, f.Truncate(4))
	require.NoError(t, f.Close())
	require.Error(t, f.Datasync())
	require.NoError(t, OS{}.Rename(a, b))
	require.NoError(t, OS{}.SyncDir(dir))
	_, err = OS{}.Open(a)
	require.ErrorIs(t, err, fs.ErrNotExist)
	f, err = OS{}.OpenRead(b)
	require.NoError(t, err)
	p := make([]byte, 4)
	_, err = f.ReadAt(p, 0)
	require.NoError(t, err)
	require.Equal(t, "hell", string(p))
	require.NoError(t, f.Close())
	f, err = OS{}.Open(b)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, OS{}.Remove(b))
	require.Error(t, OS{}.SyncDir(b))
}

func TestFaulty(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a")
	broken := errors.New("broken")
	var fail Op
	fsys := Faulty{FS: OS{}, Fail: func(op Op, name string) error {
		if op == fail {
			return broken
		}
		return nil
	}}
	fail = OpCreate
	_, err := fsys.Create(a)
	require.ErrorIs(t, err, broken)
	require.NoFileExists(t, a)
	fail = ""
	f, err := fsys.Create(a)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("good"), 0)
	require.NoError(t, err)
	for op, call := range map[Op]func() error{
		OpOpen:     func() error { _, err := fsys.Open(a); return err },
		OpRename:   func() error { return fsys.Rename(a, a+"x") },
		OpRemove:   func() error { return fsys.Remove(a) },
		OpSyncDir:  func() error { return fsys.SyncDir(dir) },
		OpRead:     func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		OpTruncate: func() error { return f.Truncate(0) },
		OpDatasync: f.Datasync,
	} {
		fail = op
		require.ErrorIs(t, call(), broken, op)
		fail = ""
		require.FileExists(t, a)
	}
	fail = OpWrite
	n, err := f.WriteAt([]byte("half"), 4)
	require.ErrorIs(t, err, broken)
	require.Equal(t, 2, n)
	data, err := os.ReadFile(a)
	require.NoError(t, err)
	require.Equal(t, "goodha", string(data))
	fail = ""
	require.NoError(t, f.Datasync())
	require.NoError(t, fsys.SyncDir(dir))
	require.NoError(t, fsys.Rename(a, a+"x"))
	require.NoError(t, fsys.Remove(a+"x"))
	require.NoFileExists(t, a+"x")
}
