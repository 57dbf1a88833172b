package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/store"
)

// Maildir is a Maildir with its Maildir++ folders: Source and Sink. It is plain
// copying of files, whoever made them; store/maildir serves one.
//
// As a Source it is the folder that has cur and new, the INBOX, or whose
// folders have them: folders named ".A.B" and, as other programs nest them,
// "A/B" are mailboxes. Flags are read from the names of the files, keywords
// from dovecot-keywords, the internal date is the time of the last change, and
// unique-ids of POP3 come from dovecot-uidlist. Lines may end in LF or CRLF.
// Messages come in the order of the numbers that names begin with. The names of
// one mailbox's files are held in memory, some 100 octets each.
//
// As a Sink it has lines that end in LF, and what is there already, by the same
// source, is not written twice, with or without a Checkpoint.
type Maildir struct{ Path string }

// Identity implements Source and Sink.
func (d Maildir) Identity() string { return "maildir:" + absolute(d.Path) }

// Folders implements Source.
func (d Maildir) Folders(ctx context.Context) ([]Folder, error) {
	w := &maildirWalk{ctx: ctx, root: d.Path, subscribed: readSubscriptions(filepath.Join(d.Path, subscriptionsFile))}
	err := w.walk(".", "", 0)
	return w.folders, err
}

// maildirWalk collects folders.
type maildirWalk struct {
	ctx        context.Context
	root       string
	folders    []Folder
	subscribed map[string]bool
}

// walk looks at one folder; name is its mailbox.
func (w *maildirWalk) walk(rel, name string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	dir := filepath.Join(w.root, rel)
	entries, err := os.ReadDir(dir)
	if err != nil {
		if depth == 0 {
			return err
		}
		return w.add(Folder{Name: name, Key: filepath.ToSlash(rel), Err: err})
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return (e.Name() == "cur" || e.Name() == "new") && e.IsDir() }) {
		f := Folder{Name: name, Key: filepath.ToSlash(rel), Octets: -1}
		if depth == 0 {
			f.Name = store.Inbox
		}
		f.Messages = countFiles(filepath.Join(dir, "cur")) + countFiles(filepath.Join(dir, "new"))
		f.Subscribed = w.subscribed[f.Name]
		if err := w.add(f); err != nil {
			return err
		}
	}
	if depth > store.MaxNameLevels {
		return w.add(Folder{Name: name, Key: filepath.ToSlash(rel), Err: fmt.Errorf("%w: more than %d levels", ErrLimit, store.MaxNameLevels)})
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "cur" || e.Name() == "new" || e.Name() == "tmp" {
			continue
		}
		var sub string
		if dots, ok := strings.CutPrefix(e.Name(), "."); ok {
			sub = maildirMailbox(dots)
		} else {
			sub = decodeLevel(e.Name())
		}
		if name != "" {
			sub = name + string(store.Separator) + sub
		}
		if err := w.walk(filepath.Join(rel, e.Name()), sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *maildirWalk) add(f Folder) error {
	if len(w.folders) >= maxFolders {
		return fmt.Errorf("%w: more than %d folders", ErrLimit, maxFolders)
	}
	w.folders = append(w.folders, f)
	return nil
}

// eachFile calls fn with the names in a folder, without those that are hidden;
// one that is missing has none.
func eachFile(dir string, fn func(name string) bool) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1000)
		for _, n := range names {
			if n[0] != '.' && !fn(n) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func countFiles(dir string) (n int) {
	eachFile(dir, func(string) bool { n++; return true })
	return n
}

// maildirFile is a message.
type maildirFile struct {
	name  string
	base  int // length of what stays
	fresh bool
}

func (f maildirFile) key() string { return f.name[:f.base] }

// listMaildir lists the messages of a folder in order.
func listMaildir(dir string) ([]maildirFile, error) {
	var files []maildirFile
	for _, sub := range []string{"cur", "new"} {
		err := eachFile(filepath.Join(dir, sub), func(name string) bool {
			base, _ := splitInfo(name)
			files = append(files, maildirFile{name, len(base), sub == "new"})
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(files, func(a, b maildirFile) int { return compareBase(a.key(), b.key()) })
	// One that was moved from new to cur in between is there twice.
	return slices.CompactFunc(files, func(a, b maildirFile) bool { return a.key() == b.key() }), nil
}

// Messages implements Source.
func (d Maildir) Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		if !filepath.IsLocal(filepath.FromSlash(f.key())) {
			yield(nil, fmt.Errorf("%w: folder %q", store.ErrInvalidName, f.key()))
			return
		}
		r := &maildirReader{dir: filepath.Join(d.Path, filepath.FromSlash(f.key()))}
		files, err := listMaildir(r.dir)
		if err != nil {
			yield(nil, err)
			return
		}
		r.keywords = readKeywords(filepath.Join(r.dir, keywordsFile))
		uidls := readUIDLs(filepath.Join(r.dir, "dovecot-uidlist"))
		first := 0
		if after != "" {
			first, _ = slices.BinarySearchFunc(files, after, func(f maildirFile, after string) int {
				return cmpAfter(compareBase(f.key(), after))
			})
		}
		for _, file := range files[first:] {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			m := &Message{ID: file.key(), Position: file.key(), UIDL: uidls[file.key()], Size: -1}
			open, err := r.open(file, m)
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted meanwhile
			}
			if err != nil {
				if !yield(m, fmt.Errorf("%w: %w", ErrBroken, err)) {
					return
				}
				continue
			}
			m.Body = newCRLFReader(brokenFile{open})
			more := yield(m, nil)
			open.Close()
			if !more {
				return
			}
		}
	}
}

// cmpAfter makes a search find what comes behind.
func cmpAfter(c int) int {
	if c <= 0 {
		return -1
	}
	return 1
}

// maildirReader reads the messages of one folder.
type maildirReader struct {
	dir      string
	keywords []store.Flag
	searches int
}

// open opens a file, wherever it has been renamed to.
func (r *maildirReader) open(file maildirFile, m *Message) (*os.File, error) {
	f, err := r.openAs(file, m)
	// Searching is linear: it is for flags that change now and then.
	for try := 0; try < 3 && errors.Is(err, fs.ErrNotExist) && r.searches < 1000; try++ {
		r.searches++
		found := maildirFile{}
		for _, sub := range []string{"new", "cur"} {
			eachFile(filepath.Join(r.dir, sub), func(name string) bool {
				if base, _ := splitInfo(name); base == file.key() {
					found = maildirFile{name, len(base), sub == "new"}
				}
				return found.name == ""
			})
		}
		if found.name == "" {
			return nil, err
		}
		f, err = r.openAs(found, m)
	}
	return f, err
}

func (r *maildirReader) openAs(file maildirFile, m *Message) (*os.File, error) {
	sub := "cur"
	if file.fresh {
		sub = "new"
	}
	name := filepath.Join(r.dir, sub, file.name)
	// Opening a pipe would wait for somebody to write.
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	m.Date = info.ModTime()
	m.Flags = nil
	if !file.fresh {
		_, letters := splitInfo(file.name)
		m.Flags = fromLetters(letters, r.keywords)
	}
	return f, nil
}

// brokenFile makes errors of reading one file ErrBroken.
type brokenFile struct{ f *os.File }

func (b brokenFile) Read(p []byte) (int, error) {
	n, err := b.f.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return n, err
}

// Files beside the messages, and how much of them is read.
const (
	keywordsFile      = "dovecot-keywords"
	subscriptionsFile = "subscriptions"
	maxSmallFile      = 16 << 20
)

// smallFile reads a file that may be missing or unreadable: then it is empty.
func smallFile(name string) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(f, maxSmallFile))
	return b
}

// readKeywords reads lines of a number and a keyword.
func readKeywords(name string) []store.Flag {
	var table []store.Flag
	for line := range bytes.Lines(smallFile(name)) {
		num, word, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		i, err := strconv.Atoi(num)
		if err != nil || i < 0 || i >= maxLetters || !store.ValidKeyword(store.Flag(word)) {
			continue
		}
		for len(table) <= i {
			table = append(table, "")
		}
		table[i] = store.Flag(word)
	}
	return table
}

// readSubscriptions reads the names of mailboxes, in Dovecot's first format,
// levels parted by dots, or in its second, "V 2" and levels parted by tabs.
func readSubscriptions(name string) map[string]bool {
	b := smallFile(name)
	sep := "."
	if rest, ok := bytes.CutPrefix(b, []byte("V\t2\n")); ok {
		b, sep = rest, "\t"
	}
	names := make(map[string]bool)
	for line := range bytes.Lines(b) {
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			continue
		}
		levels := strings.Split(text, sep)
		for i, l := range levels {
			levels[i] = decodeLevel(l)
		}
		names[strings.Join(levels, string(store.Separator))] = true
	}
	return names
}

// readUIDLs reads the unique-ids that Dovecot remembers for messages that come
// from elsewhere: fields P of its list of UIDs.
func readUIDLs(name string) map[string]string {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	uidls := make(map[string]string)
	s := bufio.NewScanner(f)
	for s.Scan() && len(uidls) < 10_000_000 {
		head, base, ok := strings.Cut(s.Text(), " :")
		if !ok {
			continue
		}
		for i, field := range strings.Fields(head) {
			if i > 0 && field[0] == 'P' && len(field) > 1 && len(field) <= store.MaxUIDLOctets+1 {
				key, _ := splitInfo(base)
				uidls[key] = field[1:]
			}
		}
	}
	return uidls
}
