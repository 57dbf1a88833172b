package powerloss

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Walk follows the calls of a program on the files below root, an absolute path
// without symbolic links, where at first is what start holds, a copy made
// before the program ran; "" for nothing. It calls visit before every sync, and
// at the end. The Point is good during the call.
func Walk(list []Call, root, start string, visit func(p *Point) error) error {
	f := &files{root: filepath.Clean(root), top: newNode(true), fds: map[int64]*opened{1: {output: true}}}
	if start != "" {
		var err error
		if f.top, err = load(start); err != nil {
			return err
		}
	}
	type event struct {
		order int
		call  *Call
	}
	var events []event
	for i := range list {
		events = append(events, event{list[i].Begin, &list[i]})
		if list[i].End > list[i].Begin {
			events = append(events, event{list[i].End, &list[i]})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.order, b.order) })
	for _, e := range events {
		err := error(nil)
		if e.order == e.call.Begin {
			err = f.begin(e.call, visit)
		}
		// A call on one line begins and ends there.
		if err == nil && (e.order == e.call.End || e.call.End == e.call.Begin) && e.call.Ret != -1 {
			err = f.end(e.call)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", e.order, err)
		}
	}
	return f.visit(visit)
}

func (f *files) visit(visit func(p *Point) error) error {
	p := &Point{Said: f.out, top: f.top, Number: f.at, pending: f.top.unsynced()}
	f.out = nil
	f.at++
	return visit(p)
}

// begin takes in what counts from a call's beginning: what it says has then
// been heard, and a number that is closed may be given again.
func (f *files) begin(c *Call, visit func(p *Point) error) error {
	switch c.Name {
	case "write":
		if o, err := f.opened(c, 0); err != nil || o == nil || !o.output {
			return err
		}
		data, err := c.data(1)
		f.out = append(f.out, data...)
		return err
	case "close":
		fd, err := c.number(0)
		delete(f.fds, fd)
		return err
	case "fsync", "fdatasync":
		if o, err := f.opened(c, 0); err != nil || o == nil || o.n == nil {
			return err
		}
		return f.visit(visit)
	}
	return nil
}

// opened is what a number stands for; nil if that is nothing of ours.
func (f *files) opened(c *Call, i int) (*opened, error) {
	fd, err := c.number(i)
	return f.fds[fd], err
}

// path is the path that argument i names, relative to the folder of argument
// dir; there is none if that is negative.
func (f *files) path(c *Call, dir, i int) (string, error) {
	b, err := c.data(i)
	path := string(b)
	if err != nil || filepath.IsAbs(path) {
		return path, err
	}
	if dir >= 0 && c.arg(dir) != "AT_FDCWD" {
		if o, err := f.opened(c, dir); err != nil || o == nil || o.n == nil {
			return "", err // outside
		}
		return "", fmt.Errorf("%w: %s relative to a folder", ErrTrace, c.Name)
	}
	return "", nil // the working folder is not ours
}

// end takes in what a call that succeeded has done.
func (f *files) end(c *Call) error {
	switch c.Name {
	case "openat":
		return f.open(c, 0, 1, 2)
	case "open":
		return f.open(c, -1, 0, 1)
	case "dup", "dup2", "dup3":
		return f.dup(c)
	case "fcntl":
		if !strings.HasPrefix(c.arg(1), "F_DUPFD") {
			return nil
		}
		return f.dup(c)
	case "write", "writev", "pwrite64", "pwritev", "pwritev2":
		return f.write(c)
	case "lseek", "ftruncate", "fallocate", "fsync", "fdatasync", "mmap", "sync_file_range":
		return f.file(c)
	case "rename", "renameat", "renameat2", "link", "linkat":
		return f.twoNames(c)
	case "unlink", "rmdir", "unlinkat", "mkdir", "mkdirat":
		return f.oneName(c)
	case "truncate", "creat", "symlink", "symlinkat":
		for i := range min(3, len(c.Args)) {
			if p, err := c.data(i); err == nil {
				if _, _, ok := f.split(string(p)); ok {
					return fmt.Errorf("%w: %s is not modelled", ErrTrace, c.Name)
				}
			}
		}
	case "copy_file_range", "sendfile", "splice":
		for i := range min(4, len(c.Args)) {
			if o, err := f.opened(c, i); err == nil && o != nil && o.n != nil {
				return fmt.Errorf("%w: %s is not modelled", ErrTrace, c.Name)
			}
		}
	case "io_uring_setup":
		return fmt.Errorf("%w: %s is not modelled", ErrTrace, c.Name)
	}
	return nil
}

func (f *files) open(c *Call, dir, path, flags int) error {
	name, err := f.path(c, dir, path)
	if err != nil {
		return err
	}
	delete(f.fds, c.Ret)
	folder, base, ok := f.split(name)
	if name == "" || !ok {
		return nil
	}
	n := f.find(name)
	if n == nil {
		if base == "" || !c.flag(flags, "O_CREAT") {
			return fmt.Errorf("%w: %q opened, but never made", ErrTrace, name)
		}
		n = newNode(false)
		f.enter(c.End, folder, base, n)
	}
	if c.flag(flags, "O_TRUNC") && n.size > 0 {
		if err := f.resize(c.End, n, 0); err != nil {
			return err
		}
	}
	f.fds[c.Ret] = &opened{n: n, readable: !c.flag(flags, "O_WRONLY"), appends: c.flag(flags, "O_APPEND")}
	return nil
}

func (f *files) dup(c *Call) error {
	o, err := f.opened(c, 0)
	if err != nil {
		return err
	}
	delete(f.fds, c.Ret)
	if o != nil {
		f.fds[c.Ret] = o
	}
	return nil
}

func (f *files) write(c *Call) error {
	o, err := f.opened(c, 0)
	if err != nil || o == nil || o.n == nil {
		return err
	}
	data, err := c.data(1)
	if err != nil {
		return err
	}
	if c.Ret < 0 || c.Ret > int64(len(data)) || o.n.folder {
		return fmt.Errorf("%w: %d of %d octets written", ErrTrace, c.Ret, len(data))
	}
	data = data[:c.Ret]
	if strings.HasPrefix(c.Name, "p") {
		off, err := c.number(3)
		if err != nil {
			return err
		}
		return f.put(c.End, o.n, off, data)
	}
	if o.appends {
		o.pos = o.n.size
	} else if o.readable {
		return fmt.Errorf("%w: written at a position that reading may have moved", ErrTrace)
	}
	at := o.pos
	o.pos += c.Ret
	return f.put(c.End, o.n, at, data)
}

// file is a call on an open file.
func (f *files) file(c *Call) error {
	if c.Name == "mmap" {
		return f.mmap(c)
	}
	o, err := f.opened(c, 0)
	if err != nil || o == nil || o.n == nil {
		return err
	}
	switch c.Name {
	case "lseek":
		o.pos = c.Ret
	case "fsync", "fdatasync":
		o.n.sync(c.Begin)
	case "ftruncate":
		size, err := c.number(1)
		if err != nil {
			return err
		}
		return f.resize(c.End, o.n, size)
	case "fallocate":
		off, err1 := c.number(2)
		size, err2 := c.number(3)
		if err1 != nil || err2 != nil || c.arg(1) != "0" {
			return fmt.Errorf("%w: fallocate is not modelled", ErrTrace)
		}
		if off > maxFile || size > maxFile {
			return fmt.Errorf("%w: fallocate of %d", ErrTrace, size)
		}
		return f.resize(c.End, o.n, max(o.n.size, off+size))
	}
	return nil
}

// mmap refuses memory through which files can be written unseen, but for those
// of which SQLite makes new ones anyway.
func (f *files) mmap(c *Call) error {
	if !c.flag(2, "PROT_WRITE") || !c.flag(3, "MAP_SHARED") || c.arg(4) == "-1" {
		return nil
	}
	o, err := f.opened(c, 4)
	if err != nil || o == nil || o.n == nil {
		return err
	}
	if !f.top.named(o.n, "-shm") {
		return fmt.Errorf("%w: a file mapped for writing", ErrTrace)
	}
	o.n.fleeting = true
	return nil
}

// named reports whether a file below a folder has a name with this end.
func (n *node) named(file *node, end string) bool {
	for name, e := range n.now {
		if e == file && strings.HasSuffix(name, end) || e.folder && e.named(file, end) {
			return true
		}
	}
	return false
}

func (f *files) twoNames(c *Call) error {
	dir1, path1, dir2, path2 := -1, 0, -1, 1
	if strings.Contains(c.Name, "at") {
		dir1, path1, dir2, path2 = 0, 1, 2, 3
	}
	from, err := f.path(c, dir1, path1)
	if err != nil {
		return err
	}
	to, err := f.path(c, dir2, path2)
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.Name, "rename") {
		if c.Name == "renameat2" && c.flag(4, "RENAME_EXCHANGE") {
			return fmt.Errorf("%w: RENAME_EXCHANGE is not modelled", ErrTrace)
		}
		return f.rename(c.End, from, to)
	}
	folder, name, ok := f.split(to)
	n := f.find(from)
	if !ok || name == "" || n == nil {
		return nil
	}
	f.enter(c.End, folder, name, n)
	return nil
}

func (f *files) oneName(c *Call) error {
	dir, path := -1, 0
	if strings.HasSuffix(c.Name, "at") {
		dir, path = 0, 1
	}
	at, err := f.path(c, dir, path)
	if err != nil {
		return err
	}
	folder, name, ok := f.split(at)
	switch {
	case !ok || name == "":
	case strings.HasPrefix(c.Name, "mkdir"):
		f.enter(c.End, folder, name, newNode(true))
	case folder.now[name] == nil:
		return fmt.Errorf("%w: %q removed, but never made", ErrTrace, at)
	default:
		f.leave(c.End, folder, name)
	}
	return nil
}
