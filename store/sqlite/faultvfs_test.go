package sqlite

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store/storetest"
)

// faultyVFSName is SQLite's way to the disk that asks before each step. Its
// files are those of the default one, whose methods it calls.
const faultyVFSName = "posta-faulty"

// faultyVFS stays registered as long as the process lives, so there is one.
var faultyVFS struct {
	once sync.Once
	base *sqlite3.Tsqlite3_vfs
	keep []any // functions SQLite has the addresses of

	mu    sync.Mutex
	disks map[string]*storetest.Disk // by folder
	files map[uintptr]vfsFile
	// Methods of the default files, and those with some replaced.
	methods map[uintptr]uintptr
	failed  map[string]int // failures of syncs, by file
}

type vfsFile struct {
	name   string
	disk   *storetest.Disk
	base   *sqlite3.Tsqlite3_io_methods
	failed int // of faultyVFS.failed, told by this file
}

// pointer hides the conversion from vet: the memory is not Go's.
func pointer[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

// function is what C calls a pointer to f.
func function[F any](f F) uintptr {
	faultyVFS.keep = append(faultyVFS.keep, f)
	i := faultyVFS.keep[len(faultyVFS.keep)-1]
	return (*[2]uintptr)(unsafe.Pointer(&i))[1]
}

// call makes a pointer a function again.
func call[F any](p uintptr) F {
	return *(*F)(unsafe.Pointer(&p))
}

type (
	fnOpen     = func(*libc.TLS, uintptr, uintptr, uintptr, int32, uintptr) int32
	fnDelete   = func(*libc.TLS, uintptr, uintptr, int32) int32
	fnRW       = func(*libc.TLS, uintptr, uintptr, int32, int64) int32
	fnTruncate = func(*libc.TLS, uintptr, int64) int32
	fnSync     = func(*libc.TLS, uintptr, int32) int32
	fnShmMap   = func(*libc.TLS, uintptr, int32, int32, int32, uintptr) int32
)

// registerFaultyVFS makes the VFS known to SQLite.
func registerFaultyVFS() {
	v := &faultyVFS
	v.once.Do(func() {
		v.disks, v.files, v.methods = make(map[string]*storetest.Disk), make(map[uintptr]vfsFile), make(map[uintptr]uintptr)
		v.failed = make(map[string]int)
		tls := libc.NewTLS()
		base := sqlite3.Xsqlite3_vfs_find(tls, 0)
		v.base = pointer[sqlite3.Tsqlite3_vfs](base)
		name, err := libc.CString(faultyVFSName)
		if err != nil {
			panic(err)
		}
		own := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(*v.base)))
		vfs := pointer[sqlite3.Tsqlite3_vfs](own)
		*vfs = *v.base
		vfs.FpNext, vfs.FzName = 0, name
		vfs.FxOpen, vfs.FxDelete = function[fnOpen](vfsOpen), function[fnDelete](vfsDelete)
		if rc := sqlite3.Xsqlite3_vfs_register(tls, own, 0); rc != 0 {
			panic(rc)
		}
	})
}

// disk is the one that a name of a file lies on; nil: one that works.
func vfsDisk(name string) *storetest.Disk {
	faultyVFS.mu.Lock()
	defer faultyVFS.mu.Unlock()
	for dir, d := range faultyVFS.disks {
		if strings.HasPrefix(name, dir+"/") {
			return d
		}
	}
	return nil
}

// vfsFails asks a disk; codes are SQLite's for a full disk and for other errors.
func vfsFails(d *storetest.Disk, op storetest.DiskOp, name string, full, other int32) int32 {
	if d == nil {
		return 0
	}
	switch err := d.Fail(op, name); {
	case err == nil:
		return 0
	case errors.Is(err, syscall.ENOSPC):
		return full
	}
	return other
}

func vfsOpen(tls *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32 {
	v := &faultyVFS
	var path string
	if name != 0 {
		path = libc.GoString(name)
	}
	disk := vfsDisk(path)
	if flags&sqlite3.SQLITE_OPEN_CREATE != 0 {
		if rc := vfsFails(disk, storetest.DiskCreate, path, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CANTOPEN); rc != 0 {
			pointer[sqlite3.Tsqlite3_file](file).FpMethods = 0
			return rc
		}
	}
	rc := call[fnOpen](v.base.FxOpen)(tls, vfs, name, file, flags, out)
	f := pointer[sqlite3.Tsqlite3_file](file)
	if rc != 0 || f.FpMethods == 0 || disk == nil {
		return rc
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	base := pointer[sqlite3.Tsqlite3_io_methods](f.FpMethods)
	v.files[file] = vfsFile{path, disk, base, v.failed[path]}
	own := v.methods[f.FpMethods]
	if own == 0 {
		own = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(*base)))
		m := pointer[sqlite3.Tsqlite3_io_methods](own)
		*m = *base
		m.FxRead, m.FxWrite = function[fnRW](vfsRead), function[fnRW](vfsWrite)
		m.FxTruncate, m.FxSync = function[fnTruncate](vfsTruncate), function[fnSync](vfsSync)
		if m.FxShmMap != 0 {
			m.FxShmMap = function[fnShmMap](vfsShmMap)
		}
		v.methods[f.FpMethods] = own
	}
	f.FpMethods = own
	return 0
}

func vfsOf(file uintptr) vfsFile {
	faultyVFS.mu.Lock()
	defer faultyVFS.mu.Unlock()
	return faultyVFS.files[file]
}

func vfsDelete(tls *libc.TLS, vfs, name uintptr, syncDir int32) int32 {
	path := libc.GoString(name)
	if rc := vfsFails(vfsDisk(path), storetest.DiskChange, path, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_DELETE); rc != 0 {
		return rc
	}
	return call[fnDelete](faultyVFS.base.FxDelete)(tls, vfs, name, syncDir)
}

func vfsRead(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	f := vfsOf(file)
	if rc := vfsFails(f.disk, storetest.DiskRead, f.name, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_READ); rc != 0 {
		return rc
	}
	return call[fnRW](f.base.FxRead)(tls, file, buf, n, off)
}

func vfsWrite(tls *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	f := vfsOf(file)
	write := call[fnRW](f.base.FxWrite)
	if rc := vfsFails(f.disk, storetest.DiskWrite, f.name, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE); rc != 0 {
		write(tls, file, buf, n/2, off)
		return rc
	}
	return write(tls, file, buf, n, off)
}

func vfsTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := vfsOf(file)
	if rc := vfsFails(f.disk, storetest.DiskChange, f.name, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_TRUNCATE); rc != 0 {
		return rc
	}
	return call[fnTruncate](f.base.FxTruncate)(tls, file, size)
}

// vfsSync fails as on Linux, where each open file tells once of a failure.
func vfsSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := vfsOf(file)
	v := &faultyVFS
	v.mu.Lock()
	told := f.failed == v.failed[f.name]
	if !told {
		f.failed = v.failed[f.name]
		v.files[file] = f
	}
	v.mu.Unlock()
	if !told {
		return sqlite3.SQLITE_IOERR_FSYNC
	}
	if rc := vfsFails(f.disk, storetest.DiskSync, f.name, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_FSYNC); rc != 0 {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.failed[f.name]++
		f.failed = v.failed[f.name]
		v.files[file] = f
		return rc
	}
	return call[fnSync](f.base.FxSync)(tls, file, flags)
}

func vfsShmMap(tls *libc.TLS, file uintptr, page, size, extend int32, out uintptr) int32 {
	f := vfsOf(file)
	if extend != 0 {
		if rc := vfsFails(f.disk, storetest.DiskWrite, f.name+"-shm", sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMSIZE); rc != 0 {
			return rc
		}
	}
	return call[fnShmMap](f.base.FxShmMap)(tls, file, page, size, extend, out)
}

// deaf takes every sync for done.
type deaf struct{ faultfs.FS }

type deafFile struct{ faultfs.File }

func (f deafFile) Datasync() error { f.File.Datasync(); return nil }

func (f deaf) Create(name string) (faultfs.File, error) {
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return deafFile{file}, nil
}

// OpenDeaf is OpenFaulty with a store that does not hear of failed syncs.
func OpenDeaf(o Options, dir string, d *storetest.Disk) (*Store, error) {
	o = faulty(o, dir, d)
	o.fs = deaf{o.fs}
	return o.Open(dir)
}

// OpenFaulty opens the store in a folder on a disk that may fail.
func OpenFaulty(o Options, dir string, d *storetest.Disk) (*Store, error) {
	return faulty(o, dir, d).Open(dir)
}

func faulty(o Options, dir string, d *storetest.Disk) Options {
	registerFaultyVFS()
	faultyVFS.mu.Lock()
	faultyVFS.disks[dir] = d
	faultyVFS.mu.Unlock()
	o.dsn = func(dsn string) string { return dsn + "&vfs=" + faultyVFSName }
	kinds := map[faultfs.Op]storetest.DiskOp{
		faultfs.OpCreate: storetest.DiskCreate, faultfs.OpOpen: storetest.DiskRead, faultfs.OpRead: storetest.DiskRead,
		faultfs.OpWrite: storetest.DiskWrite, faultfs.OpRename: storetest.DiskChange, faultfs.OpRemove: storetest.DiskChange,
		faultfs.OpTruncate: storetest.DiskChange, faultfs.OpDatasync: storetest.DiskSync, faultfs.OpSyncDir: storetest.DiskSync,
	}
	o.fs = faultfs.Faulty{FS: faultfs.OS{}, Fail: func(op faultfs.Op, name string) error { return d.Fail(kinds[op], name) }}
	return o
}
