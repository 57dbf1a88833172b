//go:build !linux

package faultfs

import (
	"os"
	"runtime"
)

func datasync(f *os.File) error { return f.Sync() }

func syncDir(d *os.File) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there; NTFS journals their entries
	}
	return d.Sync()
}
