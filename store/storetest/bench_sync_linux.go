package storetest

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// syncData makes a file's octets durable, and of what is known about it only
// what is needed to read them.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// processWritten is how many octets this process has caused to be written to
// disks; 0 if that is not known.
func processWritten() int64 {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(data, []byte("\nwrite_bytes: "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, _ := strconv.ParseInt(string(line), 10, 64)
	return n
}
