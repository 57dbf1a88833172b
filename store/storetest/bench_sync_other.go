//go:build !linux

package storetest

import "os"

func syncData(f *os.File) error { return f.Sync() }

func processWritten() int64 { return 0 }
