//go:build !unix || solaris || illumos || aix

package password

import (
	"os"
	"time"
)

// lockable says whether lockFolder keeps other processes away.
const lockable = false

// lockFolder does nothing: only within this process do writers exclude each
// other here.
func lockFolder(string, time.Duration) (unlock func(), err error) { return func() {}, nil }

// syncFolder does nothing: folders cannot be synced here.
func syncFolder(string) error { return nil }

func keepOwner(*os.File, os.FileInfo) (not os.FileMode) { return 0 }
