package faultfs

// Op names an operation that can be made to fail.
type Op string

// The operations.
const (
	OpCreate   Op = "create"
	OpOpen     Op = "open"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpSyncDir  Op = "syncdir"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpTruncate Op = "truncate"
	OpDatasync Op = "datasync"
)

// Faulty asks Fail before every operation and returns its error, if it gives
// one, instead of carrying the operation out. A write that fails has written
// the first half of its octets, as a full disk does.
type Faulty struct {
	FS   FS
	Fail func(op Op, name string) error
}

func (f Faulty) file(op Op, name string, open func(string) (File, error)) (File, error) {
	if err := f.Fail(op, name); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return faultyFile{file, name, f.Fail}, nil
}

// Create implements FS.
func (f Faulty) Create(name string) (File, error) { return f.file(OpCreate, name, f.FS.Create) }

// Open implements FS.
func (f Faulty) Open(name string) (File, error) { return f.file(OpOpen, name, f.FS.Open) }

// OpenRead implements FS.
func (f Faulty) OpenRead(name string) (File, error) { return f.file(OpOpen, name, f.FS.OpenRead) }

// Rename implements FS.
func (f Faulty) Rename(from, to string) error {
	if err := f.Fail(OpRename, from); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// Remove implements FS.
func (f Faulty) Remove(name string) error {
	if err := f.Fail(OpRemove, name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// SyncDir implements FS.
func (f Faulty) SyncDir(dir string) error {
	if err := f.Fail(OpSyncDir, dir); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

type faultyFile struct {
	File
	name string
	fail func(op Op, name string) error
}

func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fail(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fail(OpWrite, f.name); err != nil {
		n, werr := f.File.WriteAt(p[:len(p)/2], off)
		if werr != nil {
			return n, werr
		}
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f faultyFile) Truncate(size int64) error {
	if err := f.fail(OpTruncate, f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f faultyFile) Datasync() error {
	if err := f.fail(OpDatasync, f.name); err != nil {
		return err
	}
	return f.File.Datasync()
}
