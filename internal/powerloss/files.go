package powerloss

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// node is a file or a folder: what is durable of it, and what is not yet, in
// the order in which it was done.
type node struct {
	folder  bool
	content []byte           // of a file
	entries map[string]*node // of a folder
	pending []*change

	now  map[string]*node // a folder as the program sees it
	size int64            // a file, likewise

	fleeting bool // its content need not survive, and does not
}

func newNode(folder bool) *node {
	n := &node{folder: folder}
	if folder {
		n.entries, n.now = make(map[string]*node), make(map[string]*node)
	}
	return n
}

type changeKind uint8

const (
	write changeKind = iota
	truncate
	link
	unlink
)

// change is one that is not durable.
type change struct {
	kind  changeKind
	of    *node
	order int // the end of the call
	point int // at which it was first pending

	off   int64 // write
	data  []byte
	size  int64 // truncate
	name  string
	entry *node // link
	// An unlink that is half of a renaming happens only with its link. In one
	// folder both are one change: also is the other.
	also, needs *change
}

func (c *change) String() string {
	switch c.kind {
	case write:
		return fmt.Sprintf("write %d+%d", c.off, len(c.data))
	case truncate:
		return fmt.Sprintf("truncate %d", c.size)
	case link:
		return "link " + c.name
	}
	return "unlink " + c.name
}

// files are the files below a folder while a program runs.
type files struct {
	root string
	top  *node
	fds  map[int64]*opened
	out  []byte // what the program said, not yet taken
	at   int    // the point that comes next
}

// opened is an open file or folder, perhaps under several numbers.
type opened struct {
	n        *node // nil: outside the root
	output   bool
	readable bool
	appends  bool
	pos      int64
}

// load takes what is in the folder for durable.
func load(dir string) (*node, error) {
	n := newNode(true)
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		var child *node
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			child, err = load(name)
		} else {
			child = newNode(false)
			child.content, err = os.ReadFile(name)
			child.size = int64(len(child.content))
		}
		if err != nil {
			return nil, err
		}
		n.entries[e.Name()], n.now[e.Name()] = child, child
	}
	return n, nil
}

// add notes a change of a node that the call has made.
func (f *files) add(c *change) *change {
	c.point = f.at
	c.of.pending = append(c.of.pending, c)
	return c
}

// split takes a path below the root apart: the folder that holds it, and its
// name there. ok is false outside the root; the root itself has no name.
func (f *files) split(path string) (folder *node, name string, ok bool) {
	path = filepath.Clean(path)
	if path == f.root {
		return f.top, "", true
	}
	rest, ok := strings.CutPrefix(path, f.root+"/")
	if !ok {
		return nil, "", false
	}
	folder = f.top
	for {
		first, more, deeper := strings.Cut(rest, "/")
		if !deeper {
			return folder, first, true
		}
		if folder = folder.now[first]; folder == nil || !folder.folder {
			return nil, "", false
		}
		rest = more
	}
}

// find is the file or folder at a path; nil if there is none.
func (f *files) find(path string) *node {
	folder, name, ok := f.split(path)
	if !ok || name == "" {
		return folder
	}
	return folder.now[name]
}

// enter puts a node into a folder.
func (f *files) enter(order int, folder *node, name string, entry *node) *change {
	folder.now[name] = entry
	return f.add(&change{kind: link, of: folder, order: order, name: name, entry: entry})
}

func (f *files) leave(order int, folder *node, name string) *change {
	delete(folder.now, name)
	return f.add(&change{kind: unlink, of: folder, order: order, name: name})
}

func (f *files) rename(order int, from, to string) error {
	oldFolder, oldName, ok1 := f.split(from)
	newFolder, newName, ok2 := f.split(to)
	if !ok1 && !ok2 {
		return nil
	}
	if !ok1 || !ok2 || oldName == "" || newName == "" || oldFolder.now[oldName] == nil {
		return fmt.Errorf("%w: renaming %q to %q", ErrTrace, from, to)
	}
	in := f.enter(order, newFolder, newName, oldFolder.now[oldName])
	if oldFolder == newFolder {
		delete(oldFolder.now, oldName)
		in.also = &change{kind: unlink, of: oldFolder, order: order, name: oldName}
		return nil
	}
	f.leave(order, oldFolder, oldName).needs = in
	return nil
}

// put writes at a place.
func (f *files) put(order int, n *node, off int64, data []byte) error {
	if off < 0 || off > maxFile-int64(len(data)) {
		return fmt.Errorf("%w: writing at %d", ErrTrace, off)
	}
	if len(data) > 0 {
		f.add(&change{kind: write, of: n, order: order, off: off, data: data})
		n.size = max(n.size, off+int64(len(data)))
	}
	return nil
}

func (f *files) resize(order int, n *node, size int64) error {
	if size < 0 || size > maxFile {
		return fmt.Errorf("%w: size %d", ErrTrace, size)
	}
	f.add(&change{kind: truncate, of: n, order: order, size: size})
	n.size = size
	return nil
}

// sync makes durable what was done to a node before the call began.
func (n *node) sync(begin int) {
	i := 0
	for ; i < len(n.pending) && n.pending[i].order < begin; i++ {
		c := n.pending[i]
		if c.needs != nil && c.needs.pending() { // a renaming is never half lost
			c.needs.enter(c.needs.of.entries)
			c.needs.of.pending = slices.DeleteFunc(c.needs.of.pending, func(o *change) bool { return o == c.needs })
		}
		if n.folder {
			c.enter(n.entries)
		} else {
			n.content = c.apply(n.content, nil)
		}
	}
	n.pending = n.pending[i:]
}

// enter makes a change to a folder's entries.
func (c *change) enter(entries map[string]*node) {
	if c.kind == link {
		entries[c.name] = c.entry
	} else {
		delete(entries, c.name)
	}
	if c.also != nil {
		c.also.enter(entries)
	}
}

// apply makes a change to a file's content; torn says what of it.
func (c *change) apply(b []byte, torn *tear) []byte {
	end := c.size
	if c.kind == write {
		end = c.off + int64(len(c.data))
		if torn != nil {
			end = c.off + torn.grow
		}
		end = max(end, int64(len(b)))
	}
	if n := end - int64(len(b)); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	if b = b[:end]; c.kind == truncate {
		return b
	}
	if torn == nil {
		copy(b[c.off:], c.data)
		return b
	}
	for _, p := range torn.parts {
		copy(b[c.off+p[0]:], c.data[p[0]:p[1]])
	}
	return b
}
