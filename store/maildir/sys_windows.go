package maildir

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

const (
	// infoMark stands between the base of a file name and its flags. Windows
	// has another use for the colon.
	infoMark = ';'

	errDiskFull = windows.ERROR_DISK_FULL
	errQuota    = windows.ERROR_DISK_QUOTA_EXCEEDED
)

// tryLock takes an exclusive lock that goes with the file, also when the
// process is killed; false if another opener has it.
func tryLock(f *os.File) (bool, error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "LockFileEx", Path: f.Name(), Err: err}
	}
	return true, nil
}

func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, new(windows.Overlapped))
}

// openRegular opens a file for reading that another program can replace at any
// time: no link is followed.
func openRegular(name string) (*os.File, error) {
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, errLink
	}
	return os.Open(name)
}

// syncDir does nothing: folders cannot be synced here.
func syncDir(string) error { return nil }
