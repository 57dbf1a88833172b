//go:build unix

package maildir

import (
	"errors"
	"os"
	"syscall"
)

const (
	// infoMark stands between the base of a file name and its flags.
	infoMark = ':'

	errDiskFull = syscall.ENOSPC
	errQuota    = syscall.EDQUOT
)

// tryLock takes an exclusive lock that goes with the file, also when the
// process is killed; false if another opener has it.
func tryLock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}

func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// openRegular opens a file for reading that another program can replace at any
// time: no link is followed, and no pipe waited for.
func openRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		err = errLink
	}
	return f, err
}

// syncDir makes the names in a folder durable.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems have no need
		return err
	}
	return nil
}
