//go:build unix && !solaris && !illumos && !aix

package password

import (
	"os"
	"syscall"
	"time"
)

// lockable says whether lockFolder keeps other processes away.
const lockable = true

// lockFolder waits for the lock by which programs that change a file in the
// folder exclude each other. It ends with the process. Whoever may read the folder
// can take it, and keep it: ErrLocked after patience.
func lockFolder(dir string, patience time.Duration) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if again := err == syscall.EWOULDBLOCK || err == syscall.EINTR; !again || time.Now().After(deadline) {
			f.Close()
			if again {
				err = ErrLocked
			}
			return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
		}
		time.Sleep(pause)
	}
}

// syncFolder makes a rename durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// keepOwner gives a file the owner of the one it replaces, where the process
// may: an administrator's tool must not take the file from the server. Who is not
// the owner's equal may still give it to a group of his own. It returns the bits of
// the mode that are not to be kept: what another group was allowed is not for
// the process's.
func keepOwner(f *os.File, old os.FileInfo) (not os.FileMode) {
	st, ok := old.Sys().(*syscall.Stat_t)
	if !ok || f.Chown(int(st.Uid), int(st.Gid)) == nil || f.Chown(-1, int(st.Gid)) == nil {
		return 0
	}
	return 0o070
}
