package sqlite

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"

	"github.com/posta-mail/posta/store"
)

// errDiskFull is what the system calls a full disk.
const errDiskFull = windows.ERROR_DISK_FULL

// lockFolder takes the folder for this process. The lock goes with the file,
// also when the process is killed.
func lockFolder(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped)); err != nil {
		f.Close()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			return nil, fmt.Errorf("%w: %s is locked by another opener", store.ErrInUse, name)
		}
		return nil, &os.PathError{Op: "LockFileEx", Path: name, Err: err}
	}
	return f, nil
}
