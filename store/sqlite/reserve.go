package sqlite

import (
	"os"
	"path/filepath"
)

// reserveSize is room for the write-ahead log of a few expunges.
const reserveSize = 1 << 20

// A file keeps some room of a disk that others may fill: deleting mail needs
// some, before it makes more.

func (s *Store) reserveFile() string { return filepath.Join(s.dir, "reserve") }

// keepReserve makes the file if it is missing and there is room for it.
func (s *Store) keepReserve() {
	info, err := os.Stat(s.reserveFile())
	if err == nil && info.Size() == reserveSize {
		return
	}
	if err == nil {
		s.opt.fs.Remove(s.reserveFile()) // unfinished
	}
	f, err := s.opt.fs.Create(s.reserveFile())
	if err != nil {
		return
	}
	_, err = f.WriteAt(make([]byte, reserveSize), 0)
	if err == nil {
		err = f.Datasync() // some file systems look for room only now
	}
	f.Close()
	if err != nil {
		s.opt.fs.Remove(s.reserveFile())
	}
}

// spendReserve gives the room free and reports whether there was any.
func (s *Store) spendReserve() bool {
	if s.opt.fs.Remove(s.reserveFile()) != nil {
		return false
	}
	s.opt.Logger.Warn("the disk is full: taking from the reserve")
	return true
}
